//! Where a socket of an instance is bound instead of where its program asks.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::{
    fs::fstat,
    io::Errno,
    net::{bind, getsockname, sockopt},
    process::geteuid,
};

use super::handover::TurnLeft;
use crate::protocol::{Bound, Rebind};

/// Ports below are for the privileged only.
const FIRST_FREE_PORT: u16 = 1024;

/// The rule of one child.
pub(super) struct Turn {
    /// The port whose binds are turned; 0 while it is not known. `None`: no more.
    from: Option<u16>,
    /// Port 0: the port that is asked for.
    to: SocketAddr,
}

impl Turn {
    pub(super) fn new(rebind: Rebind) -> Self {
        Self {
            from: Some(rebind.from),
            to: rebind.to,
        }
    }

    /// As an earlier binary has left it.
    pub(super) fn left(left: TurnLeft) -> Self {
        let TurnLeft { from, to } = left;
        Self { from, to }
    }

    /// For a later binary.
    pub(super) fn to_leave(&self) -> TurnLeft {
        TurnLeft {
            from: self.from,
            to: self.to,
        }
    }

    /// Turns nothing any more.
    pub(super) fn release(&mut self) {
        self.from = None;
    }

    pub(super) fn concerns(&self, port: u16) -> bool {
        port != 0 && self.from.is_some_and(|from| from == 0 || from == port)
    }

    /// Binds a socket whose program asks for an address of concern. Its port is the one from then on.
    pub(super) fn bind(&mut self, socket: &OwnedFd, asked: SocketAddr) -> Result<Bound, Errno> {
        let to = self.bind_socket(socket, asked)?;
        self.from = Some(asked.port());
        Ok(Bound { asked, to })
    }

    /// Says where; in the words of IPv4 if it can be reached by that.
    fn bind_socket(&self, socket: &OwnedFd, asked: SocketAddr) -> Result<SocketAddr, Errno> {
        let only_v6 = sockopt::ipv6_v6only(socket)
            .ok()
            .map(|only| only || is_only_v6(asked.ip()));
        let wanted = SocketAddr::new(self.to.ip(), self.port(socket, asked.port())?);
        let to = turned(wanted, only_v6);
        let outcome = match bind(socket, &to) {
            // A signal had interrupted the caller, who asks again.
            Err(Errno::INVAL) if getsockname(socket).and_then(SocketAddr::try_from) == Ok(to) => Ok(()),
            // There is one such address. Whoever has a socket for each version is reached by the other one.
            Err(Errno::ADDRINUSE) if only_v6 == Some(true) => bind(socket, &SocketAddr::new(to.ip(), 0)),
            outcome => outcome,
        };
        outcome?;
        let bound = getsockname(socket).and_then(SocketAddr::try_from)?;
        Ok(SocketAddr::new(bound.ip().to_canonical(), bound.port()))
    }

    /// The port to be bound. Where it is the one that was asked for, whoever listens on every address there may go on,
    /// if that is one of the same user; otherwise it is any.
    fn port(&self, socket: &OwnedFd, asked: u16) -> Result<u16, Errno> {
        if self.to.port() != 0 {
            return Ok(self.to.port());
        }
        if fstat(socket)?.st_uid != geteuid().as_raw() {
            // The program could not have bound it either.
            return if asked < FIRST_FREE_PORT {
                Err(Errno::ACCESS)
            } else {
                Ok(0)
            };
        }
        sockopt::set_socket_reuseport(socket, true)?;
        Ok(asked)
    }
}

/// Where a socket can be reached like `to`; `only_v6`: of one of IPv6, whether it takes nothing else.
fn turned(to: SocketAddr, only_v6: Option<bool>) -> SocketAddr {
    let ip = match (to.ip(), only_v6) {
        (IpAddr::V4(ip), Some(false)) => ip.to_ipv6_mapped().into(),
        (IpAddr::V4(_), Some(true)) => Ipv6Addr::LOCALHOST.into(),
        (ip, _) => ip,
    };
    SocketAddr::new(ip, to.port())
}

/// One address of IPv6, and none that stands for one of IPv4.
fn is_only_v6(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if !ip.is_unspecified() && ip.to_ipv4_mapped().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_is_reached_at_the_port() {
        let to = "127.0.0.1:20123".parse().unwrap();
        for (only_v6, expected) in [
            (None, "127.0.0.1:20123"),
            (Some(false), "[::ffff:127.0.0.1]:20123"),
            (Some(true), "[::1]:20123"),
        ] {
            assert_eq!(turned(to, only_v6), expected.parse().unwrap());
        }
    }

    #[test]
    fn one_version_only() {
        for (ip, expected) in [
            ("127.0.0.1", false),
            ("::", false),
            ("::ffff:127.0.0.1", false),
            ("::1", true),
        ] {
            assert_eq!(is_only_v6(ip.parse().unwrap()), expected, "{ip}");
        }
    }
}

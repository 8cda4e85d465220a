//! New connections to members, which are certainly theirs.
//!
//! An instance with an address of its own may have ended while the gateway has its port at every address. The kernel then
//! gives connections that are meant for it to the gateway, which resets them, and somebody who had begun to send could not
//! tell that from an instance that ended over the request. So as soon as there is such a connection, and before anything is
//! sent on it, the kernel is asked who gets connections to that address. If it is not the instance, this one counts as
//! refused, and any request may go elsewhere or wait. The question is one system call (4 µs with all that belongs to it),
//! for new connections only.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hythe_model::is_own_address;
use hythe_upstream::proxy_protocol::Version;
use hythe_upstream::{Peer, Wire, WireError};
use tokio::time::Instant;

use crate::announce::announce;
use crate::door::Ends;

/// A connection to `address` within `timeout`, which begins with whose it is if that is to be announced, and on which
/// `peer` has shown to be there, if it must.
///
/// # Errors
/// [`WireError::TimedOut`], or what the kernel or the other side said; `ConnectionRefused` where nobody listens.
pub(crate) async fn connect(
    address: SocketAddr,
    announced: Option<(Version, Ends)>,
    peer: Option<&Arc<Peer>>,
    timeout: Duration,
) -> Result<Wire, WireError> {
    let deadline = Instant::now() + timeout;
    let connected = hythe_upstream::connect(address, timeout).await;
    // We may have reset it before we heard that it was made.
    if is_own_address(address.ip()) && !is_there(address) {
        return Err(WireError::Broken(ErrorKind::ConnectionRefused.into()));
    }
    let mut wire = connected?;
    if let Some((version, ends)) = announced {
        let left = deadline.saturating_duration_since(Instant::now());
        announce(&mut wire, version, ends, left).await?;
    }
    if let Some(peer) = peer {
        wire.begin_tls(peer, deadline).await?;
    }
    Ok(wire)
}

/// Whether somebody listens at an address of this machine, for it and not for the gateway, which may have its port at every
/// address. Of others, and of a kernel that does not tell, it is believed.
pub(crate) fn is_there(address: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    if !ip.is_loopback() {
        return true;
    }
    match hythe_stdx::listener_for(SocketAddr::new(ip, address.port())) {
        Ok(found) => {
            found.is_some_and(|found| !is_own_address(ip) || found.address.ip().to_canonical() == ip)
        }
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn listen(address: SocketAddr) -> TcpListener {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseport(true).unwrap();
        socket.bind(address).unwrap();
        socket.listen(8).unwrap()
    }

    #[tokio::test]
    async fn a_connection_that_came_to_somebody_else_is_refused() {
        let instance = listen("127.64.0.9:0".parse().unwrap());
        let address = instance.local_addr().unwrap();
        let anybody = listen(SocketAddr::from(([0, 0, 0, 0], address.port())));
        connect(address, None, None, PATIENCE).await.unwrap();
        drop(instance);
        let refused = connect(address, None, None, PATIENCE).await.unwrap_err();
        let WireError::Broken(error) = refused else {
            panic!("{refused}")
        };
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        // Others have no address of their own to miss.
        let usual = SocketAddr::from(([127, 0, 0, 1], anybody.local_addr().unwrap().port()));
        connect(usual, None, None, PATIENCE).await.unwrap();
    }
}

//! Node's channel to the process that started it, and the primary's half of Node's cluster on it.
//!
//! ```text
//!   worker: {"cmd":"NODE_CLUSTER","act":"queryServer","port":3000,...}      line by line, JSON
//!   minder: binds a socket as a turned bind would be, and sends it beside
//!           {"cmd":"NODE_HANDLE","type":"net.Native","msg":{"ack":1,"errno":0,...}}
//!   worker: {"cmd":"NODE_CLUSTER","act":"listening",...}
//!   minder: {"cmd":"NODE_CLUSTER","act":"disconnect"}: it closes its sockets, finishes what it does and ends
//! ```
//!
//! So a program that was written for Node's cluster, or for one port, runs in any number of processes without a Node that
//! starts them, and drains without a handler for signals. Connections never pass through here: each worker listens for
//! itself, at its instance's own address. The protocol is not documented and has not changed from Node 18 to 24.
//!
//! Of messages of the program itself only `"ready"` is of interest, and lines that are none or too long are passed over. A
//! program that runs as another user gets nothing over this that it could not have by itself. Left out: sockets that several workers share, so a
//! second port is bound by each for itself, and the kernel spreads what comes.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    io::{Errno, FdFlags, fcntl_setfd},
    net::{
        AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType, bind, getsockname, recv,
        socket_with, socketpair, sockopt,
    },
};
use serde_json::{Value, json};

use super::{
    given::beside,
    handover::{ChannelLeft, WorkerLeft},
    requests::KeptSockets,
    turn::Turn,
};
use crate::protocol::{self, Bound, Farewell};

/// The longest line that is read, in bytes; those of the cluster have some hundred.
const LONGEST_LINE: usize = 16 * 1024;

/// Ports below are for the privileged only.
const FIRST_FREE_PORT: u16 = 1024;

const CHUNK: usize = 16 * 1024;

/// The minder's end.
pub(super) struct Channel {
    socket: OwnedFd,
    /// A line that has not ended yet.
    line: Vec<u8>,
    /// The rest of a line is passed over.
    skipping: bool,
    /// Of a worker of the cluster: what it may have.
    worker: Option<Rights>,
}

/// What a worker of the cluster may have opened for it.
pub(super) struct Rights {
    /// Where its servers listen.
    pub(super) turn: Option<Turn>,
    /// It runs as another user than this process.
    pub(super) is_foreign: bool,
}

/// What a program has told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// It has what it needs.
    Ready,
    /// It listens.
    Bound(Bound),
}

/// The program's end, which it inherits.
pub(super) struct Inherited(OwnedFd);

/// Both ends.
pub(super) fn pair(worker: Option<Rights>) -> Result<(Channel, Inherited), Errno> {
    let flags = SocketFlags::CLOEXEC;
    let (here, there) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::io::ioctl_fionbio(&here, true)?;
    let channel = Channel {
        socket: here,
        line: Vec::new(),
        skipping: false,
        worker,
    };
    Ok((channel, Inherited(beside(there)?)))
}

impl Inherited {
    /// What tells Node of it; Node takes these out of the program's environment.
    pub(super) fn variables(&self, worker: Option<u64>) -> Vec<(String, String)> {
        use std::os::fd::AsRawFd;
        let mut variables = vec![
            ("NODE_CHANNEL_FD".to_owned(), self.0.as_raw_fd().to_string()),
            ("NODE_CHANNEL_SERIALIZATION_MODE".to_owned(), "json".to_owned()),
        ];
        variables.extend(worker.map(|id| ("NODE_UNIQUE_ID".to_owned(), id.to_string())));
        variables
    }

    /// Lets it outlive the exec. For a process that a fork has just made: system calls only.
    pub(super) fn keep_over_exec(&self) -> Result<(), Errno> {
        fcntl_setfd(&self.0, FdFlags::empty())
    }
}

impl Channel {
    /// As an earlier binary has left it.
    pub(super) fn left(socket: OwnedFd, left: ChannelLeft) -> Self {
        Self {
            socket,
            line: left.line,
            skipping: left.skipping,
            worker: left.worker.map(|worker| Rights {
                turn: worker.turn.map(Turn::left),
                is_foreign: worker.is_foreign,
            }),
        }
    }

    /// For a later binary.
    pub(super) fn to_leave(&self) -> ChannelLeft {
        ChannelLeft {
            line: self.line.clone(),
            skipping: self.skipping,
            worker: self.worker.as_ref().map(|worker| WorkerLeft {
                turn: worker.turn.as_ref().map(Turn::to_leave),
                is_foreign: worker.is_foreign,
            }),
        }
    }

    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Takes in what has come, and answers; `kept` are sockets whose addresses nobody else may have. `None`: the channel has
    /// ended.
    pub(super) fn attend(&mut self, kept: &KeptSockets) -> Option<Vec<News>> {
        let mut chunk = [0; CHUNK];
        let received = match recv(&self.socket, &mut chunk, RecvFlags::empty()) {
            Ok((0, _)) => return None,
            Ok((received, _)) => received,
            Err(Errno::AGAIN | Errno::INTR) => return Some(Vec::new()),
            Err(_) => return None,
        };
        let mut news = Vec::new();
        for part in chunk[..received].split_inclusive(|byte| *byte == b'\n') {
            if let Some(line) = self.complete(part)
                && let Ok(message) = serde_json::from_slice(&line)
            {
                news.extend(self.hear(&message, kept));
            }
        }
        Some(news)
    }

    /// The line that ends with this part, unless it is to be passed over.
    fn complete(&mut self, part: &[u8]) -> Option<Vec<u8>> {
        if !self.skipping {
            self.line.extend_from_slice(part);
        }
        if self.line.len() > LONGEST_LINE {
            self.line = Vec::new();
            self.skipping = true;
        }
        if part.last() != Some(&b'\n') {
            return None;
        }
        let skipped = std::mem::take(&mut self.skipping);
        let line = std::mem::take(&mut self.line);
        (!skipped).then_some(line)
    }

    /// Asks the program to end.
    pub(super) fn part(&self, farewell: &Farewell) -> io::Result<()> {
        let message = match farewell {
            Farewell::Disconnect => json!({"cmd": "NODE_CLUSTER", "act": "disconnect"}),
            Farewell::Message(text) => json!(text),
        };
        self.say(&message, None)
    }

    fn hear(&mut self, message: &Value, kept: &KeptSockets) -> Option<News> {
        if message == "ready" {
            return Some(News::Ready);
        }
        if message.get("cmd")? != "NODE_CLUSTER" {
            return None;
        }
        let number = message.get("seq");
        match message.get("act")?.as_str()? {
            "queryServer" => self.open(message, number, kept),
            "exitedAfterDisconnect" => {
                // It waits for the answer before it lets go.
                let _ = self.say(&json!({"cmd": "NODE_CLUSTER", "ack": number}), None);
                None
            }
            _ => None,
        }
    }

    /// Answers a worker that wants to listen.
    fn open(&mut self, message: &Value, number: Option<&Value>, kept: &KeptSockets) -> Option<News> {
        let wanted = Wanted::of(message);
        let opened = match (&wanted, &mut self.worker) {
            (Some(wanted), Some(worker)) => worker.bind(wanted, kept),
            _ => Err(Errno::INVAL),
        };
        let errno = opened.as_ref().err().map_or(0, |error| -error.raw_os_error());
        let inner = json!({"cmd": "NODE_CLUSTER", "ack": number, "key": key(message), "errno": errno});
        match (opened, wanted) {
            (Ok((socket, bound)), Some(wanted)) => {
                let handle = json!({"cmd": "NODE_HANDLE", "type": wanted.handle(), "msg": inner});
                self.say(&handle, Some(&socket)).ok()?;
                bound.map(News::Bound)
            }
            _ => {
                let _ = self.say(&inner, None);
                None
            }
        }
    }

    /// A program that does not read what it is told is told no more than the kernel keeps for it.
    fn say(&self, message: &Value, socket: Option<&OwnedFd>) -> io::Result<()> {
        let mut line = message.to_string().into_bytes();
        line.push(b'\n');
        let sent = protocol::send(&self.socket, &line, socket.map(AsFd::as_fd))?;
        if sent < line.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(())
    }
}

impl Rights {
    fn bind(&mut self, wanted: &Wanted, kept: &KeptSockets) -> Result<(OwnedFd, Option<Bound>), Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        self.permit(wanted)?;
        match wanted {
            Wanted::Pipe(path) => {
                let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
                bind(&socket, &SocketAddrUnix::new(path.as_str())?)?;
                Ok((socket, None))
            }
            Wanted::Tcp(address) => {
                let socket = socket_with(family(address), SocketType::STREAM, flags, None)?;
                sockopt::set_socket_reuseaddr(&socket, true)?;
                if let Some(turn) = self.turn.as_mut().filter(|turn| turn.concerns(address.port())) {
                    let bound = turn.bind(&socket, *address)?;
                    return Ok((socket, Some(bound)));
                }
                bind_shared(socket, address, kept)
            }
            Wanted::Udp(address) => {
                let socket = socket_with(family(address), SocketType::DGRAM, flags, None)?;
                bind_shared(socket, address, kept)
            }
        }
    }

    /// This process may have more rights than the program it binds for.
    fn permit(&self, wanted: &Wanted) -> Result<(), Errno> {
        let is_free = match wanted {
            Wanted::Tcp(address) | Wanted::Udp(address) => {
                address.port() == 0 || address.port() >= FIRST_FREE_PORT
            }
            Wanted::Pipe(_) => false,
        };
        match self.is_foreign && !is_free {
            true => Err(Errno::ACCESS),
            false => Ok(()),
        }
    }
}

/// Binds an address that other workers may have too, and nobody else.
fn bind_shared(
    socket: OwnedFd,
    address: &SocketAddr,
    kept: &KeptSockets,
) -> Result<(OwnedFd, Option<Bound>), Errno> {
    let is_taken = kept.values().any(|kept| {
        let there = getsockname(kept).and_then(SocketAddr::try_from);
        there.is_ok_and(|there| address.port() != 0 && meet(there, *address))
    });
    if is_taken {
        return Err(Errno::ADDRINUSE);
    }
    sockopt::set_socket_reuseport(&socket, true)?;
    bind(&socket, address)?;
    Ok((socket, None))
}

/// Whether the same connection could go to both.
fn meet(one: SocketAddr, other: SocketAddr) -> bool {
    let (ip, other_ip) = (one.ip().to_canonical(), other.ip().to_canonical());
    one.port() == other.port() && (ip == other_ip || ip.is_unspecified() || other_ip.is_unspecified())
}

/// What a worker wants to listen on.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Tcp(SocketAddr),
    Udp(SocketAddr),
    Pipe(String),
}

impl Wanted {
    /// Nothing if it is a descriptor of the primary, which has none.
    fn of(message: &Value) -> Option<Self> {
        let address = message.get("address").and_then(Value::as_str);
        let port = || u16::try_from(message.get("port")?.as_u64()?).ok();
        let ip = |v6: bool| match address {
            Some(address) => address.parse::<IpAddr>().ok(),
            None if v6 => Some(Ipv6Addr::UNSPECIFIED.into()),
            None => Some(Ipv4Addr::UNSPECIFIED.into()),
        };
        match message.get("addressType")? {
            Value::String(kind) => Some(Self::Udp(SocketAddr::new(ip(kind == "udp6")?, port()?))),
            Value::Number(kind) if kind.as_i64() == Some(-1) => Some(Self::Pipe(address?.to_owned())),
            // Without an address it is every one, of both versions.
            Value::Number(_) => Some(Self::Tcp(SocketAddr::new(ip(true)?, port()?))),
            _ => None,
        }
    }

    /// Node's word for the kind of handle.
    fn handle(&self) -> &'static str {
        match self {
            Self::Tcp(_) | Self::Pipe(_) => "net.Native",
            Self::Udp(_) => "dgram.Native",
        }
    }
}

fn family(address: &SocketAddr) -> AddressFamily {
    match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    }
}

/// The name of a server among those of its worker.
fn key(message: &Value) -> String {
    let part = |name: &str| message.get(name).map(ToString::to_string).unwrap_or_default();
    ["address", "port", "addressType", "fd", "index"]
        .map(part)
        .join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_workers_want() {
        let wanted = |message: Value| Wanted::of(&message);
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        for (message, expected) in [
            (
                json!({"address": null, "port": 3000, "addressType": 4}),
                Some(Wanted::Tcp(at("[::]:3000"))),
            ),
            (
                json!({"address": "127.0.0.1", "port": 3000, "addressType": 4}),
                Some(Wanted::Tcp(at("127.0.0.1:3000"))),
            ),
            (
                json!({"address": "::1", "port": 0, "addressType": 6}),
                Some(Wanted::Tcp(at("[::1]:0"))),
            ),
            (
                json!({"address": null, "port": 5000, "addressType": "udp4"}),
                Some(Wanted::Udp(at("0.0.0.0:5000"))),
            ),
            (
                json!({"address": "/tmp/a.sock", "port": -1, "addressType": -1}),
                Some(Wanted::Pipe("/tmp/a.sock".to_owned())),
            ),
            (json!({"address": null, "port": 70000, "addressType": 4}), None),
            (json!({"address": null, "port": 1}), None),
        ] {
            assert_eq!(wanted(message.clone()), expected, "{message}");
        }
    }
}

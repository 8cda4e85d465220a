//! The sockets of one address: one for each worker, so that the kernel spreads what comes.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Connections that the kernel keeps waiting for one socket.
const BACKLOG: i32 = 4096;

/// What a socket carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

/// Who else may listen at the port of an address, which must not be us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Neighbours {
    /// Nobody.
    None,
    /// Whoever has it at an address of its own.
    OwnAddresses,
}

/// A socket that was bound before: by an earlier server, whose clients may wait in it.
#[derive(Debug)]
pub struct KeptSocket {
    /// What its listener was called, by [`crate::ListenerPlan::kept_as`].
    pub listener: String,
    /// The socket.
    pub socket: OwnedFd,
}

/// Kept sockets that nobody has asked for yet.
#[derive(Debug, Default)]
pub(crate) struct Adopted(Vec<(String, SocketAddr, Socket)>);

impl Adopted {
    pub(crate) fn new(kept: Vec<KeptSocket>) -> Self {
        let read = |kept: KeptSocket| {
            let socket = Socket::from(kept.socket);
            Some((kept.listener, local(&socket).ok()?, socket))
        };
        Self(kept.into_iter().filter_map(read).collect())
    }

    /// Whether sockets of this listener at this address are there.
    pub(crate) fn has(&self, listener: &str, address: SocketAddr) -> bool {
        self.0
            .iter()
            .any(|(name, bound, _)| name == listener && *bound == address)
    }

    /// Every socket of this address; port 0 stands for whatever port the listener had before.
    fn take(&mut self, listener: &str, address: SocketAddr, transport: Transport) -> Vec<Socket> {
        let before =
            |(name, bound, _): &&(String, SocketAddr, Socket)| name == listener && bound.ip() == address.ip();
        let address = match self.0.iter().find(before) {
            Some((_, bound, _)) if address.port() == 0 => *bound,
            _ => address,
        };
        let is_same = |(_, bound, socket): &mut (String, SocketAddr, Socket)| {
            *bound == address && socket.r#type().is_ok_and(|kind| kind == transport.kind())
        };
        self.0
            .extract_if(.., is_same)
            .map(|(_, _, socket)| socket)
            .collect()
    }
}

/// Binds `address` for a listener with at least `count` sockets, those of `adopted` first. The address is the one that was
/// bound: port 0 has become a port.
pub(crate) fn bind(
    listener: &str,
    address: SocketAddr,
    transport: Transport,
    neighbours: Neighbours,
    count: usize,
    adopted: &mut Adopted,
) -> io::Result<(SocketAddr, Vec<Socket>)> {
    let mut sockets = adopted.take(listener, address, transport);
    if sockets.is_empty() {
        sockets.push(match neighbours {
            Neighbours::None => bind_first(address, transport)?,
            Neighbours::OwnAddresses => bind_beside(address, transport)?,
        });
    }
    let address = sockets.first().map_or(Ok(address), local)?;
    while sockets.len() < count {
        sockets.push(bind_shared(address, transport)?);
    }
    for socket in &sockets {
        socket.set_nonblocking(true)?;
    }
    Ok((address, sockets))
}

/// `SO_REUSEPORT` would also let us share a port with a stranger of the same user. So ask without it
/// first, which fails when anybody listens.
fn bind_first(address: SocketAddr, transport: Transport) -> io::Result<Socket> {
    let asking = socket(address, transport)?;
    asking.bind(&SockAddr::from(address))?;
    if transport == Transport::Tcp {
        asking.listen(1)?;
    }
    drop(asking);
    bind_shared(address, transport)
}

/// Others may have the port at addresses of their own, which the kernel prefers; nobody at this one.
fn bind_beside(address: SocketAddr, transport: Transport) -> io::Result<Socket> {
    let listeners = hythe_stdx::listeners(address.port())?;
    if listeners.iter().any(|other| is_same(other.address, address)) {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    bind_shared(address, transport)
}

/// The same address, or both are every one.
fn is_same(one: SocketAddr, other: SocketAddr) -> bool {
    let same_ip = one.ip().to_canonical() == other.ip().to_canonical();
    let everywhere = one.ip().is_unspecified() && other.ip().is_unspecified();
    one.port() == other.port() && (same_ip || everywhere)
}

fn bind_shared(address: SocketAddr, transport: Transport) -> io::Result<Socket> {
    let socket = socket(address, transport)?;
    socket.set_reuse_port(true)?;
    socket.bind(&SockAddr::from(address))?;
    if transport == Transport::Tcp {
        socket.listen(BACKLOG)?;
    }
    Ok(socket)
}

fn socket(address: SocketAddr, transport: Transport) -> io::Result<Socket> {
    let protocol = match transport {
        Transport::Tcp => Protocol::TCP,
        Transport::Udp => Protocol::UDP,
    };
    let socket = Socket::new(Domain::for_address(address), transport.kind(), Some(protocol))?;
    if transport == Transport::Tcp {
        // For UDP it would let strangers share the address.
        socket.set_reuse_address(true)?;
    }
    if address.is_ipv6() {
        // `[::]` takes IPv4 as well, whatever the system's default.
        socket.set_only_v6(false)?;
    }
    Ok(socket)
}

fn local(socket: &Socket) -> io::Result<SocketAddr> {
    let address = socket.local_addr()?;
    address
        .as_socket()
        .ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))
}

impl Transport {
    fn kind(self) -> Type {
        match self {
            Self::Tcp => Type::STREAM,
            Self::Udp => Type::DGRAM,
        }
    }
}

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

/// Sockets that were bound before: by an earlier server, whose clients may wait in them.
#[derive(Debug, Default)]
pub(crate) struct Adopted(Vec<Socket>);

impl Adopted {
    pub(crate) fn new(descriptors: Vec<OwnedFd>) -> Self {
        Self(descriptors.into_iter().map(Socket::from).collect())
    }

    /// Every socket of this address; port 0 stands for whatever port was chosen before.
    fn take(&mut self, address: SocketAddr, transport: Transport) -> Vec<Socket> {
        let fits = |bound: SocketAddr| {
            bound.ip() == address.ip() && (address.port() == 0 || bound.port() == address.port())
        };
        let is_same = |socket: &mut Socket| {
            socket.r#type().is_ok_and(|kind| kind == transport.kind()) && local(socket).is_ok_and(fits)
        };
        self.0.extract_if(.., is_same).collect()
    }
}

/// Binds `address` with at least `count` sockets, those of `adopted` first. The address is the one that was
/// bound: port 0 has become a port.
pub(crate) fn bind(
    address: SocketAddr,
    transport: Transport,
    count: usize,
    adopted: &mut Adopted,
) -> io::Result<(SocketAddr, Vec<Socket>)> {
    let mut sockets = adopted.take(address, transport);
    if sockets.is_empty() {
        sockets.push(bind_first(address, transport)?);
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

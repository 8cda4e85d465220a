//! Listening sockets: bound eagerly, one for each worker and address, kept over the server's life.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Listening sockets of the gateway.
#[derive(Debug, Default)]
pub struct Listeners {
    /// Each address as bound, with its sockets.
    addresses: Vec<(SocketAddr, Vec<TcpListener>)>,
}

/// An address that could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} (gateway)")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// Why; `AddrInUse` when somebody else has it.
    #[source]
    pub source: io::Error,
}

const BACKLOG: i32 = 4096;

impl Listeners {
    /// Listens on `addresses` with `workers` sockets each, so that the kernel spreads connections. Sockets
    /// in `adopted` that an earlier server listened with are used first: connections may wait in them.
    ///
    /// # Errors
    /// The first address that is taken or may not be used; nothing stays bound then.
    pub fn bind(addresses: &[SocketAddr], workers: usize, adopted: Vec<OwnedFd>) -> Result<Self, BindError> {
        let mut adopted: Vec<TcpListener> = adopted.into_iter().map(TcpListener::from).collect();
        let mut listeners = Self::default();
        for address in addresses {
            let bound = bind_address(*address, workers, &mut adopted).map_err(|source| BindError {
                address: *address,
                source,
            })?;
            listeners.addresses.push(bound);
        }
        Ok(listeners)
    }

    /// The addresses, as bound.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.addresses.iter().map(|(address, _)| *address)
    }

    /// Every socket with its address and number, to be kept by somebody who lives longer.
    pub fn sockets(&self) -> impl Iterator<Item = (SocketAddr, usize, &TcpListener)> {
        self.addresses.iter().flat_map(|(address, sockets)| {
            sockets
                .iter()
                .enumerate()
                .map(|(number, socket)| (*address, number, socket))
        })
    }

    /// The sockets of each worker: every socket has one, also when there are more sockets than workers.
    pub(crate) fn shares(self, workers: usize) -> Vec<Vec<TcpListener>> {
        let mut shares: Vec<Vec<TcpListener>> = (0..workers.max(1)).map(|_| Vec::new()).collect();
        for (_, sockets) in self.addresses {
            for (number, socket) in sockets.into_iter().enumerate() {
                let worker = number % shares.len();
                if let Some(share) = shares.get_mut(worker) {
                    share.push(socket);
                }
            }
        }
        shares
    }
}

fn bind_address(
    address: SocketAddr,
    workers: usize,
    adopted: &mut Vec<TcpListener>,
) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    // Port 0 stands for whatever port was chosen before.
    let is_same = |socket: &mut TcpListener| {
        let fits = |bound: SocketAddr| {
            bound.ip() == address.ip() && (address.port() == 0 || bound.port() == address.port())
        };
        socket.local_addr().is_ok_and(fits)
    };
    let mut sockets: Vec<TcpListener> = adopted.extract_if(.., is_same).collect();
    let mut address = address;
    match sockets.first() {
        Some(first) => address = first.local_addr()?,
        None => {
            let first = bind_first(address)?;
            address = first.local_addr()?;
            sockets.push(first);
        }
    }
    while sockets.len() < workers {
        sockets.push(bind_shared(address)?);
    }
    for socket in &sockets {
        socket.set_nonblocking(true)?;
    }
    Ok((address, sockets))
}

/// `SO_REUSEPORT` would also let us share a port with a stranger of the same user. So ask without it
/// first, which fails when anybody listens.
fn bind_first(address: SocketAddr) -> io::Result<TcpListener> {
    let asking = socket(address)?;
    asking.bind(&SockAddr::from(address))?;
    asking.listen(1)?;
    drop(asking);
    bind_shared(address)
}

fn bind_shared(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `[::]` takes IPv4 as well, whatever the system's default.
        socket.set_only_v6(false)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: &str = "127.0.0.1:0";

    #[test]
    fn each_worker_gets_a_socket_of_the_same_port() {
        let listeners = Listeners::bind(&[ANY.parse().unwrap()], 3, Vec::new()).unwrap();
        let address = listeners.addresses().next().unwrap();
        assert_ne!(address.port(), 0);
        let shares = listeners.shares(3);
        assert!(
            shares
                .iter()
                .all(|share| share.len() == 1 && share[0].local_addr().unwrap() == address)
        );
    }

    #[test]
    fn a_taken_port_is_named() {
        let taken = TcpListener::bind(ANY).unwrap();
        let address = taken.local_addr().unwrap();
        let error = Listeners::bind(&[address], 2, Vec::new()).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&address.to_string()));
    }

    #[test]
    fn adopted_sockets_are_all_used() {
        let listeners = Listeners::bind(&[ANY.parse().unwrap()], 4, Vec::new()).unwrap();
        let address = listeners.addresses().next().unwrap();
        let kept: Vec<OwnedFd> = listeners
            .sockets()
            .map(|(_, _, socket)| socket.try_clone().unwrap().into())
            .collect();
        drop(listeners);
        let again = Listeners::bind(&[address], 2, kept).unwrap();
        let shares = again.shares(2);
        assert_eq!(shares.iter().map(Vec::len).sum::<usize>(), 4);
    }
}

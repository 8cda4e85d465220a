//! Who listens on this machine, asked of the kernel and not by a connection: that would say that somebody does, and not
//! whether it is at this address or at every one.

mod diag;
mod table;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::OnceLock;

/// A TCP socket that listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// Where.
    pub address: SocketAddr,
    /// Connections that the kernel has taken for it and no program has accepted yet.
    pub waiting: u32,
}

/// Who listens at this TCP port, in no particular order. Takes microseconds, however many connections there are.
///
/// # Errors
/// Neither of the kernel's two lists can be read.
pub fn listeners(port: u16) -> io::Result<Vec<Listener>> {
    // Sandboxes and kernels without that module have only the text.
    match kernel_tells() {
        true => diag::listeners(port).or_else(|_| table::listeners(port)),
        false => table::listeners(port),
    }
}

/// Who gets connections to this TCP address now, and listens there, or at every address. `None`: nobody does.
/// Takes as long as one system call, however many sockets there are.
///
/// # Errors
/// The kernel does not tell, as in sandboxes and without its module for that.
pub fn listener_for(address: SocketAddr) -> io::Result<Option<Listener>> {
    match kernel_tells() {
        true => diag::listener_for(address),
        false => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Whether the kernel answers such questions, tried once with a listener: without its module for them, it says of every
/// address that nobody is there, and looks for the module each time.
fn kernel_tells() -> bool {
    static TELLS: OnceLock<bool> = OnceLock::new();
    *TELLS.get_or_init(|| {
        let tried = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| {
            let address = listener.local_addr()?;
            let found = diag::listener_for(address)?;
            Ok(found.is_some_and(|found| found.address == address))
        });
        tried.unwrap_or(false)
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    /// As both lists have it.
    #[track_caller]
    fn check(asked: SocketAddr, expected: bool) {
        for listeners in [diag::listeners, table::listeners] {
            let listeners = listeners(asked.port()).unwrap();
            assert_eq!(
                listeners.iter().any(|listener| listener.address == asked),
                expected,
                "{asked} among {listeners:?}"
            );
        }
    }

    #[test]
    fn those_who_listen_and_no_connections() {
        for here in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0", "[::1]:0", "127.64.0.9:0"] {
            let listener = TcpListener::bind(here).unwrap();
            let address = listener.local_addr().unwrap();
            check(address, true);
            check(SocketAddr::from(([127, 64, 0, 8], address.port())), false);
            let connection = TcpStream::connect(address).unwrap();
            check(connection.local_addr().unwrap(), false);
        }
    }

    #[test]
    fn connections_wait_until_they_are_accepted() {
        let listener = TcpListener::bind("127.64.0.10:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = [(); 2].map(|()| TcpStream::connect(address).unwrap());
        for waiting in [2, 1, 0] {
            for listeners in [diag::listeners, table::listeners] {
                let expected = Listener { address, waiting };
                let looks = || listeners(address.port()).unwrap().contains(&expected);
                // The kernel answers `connect` before it puts the connection into the queue.
                let deadline = Instant::now() + Duration::from_secs(10);
                while !looks() {
                    assert!(Instant::now() < deadline, "never {expected:?}");
                    thread::yield_now();
                }
            }
            if waiting > 0 {
                drop(listener.accept().unwrap());
            }
        }
        drop(connections);
    }

    #[test]
    fn connections_come_to_whoever_is_closest() {
        for (everywhere, here) in [
            ("0.0.0.0", "127.64.0.9"),
            ("::", "127.64.0.9"),
            ("::", "::ffff:127.64.0.9"),
            ("::", "::1"),
        ] {
            let at = |ip: &str, port| SocketAddr::new(ip.parse().unwrap(), port);
            let asked = |port| SocketAddr::new(at(here, port).ip().to_canonical(), port);
            let free = free(&at, here);
            assert_eq!(listener_for(asked(free.port())).unwrap(), None, "{here}");
            let anybody = sharing(at(everywhere, free.port()));
            let found = listener_for(asked(free.port())).unwrap().unwrap();
            assert!(found.address.ip().is_unspecified(), "{here}: {found:?}");
            let closest = sharing(at(here, free.port()));
            let found = listener_for(asked(free.port())).unwrap().unwrap();
            assert_eq!(found.address.ip().to_canonical(), asked(0).ip());
            drop((anybody, closest));
            assert_eq!(listener_for(asked(free.port())).unwrap(), None, "{here}");
        }
    }

    /// An address out of a range from which the kernel gives nobody a port.
    fn free(at: &impl Fn(&str, u16) -> SocketAddr, here: &str) -> SocketAddr {
        let first = 10_000 + u16::try_from(std::process::id() * 7_919 % 10_000).unwrap();
        let is_free = |port: &u16| TcpListener::bind(at("::", *port)).is_ok();
        at(here, (first..first + 1_000).find(is_free).unwrap())
    }

    /// Listens where others may, too.
    fn sharing(address: SocketAddr) -> TcpListener {
        use rustix::net::{AddressFamily, SocketType, bind, listen, socket, sockopt};
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let socket = socket(family, SocketType::STREAM, None).unwrap();
        sockopt::set_socket_reuseport(&socket, true).unwrap();
        bind(&socket, &address).unwrap();
        listen(&socket, 8).unwrap();
        socket.into()
    }

    #[test]
    fn all_are_found_where_there_are_many() {
        let first = TcpListener::bind("127.66.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        let others =
            (2..=255).map(|last| TcpListener::bind(SocketAddr::from(([127, 66, 0, last], port))).unwrap());
        for listener in others.chain([first]).collect::<Vec<_>>() {
            check(listener.local_addr().unwrap(), true);
        }
    }
}

//! Who listens on this machine, asked of the kernel and not by a connection: that would say that somebody does, and not
//! whether it is at this address or at every one.

mod diag;
mod table;

use std::io;
use std::net::SocketAddr;

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
    diag::listeners(port).or_else(|_| table::listeners(port))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

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
                assert_eq!(
                    listeners(address.port()).unwrap(),
                    [Listener { address, waiting }]
                );
            }
            if waiting > 0 {
                drop(listener.accept().unwrap());
            }
        }
        drop(connections);
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

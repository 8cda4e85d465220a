//! Sockets, before anything is served: what cannot be bound is told at once and by name.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::Config;
use crate::token::Token;

/// The sockets of an API that does not answer yet.
pub struct Bound {
    pub(crate) unix: UnixListener,
    pub(crate) socket: PathBuf,
    pub(crate) tcp: Option<TcpListener>,
    pub(crate) api: Option<SocketAddr>,
    pub(crate) token: Token,
}

/// Why the API cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another server answers on the socket.
    #[error("another server answers on {}", .0.display())]
    InUse(PathBuf),
    /// The socket cannot be made.
    #[error("cannot listen on the socket {}", .0.display())]
    Socket(PathBuf, #[source] io::Error),
    /// The TCP address cannot be listened on.
    #[error("the API cannot listen on {0}")]
    Tcp(SocketAddr, #[source] io::Error),
    /// The token's file cannot be read or made.
    #[error("cannot read the API's token from {}", .0.display())]
    Token(PathBuf, #[source] io::Error),
}

impl Bound {
    /// The TCP address, with the port that was chosen for port 0.
    pub fn api_address(&self) -> Option<SocketAddr> {
        self.api
    }
}

/// Binds everything. The socket of a server that is gone is replaced.
///
/// # Errors
/// When something cannot be bound; the error names it.
pub fn bind(config: Config) -> Result<Bound, BindError> {
    let Config {
        api_listen,
        socket,
        token_file,
    } = config;
    let tcp = api_listen.map(|address| bind_tcp(address).map_err(|error| BindError::Tcp(address, error)));
    let tcp = tcp.transpose()?;
    let token = Token::load_or_create(&token_file).map_err(|error| BindError::Token(token_file, error))?;
    if UnixStream::connect(&socket).is_ok() {
        return Err(BindError::InUse(socket));
    }
    let unix = bind_unix(&socket).map_err(|error| BindError::Socket(socket.clone(), error))?;
    let (tcp, api) = tcp.unzip();
    Ok(Bound {
        unix,
        socket,
        tcp,
        api,
        token,
    })
}

fn bind_tcp(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// The socket appears under its name with its final mode, so nobody can connect before.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&fresh)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&fresh, path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(folder: &Path) -> Config {
        Config {
            api_listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            socket: folder.join("hythe.sock"),
            token_file: folder.join("token"),
        }
    }

    #[test]
    fn a_second_server_is_refused_and_a_dead_ones_socket_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let first = bind(config(folder.path())).unwrap();
        assert_ne!(first.api_address().unwrap().port(), 0);
        let mode = std::fs::metadata(&first.socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(bind(config(folder.path())), Err(BindError::InUse(_))));
        drop(first);
        bind(config(folder.path())).unwrap();
    }

    #[test]
    fn a_taken_address_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = bind(Config {
            api_listen: Some(address),
            ..config(folder.path())
        })
        .err()
        .unwrap();
        assert_eq!(error.to_string(), format!("the API cannot listen on {address}"));
    }
}

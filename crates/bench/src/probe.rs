//! Whether a server answers yet.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(2);

/// The status of one GET on a connection of its own; `None` while there is no proper answer.
pub(crate) async fn status(address: SocketAddr, path: &str) -> Option<u16> {
    timeout(PATIENCE, get(address, path)).await.ok()?.ok().flatten()
}

async fn get(address: SocketAddr, path: &str) -> io::Result<Option<u16>> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;

    let mut status_line = [0; "HTTP/1.1 200".len()];
    stream.read_exact(&mut status_line).await?;
    let code = status_line
        .strip_prefix(b"HTTP/1.1 ")
        .and_then(|code| std::str::from_utf8(code).ok());
    Ok(code.and_then(|code| code.parse().ok()))
}

/// A loopback address nobody listens on at the moment.
pub(crate) fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

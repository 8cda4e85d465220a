//! The practical limit of proxying: a relay that reads and writes without looking, one upstream connection
//! per client connection, on one thread.

use std::io;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use crate::processes;

/// Relays between `listen` and `upstream` until the process is ended, or the one that started it is.
pub(crate) fn run(listen: SocketAddr, upstream: SocketAddr) -> Result<()> {
    processes::end_with_parent()?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let listener = TcpListener::bind(listen)
                .await
                .with_context(|| format!("cannot listen on {listen}"))?;
            serve(listener, upstream).await
        })
}

/// Relays every connection of `listener`; returns only when accepting fails.
pub(crate) async fn serve(listener: TcpListener, upstream: SocketAddr) -> Result<()> {
    loop {
        let (client, _) = listener.accept().await.context("cannot accept")?;
        // How one connection ends is between its two ends.
        tokio::spawn(async move { relay(client, upstream).await.ok() });
    }
}

async fn relay(mut client: TcpStream, upstream: SocketAddr) -> io::Result<()> {
    let mut server = TcpStream::connect(upstream).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

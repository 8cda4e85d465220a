//! The service behind every proxy: answers each request with the same 12 bytes, as cheaply as it can, so that
//! what is left on its core goes to the load. It reads heads only: requests with a body are not for it.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::processes;

const REPLY: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\nHello world\n";
const END_OF_HEAD: &[u8] = b"\r\n\r\n";
/// A head longer than this ends its connection.
const HEAD_LIMIT: usize = 64 * 1024;

/// Serves on `listen` until the process is ended, or the one that started it is.
pub(crate) fn run(listen: SocketAddr) -> Result<()> {
    processes::end_with_parent()?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let listener = TcpListener::bind(listen)
                .await
                .with_context(|| format!("cannot listen on {listen}"))?;
            serve(listener).await
        })
}

/// Serves every connection of `listener`; returns only when accepting fails.
pub(crate) async fn serve(listener: TcpListener) -> Result<()> {
    loop {
        let (client, _) = listener.accept().await.context("cannot accept")?;
        client.set_nodelay(true)?;
        tokio::spawn(answer(client));
    }
}

/// Answers until the client closes or resets, which is its good right.
async fn answer(mut client: TcpStream) {
    let mut unanswered = Vec::with_capacity(4096);
    loop {
        match client.read_buf(&mut unanswered).await {
            Ok(0) | Err(_) => return,
            Ok(_) if unanswered.len() > HEAD_LIMIT => return,
            Ok(_) => {}
        }
        let requests = memmem::find_iter(&unanswered, END_OF_HEAD).count();
        if let Some(last) = memmem::rfind(&unanswered, END_OF_HEAD) {
            unanswered.drain(..last + END_OF_HEAD.len());
        }
        if client.write_all(&REPLY.repeat(requests)).await.is_err() {
            return;
        }
    }
}

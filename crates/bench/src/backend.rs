//! The service behind every proxy: answers each request with the same 12 bytes, or with 1 MB for one path, as
//! cheaply as it can, so that what is left on its core goes to the load. It reads heads only: requests with a
//! body are not for it.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::processes;

const REPLY: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\nHello world\n";
/// The path that is answered with [`LARGE_BYTES`].
pub(crate) const LARGE_PATH: &str = "/large";
/// Size of the large answer's body.
pub(crate) const LARGE_BYTES: usize = 1 << 20;
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
    let large: Arc<[u8]> = large_reply().into();
    loop {
        let (client, _) = listener.accept().await.context("cannot accept")?;
        client.set_nodelay(true)?;
        tokio::spawn(answer(client, Arc::clone(&large)));
    }
}

/// Answers until the client closes or resets, which is its good right.
async fn answer(mut client: TcpStream, large: Arc<[u8]>) {
    let mut unanswered = Vec::with_capacity(4096);
    loop {
        match client.read_buf(&mut unanswered).await {
            Ok(0) | Err(_) => return,
            Ok(_) if unanswered.len() > HEAD_LIMIT => return,
            Ok(_) => {}
        }
        let requests = memmem::find_iter(&unanswered, END_OF_HEAD).count();
        let reply = if is_large(&unanswered) { &large } else { REPLY };
        if let Some(last) = memmem::rfind(&unanswered, END_OF_HEAD) {
            unanswered.drain(..last + END_OF_HEAD.len());
        }
        for _ in 0..requests {
            if client.write_all(reply).await.is_err() {
                return;
            }
        }
    }
}

fn large_reply() -> Vec<u8> {
    let mut reply =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {LARGE_BYTES}\r\n\r\n")
            .into_bytes();
    reply.resize(reply.len() + LARGE_BYTES, b'x');
    reply
}

/// A load asks for one thing only, so the first of several waiting requests speaks for all.
fn is_large(requests: &[u8]) -> bool {
    let target = requests.split(|byte| *byte == b' ').nth(1);
    target == Some(LARGE_PATH.as_bytes())
}

//! An upstream that answers while the end of the request still waits to be written to it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::proxy::{Proxy, Setup, read_head};

const CHUNK: usize = 8 * 1024;
/// Time in which the gateway fills the sockets' buffers. When it was too short, the case proves nothing.
const FILLING: Duration = Duration::from_millis(150);

/// The gateway holds the body's end only when the body is a little larger than what the kernel takes, so
/// that is measured first, and sizes around it are played.
#[test]
fn a_half_written_connection_is_not_used_again() {
    let room = room_before_the_upstream();
    for more in (0..10).map(|step| step * CHUNK / 2) {
        let verdict = next_request_after(room.saturating_sub(CHUNK) + more);
        assert_eq!(verdict, Ok(()), "{room} + {more} bytes");
    }
}

/// How many bytes can be written to an upstream that reads nothing but the head.
fn room_before_the_upstream() -> usize {
    let (listener, proxy) = set_up();
    let mut client = proxy.connect();
    let mut sending = client.try_clone().unwrap();
    send_head(&mut client);
    let sender = std::thread::spawn(move || send_body(&mut sending, 32 * 1024 * 1024));
    let (mut upstream, _) = listener.accept().unwrap();
    read_head(&mut upstream);
    assert!(read_head(&mut client).starts_with("HTTP/1.1 504 "));
    drop(client);
    let room = std::io::copy(&mut upstream, &mut std::io::sink()).unwrap();
    sender.join().unwrap();
    assert_eq!(proxy.stop(), 0);
    usize::try_from(room).unwrap()
}

/// Posts `size` bytes to an upstream that answers without reading them, then asks for something else.
fn next_request_after(size: usize) -> Result<(), String> {
    let (listener, proxy) = set_up();
    let (told, verdicts) = sync_channel(8);
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let told = told.clone();
            std::thread::spawn(move || answer_early(stream, &told));
        }
    });
    let mut client = proxy.connect();
    send_head(&mut client);
    send_body(&mut client, size);
    assert!(read_head(&mut client).starts_with("HTTP/1.1 413 "));
    let next = proxy.ask("GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(next.starts_with("HTTP/1.1 200 "), "{next}");
    drop(client);
    assert_eq!(proxy.stop(), 0);
    verdicts.recv().unwrap()
}

/// Answers the first request from its head, and says whether the next one began where that one ended.
#[expect(
    clippy::disallowed_methods,
    reason = "nobody outside can see that the gateway waits for room to write"
)]
fn answer_early(mut stream: TcpStream, told: &SyncSender<Result<(), String>>) {
    if read_head(&mut stream).starts_with("POST ") {
        std::thread::sleep(FILLING);
        stream
            .write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        let Some(before) = read_up_to_next(&mut stream) else {
            return;
        };
        if !before.ends_with(b"0\r\n\r\n") {
            let text = String::from_utf8_lossy(&before).into_owned();
            let _ = told.send(Err(format!("a request stands behind {text:?}")));
        }
    }
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    // What was said first counts.
    let _ = told.send(Ok(()));
}

/// The bytes before a `GET /next`; `None` if the connection ends without one.
fn read_up_to_next(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut seen = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        seen.extend_from_slice(&buffer[..count]);
        if let Some(at) = seen.windows(9).position(|bytes| bytes == b"GET /next") {
            seen.truncate(at);
            return Some(seen.split_off(at.saturating_sub(40)));
        }
        let old = seen.len().saturating_sub(64);
        seen.drain(..old);
    }
}

/// An upstream with a small buffer, and a gateway before it that is not patient.
fn set_up() -> (TcpListener, Proxy) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    socket.bind(&any.into()).unwrap();
    socket.listen(8).unwrap();
    let listener = TcpListener::from(socket);
    let proxy = Proxy::start(Setup {
        upstream: vec![listener.local_addr().unwrap()],
        service: json!({"write_timeout_ms": 1000, "read_timeout_ms": 1000}),
        ..Setup::default()
    });
    (listener, proxy)
}

fn send_head(client: &mut TcpStream) {
    client
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
}

/// Sends a body of about `size` bytes, as far as it is taken.
fn send_body(client: &mut TcpStream, size: usize) {
    let mut left = size;
    while left > 0 {
        let count = left.min(CHUNK);
        let mut chunk = format!("{count:x}\r\n").into_bytes();
        chunk.resize(chunk.len() + count, b'x');
        chunk.extend_from_slice(b"\r\n");
        if client.write_all(&chunk).is_err() {
            return;
        }
        left -= count;
    }
    let _ = client.write_all(b"0\r\n\r\n");
}

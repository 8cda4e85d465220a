//! Bodies far larger than any buffer, in every framing, both ways: not a byte is lost, added or changed.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use hythe_http1::{Chunk, ChunkedDecoder, LAST_CHUNK, Limits, push_chunk_head};

use crate::proxy::{Proxy, Setup, read_head};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Framing {
    Length,
    Chunked,
    UntilClose,
}

#[test]
fn a_large_body_arrives_as_it_was_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(Setup {
        upstream: vec![listener.local_addr().unwrap()],
        ..Setup::default()
    });
    let body = noise(3 * 1024 * 1024 + 7);
    for up in [Framing::Length, Framing::Chunked] {
        for down in [Framing::Length, Framing::Chunked, Framing::UntilClose] {
            std::thread::scope(|scope| {
                scope.spawn(|| echo(&listener, body.len(), up, down));
                let (length, echoed) = exchange(&proxy, &body, up, down);
                assert_eq!(length, body.len(), "{up:?} {down:?}");
                assert!(echoed == body, "{up:?} {down:?}: other bytes came back");
            });
        }
    }
    assert_eq!(proxy.stop(), 0);
}

/// Sends `body` on a connection of its own and reads what comes back.
fn exchange(proxy: &Proxy, body: &[u8], up: Framing, down: Framing) -> (usize, Vec<u8>) {
    let mut client = proxy.connect();
    write(&mut client, "POST / HTTP/1.1\r\nHost: a\r\n", body, up);
    read_head(&mut client);
    // An end that only the connection shows goes to the client in chunks.
    let framing = if down == Framing::Length {
        down
    } else {
        Framing::Chunked
    };
    let echoed = read(&mut client, body.len(), framing);
    (echoed.len(), echoed)
}

/// The upstream of one exchange: what comes in goes back.
fn echo(listener: &TcpListener, length: usize, up: Framing, down: Framing) {
    let (mut stream, _) = listener.accept().unwrap();
    read_head(&mut stream);
    let body = read(&mut stream, length, up);
    write(
        &mut stream,
        "HTTP/1.1 200 OK\r\nConnection: close\r\n",
        &body,
        down,
    );
}

fn write(stream: &mut TcpStream, head: &str, body: &[u8], framing: Framing) {
    let mut bytes = head.as_bytes().to_vec();
    match framing {
        Framing::Length => write!(bytes, "Content-Length: {}\r\n\r\n", body.len()).unwrap(),
        Framing::Chunked => bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n"),
        Framing::UntilClose => bytes.extend_from_slice(b"\r\n"),
    }
    if framing == Framing::Chunked {
        for part in body.chunks(70_001) {
            push_chunk_head(&mut bytes, part.len() as u64);
            bytes.extend_from_slice(part);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(LAST_CHUNK);
    } else {
        bytes.extend_from_slice(body);
    }
    stream.write_all(&bytes).unwrap();
}

fn read(stream: &mut TcpStream, length: usize, framing: Framing) -> Vec<u8> {
    if framing == Framing::Chunked {
        return read_chunks(stream);
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    body
}

fn read_chunks(stream: &mut TcpStream) -> Vec<u8> {
    let (mut decoder, limits) = (ChunkedDecoder::default(), Limits::default());
    let (mut body, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        let count = stream.read(&mut buffer).unwrap();
        assert_ne!(count, 0, "the body was cut off");
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            match decoder.step(rest, &limits).unwrap() {
                Chunk::Data { skip, len } => {
                    body.extend_from_slice(&rest[skip..skip + len]);
                    rest = &rest[skip + len..];
                }
                Chunk::More { consumed } => rest = &rest[consumed..],
                Chunk::End { consumed } => {
                    assert_eq!(consumed, rest.len(), "more than the body came");
                    return body;
                }
            }
        }
    }
}

/// Bytes without any pattern that a mix-up could keep.
fn noise(length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    std::iter::repeat_with(|| random.u8(..)).take(length).collect()
}

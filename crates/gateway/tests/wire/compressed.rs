//! Compressed answers on the wire: framed anew, flushed with what comes, left alone where they must be.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use serde_json::json;

use crate::proxy::{Proxy, Setup, read_head};

/// A gateway that compresses with gzip, a client's connection to it, and the upstream's end.
fn start(request: &str) -> (Proxy, TcpStream, TcpStream) {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = json!({"algorithms": ["gzip"], "min_length": 10});
    let proxy = Proxy::start(Setup {
        upstream: vec![upstream.local_addr().unwrap()],
        plugins: vec![json!({"name": "compression", "config": config})],
        ..Setup::default()
    });
    let mut client = proxy.connect();
    client.write_all(request.as_bytes()).unwrap();
    let mut served = upstream.accept().unwrap().0;
    read_head(&mut served);
    (proxy, client, served)
}

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip, br\r\n\r\n";
const TYPE: &str = "Content-Type: text/plain\r\n";

/// One chunk: its payload. Empty: the last one.
fn read_chunk(client: &mut TcpStream) -> Vec<u8> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
    }
    let length = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
    let mut payload = vec![0; length + 2];
    client.read_exact(&mut payload).unwrap();
    assert!(payload.ends_with(b"\r\n"));
    payload.truncate(length);
    payload
}

fn gunzip(bytes: &[u8]) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(bytes)
        .read_to_string(&mut text)
        .unwrap();
    text
}

#[test]
fn a_body_of_known_length_becomes_chunks() {
    let (proxy, mut client, mut served) = start(REQUEST);
    let body = "compress me ".repeat(100);
    let length = body.len();
    write!(
        served,
        "HTTP/1.1 200 OK\r\n{TYPE}ETag: \"x\"\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let head = read_head(&mut client);
    for line in [
        "Content-Encoding: gzip",
        "Vary: Accept-Encoding",
        "ETag: W/\"x\"",
        "Transfer-Encoding: chunked",
    ] {
        assert!(
            head.contains(&format!("\r\n{line}\r\n")),
            "{line} is missing in {head}"
        );
    }
    assert!(!head.contains("Content-Length"), "{head}");
    let mut encoded = Vec::new();
    loop {
        let chunk = read_chunk(&mut client);
        if chunk.is_empty() {
            break;
        }
        encoded.extend(chunk);
    }
    assert_eq!(gunzip(&encoded), body);
    // The connection goes on.
    client.write_all(REQUEST.as_bytes()).unwrap();
    read_head(&mut served);
    drop((client, served));
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn what_has_come_does_not_wait_for_more() {
    let (proxy, mut client, mut served) = start(REQUEST);
    write!(
        served,
        "HTTP/1.1 200 OK\r\n{TYPE}Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"
    )
    .unwrap();
    read_head(&mut client);
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    // The upstream says nothing more until the client has read this.
    while decoder.get_ref() != b"first" {
        decoder.write_all(&read_chunk(&mut client)).unwrap();
        decoder.flush().unwrap();
    }
    served.write_all(b"6\r\nsecond\r\n0\r\nX-Sum: 1\r\n\r\n").unwrap();
    while decoder.get_ref() != b"firstsecond" {
        decoder.write_all(&read_chunk(&mut client)).unwrap();
        decoder.flush().unwrap();
    }
    drop((client, served));
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn an_old_client_gets_it_until_the_end() {
    let request = "GET / HTTP/1.0\r\nConnection: keep-alive\r\nAccept-Encoding: gzip\r\n\r\n";
    let (proxy, mut client, mut served) = start(request);
    write!(
        served,
        "HTTP/1.1 200 OK\r\n{TYPE}Content-Length: 10\r\n\r\n0123456789"
    )
    .unwrap();
    let head = read_head(&mut client);
    assert!(
        head.contains("\r\nConnection: close\r\n") && !head.contains("chunked"),
        "{head}"
    );
    let mut encoded = Vec::new();
    client.read_to_end(&mut encoded).unwrap();
    assert_eq!(gunzip(&encoded), "0123456789");
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn a_head_alone_and_a_part_stay_as_they_are() {
    let head_request = REQUEST.replace("GET", "HEAD");
    let rows = [
        (&*head_request, "200 OK\r\nContent-Length: 100", ""),
        (
            REQUEST,
            "206 Partial Content\r\nContent-Range: bytes 0-9/20\r\nContent-Length: 10",
            "0123456789",
        ),
        (REQUEST, "200 OK\r\nContent-Length: 9", "012345678"),
    ];
    for (request, answer, body) in rows {
        let (proxy, mut client, mut served) = start(request);
        write!(served, "HTTP/1.1 {answer}\r\n{TYPE}\r\n{body}").unwrap();
        let head = read_head(&mut client);
        assert!(
            !head.contains("Content-Encoding") && head.contains("Content-Length"),
            "{head}"
        );
        let mut got = vec![0; body.len()];
        client.read_exact(&mut got).unwrap();
        assert_eq!(got, body.as_bytes());
        drop((client, served));
        assert_eq!(proxy.stop(), 0);
    }
}

#[test]
fn an_answer_that_stops_in_the_middle_has_no_end() {
    let (proxy, mut client, mut served) = start(REQUEST);
    write!(served, "HTTP/1.1 200 OK\r\n{TYPE}Content-Length: 100\r\n\r\nhalf").unwrap();
    drop(served);
    let mut answer = Vec::new();
    // A reset is as good as an end without a last chunk.
    let _ = client.read_to_end(&mut answer);
    assert!(!answer.ends_with(b"0\r\n\r\n"));
    assert_eq!(proxy.stop(), 0);
}

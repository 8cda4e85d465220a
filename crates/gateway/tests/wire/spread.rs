//! Who gets how much: counted over real connections.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use serde_json::json;

use crate::proxy::{Proxy, Setup, read_head};

const ALGORITHMS: [&str; 2] = ["round-robin", "least-connections"];

/// One listener behind three addresses, and a gateway that takes them for three members.
fn three_members(algorithm: &str) -> (TcpListener, Proxy) {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let member = |last| SocketAddr::new(IpAddr::from([127, 0, 0, last]), port);
    let proxy = Proxy::start(Setup {
        upstream: vec![member(1), member(2), member(3)],
        pool: json!({"algorithm": algorithm}),
        ..Setup::default()
    });
    (listener, proxy)
}

/// Takes the next request and counts whom it went to.
fn accept(listener: &TcpListener, counts: &mut BTreeMap<IpAddr, u32>) -> TcpStream {
    let (mut stream, _) = listener.accept().unwrap();
    *counts.entry(stream.local_addr().unwrap().ip()).or_default() += 1;
    read_head(&mut stream);
    stream
}

fn answer(mut upstream: TcpStream, client: &mut TcpStream) {
    upstream
        .write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
        .unwrap();
    assert!(read_head(client).starts_with("HTTP/1.1 200 OK\r\n"));
    let mut body = [0; 2];
    client.read_exact(&mut body).unwrap();
}

#[test]
fn requests_one_after_another_are_spread_evenly() {
    for algorithm in ALGORITHMS {
        let (listener, proxy) = three_members(algorithm);
        let mut counts = BTreeMap::new();
        let mut client = proxy.connect();
        for _ in 0..300 {
            client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            answer(accept(&listener, &mut counts), &mut client);
        }
        drop(client);
        assert_eq!(
            counts.into_values().collect::<Vec<_>>(),
            [100, 100, 100],
            "{algorithm}"
        );
        assert_eq!(proxy.stop(), 0);
    }
}

#[test]
fn requests_at_the_same_time_are_spread_evenly() {
    for algorithm in ALGORITHMS {
        let (listener, proxy) = three_members(algorithm);
        let mut counts = BTreeMap::new();
        let mut waiting = Vec::new();
        for _ in 0..30 {
            let mut client = proxy.connect();
            client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            waiting.push((accept(&listener, &mut counts), client));
        }
        for (upstream, mut client) in waiting {
            answer(upstream, &mut client);
        }
        assert_eq!(
            counts.into_values().collect::<Vec<_>>(),
            [10, 10, 10],
            "{algorithm}"
        );
        assert_eq!(proxy.stop(), 0);
    }
}

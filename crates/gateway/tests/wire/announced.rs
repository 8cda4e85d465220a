//! Services that are told whose connection it is, by the PROXY protocol.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use hythe_gateway::Trust;
use serde_json::{Value, json};

use crate::proxy::{Proxy, Setup, read_head};

/// A gateway behind a proxy, and the member that it announces clients to.
fn proxy(service: Value, trust: Trust) -> (Proxy, TcpListener) {
    let member = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(Setup {
        upstream: vec![member.local_addr().unwrap()],
        service,
        listener: json!({"proxy_protocol": true}),
        trust,
        ..Setup::default()
    });
    (proxy, member)
}

/// One request; the connection over which it came to the member, behind `announced`.
fn request(client: &mut TcpStream, fields: &str, member: &TcpListener, announced: &[u8]) -> TcpStream {
    write!(client, "GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").unwrap();
    let mut upstream = member.accept().unwrap().0;
    let mut header = vec![0; announced.len()];
    upstream.read_exact(&mut header).unwrap();
    assert_eq!(
        header.escape_ascii().to_string(),
        announced.escape_ascii().to_string()
    );
    assert!(read_head(&mut upstream).starts_with("GET / HTTP/1.1\r\n"));
    upstream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nKeep-Alive: timeout=60\r\n\r\n")
        .unwrap();
    assert!(read_head(client).starts_with("HTTP/1.1 200 OK\r\n"));
    upstream
}

#[test]
fn each_request_has_a_connection_that_begins_with_its_client() {
    let binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc0\0\x02\x01\x12\x67\0\x50";
    let rows = [
        ("v1", &b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n"[..]),
        ("v2", &binary[..]),
    ];
    for (version, announced) in rows {
        let (proxy, member) = proxy(json!({"send_proxy_protocol": version}), Trust::default());
        let mut client = proxy.connect();
        client
            .write_all(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n")
            .unwrap();
        for _ in 0..2 {
            let mut upstream = request(&mut client, "", &member, announced);
            assert_eq!(upstream.read(&mut [0]).unwrap(), 0, "it is not kept");
        }
        drop(client);
        assert_eq!(proxy.stop(), 0);
    }
}

#[test]
fn of_a_client_that_a_trusted_proxy_names_only_the_address_is_known() {
    let trust = Trust {
        proxies: vec!["192.0.2.0/24".parse().unwrap()],
        ..Trust::default()
    };
    let (proxy, member) = proxy(json!({"send_proxy_protocol": "v1"}), trust);
    let mut client = proxy.connect();
    client
        .write_all(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n")
        .unwrap();
    let rows = [
        (
            "X-Real-IP: 6.6.6.6\r\n",
            &b"PROXY TCP4 6.6.6.6 192.0.2.1 0 80\r\n"[..],
        ),
        ("", b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n"),
    ];
    for (fields, announced) in rows {
        request(&mut client, fields, &member, announced);
    }
    drop(client);
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn a_member_that_reads_nothing_is_passed_over() {
    let (proxy, member) = proxy(
        json!({"send_proxy_protocol": "v1", "retries": 0}),
        Trust::default(),
    );
    drop(member);
    let mut client = proxy.connect();
    client
        .write_all(b"PROXY UNKNOWN\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .unwrap();
    assert!(read_head(&mut client).starts_with("HTTP/1.1 502 "));
    drop(client);
    assert_eq!(proxy.stop(), 0);
}

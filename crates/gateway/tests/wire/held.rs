//! Requests that wait for a pool to have somebody.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use hythe_testkit::wait::until;
use serde_json::json;

use crate::proxy::{Proxy, Setup, endpoints, read_head};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A gateway whose pool has nobody and holds requests for longer than a test waits.
fn empty() -> Proxy {
    Proxy::start(Setup {
        pool: json!({"hold_ms": 3_600_000}),
        ..Setup::default()
    })
}

fn hold(proxy: &Proxy, request: &[u8]) -> TcpStream {
    let (mut client, held) = (proxy.connect(), proxy.metrics.held());
    client.write_all(request).unwrap();
    until("the request is held", || proxy.metrics.held() == held + 1);
    client
}

fn put_members(proxy: &mut Proxy, members: &[SocketAddr]) {
    proxy.change(|_, now| now.pools = endpoints(members).pools);
}

#[test]
fn go_on_when_a_member_comes() {
    let mut proxy = empty();
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut get = hold(&proxy, GET);
    let mut post = hold(
        &proxy,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo",
    );
    put_members(&mut proxy, &[upstream.local_addr().unwrap()]);
    for _ in 0..2 {
        let (mut connection, _) = upstream.accept().unwrap();
        let head = read_head(&mut connection);
        if head.starts_with("POST") {
            post.write_all(b"dy").unwrap();
            let mut body = [0; 4];
            connection.read_exact(&mut body).unwrap();
            assert_eq!(&body, b"body");
        }
        connection
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
    }
    for client in [&mut get, &mut post] {
        let head = read_head(client);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    }
    assert_eq!(proxy.metrics.held(), 0);
    drop((get, post));
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn end_when_the_client_leaves() {
    let proxy = empty();
    let client = hold(&proxy, GET);
    socket2::SockRef::from(&client)
        .set_linger(Some(std::time::Duration::ZERO))
        .unwrap();
    drop(client);
    until("nothing is held", || proxy.metrics.held() == 0);
    assert_eq!(proxy.stop(), 0);
}

//! Requests that wait for a pool to have somebody.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use hythe_testkit::wait::until;
use serde_json::json;

use crate::proxy::{Proxy, Setup, endpoints, instances, read_head};

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

const POST: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo";

/// Answers the next request, whose body comes in two pieces.
fn answer_post(member: &TcpListener, client: &mut TcpStream) {
    let (mut connection, _) = member.accept().unwrap();
    read_head(&mut connection);
    client.write_all(b"dy").unwrap();
    let mut body = [0; 4];
    connection.read_exact(&mut body).unwrap();
    assert_eq!(&body, b"body");
    connection
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    let head = read_head(client);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
}

#[test]
fn wait_for_an_instance_that_has_ended_and_is_still_listed() {
    let mut proxy = empty();
    let ended = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    proxy.change(|_, now| now.pools = instances(&[ended]).pools);
    let mut post = hold(&proxy, POST);
    put_members(&mut proxy, &[]);
    let again = TcpListener::bind(ended).unwrap();
    proxy.change(|_, now| now.pools = instances(&[ended]).pools);
    answer_post(&again, &mut post);
    drop((again, post));

    // Also when nothing is heard of it.
    let mut post = hold(&proxy, POST);
    let again = TcpListener::bind(ended).unwrap();
    answer_post(&again, &mut post);
    drop((again, post));

    // Nobody tells when a target is back.
    put_members(&mut proxy, &[ended]);
    let refused = proxy.ask("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(refused.starts_with("HTTP/1.1 502 "), "{refused}");
    assert_eq!(proxy.stop(), 0);
}

/// The gateway has the port of the instance at every address, and so gets the connections to one that has ended.
#[test]
fn wait_for_an_instance_whose_port_the_gateway_has() {
    let first = listen_beside("127.64.77.1:0".parse().unwrap());
    let address = first.local_addr().unwrap();
    let mut proxy = Proxy::start(Setup {
        pool: json!({"hold_ms": 3_600_000}),
        listeners: vec![(
            "app",
            json!({"listen": format!("0.0.0.0:{}", address.port()), "protocol": "auto", "service": "up"}),
        )],
        ..Setup::default()
    });
    proxy.change(|_, now| now.pools = instances(&[address]).pools);
    let gateway = SocketAddr::from(([127, 0, 0, 1], address.port()));
    let post = || {
        let mut client = TcpStream::connect(gateway).unwrap();
        client.write_all(POST).unwrap();
        client
    };
    answer_post(&first, &mut post());
    drop(first);
    let mut client = post();
    until("the request is held", || proxy.metrics.held() == 1);
    let again = listen_beside(address);
    answer_post(&again, &mut client);
    drop((again, client));
    assert_eq!(proxy.stop(), 0);
}

/// Listens where the gateway may have the port at every address.
fn listen_beside(address: SocketAddr) -> TcpListener {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(8).unwrap();
    socket.into()
}

//! TCP and UDP passed on as they are, over real sockets.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use hythe_upstream::proxy_protocol::{self, Version};
use serde_json::{Value, json};

use crate::proxy::{Proxy, Setup};

const PATIENCE: Option<Duration> = Some(Duration::from_secs(10));

/// A gateway with one listener, `relay`, to these members.
fn relay(members: Vec<SocketAddr>, listener: &Value) -> (Proxy, SocketAddr) {
    let mut fields = json!({"listen": "127.0.0.1:0", "protocol": "tcp", "service": "up"});
    for (key, value) in listener.as_object().unwrap() {
        fields[key] = value.clone();
    }
    let proxy = Proxy::start(Setup {
        upstream: members,
        listeners: vec![("relay", fields)],
        ..Setup::default()
    });
    let address = proxy.listening("relay");
    (proxy, address)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(PATIENCE).unwrap();
    stream
}

fn accept(member: &TcpListener) -> TcpStream {
    let stream = member.accept().unwrap().0;
    stream.set_read_timeout(PATIENCE).unwrap();
    stream
}

fn member() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// An address where nobody listens.
fn dead() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 9], 1))
}

fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(stream);
}

fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    all
}

fn read_exactly(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_side_that_finishes_may_still_be_answered() {
    let (listener, address) = member();
    // The first member of the rotation is dead: the next one is tried.
    let (proxy, relay) = relay(vec![dead(), address], &json!({}));
    let mut client = connect(relay);
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut server = accept(&listener);
    assert_eq!(read_all(&mut server), b"question");
    server.write_all(b"answer").unwrap();
    drop(server);
    assert_eq!(read_all(&mut client), b"answer");
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn much_goes_both_ways_at_once() {
    const MUCH: usize = 8 << 20;
    let (listener, address) = member();
    let (proxy, relay) = relay(vec![address], &json!({}));
    let bytes: Vec<u8> = (0..MUCH).map(|index| (index % 251) as u8).collect();
    let mut client = connect(relay);
    thread::scope(|scope| {
        let mut server = accept(&listener);
        for stream in [&client, &server] {
            let (mut stream, bytes) = (stream.try_clone().unwrap(), &bytes);
            scope.spawn(move || {
                stream.write_all(bytes).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
            });
        }
        let at_server = scope.spawn(move || read_all(&mut server));
        assert!(read_all(&mut client) == bytes);
        assert!(at_server.join().unwrap() == bytes);
    });
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn a_reset_is_passed_on_as_a_reset() {
    let (listener, address) = member();
    let (proxy, relay) = relay(vec![address], &json!({}));
    for client_resets in [true, false] {
        let mut client = connect(relay);
        client.write_all(b"x").unwrap();
        let mut server = accept(&listener);
        read_exactly(&mut server, 1);
        let mut other = if client_resets {
            reset(client);
            server
        } else {
            reset(server);
            client
        };
        let error = other.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn a_client_nobody_can_serve_is_reset() {
    for members in [vec![], vec![dead()]] {
        let (proxy, relay) = relay(members, &json!({}));
        let error = connect(relay).read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_eq!(proxy.stop(), 0);
    }
}

#[test]
fn silence_ends_a_connection() {
    let (listener, address) = member();
    let (proxy, relay) = relay(vec![address], &json!({"idle_timeout_ms": 50}));
    let mut client = connect(relay);
    let mut server = accept(&listener);
    assert_eq!(read_all(&mut client), b"");
    assert_eq!(read_all(&mut server), b"");
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn the_client_a_proxy_announces_is_announced_to_the_member() {
    let (listener, address) = member();
    let settings = json!({"proxy_protocol": true, "send_proxy_protocol": "v2"});
    let (proxy, relay) = relay(vec![address], &settings);
    let (from, to) = ("192.0.2.7:4711".parse().unwrap(), "192.0.2.1:80".parse().unwrap());
    for version in [Version::One, Version::Two] {
        let mut sent = Vec::new();
        proxy_protocol::write(version, from, to, &mut sent);
        let mut client = connect(relay);
        for byte in sent.iter().chain(b"hello") {
            client.write_all(&[*byte]).unwrap();
        }
        let mut expected = Vec::new();
        proxy_protocol::write(Version::Two, from, to, &mut expected);
        expected.extend_from_slice(b"hello");
        assert_eq!(read_exactly(&mut accept(&listener), expected.len()), expected);
    }
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn datagrams_of_each_client_come_back_to_it() {
    let member = UdpSocket::bind("127.0.0.1:0").unwrap();
    let settings = json!({"protocol": "udp", "responses": 1});
    let (proxy, relay) = relay(vec![member.local_addr().unwrap()], &settings);
    let clients: Vec<UdpSocket> = (0..3).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    for socket in clients.iter().chain([&member]) {
        socket.set_read_timeout(PATIENCE).unwrap();
    }
    let mut room = [0; 2048];
    for round in 0..2_u8 {
        for (number, client) in (0_u8..).zip(&clients) {
            client.send_to(&[number, round], relay).unwrap();
        }
        for _ in &clients {
            let (count, from) = member.recv_from(&mut room).unwrap();
            member.send_to(&room[..count], from).unwrap();
        }
        for (number, client) in (0_u8..).zip(&clients) {
            let (count, from) = client.recv_from(&mut room).unwrap();
            assert_eq!((&room[..count], from), (&[number, round][..], relay));
        }
    }
    assert_eq!(proxy.stop(), 0);
}

//! TCP and UDP passed on as they are, over real sockets.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use hythe_upstream::proxy_protocol::{self, Version};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serde_json::{Value, json};

use crate::authority::Authority;
use crate::observed::exposition;
use crate::proxy::{Proxy, Setup};
use crate::tls::{Upstream, curl_at, mirror};

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
    let bytes = |direction: &str| {
        let labels = format!("{{listener=\"relay\",protocol=\"tcp\",direction=\"{direction}\"}}");
        format!("hythe_relay_bytes_total{labels} {MUCH}")
    };
    counted(&proxy, &[&bytes("in"), &bytes("out")]);
    assert_eq!(proxy.stop(), 0);
}

/// Whether these lines are among the metrics.
fn counted(proxy: &Proxy, lines: &[&str]) {
    let text = exposition(proxy.metrics.clone());
    for line in lines {
        assert!(
            text.lines().any(|have| have == *line),
            "{line} is missing in\n{text}"
        );
    }
}

#[test]
fn after_much_little_goes_on_as_before() {
    const MUCH: usize = 4 << 20;
    let (listener, address) = member();
    let (proxy, relay) = relay(vec![address], &json!({}));
    let mut client = connect(relay);
    let mut server = accept(&listener);
    for round in 0..3_u8 {
        let much = vec![round; MUCH];
        thread::scope(|scope| {
            scope.spawn(|| client.write_all(&much).unwrap());
            assert!(read_exactly(&mut server, MUCH) == much);
        });
        for number in 0..100_u8 {
            client.write_all(&[number]).unwrap();
            assert_eq!(read_exactly(&mut server, 1), [number]);
            server.write_all(&[number]).unwrap();
            assert_eq!(read_exactly(&mut client, 1), [number]);
        }
    }
    drop(client);
    assert_eq!(read_all(&mut server), b"");
    drop(server);
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
        let labels = "{listener=\"relay\",protocol=\"tcp\"}";
        counted(
            &proxy,
            &[
                &format!("hythe_relay_connections_total{labels} 1"),
                &format!("hythe_relay_connections_failed_total{labels} 1"),
            ],
        );
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
fn tls_ends_here_and_its_inside_is_passed_on() {
    let authority = Authority::new();
    let proxy = Proxy::start(Setup {
        upstream: vec![mirror()],
        certificates: vec![authority.certificate(&["a.test", "b.test"])],
        listeners: vec![(
            "relay",
            json!({"listen": "127.0.0.1:0", "protocol": "tls", "snis": {"A.test": "up"}}),
        )],
        ..Setup::default()
    });
    let relay = proxy.listening("relay");
    let answer = curl_at(relay, &authority.file(), "a.test", &[]).unwrap();
    assert!(answer.starts_with("GET /path HTTP/1.1\r\n"), "{answer}");
    assert!(!answer.contains("X-Real-IP"), "not touched: {answer}");
    // A name that leads nowhere, and what is no TLS.
    assert!(curl_at(relay, &authority.file(), "b.test", &[]).is_err());
    let mut plain = connect(relay);
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(read_all(&mut plain), b"");
    counted(
        &proxy,
        &[
            "hythe_relay_connections_total{listener=\"relay\",protocol=\"tls\"} 3",
            "hythe_relay_connections_failed_total{listener=\"relay\",protocol=\"tls\"} 2",
        ],
    );
    assert_eq!(proxy.stop(), 0);
}

/// A listener that passes TLS on by its name.
fn passthrough(members: Vec<SocketAddr>, services: &Value) -> (Proxy, SocketAddr) {
    let proxy = Proxy::start(Setup {
        upstream: members,
        listeners: vec![(
            "relay",
            json!({"listen": "127.0.0.1:0", "protocol": "tls_passthrough", "snis": services}),
        )],
        ..Setup::default()
    });
    let address = proxy.listening("relay");
    (proxy, address)
}

#[test]
fn tls_that_ends_behind_us_goes_by_its_name() {
    let authority = Authority::new();
    let upstream = Upstream::start(&authority, &["a.test", "x.b.test", "c.test"]);
    let services = json!({"a.test": "up", "*.b.test": "up"});
    let (proxy, relay) = passthrough(vec![upstream.address], &services);
    for (name, leads) in [("a.test", true), ("x.b.test", true), ("c.test", false)] {
        // The certificate is the member's, and verified from end to end.
        let answer = curl_at(relay, &authority.file(), name, &[]);
        assert_eq!(answer.is_ok(), leads, "{name}: {answer:?}");
    }
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn first_words_are_passed_on_as_they_came_however_slowly() {
    let (listener, address) = member();
    let (proxy, relay) = passthrough(vec![address], &json!({"a.test": "up"}));
    let hello = first_words("a.test");
    let mut client = connect(relay);
    for byte in hello.iter().chain(b"and more") {
        client.write_all(&[*byte]).unwrap();
    }
    let mut server = accept(&listener);
    let expected = [&hello[..], b"and more"].concat();
    assert_eq!(read_exactly(&mut server, expected.len()), expected);
    drop((client, server));

    for nonsense in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01\0\x04\x02\0\0\0"] {
        let mut client = connect(relay);
        client.write_all(nonsense).unwrap();
        let error = client.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    let failed = "hythe_relay_connections_failed_total{listener=\"relay\",protocol=\"tls_passthrough\"} 2";
    counted(&proxy, &[failed]);
    assert_eq!(proxy.stop(), 0);
}

/// What a client says first that asks for a name.
fn first_words(name: &'static str) -> Vec<u8> {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = name.try_into().unwrap();
    let mut client = ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
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

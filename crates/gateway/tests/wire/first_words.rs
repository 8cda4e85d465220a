//! Listeners whose protocol nobody has said: the first words tell, whenever they come and from whichever side.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use hythe_testkit::wait::until;
use serde_json::{Value, json};

use crate::proxy::{Proxy, Setup, endpoints, instances, read_head};

const PATIENCE: Option<Duration> = Some(Duration::from_secs(20));
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A gateway with a listener `app` to this member, and a client that has connected and says nothing.
fn silent(member: &TcpListener, settings: &Value) -> (Proxy, TcpStream) {
    let proxy = start(member, settings);
    let client = connect(&proxy);
    (proxy, client)
}

fn start(member: &TcpListener, settings: &Value) -> Proxy {
    let mut listener = json!({"listen": "127.0.0.1:0", "protocol": "auto", "service": "up"});
    for (key, value) in settings.as_object().unwrap() {
        listener[key] = value.clone();
    }
    Proxy::start(Setup {
        upstream: vec![member.local_addr().unwrap()],
        pool: json!({"hold_ms": 3_600_000}),
        listeners: vec![("app", listener)],
        ..Setup::default()
    })
}

fn connect(proxy: &Proxy) -> TcpStream {
    let client = TcpStream::connect(proxy.listening("app")).unwrap();
    client.set_read_timeout(PATIENCE).unwrap();
    client
}

fn member() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// The connection that is made while both sides are silent.
fn accept(member: &TcpListener) -> TcpStream {
    let stream = member.accept().unwrap().0;
    stream.set_read_timeout(PATIENCE).unwrap();
    stream
}

fn ends(stream: &mut TcpStream) {
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "it ends without a word");
}

/// Sends a request and answers it, over a connection of its own.
fn exchange(client: &mut TcpStream, member: &TcpListener) {
    client.write_all(GET).unwrap();
    let mut asked = accept(member);
    let head = read_head(&mut asked);
    let address = client.local_addr().unwrap().ip();
    assert!(
        head.contains(&format!("X-Forwarded-For: {address}\r\n")),
        "{head}"
    );
    asked
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    assert!(read_head(client).starts_with("HTTP/1.1 200 OK\r\n"));
}

#[test]
fn a_late_request_is_one() {
    let member = member();
    let (proxy, mut client) = silent(&member, &json!({}));
    let mut silent = accept(&member);
    exchange(&mut client, &member);
    ends(&mut silent);
    drop(client);
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn late_words_that_are_none_are_passed_on() {
    let member = member();
    let (proxy, mut client) = silent(&member, &json!({}));
    let mut silent = accept(&member);
    for words in [&b"PING\r\n"[..], b"GET / HTTP/1.1\r\n"] {
        client.write_all(words).unwrap();
        let mut read = vec![0; words.len()];
        silent.read_exact(&mut read).unwrap();
        assert_eq!(read, words);
    }
    silent.write_all(b"PONG").unwrap();
    drop(silent);
    let mut all = Vec::new();
    client.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"PONG");
    drop(client);
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn whoever_waits_for_a_greeting_gets_it() {
    let member = member();
    let (proxy, mut client) = silent(&member, &json!({}));
    let mut server = accept(&member);
    server.write_all(b"220 ready\r\n").unwrap();
    let mut greeting = [0; 11];
    client.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"220 ready\r\n");
    // From here on it is decided.
    client.write_all(GET).unwrap();
    let head = read_head(&mut server);
    assert!(!head.contains("X-Forwarded-For"), "{head}");
    drop((client, server));
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn a_client_that_is_done_at_once_may_be_answered() {
    let member = member();
    let (proxy, mut client) = silent(&member, &json!({}));
    let mut server = accept(&member);
    client.shutdown(std::net::Shutdown::Write).unwrap();
    ends(&mut server);
    server.write_all(b"noon").unwrap();
    drop(server);
    let mut all = Vec::new();
    client.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"noon");
    drop(client);
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn a_silent_client_goes_with_the_pool() {
    let (old, new) = (member(), member());
    let (mut proxy, mut client) = silent(&old, &json!({}));
    let mut replaced = accept(&old);
    let address = new.local_addr().unwrap();
    proxy.change(|_, now| now.pools = endpoints(&[address]).pools);
    ends(&mut replaced);
    let mut silent = accept(&new);
    exchange(&mut client, &new);
    ends(&mut silent);
    drop(client);
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn a_silent_client_goes_on_with_an_instance_that_is_back() {
    let member = member();
    let address = member.local_addr().unwrap();
    let mut proxy = start(&member, &json!({}));
    proxy.change(|_, now| now.pools = instances(&[address]).pools);
    let mut client = connect(&proxy);
    let ended = accept(&member);
    drop(member);
    drop(ended);
    until("it is waited for", || proxy.metrics.held() == 1);
    let again = TcpListener::bind(address).unwrap();
    let mut silent = accept(&again);
    exchange(&mut client, &again);
    ends(&mut silent);
    drop(client);
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn a_server_that_waits_no_longer_for_a_request_does_not_end_the_connection() {
    let member = member();
    let (proxy, mut client) = silent(&member, &json!({}));
    let mut silent = accept(&member);
    silent
        .write_all(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n")
        .unwrap();
    // With what it has sent unread, it may end by a reset.
    assert!(matches!(silent.read(&mut [0]), Ok(0) | Err(_)));
    exchange(&mut client, &member);
    drop(client);
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn what_the_server_ends_without_a_word_ends() {
    let member = member();
    let (proxy, mut client) = silent(&member, &json!({}));
    drop(accept(&member));
    ends(&mut client);
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn silence_ends_with_the_listeners_time_and_with_the_listener() {
    let member = member();
    let (proxy, mut client) = silent(&member, &json!({"idle_timeout_ms": 50}));
    let mut silent = accept(&member);
    ends(&mut client);
    ends(&mut silent);
    assert_eq!(proxy.stop(), 0);

    let (proxy, mut client) = self::silent(&member, &json!({}));
    let mut silent = accept(&member);
    assert_eq!(proxy.stop(), 0);
    ends(&mut client);
    ends(&mut silent);
}

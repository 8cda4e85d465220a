//! Clients that come back to the member they had.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use serde_json::json;

use crate::proxy::{Proxy, Setup, endpoints, read_head};

/// One request with this cookie: who got it, and the cookie that was set.
fn ask(proxy: &Proxy, upstream: &TcpListener, cookie: &str) -> (IpAddr, Option<String>) {
    let mut client = proxy.connect();
    write!(client, "GET / HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n").unwrap();
    let (mut connection, _) = upstream.accept().unwrap();
    read_head(&mut connection);
    connection
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .unwrap();
    let head = read_head(&mut client);
    let set = head.lines().find_map(|line| line.strip_prefix("Set-Cookie: "));
    let member = connection.local_addr().unwrap().ip();
    (member, set.map(|set| set.split(';').next().unwrap().to_owned()))
}

#[test]
fn clients_come_back() {
    // Reached under every address of the loopback network.
    let upstream = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = upstream.local_addr().unwrap().port();
    let member = |last| SocketAddr::new(IpAddr::from([127, 0, 0, last]), port);
    let all = [member(1), member(2), member(3)];
    let mut proxy = Proxy::start(Setup {
        upstream: all.to_vec(),
        pool: json!({"sticky": {"cookie": "srv"}}),
        ..Setup::default()
    });
    let (first, set) = ask(&proxy, &upstream, "srv=nonsense");
    let cookie = set.unwrap();
    for _ in 0..4 {
        assert_eq!(ask(&proxy, &upstream, &cookie), (first, None));
    }
    let others: Vec<SocketAddr> = all.into_iter().filter(|member| member.ip() != first).collect();
    proxy.change(|_, now| now.pools = endpoints(&others).pools);
    let (second, set) = ask(&proxy, &upstream, &cookie);
    assert_ne!(second, first);
    let cookie = set.unwrap();
    assert_eq!(ask(&proxy, &upstream, &cookie), (second, None));
    // The member is back, and the client stays where it is now.
    proxy.change(|_, now| now.pools = endpoints(&all).pools);
    assert_eq!(ask(&proxy, &upstream, &cookie), (second, None));
    assert_eq!(proxy.stop(), 0);
}

#[test]
fn the_cookie_names_who_answered() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = upstream.local_addr().unwrap();
    // Nobody listens on port 1 of this address.
    let dead = SocketAddr::from(([127, 0, 0, 9], 1));
    let proxy = Proxy::start(Setup {
        upstream: vec![dead, there],
        pool: json!({"sticky": {"cookie": "srv"}}),
        ..Setup::default()
    });
    let cookie = ask(&proxy, &upstream, "a=1").1.unwrap();
    assert_eq!(
        proxy.metrics.retried.load(std::sync::atomic::Ordering::Relaxed),
        1
    );
    assert_eq!(ask(&proxy, &upstream, &cookie), (there.ip(), None));
    // All fail: there is a page, and nobody to come back to.
    drop(upstream);
    let mut client = proxy.connect();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut page = String::new();
    client.read_to_string(&mut page).unwrap();
    assert!(page.starts_with("HTTP/1.1 502 "), "{page}");
    assert!(!page.contains("Set-Cookie"), "{page}");
    assert_eq!(proxy.stop(), 0);
}

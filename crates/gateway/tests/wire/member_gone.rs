//! A member that dies while it is asked is often gone from its pool before its connection breaks.

use std::io::Write;
use std::net::TcpListener;
use std::thread;

use crate::proxy::{Proxy, Setup, endpoints, read_head};

#[test]
fn the_one_that_is_left_is_asked() {
    let [dies, stays] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [gone, left] = [&dies, &stays].map(|member| member.local_addr().unwrap());
    let mut proxy = Proxy::start(Setup {
        upstream: vec![gone, left],
        ..Setup::default()
    });
    let mut client = proxy.connect();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();

    let (mut dying, _) = dies.accept().unwrap();
    read_head(&mut dying);
    proxy.change(|_, now| now.pools = endpoints(&[left]).pools);
    thread::spawn(move || {
        let (mut asked, _) = stays.accept().unwrap();
        read_head(&mut asked);
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        asked.write_all(answer).unwrap();
    });
    drop(dying);
    let head = read_head(&mut client);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
}

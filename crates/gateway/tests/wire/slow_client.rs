//! Clients that are slow on purpose.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use hythe_gateway::Limits;

use crate::proxy::{Proxy, Setup};

/// Far below the least rate, and far below the longest pause.
const TRICKLE: Duration = Duration::from_millis(20);
const BODY: usize = 10_000;

#[expect(clippy::disallowed_methods, reason = "being slow is what this client is for")]
#[test]
fn a_body_that_trickles_is_not_waited_for_for_ever() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(Setup {
        upstream: vec![upstream.local_addr().unwrap()],
        limits: Limits {
            body_timeout: Duration::from_millis(500),
            ..Setup::default().limits
        },
        ..Setup::default()
    });
    let mut client = proxy.connect();
    write!(
        client,
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {BODY}\r\n\r\n"
    )
    .unwrap();
    let mut slow = client.try_clone().unwrap();
    let trickling = std::thread::spawn(move || {
        let sent = (0..BODY).take_while(|_| {
            std::thread::sleep(TRICKLE);
            slow.write_all(b"x").is_ok()
        });
        sent.count()
    });
    let mut answer = String::new();
    // What the client goes on sending may turn the end into a reset.
    let _ = client.read_to_string(&mut answer);
    drop(client);
    assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
    assert!(trickling.join().unwrap() < BODY);
    assert_eq!(proxy.stop(), 0);
}

//! Copies of requests for a service whose answers nobody waits for.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::time::Duration;

use hythe_gateway::plugin::mirror;
use hythe_testkit::wait::until;
use serde_json::{Value, json};

use crate::proxy::{Proxy, Setup, endpoints, insert, read_head};

const POST: &str = "POST /a?b=c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// The gateway, the service, and the one that gets copies.
struct Mirrored {
    proxy: Proxy,
    client: TcpStream,
    service: TcpListener,
    shadow: TcpListener,
}

impl Mirrored {
    fn start(config: &Value) -> Self {
        let [service, shadow] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let mut proxy = Proxy::start(Setup {
            upstream: vec![service.local_addr().unwrap()],
            kinds: &[mirror::KIND],
            ..Setup::default()
        });
        proxy.change(|desired, pools| {
            insert(&mut desired.services, "shadow", json!({"host": "shadow"}));
            insert(&mut desired.upstreams, "shadow", json!({}));
            insert(
                &mut desired.plugins,
                "mirror",
                json!({"name": "mirror", "config": config}),
            );
            let pool = endpoints(&[shadow.local_addr().unwrap()]).pools.into_values();
            pools
                .pools
                .extend(pool.map(|pool| ("shadow".parse().unwrap(), pool)));
        });
        Self {
            client: proxy.connect(),
            proxy,
            service,
            shadow,
        }
    }

    /// Has a request of these pieces served, each sent when the service has the one before; what the service got.
    fn serve(&mut self, service: &mut TcpStream, pieces: &[&str]) -> String {
        let mut got = String::new();
        for piece in pieces {
            self.client.write_all(piece.as_bytes()).unwrap();
            let end = &piece[piece.len().saturating_sub(4)..];
            got += &read_until(service, end);
        }
        service
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        assert!(read_head(&mut self.client).starts_with("HTTP/1.1 200 OK\r\n"));
        got
    }

    fn await_counts(&self, sent: u64, dropped: u64) {
        let metrics = &self.proxy.metrics;
        until("copies are counted", || {
            metrics.copies_sent.load(Ordering::Relaxed) == sent
                && metrics.copies_dropped.load(Ordering::Relaxed) == dropped
        });
    }
}

fn accept(listener: &TcpListener) -> TcpStream {
    let stream = listener.accept().unwrap().0;
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// Reads byte by byte so that nothing that follows is taken.
fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end.as_bytes()) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).unwrap()
}

/// The service is first known when the first request comes, so the test accepts beside the client.
fn connect(mirrored: &mut Mirrored) -> TcpStream {
    mirrored.client.write_all(GET.as_bytes()).unwrap();
    let mut service = accept(&mirrored.service);
    read_until(&mut service, "\r\n\r\n");
    service
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    read_head(&mut mirrored.client);
    service
}

#[test]
fn a_copy_is_what_the_service_gets_and_nobody_waits_for_it() {
    let mut mirrored = Mirrored::start(&json!({"service": "shadow"}));
    let mut service = connect(&mut mirrored);
    let mut shadow = accept(&mirrored.shadow);
    read_until(&mut shadow, "\r\n\r\n");
    let got = mirrored.serve(&mut service, &[POST, "3\r\none\r\n", "3\r\ntwo\r\n", "0\r\n\r\n"]);
    // The first copy is not answered yet, so this one comes over another connection.
    let mut second = accept(&mirrored.shadow);
    assert_eq!(read_until(&mut second, "\r\n0\r\n\r\n"), got);
    assert!(
        got.contains("X-Request-Id: ") && got.ends_with("two\r\n0\r\n\r\n"),
        "{got}"
    );
    mirrored.await_counts(0, 0);
    for stream in [&mut shadow, &mut second] {
        stream
            .write_all(b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno")
            .unwrap();
    }
    mirrored.await_counts(2, 0);
    drop((service, shadow, second, mirrored.client));
    assert_eq!(mirrored.proxy.stop(), 0);
}

#[test]
fn copies_beyond_the_bounds_are_dropped_and_counted() {
    let config = json!({"service": "shadow", "max_body": 20, "concurrency": 1});
    let mut mirrored = Mirrored::start(&config);
    let mut service = connect(&mut mirrored);
    let shadow = accept(&mirrored.shadow);
    // There is one that was not answered yet.
    mirrored.serve(&mut service, &[GET]);
    mirrored.await_counts(0, 1);
    // It never is.
    drop(shadow);
    mirrored.await_counts(0, 2);
    // Announced to be too large, and found to be.
    let body = "x".repeat(21);
    let announced = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 21\r\n\r\n{body}");
    mirrored.serve(&mut service, &[&announced]);
    mirrored.await_counts(0, 3);
    let chunk = format!("15\r\n{body}\r\n");
    mirrored.serve(&mut service, &[POST, &chunk, "0\r\n\r\n"]);
    mirrored.await_counts(0, 4);
    drop((service, mirrored.client));
    assert_eq!(mirrored.proxy.stop(), 0);
}

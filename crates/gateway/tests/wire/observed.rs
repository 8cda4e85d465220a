//! What is told of a request afterwards: counters and log lines.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hythe_gateway::plugin::canary;
use hythe_gateway::{AccessLogFormat, Metrics, MetricsCollector};
use serde_json::{Value, json};
use socket2::SockRef;

use crate::proxy::{Proxy, Setup, insert, read_head};

#[test]
fn a_served_request_is_counted_and_logged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let proxy = Proxy::start(Setup {
        upstream: vec![address],
        route: json!({"paths": ["/users"]}),
        access_log: Some((AccessLogFormat::Json, path.clone())),
        ..Setup::default()
    });
    let metrics = Arc::clone(&proxy.metrics);

    let mut client = proxy.connect();
    post_in_two_pieces(&mut client, &listener);
    client
        .write_all(b"GET /nowhere HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
        .unwrap();
    // A connection ends after what happened on it was counted.
    client.read_to_end(&mut Vec::new()).unwrap();
    proxy.ask("GET / HTTP/3.7\r\n\r\n");
    let text = exposition(metrics);
    assert_eq!(proxy.stop(), 0);

    let lines = lines(&path, 3);
    let served = json!({
        "client": "127.0.0.1", "method": "POST", "uri": "/users?a=%22", "protocol": "HTTP/1.1", "host": "shop",
        "status": 201, "bytes_in": 10, "bytes_out": 4, "route": "route", "service": "up",
        "instance": address.to_string(), "request_id": "mine", "referer": "http://a", "user_agent": "test \"1\"",
    });
    assert_eq!(lines[0], served);
    assert_eq!(
        (&lines[1]["status"], &lines[1]["route"]),
        (&json!(404), &Value::Null)
    );
    assert_eq!(lines[2]["status"], 505);
    for line in [
        "hythe_http_requests_total{route=\"route\",service=\"up\",code=\"201\"} 1",
        "hythe_http_requests_total{route=\"\",service=\"\",code=\"404\"} 1",
        "hythe_http_requests_total{route=\"\",service=\"\",code=\"5xx\"} 1",
        "hythe_http_body_bytes_total{route=\"route\",service=\"up\",direction=\"in\"} 10",
        "hythe_http_body_bytes_total{route=\"route\",service=\"up\",direction=\"out\"} 4",
        "hythe_http_request_duration_seconds_count{route=\"route\",service=\"up\"} 1",
        "hythe_upstream_latency_seconds_count{route=\"route\",service=\"up\"} 1",
        "hythe_connections_accepted_total 2",
        "hythe_requests_refused_total 1",
        "hythe_request_panics_total 0",
    ] {
        assert!(
            text.lines().any(|have| have == line),
            "{line} is missing in\n{text}"
        );
    }
}

#[test]
fn what_a_canary_takes_is_told_under_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut proxy = Proxy::start(Setup {
        upstream: vec![listener.local_addr().unwrap()],
        kinds: &[canary::KIND],
        access_log: Some((AccessLogFormat::Json, path.clone())),
        ..Setup::default()
    });
    proxy.change(|desired, _| {
        insert(&mut desired.services, "other", json!({"host": "up"}));
        let config = json!({"splits": [{"service": "other", "percentage": 100}]});
        let plugin = json!({"name": "canary", "config": config});
        insert(&mut desired.plugins, "canary", plugin);
    });
    let mut client = proxy.connect();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .unwrap();
    let (mut upstream, _) = listener.accept().unwrap();
    read_head(&mut upstream);
    upstream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    client.read_to_end(&mut Vec::new()).unwrap();
    drop(upstream);
    let text = exposition(Arc::clone(&proxy.metrics));
    assert_eq!(proxy.stop(), 0);
    assert_eq!(lines(&path, 1)[0]["service"], "other");
    let line = "hythe_http_requests_total{route=\"route\",service=\"other\",code=\"200\"} 1";
    assert!(
        text.lines().any(|have| have == line),
        "{line} is missing in\n{text}"
    );
}

#[test]
fn a_client_that_left_while_it_waited_is_a_499() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(Setup {
        upstream: vec![listener.local_addr().unwrap()],
        access_log: Some((AccessLogFormat::Json, path.clone())),
        ..Setup::default()
    });
    let mut client = proxy.connect();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let (mut upstream, _) = listener.accept().unwrap();
    read_head(&mut upstream);
    SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    assert_eq!(upstream.read(&mut [0]).unwrap(), 0);
    assert_eq!(lines(&path, 1)[0]["status"], 499);
    assert_eq!(proxy.stop(), 0);
}

/// A request whose body comes partly with its head and partly later.
fn post_in_two_pieces(client: &mut TcpStream, listener: &TcpListener) {
    client
        .write_all(
            b"POST /users?a=%22 HTTP/1.1\r\nHost: shop\r\nX-Request-Id: mine\r\nReferer: http://a\r\n\
              User-Agent: test \"1\"\r\nContent-Length: 10\r\n\r\n0123",
        )
        .unwrap();
    let (mut upstream, _) = listener.accept().unwrap();
    read_head(&mut upstream);
    client.write_all(b"456789").unwrap();
    let mut body = [0; 10];
    upstream.read_exact(&mut body).unwrap();
    upstream
        .write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 4\r\n\r\ndone")
        .unwrap();
    read_head(client);
    client.read_exact(&mut body[..4]).unwrap();
}

/// The log's lines, once so many are there, without what is another each time.
fn lines(path: &Path, count: usize) -> Vec<Value> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let text = std::fs::read_to_string(path).unwrap();
        if text.lines().count() >= count && text.ends_with('\n') {
            return text.lines().map(stable).collect();
        }
        assert!(Instant::now() < deadline, "only this was logged: {text}");
        std::thread::yield_now();
    }
}

fn stable(line: &str) -> Value {
    let mut value: Value = serde_json::from_str(line).unwrap();
    let fields = value.as_object_mut().unwrap();
    assert!(
        fields.remove("time").is_some_and(|time| time.is_string()),
        "{line}"
    );
    assert!(
        fields.remove("duration_us").is_some_and(|time| time.is_u64()),
        "{line}"
    );
    fields.remove("upstream_us");
    value
}

pub(crate) fn exposition(metrics: Arc<Metrics>) -> String {
    let mut registry = prometheus_client::registry::Registry::default();
    registry.register_collector(Box::new(MetricsCollector(metrics)));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    text
}

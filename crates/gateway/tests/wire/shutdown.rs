//! What becomes of requests that are there when the server is told to stop.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use hythe_gateway::{Exchange, Plugin, PluginKind, Reply, SettingProblem, Verdict};
use serde_json::{Map, Value, json};

use crate::proxy::{Proxy, Setup, read_head};

/// Held by the test while the worker must not go on.
static GATE: Mutex<()> = Mutex::new(());
/// Whether the worker stands before the gate.
static STANDING: AtomicBool = AtomicBool::new(false);

const KIND: PluginKind = PluginKind {
    name: "gate",
    priority: 1,
    summary: "answers, and stops the whole worker at a gate when it is asked to",
    parse,
};

struct Gate;

fn parse(_: &Map<String, Value>) -> Result<Box<dyn Plugin>, Vec<SettingProblem>> {
    Ok(Box::new(Gate))
}

impl Plugin for Gate {
    fn before(&self, exchange: &mut Exchange<'_>) -> Verdict {
        if exchange.path() == b"/gate" {
            STANDING.store(true, Ordering::SeqCst);
            drop(GATE.lock().unwrap_or_else(PoisonError::into_inner));
        }
        Verdict::Respond(Reply::new(200, "text/plain".to_owned(), b"fine".to_vec()))
    }
}

#[test]
fn a_request_already_in_the_socket_is_served() {
    let proxy = Proxy::start(Setup {
        kinds: &[KIND],
        plugins: vec![json!({"name": "gate"})],
        ..Setup::default()
    });
    let mut kept = proxy.connect();
    kept.write_all(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    read_head(&mut kept);
    kept.read_exact(&mut [0; 4]).unwrap();
    let mut silent = proxy.connect();

    let closed = GATE.lock().unwrap();
    let mut other = proxy.connect();
    other.write_all(b"GET /gate HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    while !STANDING.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
    kept.write_all(b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    proxy.ask_to_stop();
    drop(closed);

    let mut rest = String::new();
    kept.read_to_string(&mut rest).unwrap();
    assert!(rest.starts_with("HTTP/1.1 200 OK\r\n"), "{rest}");
    assert!(rest.contains("\r\nConnection: close\r\n"), "{rest}");
    // Nobody waits for one that says nothing.
    assert_eq!(silent.read(&mut [0]).unwrap(), 0);
    drop((kept, other, silent));
    assert_eq!(proxy.stop(), 0);
}

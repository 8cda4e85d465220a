//! A gateway in a process that may open no more files. Alone in its program, because the limit is the
//! process's.

#![expect(clippy::unwrap_used, reason = "what is not there is a test that fails")]

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hythe_balance::EndpointTable;
use hythe_gateway::{Config, Inputs, Limits, ListenerPlan, Listeners, Trust};
use hythe_model::{Desired, Endpoints};
use hythe_spine::{Spine, constant};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[test]
fn a_client_without_a_descriptor_is_told() {
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(256),
            ..getrlimit(Resource::Nofile)
        },
    )
    .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let spine = Spine::default();
    let listeners = Listeners::bind(
        &[ListenerPlan::http("127.0.0.1:0".parse().unwrap())],
        1,
        Vec::new(),
    )
    .unwrap();
    let address = listeners.plans().next().unwrap().address;
    let inputs = Inputs {
        desired: constant(Desired::default()),
        endpoints: constant(Endpoints::default()),
        table: Arc::new(EndpointTable::default()),
        listeners,
    };
    let config = Config {
        workers: 1,
        access_log: None,
        limits: Limits::default(),
        plugins: &[],
        trust: Trust::default(),
        default_certificate: None,
    };
    let (gateway, outputs) =
        runtime.block_on(async { hythe_gateway::build(config, inputs, &spine).unwrap() });

    // The worker cannot even start: it has no descriptor for its reactor, until there is one again.
    let taken = take_all();
    let workers = gateway.serve().unwrap();
    drop(taken);
    assert!(ask(TcpStream::connect(address).unwrap()).starts_with("HTTP/1.1 404 "));

    // The gateway's end of the connection must not become free in between.
    while outputs.metrics.open.load(Ordering::Relaxed) > 0 {
        std::thread::yield_now();
    }
    let mut taken = take_all();
    // For the client's own end.
    taken.pop();
    let client = TcpStream::connect(address).unwrap();
    assert!(ask(client).starts_with("HTTP/1.1 503 "));
    assert_eq!(outputs.metrics.turned_away.load(Ordering::Relaxed), 1);

    drop(taken);
    assert!(ask(TcpStream::connect(address).unwrap()).starts_with("HTTP/1.1 404 "));
    assert!(runtime.block_on(spine.stop(Duration::from_secs(5))));
    for worker in workers {
        worker.join().unwrap();
    }
}

/// Every descriptor that there is.
fn take_all() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

fn ask(mut client: TcpStream) -> String {
    let mut answer = String::new();
    // It may be refused before it has asked.
    let _ = client.write_all(REQUEST);
    client.read_to_string(&mut answer).unwrap();
    answer
}

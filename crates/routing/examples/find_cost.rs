//! Prints what one search costs in tables of several sizes, nanoseconds.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use hythe_model::Route;
use hythe_routing::{HeaderLookup, RequestKey, RouteEntry, RouteTable};

struct NoHeaders;

impl HeaderLookup for NoHeaders {
    fn any_value(&self, _: &str, _: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        false
    }
}

/// Hosts and paths of route `number`.
type Shape = fn(usize) -> (Vec<String>, Vec<String>);

const BATCHES: usize = 200;
const BATCH: usize = 4_096;

fn main() {
    let shapes: [(&str, Shape); 5] = [
        ("prefixes", |number| {
            (vec![], vec![format!("/service-{number}/users")])
        }),
        ("hosts", |number| {
            (vec![format!("service-{number}.example.com")], vec![])
        }),
        ("wildcard hosts", |number| {
            (vec![format!("*.service-{number}.example.com")], vec![])
        }),
        ("host and prefix", |number| {
            (
                vec!["example.com".into()],
                vec![format!("/service-{number}/users")],
            )
        }),
        ("regexes", |number| {
            (vec![], vec![format!("~/service-{number}/users/\\d+$")])
        }),
    ];
    for (name, shape) in shapes {
        for size in [10, 1_000, 10_000] {
            println!("{name:16} {size:6} routes  {:6.1} ns", cost(size, shape));
        }
    }
}

fn cost(size: usize, shape: Shape) -> f64 {
    let entry = |number: usize| {
        let (hosts, paths) = shape(number);
        let route = Arc::new(Route {
            hosts,
            paths,
            ..Route::to(None)
        });
        RouteEntry {
            name: format!("r{number}").parse().expect("a name"),
            created_at: 0,
            route,
            payload: (),
        }
    };
    let table = RouteTable::compile((0..size).map(entry)).expect("a table");
    let asked = |number: usize| {
        let (hosts, _) = shape(number);
        let host = hosts
            .first()
            .map_or("example.com".to_owned(), |host| host.replace('*', "www"));
        (host, format!("/service-{number}/users/42"))
    };
    let asked: Vec<(String, String)> = (0..64).map(|step| asked(step * 7919 % size)).collect();
    let batch = || {
        let start = Instant::now();
        for round in 0..BATCH {
            let (host, path) = &asked[round % asked.len()];
            let request = RequestKey {
                method: b"GET",
                host: host.as_bytes(),
                path: path.as_bytes(),
                https: false,
                sni: None,
                listener: None,
                headers: &NoHeaders,
            };
            assert!(black_box(table.find(black_box(&request))).is_some());
        }
        start.elapsed().as_nanos() as f64 / BATCH as f64
    };
    // The quickest batch is the one that nothing else on the machine interrupted.
    (0..BATCHES).map(|_| batch()).fold(f64::MAX, f64::min)
}

//! Prints what picking and releasing a member costs, nanoseconds.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Instant;

use hythe_balance::{EndpointTable, Pool, PoolCell, Query, Rules};
use hythe_model::Endpoint;
use hythe_model::endpoint::EndpointRules;
use hythe_model::traffic::Algorithm;

const BATCHES: usize = 200;
const BATCH: usize = 4_096;

fn main() {
    for (algorithm, weights) in [
        (Algorithm::RoundRobin, vec![1; 4]),
        (Algorithm::RoundRobin, vec![1; 10_000]),
        (Algorithm::RoundRobin, vec![5, 1, 1]),
        (Algorithm::RoundRobin, vec![5_000, 1_000, 1_001]),
        (Algorithm::LeastConnections, vec![1; 4]),
        (Algorithm::LeastConnections, vec![1; 100]),
        (Algorithm::Random, vec![1; 100]),
    ] {
        let shown = format!(
            "{algorithm:?}, {} members from weight {}",
            weights.len(),
            weights[0]
        );
        println!("{shown:48} {:8.1} ns", cost(algorithm, &weights));
    }
}

fn cost(algorithm: Algorithm, weights: &[u16]) -> f64 {
    let endpoint = |(number, weight): (usize, &u16)| Endpoint {
        id: format!("e{number}").into(),
        address: SocketAddr::from(([127, 0, 0, 1], number as u16 + 1)),
        weight: *weight,
        healthy: true,
        revision: None,
        rules: EndpointRules::default(),
    };
    let endpoints = weights.iter().enumerate().map(endpoint);
    let name = "pool".parse().expect("a name");
    let rules = Rules {
        algorithm,
        ..Rules::default()
    };
    let now = Instant::now();
    let cell = PoolCell::new(Pool::new(name, rules, endpoints, &EndpointTable::default(), now));
    let batch = || {
        let start = Instant::now();
        for _ in 0..BATCH {
            black_box(cell.pick(&mut black_box(Query::new()), now));
        }
        start.elapsed().as_nanos() as f64 / BATCH as f64
    };
    // The quickest batch is the one that nothing else on the machine interrupted.
    (0..BATCHES).map(|_| batch()).fold(f64::MAX, f64::min)
}

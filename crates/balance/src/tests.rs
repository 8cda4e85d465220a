//! Sequences known from nginx, evenness, listing and replacement.

mod conduct;
mod nginx;
mod rules;
mod slow_start;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hythe_model::Endpoint;
use hythe_model::endpoint::EndpointRules;
use hythe_model::traffic::Algorithm;
use hythe_ports::traffic::Traffic;
use proptest::prelude::*;

use super::{EndpointTable, Fault, Lease, Pool, PoolCell, Query, Rules, Timing};

/// Members `a`, `b`, ... at ports 1, 2, ... with these weights.
fn endpoints(weights: &[u16]) -> Vec<Endpoint> {
    let endpoint = |(number, weight): (usize, &u16)| Endpoint {
        id: name(number).into(),
        address: address(number),
        weight: *weight,
        healthy: true,
        revision: None,
        rules: EndpointRules::default(),
    };
    weights.iter().enumerate().map(endpoint).collect()
}

fn name(number: usize) -> String {
    char::from_u32('a' as u32 + number as u32).unwrap().to_string()
}

fn address(number: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], number as u16 + 1))
}

fn by(algorithm: Algorithm) -> Rules {
    Rules {
        algorithm,
        ..Rules::default()
    }
}

fn pool(algorithm: Algorithm, endpoints: Vec<Endpoint>, table: &EndpointTable) -> Pool {
    Pool::new(
        "pool".parse().unwrap(),
        by(algorithm),
        endpoints,
        table,
        Instant::now(),
    )
}

fn replace(cell: &PoolCell, endpoints: Vec<Endpoint>, table: &EndpointTable) {
    let now = cell.load();
    cell.replace(now.next_version(now.rules().clone(), endpoints, table, Instant::now()));
}

fn pick(pool: &Pool) -> Option<Lease> {
    pool.pick(&mut Query::new(), Instant::now())
}

fn round_robin(weights: &[u16]) -> Pool {
    pool(
        Algorithm::RoundRobin,
        endpoints(weights),
        &EndpointTable::default(),
    )
}

const ALL: [Algorithm; 6] = [
    Algorithm::RoundRobin,
    Algorithm::LeastConnections,
    Algorithm::IpHash,
    Algorithm::ConsistentHashing,
    Algorithm::Random,
    Algorithm::Latency,
];

/// An answer at once.
fn at_once(now: Instant) -> Timing {
    Timing::new(now, Duration::ZERO)
}

fn id(lease: &Lease) -> String {
    lease.member().endpoint.id.to_string()
}

/// The names of `count` picks that end at once.
fn sequence(pool: &Pool, count: usize) -> String {
    (0..count).map(|_| id(&pick(pool).unwrap())).collect()
}

#[test]
fn sequences_of_nginx() {
    for (weights, expected) in [
        (&[5, 1, 1][..], "aabacaaaabacaa"),
        (&[1, 1, 1], "abcabc"),
        (&[100, 100], "abab"),
        (&[3, 1], "aabaaaba"),
        (&[1, 2], "babbab"),
        (&[2, 3, 5], "cbacbccabc"),
        (&[7], "aaa"),
        // Too long a cycle to be worked out: the running values give the same order.
        (&[5000, 1000, 1001], "aacabaaaacabaa"),
    ] {
        assert_eq!(
            sequence(&round_robin(weights), expected.len()),
            expected,
            "{weights:?}"
        );
    }
}

#[test]
fn who_may_not_be_picked_is_skipped() {
    let table = EndpointTable::default();
    let mut three = endpoints(&[1, 1, 1]);
    three[1].healthy = false;
    for algorithm in [Algorithm::RoundRobin, Algorithm::LeastConnections] {
        let pool = pool(algorithm, three.clone(), &table);
        assert_eq!(sequence(&pool, 4), "acac");
        let mut query = Query::new();
        for expected in [Some("a"), Some("c"), None, None] {
            let lease = pool.pick(&mut query, Instant::now());
            assert_eq!(lease.as_ref().map(id).as_deref(), expected);
            lease.iter().for_each(|lease| query.add_tried(lease.member()));
        }
    }
    for algorithm in ALL {
        assert!(pick(&pool(algorithm, Vec::new(), &table)).is_none());
    }
}

#[test]
fn least_connections_by_weight() {
    let pool = pool(
        Algorithm::LeastConnections,
        endpoints(&[2, 1, 1]),
        &EndpointTable::default(),
    );
    // All idle: the rotation decides, exactly as round robin would.
    assert_eq!(sequence(&pool, 8), sequence(&round_robin(&[2, 1, 1]), 8));
    let mut held: Vec<Lease> = (0..8).map(|_| pick(&pool).unwrap()).collect();
    let in_flight = || {
        pool.members()
            .iter()
            .map(|member| member.stats.in_flight())
            .collect::<Vec<_>>()
    };
    assert_eq!(in_flight(), [4, 2, 2]);
    held.retain(|lease| id(lease) != "b");
    assert_eq!(in_flight(), [4, 0, 2]);
    let next: Vec<Lease> = (0..2).map(|_| pick(&pool).unwrap()).collect();
    assert_eq!(next.iter().map(id).collect::<String>(), "bb");
}

#[test]
fn counters_belong_to_the_address() {
    let table = EndpointTable::default();
    let first = pool(Algorithm::RoundRobin, endpoints(&[1]), &table);
    let mut lease = pick(&first).unwrap();
    lease.failed(Fault::Connection, Instant::now());
    lease.failed(Fault::Connection, Instant::now());
    let second = pool(Algorithm::RoundRobin, endpoints(&[9, 1]), &table);
    drop(first);
    let stats = &second.members()[0].stats;
    assert_eq!(
        (stats.in_flight(), stats.requests_total(), stats.failures_total()),
        (1, 1, 0)
    );
    drop(lease);
    assert_eq!(
        (stats.in_flight(), stats.requests_total(), stats.failures_total()),
        (0, 1, 1)
    );
}

#[test]
fn peek_tells_the_next_pick() {
    for (algorithm, weights) in [
        (Algorithm::RoundRobin, [5, 1, 1]),
        (Algorithm::RoundRobin, [5000, 1000, 1001]),
        (Algorithm::LeastConnections, [5, 1, 1]),
    ] {
        let pool = pool(algorithm, endpoints(&weights), &EndpointTable::default());
        let mut held = Vec::new();
        for _ in 0..20 {
            let peeked = pool
                .peek(&Query::new(), Instant::now())
                .unwrap()
                .endpoint
                .id
                .to_string();
            let lease = pick(&pool).unwrap();
            assert_eq!(peeked, id(&lease), "{algorithm:?} {weights:?}");
            held.push(lease);
        }
    }
}

#[test]
fn the_rotation_survives_a_replacement() {
    let table = EndpointTable::default();
    let cell = PoolCell::new(pool(Algorithm::RoundRobin, endpoints(&[1, 1, 1]), &table));
    let mut names = String::new();
    for _ in 0..6 {
        names += &id(&cell.pick(&mut Query::new(), Instant::now()).unwrap());
        replace(&cell, endpoints(&[1, 1, 1]), &table);
    }
    assert_eq!(names, "abcabc");
}

#[test]
fn listing_follows_the_current_pool() {
    let table = EndpointTable::default();
    let listed = || {
        (0..3)
            .map(|number| table.is_listed(address(number)))
            .collect::<Vec<_>>()
    };
    let cell = PoolCell::new(pool(Algorithm::RoundRobin, endpoints(&[1, 1]), &table));
    assert_eq!(listed(), [true, true, false]);
    let old = cell.load();
    let lease = cell.pick(&mut Query::new(), Instant::now()).unwrap();
    let mut next = endpoints(&[1, 1, 1]);
    next[0].healthy = false;
    replace(&cell, next, &table);
    assert_eq!(listed(), [false, true, true]);
    // Whoever still holds the old pool no longer gets the member that left.
    assert_eq!(sequence(&old, 3), "bbb");
    assert_eq!((table.in_flight(address(0)), table.in_flight(address(1))), (1, 0));
    drop(lease);
    assert_eq!(table.in_flight(address(0)), 0);
    drop((cell, old));
    assert_eq!(listed(), [false; 3]);
}

#[test]
fn picks_of_many_threads_are_even() {
    for weights in [[1, 1, 1, 1, 1], [5, 1, 2, 1, 1], [5000, 1000, 2000, 1000, 1001]] {
        let pool = round_robin(&weights);
        let total: u32 = weights.iter().copied().map(u32::from).sum();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..total).for_each(|_| drop(pick(&pool))));
            }
        });
        for member in pool.members() {
            assert_eq!(
                member.stats.requests_total(),
                4 * u64::from(member.endpoint.weight),
                "{weights:?}"
            );
            assert_eq!(member.stats.in_flight(), 0);
        }
    }
}

#[test]
fn nobody_is_picked_behind_a_drainers_back() {
    let table = EndpointTable::default();
    let two = |number: usize| {
        let mut two = endpoints(&[1, 1]);
        two[number % 2].healthy = false;
        two
    };
    let cell = PoolCell::new(pool(Algorithm::RoundRobin, two(0), &table));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    let lease = cell.pick(&mut Query::new(), Instant::now()).unwrap();
                    // While it is held, no drainer may believe that the member is idle and unlisted for good.
                    assert!(lease.member().stats.in_flight() > 0);
                }
            });
        }
        for number in 1..2_000 {
            replace(&cell, two(number), &table);
            let drained = &cell.load().members()[number % 2].stats.clone();
            while drained.in_flight() > 0 {
                std::hint::spin_loop();
            }
            let requests = drained.requests_total();
            std::thread::yield_now();
            assert_eq!(
                drained.requests_total(),
                requests,
                "sent to a member that was drained"
            );
        }
        done.store(true, Ordering::SeqCst);
    });
}

/// nginx's rule, step by step.
fn reference(weights: &[u16], count: usize) -> String {
    let total: i64 = weights.iter().copied().map(i64::from).sum();
    let mut current = vec![0; weights.len()];
    let mut names = String::new();
    for _ in 0..count {
        for (value, weight) in current.iter_mut().zip(weights) {
            *value += i64::from(*weight);
        }
        let largest = current.iter().copied().max().unwrap();
        let chosen = current.iter().position(|value| *value == largest).unwrap();
        current[chosen] -= total;
        names += &name(chosen);
    }
    names
}

proptest! {
    #[test]
    fn the_order_is_nginxs(weights in prop::collection::vec(1..100u16, 1..8), factor in 1..600u16, long in any::<bool>()) {
        let mut weights: Vec<u16> = weights.into_iter().map(|weight| weight * factor).collect();
        if long {
            weights.extend([9_973, 1]);
        }
        prop_assert_eq!(sequence(&round_robin(&weights), 200), reference(&weights, 200));
    }

    #[test]
    fn one_cycle_is_exact(weights in prop::collection::vec(1..9u16, 1..6), factor in 1..1000u16, start in 0..50usize) {
        let scaled: Vec<u16> = weights.iter().map(|weight| weight * factor).collect();
        let pool = round_robin(&scaled);
        sequence(&pool, start);
        let mut counts: BTreeMap<char, u16> = BTreeMap::new();
        let cycle: u16 = weights.iter().sum();
        for name in sequence(&pool, usize::from(cycle)).chars() {
            *counts.entry(name).or_default() += 1;
        }
        prop_assert_eq!(counts.into_values().collect::<Vec<_>>(), weights);
    }
}

//! Against nginx's own steps, written down as its source has them, while requests fail, hang and time goes by.

use std::collections::VecDeque;
use std::net::IpAddr;

use super::*;

/// `ngx_http_upstream_rr_peer_t`.
#[derive(Debug, Clone)]
struct Peer {
    weight: i64,
    effective_weight: i64,
    current_weight: i64,
    conns: i64,
    max_conns: i64,
    fails: u32,
    max_fails: u32,
    fail_timeout: u64,
    accessed: u64,
    checked: u64,
    down: bool,
}

/// `ngx_http_upstream_rr_peers_t` and its methods.
#[derive(Debug)]
struct Peers(Vec<Peer>);

impl Peers {
    fn is_usable(&self, index: usize, tried: &[usize], now: u64) -> bool {
        let peer = &self.0[index];
        let failed =
            peer.max_fails > 0 && peer.fails >= peer.max_fails && now - peer.checked <= peer.fail_timeout;
        let full = peer.max_conns > 0 && peer.conns >= peer.max_conns;
        !tried.contains(&index) && !peer.down && !failed && !full
    }

    fn round_robin(&mut self, tried: &[usize], now: u64) -> Option<usize> {
        let mut best: Option<usize> = None;
        let mut total = 0;
        for index in 0..self.0.len() {
            if !self.is_usable(index, tried, now) {
                continue;
            }
            let peer = &mut self.0[index];
            peer.current_weight += peer.effective_weight;
            total += peer.effective_weight;
            if peer.effective_weight < peer.weight {
                peer.effective_weight += 1;
            }
            if best.is_none_or(|best| self.0[index].current_weight > self.0[best].current_weight) {
                best = Some(index);
            }
        }
        self.take(best?, total, now)
    }

    fn least_conn(&mut self, tried: &[usize], now: u64) -> Option<usize> {
        let mut best: Option<usize> = None;
        let mut many = false;
        for index in 0..self.0.len() {
            if !self.is_usable(index, tried, now) {
                continue;
            }
            let load = |index: usize, other: usize| self.0[index].conns * self.0[other].weight;
            match best {
                Some(best) if load(index, best) == load(best, index) => many = true,
                Some(least) if load(index, least) > load(least, index) => {}
                _ => (best, many) = (Some(index), false),
            }
        }
        let mut best = best?;
        let mut total = 0;
        for index in if many { best..self.0.len() } else { 0..0 } {
            let level =
                self.0[index].conns * self.0[best].weight == self.0[best].conns * self.0[index].weight;
            if !self.is_usable(index, tried, now) || !level {
                continue;
            }
            let peer = &mut self.0[index];
            peer.current_weight += peer.effective_weight;
            total += peer.effective_weight;
            if peer.effective_weight < peer.weight {
                peer.effective_weight += 1;
            }
            if self.0[index].current_weight > self.0[best].current_weight {
                best = index;
            }
        }
        self.take(best, total, now)
    }

    fn take(&mut self, best: usize, total: i64, now: u64) -> Option<usize> {
        let peer = &mut self.0[best];
        peer.current_weight -= total;
        if now - peer.checked > peer.fail_timeout {
            peer.checked = now;
        }
        peer.conns += 1;
        Some(best)
    }

    fn ip_hash(&mut self, state: &mut (u64, u32), bytes: &[u8], tried: &[usize], now: u64) -> Option<usize> {
        let total: i64 = self.0.iter().map(|peer| peer.weight).sum();
        let mut hash = state.0;
        while state.1 <= 20 {
            for byte in bytes {
                hash = (hash * 113 + u64::from(*byte)) % 6271;
            }
            let mut point = (hash % total as u64) as i64;
            let mut index = 0;
            while point >= self.0[index].weight {
                point -= self.0[index].weight;
                index += 1;
            }
            if self.is_usable(index, tried, now) {
                state.0 = hash;
                return self.take(index, 0, now);
            }
            state.1 += 1;
        }
        self.round_robin(tried, now)
    }

    fn free(&mut self, index: usize, failed: bool, now: u64) {
        let peer = &mut self.0[index];
        if failed {
            peer.fails += 1;
            peer.accessed = now;
            peer.checked = now;
            if peer.max_fails > 0 {
                peer.effective_weight -= peer.weight / i64::from(peer.max_fails);
            }
            peer.effective_weight = peer.effective_weight.max(0);
        } else if peer.accessed < peer.checked {
            peer.fails = 0;
        }
        peer.conns -= 1;
    }
}

/// What happens next.
#[derive(Debug, Clone)]
enum Event {
    /// A request comes, with this last byte of its client's network, and its first tries fail.
    Request {
        network: u8,
        failures: usize,
        hangs: bool,
    },
    /// The request that hangs longest ends.
    Ends { failed: bool },
    /// Milliseconds go by.
    Later(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (any::<u8>(), prop_oneof![6 => Just(0usize), 2 => Just(1usize), 1 => 0..5usize], any::<bool>())
            .prop_map(|(network, failures, hangs)| Event::Request { network, failures, hangs }),
        3 => any::<bool>().prop_map(|failed| Event::Ends { failed }),
        2 => prop_oneof![0..200u64, 900..1100u64, 5_000..20_000u64].prop_map(Event::Later),
    ]
}

fn member() -> impl Strategy<Value = (u16, EndpointRules)> {
    let weight = prop_oneof![4 => 1..6u16, 1 => Just(100u16), 1 => 1..3_000u16];
    let most = prop_oneof![5 => Just(0u32), 1 => 1..4u32];
    (
        weight,
        0..4u32,
        prop::sample::select(vec![1_000u64, 10_000]),
        most,
        prop::bool::weighted(0.1),
    )
        .prop_map(|(weight, max_fails, fail_timeout_ms, max_conns, down)| {
            let rules = EndpointRules {
                max_fails,
                fail_timeout_ms,
                max_conns,
                down,
                backup: false,
            };
            (weight, rules)
        })
}

/// Plays the events to both; the choices of each.
fn play(algorithm: Algorithm, members: &[(u16, EndpointRules)], events: &[Event]) -> (String, String) {
    let mut listed = endpoints(&members.iter().map(|(weight, _)| *weight).collect::<Vec<_>>());
    for (endpoint, (_, rules)) in listed.iter_mut().zip(members) {
        endpoint.rules = *rules;
    }
    let start = Instant::now();
    let strict = Rules {
        algorithm,
        panic_threshold: Some(0),
        ..Rules::default()
    };
    let ours = Pool::new(
        "pool".parse().unwrap(),
        strict,
        listed,
        &EndpointTable::default(),
        start,
    );
    let mut nginx = Peers(
        members
            .iter()
            .map(|(weight, rules)| Peer {
                weight: i64::from(*weight),
                effective_weight: i64::from(*weight),
                current_weight: 0,
                conns: 0,
                max_conns: i64::from(rules.max_conns),
                fails: 0,
                max_fails: rules.max_fails,
                fail_timeout: rules.fail_timeout_ms,
                accessed: 0,
                checked: 0,
                down: rules.down,
            })
            .collect(),
    );
    let mut now = 0;
    let mut hanging: VecDeque<(Option<Lease>, Option<usize>)> = VecDeque::new();
    let (mut chosen, mut expected) = (String::new(), String::new());
    for event in events {
        let instant = start + Duration::from_millis(now);
        match event {
            Event::Later(ms) => now += ms,
            Event::Ends { failed } => {
                let Some((lease, index)) = hanging.pop_front() else {
                    continue;
                };
                if let Some(mut lease) = lease {
                    if *failed {
                        lease.failed(Fault::Connection, instant);
                    } else {
                        lease.answered(Some(200), || at_once(Instant::now()));
                    }
                }
                if let Some(index) = index {
                    nginx.free(index, *failed, now);
                }
            }
            Event::Request {
                network,
                failures,
                hangs,
            } => {
                let address = IpAddr::from([10, 1, *network, 9]);
                let mut query = Query::from_client(address);
                let (mut tried, mut hash) = (Vec::new(), (89, 0));
                for attempt in 0..=*failures {
                    let lease = ours.pick(&mut query, instant);
                    let index = match algorithm {
                        Algorithm::LeastConnections => nginx.least_conn(&tried, now),
                        Algorithm::IpHash => nginx.ip_hash(&mut hash, &[10, 1, *network], &tried, now),
                        _ => nginx.round_robin(&tried, now),
                    };
                    chosen += &lease.as_ref().map_or_else(|| "-".to_owned(), id);
                    expected += &index.map_or_else(|| "-".to_owned(), name);
                    if attempt == *failures && *hangs {
                        hanging.push_back((lease, index));
                        break;
                    }
                    let failed = attempt < *failures;
                    if let Some(mut lease) = lease {
                        query.add_tried(lease.member());
                        if failed {
                            lease.failed(Fault::Connection, instant);
                        } else {
                            lease.answered(Some(200), || at_once(Instant::now()));
                        }
                    }
                    if let Some(index) = index {
                        tried.push(index);
                        nginx.free(index, failed, now);
                    }
                }
                chosen.push(' ');
                expected.push(' ');
            }
        }
    }
    (chosen, expected)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn choices_are_nginxs_whatever_happens(
        algorithm in prop::sample::select(vec![Algorithm::RoundRobin, Algorithm::LeastConnections, Algorithm::IpHash]),
        members in prop::collection::vec(member(), 2..6),
        events in prop::collection::vec(event(), 1..120),
    ) {
        let (chosen, expected) = play(algorithm, &members, &events);
        prop_assert_eq!(chosen, expected);
    }
}

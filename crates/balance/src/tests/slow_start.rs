//! Weights that grow, and members picked by their pace.

use proptest::prelude::*;

use super::*;
use crate::OutlierRules;

const TEN_SECONDS: u64 = 10_000;

/// A pool whose members start slowly, and its time.
struct Growing {
    table: EndpointTable,
    cell: PoolCell,
    now: Instant,
}

impl Growing {
    fn new(rules: Rules, weights: &[u16]) -> Self {
        let (table, now) = (EndpointTable::default(), Instant::now());
        let rules = Rules {
            slow_start_ms: TEN_SECONDS,
            ..rules
        };
        let pool = Pool::new("pool".parse().unwrap(), rules, endpoints(weights), &table, now);
        Self {
            cell: PoolCell::new(pool),
            table,
            now,
        }
    }

    /// The next version, with those of `out` unhealthy.
    fn next(&self, weights: &[u16], out: &str) {
        let mut next = endpoints(weights);
        for endpoint in &mut next {
            endpoint.healthy = !out.contains(&*endpoint.id);
        }
        let pool = self.cell.load();
        let next = pool.next_version(pool.rules().clone(), next, &self.table, self.now);
        self.cell.replace(next);
    }

    fn requests(&self, count: usize) -> String {
        let pick = |_| id(&self.cell.pick(&mut Query::new(), self.now).unwrap());
        (0..count).map(pick).collect()
    }

    /// How many of a thousand requests, all in flight at the end, this one gets.
    fn share(&self, name: &str) -> usize {
        let held: Vec<Lease> = (0..1_000)
            .map(|_| self.cell.pick(&mut Query::new(), self.now).unwrap())
            .collect();
        held.iter().filter(|lease| id(lease) == name).count()
    }

    fn later(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }
}

#[test]
fn those_that_are_there_first_have_their_weight() {
    let growing = Growing::new(Rules::default(), &[5, 1, 1]);
    assert_eq!(growing.requests(14), "aabacaaaabacaa");
}

#[test]
fn who_comes_back_grows() {
    for algorithm in [Algorithm::RoundRobin, Algorithm::LeastConnections] {
        let mut growing = Growing::new(by(algorithm), &[1, 1, 1]);
        growing.next(&[1, 1, 1], "b");
        assert_eq!(growing.share("b"), 0);
        growing.next(&[1, 1, 1], "");
        // By parts of a weight of one: p / (2 + p).
        for (seconds, expected) in [(0, 0), (1, 48), (4, 200), (5, 333)] {
            growing.later(seconds);
            let share = growing.share("b");
            assert!(
                share.abs_diff(expected) <= 2,
                "{algorithm}, after {seconds} more: {share}"
            );
        }
    }
}

#[test]
fn turns_are_even_again_when_everybody_has_grown() {
    let mut growing = Growing::new(Rules::default(), &[1, 1]);
    growing.next(&[1, 1, 1], "");
    growing.later(5);
    growing.requests(50);
    // A version that changes nothing goes on growing.
    growing.next(&[1, 1, 1], "");
    assert!(growing.share("c").abs_diff(200) <= 2);
    growing.later(6);
    growing.requests(20);
    let names = growing.requests(30);
    assert!(
        ["abc", "bca", "cab"].iter().any(|turn| names == turn.repeat(10)),
        "{names}"
    );
}

#[test]
fn chance_lets_it_grow() {
    for algorithm in [Algorithm::Random, Algorithm::Latency] {
        let mut growing = Growing::new(by(algorithm), &[1, 1, 1]);
        growing.next(&[1, 1, 1, 1], "");
        let count = |growing: &Growing| growing.requests(3_000).matches('d').count();
        let shares: Vec<usize> = [0, 5, 5]
            .into_iter()
            .map(|seconds| {
                growing.later(seconds);
                count(&growing)
            })
            .collect();
        assert!(shares[0] < 30 && shares[0] < shares[1], "{algorithm}: {shares:?}");
        assert!(shares[1] < shares[2], "{algorithm}: {shares:?}");
    }
}

#[test]
fn who_was_left_alone_grows_too() {
    // One has failed and is tried, one was ejected.
    let failing = Growing::new(Rules::default(), &[1, 1]);
    let ejecting = Rules {
        outlier: Some(OutlierRules {
            consecutive_errors: 1,
            ejection_ms: TEN_SECONDS,
            max_ejection_ms: TEN_SECONDS,
            max_percent: 50,
        }),
        ..Rules::default()
    };
    for mut growing in [failing, Growing::new(ejecting, &[1, 1])] {
        let mut lease = growing.cell.pick(&mut Query::new(), growing.now).unwrap();
        assert_eq!(id(&lease), "a");
        lease.failed(Fault::Connection, growing.now);
        drop(lease);
        assert_eq!(growing.requests(4), "bbbb");
        growing.later(11);
        for _ in 0..30 {
            let mut lease = growing.cell.pick(&mut Query::new(), growing.now).unwrap();
            lease.answered(Some(200), || at_once(growing.now));
        }
        growing.later(1);
        let share = growing.share("a");
        assert!((50..250).contains(&share), "{share}");
    }
}

/// Answers of this many microseconds, from each member in turn.
fn paced(pool: &Pool, now: Instant, answers: &[u64]) {
    for (member, took) in pool.members().iter().zip(answers) {
        let mut lease = Lease::take(member).unwrap();
        lease.answered(Some(200), || Timing::new(now, Duration::from_micros(*took)));
    }
}

#[test]
fn the_quicker_of_two_is_picked() {
    let table = EndpointTable::default();
    let now = Instant::now();
    let pool = Pool::new(
        "pool".parse().unwrap(),
        by(Algorithm::Latency),
        endpoints(&[1, 1]),
        &table,
        now,
    );
    paced(&pool, now, &[9_000, 1_000]);
    let pick = || pool.pick(&mut Query::new(), now).unwrap();
    let counts = (0..400).map(|_| id(&pick())).filter(|name| name == "a").count();
    // Only when chance draws it twice.
    assert!((50..150).contains(&counts), "{counts}");
    // Each in flight makes it worse, until the slow one is as good.
    let held: Vec<Lease> = (0..200).map(|_| pick()).collect();
    let slow = held.iter().filter(|lease| id(lease) == "a").count();
    assert!((15..60).contains(&slow), "{slow}");
}

proptest! {
    /// Whatever has happened, whoever is picked may be picked, and no turn is lost.
    #[test]
    fn somebody_is_picked(
        weights in prop::collection::vec(1..9u16, 1..5),
        steps in prop::collection::vec((0..4u8, 0..12u64, 0..5usize), 1..40),
        latency in any::<bool>(),
    ) {
        let algorithm = if latency { Algorithm::Latency } else { Algorithm::RoundRobin };
        let mut growing = Growing::new(by(algorithm), &weights);
        for (what, seconds, place) in steps {
            growing.later(seconds);
            let out = name(place % weights.len());
            match what {
                0 if weights.len() > 1 => growing.next(&weights, &out),
                1 => growing.next(&weights, ""),
                _ => {}
            }
            let pool = growing.cell.load();
            for _ in 0..5 {
                let mut lease = growing.cell.pick(&mut Query::new(), growing.now).unwrap();
                prop_assert!(pool.open_members().any(|member| member.stats.id() == lease.member().stats.id()));
                if what == 3 {
                    lease.failed(Fault::Connection, growing.now);
                } else {
                    lease.answered(Some(200), || at_once(growing.now));
                }
            }
        }
        for member in growing.cell.load().members() {
            prop_assert_eq!(member.stats.in_flight(), 0);
        }
    }
}

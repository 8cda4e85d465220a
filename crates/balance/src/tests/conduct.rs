//! What requests show of members: passive checks and ejected outliers.

use std::sync::Arc;

use hythe_model::endpoint::Observation;
use tokio::sync::mpsc::{self, Receiver};

use super::*;
use crate::{Obstacle, OutlierRules, PassiveRules};

/// Passive checks of a pool of one, and what is told of it.
struct Watched {
    table: EndpointTable,
    cell: PoolCell,
    told: Receiver<Observation>,
}

impl Watched {
    fn new(rules: PassiveRules) -> Self {
        let (observer, told) = mpsc::channel(8);
        let table = EndpointTable::observed_by(observer);
        let rules = Rules {
            passive: Some(Arc::new(rules)),
            ..Rules::default()
        };
        let name = "pool".parse().unwrap();
        let pool = Pool::new(name, rules, endpoints(&[1]), &table, Instant::now());
        Self {
            table,
            cell: PoolCell::new(pool),
            told,
        }
    }

    /// What is told after these outcomes: `s` success, `n` a status that says nothing, `h` a bad one, `p` the same
    /// passed over, `t` and `o` failures of connection and time, `-` nobody says; `!` and `+` are versions of the
    /// pool in which the member is out and back.
    fn told_after(&mut self, outcomes: &str) -> Vec<String> {
        let now = Instant::now();
        for outcome in outcomes.chars() {
            if let '!' | '+' = outcome {
                let mut next = endpoints(&[1]);
                next[0].healthy = outcome == '+';
                replace(&self.cell, next, &self.table);
                continue;
            }
            // It is asked although it is out, as by a request that was under way.
            let mut lease = self.leased();
            match outcome {
                's' => lease.answered(Some(200), || at_once(now)),
                'n' => lease.answered(Some(404), || at_once(now)),
                'h' => lease.answered(Some(503), || at_once(now)),
                'p' => lease.failed(Fault::Status(503), now),
                't' => lease.failed(Fault::Connection, now),
                'o' => lease.failed(Fault::Timeout, now),
                _ => {}
            }
        }
        std::iter::from_fn(|| self.told.try_recv().ok())
            .map(|told| {
                assert_eq!(told.address, address(0));
                let side = if told.healthy { "+" } else { "-" };
                format!("{side} {}", told.reason)
            })
            .collect()
    }

    fn leased(&self) -> Lease {
        let pool = self.cell.load();
        let stats = &pool.members()[0].stats;
        stats.list();
        let lease = Lease::take(&pool.members()[0]).unwrap();
        stats.unlist();
        lease
    }
}

fn thresholds() -> PassiveRules {
    PassiveRules {
        success: Some((200..=208).collect()),
        failure: [500, 503].into_iter().collect(),
        successes: 2,
        http_failures: 3,
        tcp_failures: 2,
        timeouts: 1,
    }
}

#[test]
fn enough_in_a_row_is_told() {
    let http = "- passive check: status 503, 3 failures";
    let tcp = "- passive check: no connection or a broken one, 2 failures";
    let rows: [(&str, &[&str]); 12] = [
        ("ssss", &[]),
        ("hh", &[]),
        ("hph", &[http]),
        ("hhshhnh-", &[http]),
        ("hhshh", &[]),
        ("tt", &[tcp]),
        ("thth", &[tcp]),
        ("o", &["- passive check: no answer in time, 1 failure"]),
        // Until somebody acts, every further one tells again.
        (
            "ttt",
            &[tcp, "- passive check: no connection or a broken one, 3 failures"],
        ),
        // Once it is out, only successes are told.
        ("tt!tthss", &[tcp, "+ passive check: 2 successes"]),
        ("tt!shss", &[tcp, "+ passive check: 2 successes"]),
        // It comes back without failures.
        ("tt!t+t", &[tcp]),
    ];
    for (outcomes, expected) in rows {
        assert_eq!(
            Watched::new(thresholds()).told_after(outcomes),
            expected,
            "{outcomes}"
        );
    }
}

#[test]
fn without_statuses_every_answer_is_a_success() {
    let rules = PassiveRules {
        success: None,
        ..thresholds()
    };
    let mut watched = Watched::new(rules);
    assert_eq!(watched.told_after("hhhhth").len(), 0);
    assert_eq!(watched.told_after("tt").len(), 1);
}

#[test]
fn other_rules_begin_anew() {
    let mut watched = Watched::new(thresholds());
    watched.told_after("t");
    let pool = watched.cell.load();
    let rules = Rules {
        passive: Some(Arc::new(PassiveRules {
            tcp_failures: 3,
            ..thresholds()
        })),
        ..Rules::default()
    };
    let next = pool.next_version(rules, endpoints(&[1]), &watched.table, Instant::now());
    watched.cell.replace(next);
    assert_eq!(watched.told_after("tt").len(), 0);
    assert_eq!(watched.told_after("t").len(), 1);
}

/// A pool that ejects, and its time.
struct Ejecting {
    pool: Pool,
    now: Instant,
}

impl Ejecting {
    fn new(algorithm: Algorithm, members: usize) -> Self {
        let rules = Rules {
            outlier: Some(OutlierRules {
                consecutive_errors: 2,
                ejection_ms: 10_000,
                max_ejection_ms: 60_000,
                max_percent: 50,
            }),
            ..by(algorithm)
        };
        let (name, table, now) = ("pool".parse().unwrap(), EndpointTable::default(), Instant::now());
        let mut listed = endpoints(&vec![1; members]);
        listed
            .iter_mut()
            .for_each(|endpoint| endpoint.rules.max_fails = 0);
        Self {
            pool: Pool::new(name, rules, listed, &table, now),
            now,
        }
    }

    /// Who answers; those in `bad` answer 500.
    fn requests(&self, count: usize, bad: &str) -> String {
        let request = |_| {
            let mut lease = self.pool.pick(&mut Query::with_key(7), self.now).unwrap();
            let name = id(&lease);
            let status = if bad.contains(&name) { 500 } else { 200 };
            lease.answered(Some(status), || at_once(self.now));
            name
        };
        (0..count).map(request).collect()
    }

    fn obstacles(&self) -> Vec<Option<String>> {
        let members = self.pool.members().iter();
        let obstacles = members.map(|member| self.pool.obstacle(member, self.now));
        obstacles.map(|obstacle| Some(obstacle?.to_string())).collect()
    }
}

#[test]
fn who_errs_is_ejected_and_comes_back() {
    let mut scene = Ejecting::new(Algorithm::RoundRobin, 3);
    assert_eq!(scene.requests(6, "b"), "abcabc");
    assert_eq!(scene.requests(4, ""), "caca");
    let out = |text: &str| vec![None, Some(text.to_owned()), None];
    assert_eq!(
        scene.obstacles(),
        out("ejected once for its errors, comes back in 10s")
    );
    scene.now += Duration::from_secs(10);
    assert_eq!(scene.obstacles(), [const { None }; 3]);
    let names = scene.requests(6, "b");
    assert_eq!(names.matches('b').count(), 2, "{names}");
    assert_eq!(
        scene.obstacles(),
        out("ejected 2 times for its errors, comes back in 20s")
    );
    // Turns are even again once everybody is back.
    scene.now += Duration::from_secs(20);
    let names = scene.requests(12, "");
    assert!(
        names.ends_with("abc") || names.ends_with("bca") || names.ends_with("cab"),
        "{names}"
    );
    assert!(scene.pool.peek(&Query::new(), scene.now).is_some());
}

#[test]
fn the_last_is_never_ejected() {
    for algorithm in ALL {
        for members in 1..4 {
            let scene = Ejecting::new(algorithm, members);
            scene.requests(40, "abc");
            let ejected = scene.obstacles().into_iter().flatten().count();
            assert!(ejected <= members / 2, "{algorithm}: {ejected} of {members}");
            scene.requests(10, "");
        }
    }
}

#[test]
fn an_ejection_survives_a_replacement() {
    let scene = Ejecting::new(Algorithm::RoundRobin, 3);
    scene.requests(6, "b");
    let table = EndpointTable::default();
    let rules = scene.pool.rules().clone();
    let next = scene
        .pool
        .next_version(rules, endpoints(&[1, 1, 1]), &table, scene.now);
    let obstacle = next.obstacle(&next.members()[1], scene.now);
    assert!(
        matches!(obstacle, Some(Obstacle::Ejected { times: 1, .. })),
        "{obstacle:?}"
    );
}

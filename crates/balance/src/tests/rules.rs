//! Backups, members that are down, bounds, and failures over time.

use super::*;
use crate::Obstacle;

/// A pool of members with these weights and rules, and its time.
struct Scene {
    pool: Pool,
    now: Instant,
}

impl Scene {
    fn new(rules: Rules, members: &[(u16, EndpointRules)]) -> Self {
        let now = Instant::now();
        let mut listed = endpoints(&members.iter().map(|(weight, _)| *weight).collect::<Vec<_>>());
        for (endpoint, (_, rules)) in listed.iter_mut().zip(members) {
            endpoint.rules = *rules;
        }
        let pool = Pool::new(
            "pool".parse().unwrap(),
            rules,
            listed,
            &EndpointTable::default(),
            now,
        );
        Self { pool, now }
    }

    /// Requests; those to members in `dead` fail and go elsewhere.
    fn requests(&self, count: usize, dead: &str) -> String {
        let request = |_| {
            let mut query = Query::new();
            let mut way = String::new();
            while let Some(mut lease) = self.pool.pick(&mut query, self.now) {
                way += &id(&lease);
                if !dead.contains(&id(&lease)) {
                    lease.answered(Some(200), || at_once(Instant::now()));
                    return way;
                }
                query.add_tried(lease.member());
                lease.failed(Fault::Connection, self.now);
            }
            way + "-"
        };
        (0..count).map(request).collect::<Vec<_>>().join(" ")
    }

    fn obstacles(&self) -> Vec<String> {
        let shown = |member| match self.pool.obstacle(member, self.now) {
            None => "ok".to_owned(),
            Some(obstacle) => obstacle.to_string(),
        };
        self.pool.members().iter().map(|member| shown(member)).collect()
    }

    fn later(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }
}

fn plain() -> EndpointRules {
    EndpointRules::default()
}

fn backup() -> EndpointRules {
    EndpointRules {
        backup: true,
        ..plain()
    }
}

fn strict() -> Rules {
    Rules {
        panic_threshold: Some(0),
        ..Rules::default()
    }
}

#[test]
fn a_dead_member_is_tried_once_in_ten_seconds() {
    let mut scene = Scene::new(Rules::default(), &[(1, plain()), (1, plain())]);
    assert_eq!(scene.requests(4, "a"), "ab b b b");
    assert_eq!(scene.obstacles(), ["failed 1 time, tried again in 10s", "ok"]);
    scene.later(11);
    // Its weight grows back with each turn of the others, so it is not tried at once.
    assert_eq!(scene.requests(4, "a"), "b b ab b");
    scene.later(11);
    // Its trial succeeds, and turns are even again.
    assert_eq!(scene.requests(8, ""), "b b a b a b a b");
    assert_eq!(scene.obstacles(), ["ok", "ok"]);
}

#[test]
fn nobody_left() {
    let strict = Scene::new(strict(), &[(1, plain()), (1, plain())]);
    assert_eq!(strict.requests(3, "ab"), "ab- - -");
    let forgiving = Scene::new(Rules::default(), &[(1, plain()), (1, plain())]);
    assert_eq!(forgiving.requests(2, "ab"), "ab- ba-");
    assert_eq!(forgiving.requests(4, ""), "b b a b");
    let alone = Scene::new(self::strict(), &[(1, plain())]);
    assert_eq!(alone.requests(3, "a"), "a- a- a-");
    assert_eq!(alone.obstacles(), ["ok"]);
}

#[test]
fn backups_are_asked_last() {
    for algorithm in ALL {
        let rules = Rules {
            algorithm,
            ..strict()
        };
        let down = EndpointRules {
            down: true,
            ..plain()
        };
        let mut scene = Scene::new(rules, &[(1, down), (1, backup()), (1, plain())]);
        assert_eq!(scene.requests(3, ""), "c c c", "{algorithm}");
        assert_eq!(scene.requests(3, "c"), "cb b b", "{algorithm}");
        assert_eq!(
            scene.obstacles(),
            ["down", "ok", "failed 1 time, tried again in 10s"]
        );
        scene.later(11);
        assert_eq!(scene.requests(2, ""), "c c", "{algorithm}");
        assert_eq!(
            scene.obstacles(),
            ["down", "a backup, and others are available", "ok"]
        );
    }
}

#[test]
fn a_panic_threshold_overlooks_health() {
    let table = EndpointTable::default();
    let mut four = endpoints(&[1, 1, 1, 1]);
    four.iter_mut()
        .skip(1)
        .for_each(|endpoint| endpoint.healthy = false);
    for (threshold, expected) in [(None, "aaaa"), (Some(25), "aaaa"), (Some(26), "abcd")] {
        let rules = Rules {
            panic_threshold: threshold,
            ..Rules::default()
        };
        let pool = Pool::new(
            "pool".parse().unwrap(),
            rules,
            four.clone(),
            &table,
            Instant::now(),
        );
        assert_eq!(sequence(&pool, 4), expected, "{threshold:?}");
    }
}

#[test]
fn failures_survive_a_replacement() {
    let table = EndpointTable::default();
    let cell = PoolCell::new(pool(Algorithm::RoundRobin, endpoints(&[1, 1]), &table));
    let now = Instant::now();
    cell.pick(&mut Query::new(), now)
        .unwrap()
        .failed(Fault::Connection, now);
    replace(&cell, endpoints(&[1, 1, 1]), &table);
    assert_eq!(sequence(&cell.load(), 4), "bcbc");
    let held = cell.pick(&mut Query::new(), now);
    replace(&cell, endpoints(&[1, 1, 2]), &table);
    // Also those of requests that were sent before.
    held.unwrap().failed(Fault::Connection, now);
    assert_eq!(sequence(&cell.load(), 2), "cc");
    let pool = cell.load();
    let obstacle = pool.obstacle(&pool.members()[1], now);
    assert!(
        matches!(obstacle, Some(Obstacle::Failed { fails: 1, .. })),
        "{obstacle:?}"
    );
}

#[test]
fn max_conns_holds_between_threads() {
    let few = EndpointRules {
        max_conns: 3,
        ..plain()
    };
    for algorithm in ALL {
        let rules = Rules {
            algorithm,
            ..Rules::default()
        };
        let scene = Scene::new(rules, &[(1, few), (2, few)]);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        let held: Vec<_> = (0..3).filter_map(|_| pick(&scene.pool)).collect();
                        for member in scene.pool.members() {
                            assert!(member.stats.in_flight() <= 3);
                        }
                        drop(held);
                    }
                });
            }
        });
        let held: Vec<_> = (0..9).filter_map(|_| pick(&scene.pool)).collect();
        assert_eq!(held.len(), 6, "{algorithm}");
        assert_eq!(scene.obstacles(), ["at its max_conns"; 2]);
    }
}

#[test]
fn chance_follows_weights() {
    let scene = Scene::new(by(Algorithm::Random), &[(5, plain()), (3, plain()), (2, plain())]);
    (0..10_000).for_each(|_| drop(pick(&scene.pool)));
    for member in scene.pool.members() {
        let expected = f64::from(member.endpoint.weight) * 1_000.0;
        let deviation = (member.stats.requests_total() as f64 - expected) / expected;
        assert!(deviation.abs() < 0.1, "{} by {deviation}", member.endpoint.id);
    }
    // Who is busy is picked less.
    let _held: Vec<_> = (0..20).filter_map(|_| pick(&scene.pool)).collect();
    let in_flight: Vec<_> = scene
        .pool
        .members()
        .iter()
        .map(|member| member.stats.in_flight())
        .collect();
    assert!((9..=11).contains(&in_flight[0]), "{in_flight:?}");
}

#[test]
fn keys_stay_with_their_members() {
    let table = EndpointTable::default();
    let cell = PoolCell::new(pool(Algorithm::ConsistentHashing, endpoints(&[1, 1, 1]), &table));
    let now = Instant::now();
    let owners = || -> Vec<String> {
        let keys = 0..300;
        keys.map(|key| id(&cell.pick(&mut Query::with_key(key), now).unwrap()))
            .collect()
    };
    let before = owners();
    for name in ["a", "b", "c"] {
        let share = before.iter().filter(|owner| *owner == name).count();
        assert!((60..140).contains(&share), "{name}: {share}");
    }
    // One is unhealthy: its keys go to both others, and come back.
    let mut two = endpoints(&[1, 1, 1]);
    two[1].healthy = false;
    replace(&cell, two, &table);
    let during = owners();
    for (before, during) in before.iter().zip(&during) {
        assert!(before == during || before == "b", "{before} became {during}");
    }
    assert!(!during.contains(&"b".to_owned()));
    replace(&cell, endpoints(&[1, 1, 1]), &table);
    assert_eq!(owners(), before);
    // A request tries another one than it has tried, and one without a key takes its turn.
    let mut query = Query::with_key(7);
    let first = cell.pick(&mut query, now).unwrap();
    query.add_tried(first.member());
    assert_ne!(id(&cell.pick(&mut query, now).unwrap()), id(&first));
    assert_eq!(sequence(&cell.load(), 3), "abc");
}

#[test]
fn clients_come_back() {
    for algorithm in ALL {
        let mut scene = Scene::new(by(algorithm), &[(1, plain()), (1, plain()), (1, backup())]);
        let tokens: Vec<u64> = scene.pool.members().iter().map(|member| member.token()).collect();
        let back_at = |scene: &Scene, place: usize| {
            let mut query = Query::new();
            query.come_back_to(tokens[place]);
            let peeked = scene
                .pool
                .peek(&query, scene.now)
                .unwrap()
                .endpoint
                .id
                .to_string();
            let lease = scene.pool.pick(&mut query, scene.now).unwrap();
            if query.is_back_at(lease.member()) {
                assert_eq!(peeked, id(&lease), "{algorithm}");
            }
            lease
        };
        for place in [0, 0, 1, 1] {
            let expected = &scene.pool.members()[place].endpoint.id;
            assert_eq!(id(&back_at(&scene, place)), **expected, "{algorithm}");
        }
        // A backup is not needed.
        assert_ne!(id(&back_at(&scene, 2)), "c", "{algorithm}");
        // Who has failed is left alone, and come back to.
        back_at(&scene, 0).failed(Fault::Connection, scene.now);
        assert_eq!(id(&back_at(&scene, 0)), "b", "{algorithm}");
        scene.later(11);
        assert_eq!(id(&back_at(&scene, 0)), "a", "{algorithm}");
    }
}

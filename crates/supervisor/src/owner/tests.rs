//! The whole supervisor against a runtime without processes, on a paused clock.

mod fakes;
mod rules;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fakes::{FakeLogs, FakeRuntime, FakeTraffic};
use hythe_model::workload::{HealthCheck, Probe, Replicas, RestartPolicy};
use hythe_model::{Desired, Entry, FullName, Instance, InstanceId, InstanceState, Instances, Workload};
use hythe_spine::{Publisher, Spine, latest};

use crate::runtime::{Found, Record, StopBy};
use crate::{Config, Inputs, Outputs, VolatileIds, build};

struct Supervised {
    runtime: Arc<FakeRuntime>,
    traffic: Arc<FakeTraffic>,
    logs: Arc<FakeLogs>,
    desired: Publisher<Desired>,
    outputs: Outputs,
    spine: Spine,
}

impl Supervised {
    fn new(runtime: FakeRuntime) -> Self {
        let (desired, reader) = latest(Desired::default());
        let (runtime, spine) = (Arc::new(runtime), Spine::default());
        let (traffic, logs) = (Arc::new(FakeTraffic::default()), Arc::new(FakeLogs::default()));
        let inputs = Inputs {
            desired: reader,
            traffic: traffic.clone(),
            logs: logs.clone(),
            runtime: runtime.clone(),
            ids: Arc::new(VolatileIds),
        };
        let outputs = build(Config::default(), inputs, &spine);
        Self {
            runtime,
            traffic,
            logs,
            desired,
            outputs,
            spine,
        }
    }

    /// Desires `service`, or that it is gone.
    fn want(&self, service: &str, workload: Option<Workload>) -> u64 {
        let mut desired = Desired::clone(&self.desired.get());
        desired.generation += 1;
        let generation = desired.generation;
        let workloads = Arc::make_mut(&mut desired.workloads);
        let name: FullName = service.parse().unwrap();
        match workload {
            Some(spec) => {
                let entry = Entry {
                    uid: String::new(),
                    generation,
                    created_at: 0,
                    spec,
                };
                drop(workloads.insert(name, Arc::new(entry)));
            }
            None => drop(workloads.remove(&name)),
        }
        self.desired.publish(desired);
        generation
    }

    async fn until(&self, accept: impl FnMut(&Instances) -> bool) -> Arc<Instances> {
        let mut instances = self.outputs.instances.clone();
        let wait = instances.wait_for(accept);
        tokio::time::timeout(Duration::from_secs(600), wait)
            .await
            .expect("it never came to that")
    }

    async fn until_settled(&self, service: &str, generation: u64) -> Arc<Instances> {
        let name: FullName = service.parse().unwrap();
        self.until(|now| {
            now.generation >= generation && now.services.get(&name).is_none_or(|service| service.settled)
        })
        .await
    }

    async fn until_state(&self, id: &str, state: InstanceState) -> Arc<Instance> {
        let now = self
            .until(|now| find(now, id).is_some_and(|found| found.state == state))
            .await;
        find(&now, id).unwrap()
    }

    /// Waits until the runtime was asked `times` for `what`.
    async fn until_asked(&self, what: &str, times: usize) {
        while self.runtime.count(what) < times {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn notes(&self) -> Vec<String> {
        self.logs.notes.lock().unwrap().clone()
    }
}

fn find(instances: &Instances, id: &str) -> Option<Arc<Instance>> {
    let mut all = instances.services.values().flat_map(|service| &service.instances);
    all.find(|instance| &*instance.id.0 == id).cloned()
}

/// Listens, and is probed with a command.
fn workload(copies: u32, revision: &str) -> Workload {
    let mut workload = Workload::new(vec!["/bin/app".to_owned()], PathBuf::from("/srv"));
    workload
        .environment
        .insert("REVISION".to_owned(), revision.to_owned());
    workload.replicas = Replicas::Count(copies);
    workload.port = Some(3000);
    workload.healthcheck = Some(HealthCheck {
        probe: Probe::Command(vec!["/bin/check".to_owned()]),
        interval_ms: 1_000,
        timeout_ms: 500,
        retries: 2,
        start_period_ms: 0,
        start_interval_ms: 50,
    });
    workload
}

fn adopted(id: &str, revision: &Workload, ready: bool) -> Found {
    let service = id.rsplit_once('-').unwrap().0.parse().unwrap();
    let record = Record {
        id: InstanceId(id.into()),
        service,
        slot: 0,
        revision: revision.revision(),
        address: Some(([127, 0, 0, 1], 29_000).into()),
        publish: false,
        restarts: 2,
        started_at: hythe_stdx::unix_ms(),
        ready,
        stopping: false,
        stop_signal: 2,
        stop_grace_period_ms: 1_000,
        stop_by: StopBy::Signal,
    };
    Found {
        record,
        pid: 77,
        exit: None,
        bound: None,
        said_ready: false,
    }
}

#[tokio::test(start_paused = true)]
async fn instances_come_up_and_know_who_they_are() {
    let supervised = Supervised::new(FakeRuntime::new(&[]));
    let generation = supervised.want("shop.users", Some(workload(2, "a")));
    let now = supervised.until_settled("shop.users", generation).await;
    assert!(now.synced);
    let second = find(&now, "shop.users-2").unwrap();
    assert_eq!((second.slot, second.state), (1, InstanceState::Ready));
    let environment = supervised.runtime.environment("shop.users-2");
    let expected = [
        ("HYTHE_ADDRESS", second.address.unwrap().to_string()),
        ("HYTHE_GATEWAY_URL", "http://127.0.0.1:8000".to_owned()),
        ("HYTHE_INSTANCE", "shop.users-2".to_owned()),
        ("HYTHE_SERVICE", "shop.users".to_owned()),
        ("NODE_APP_INSTANCE", "1".to_owned()),
        ("PORT", second.address.unwrap().port().to_string()),
        ("REVISION", "a".to_owned()),
    ];
    assert_eq!(
        environment,
        expected.map(|(name, value)| (name.to_owned(), value)).into()
    );
    supervised.until_asked("record shop.users-2 ready", 1).await;
    assert!(
        supervised
            .notes()
            .iter()
            .any(|note| note.starts_with("shop.users-2: ready after"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_slow_start_delays_nobody() {
    let supervised = Supervised::new(FakeRuntime::new(&["slow"]));
    let slow = supervised.want("slow", Some(workload(1, "a")));
    let fast = supervised.want("fast", Some(workload(1, "a")));
    let now = supervised.until_settled("fast", fast).await;
    assert_eq!(find(&now, "slow-1").unwrap().state, InstanceState::Starting);
    supervised.runtime.release("slow");
    supervised.until_settled("slow", slow).await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_is_restarted_under_the_same_id() {
    let supervised = Supervised::new(FakeRuntime::new(&[]));
    let generation = supervised.want("users", Some(workload(1, "a")));
    let before = find(&*supervised.until_settled("users", generation).await, "users-1").unwrap();
    supervised.runtime.exit("users-1", 1);
    let restarted = |now: &Instances| find(now, "users-1").is_some_and(|unit| unit.restarts == 1);
    supervised.until(restarted).await;
    let after = supervised.until_state("users-1", InstanceState::Ready).await;
    assert_ne!((before.pid, before.address), (after.pid, after.address));
    assert_eq!(after.last_exit.unwrap().code, Some(1));
    assert!(
        supervised
            .notes()
            .contains(&"users-1: ended: exit code 1, restarting".to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn an_exit_that_overtakes_the_answer_to_its_start_counts() {
    let supervised = Supervised::new(FakeRuntime::new(&[]));
    supervised.runtime.make_stillborn("users", true);
    let mut once = workload(1, "a");
    once.restart = RestartPolicy::No;
    let generation = supervised.want("users", Some(once));
    let now = supervised.until_settled("users", generation).await;
    assert_eq!(find(&now, "users-1").unwrap().state, InstanceState::Failed);
    let failure = now.services.values().next().unwrap().failure.clone();
    assert_eq!(failure.as_deref(), Some("users-1 failed: exit code 9"));
}

#[tokio::test(start_paused = true)]
async fn a_failed_update_keeps_the_old_and_a_later_one_clears_it() {
    let supervised = Supervised::new(FakeRuntime::new(&[]));
    let generation = supervised.want("users", Some(workload(1, "a")));
    supervised.until_settled("users", generation).await;
    supervised.runtime.make_stillborn("users", true);
    let generation = supervised.want("users", Some(workload(1, "b")));
    let now = supervised.until_settled("users", generation).await;
    let service = now.services.values().next().unwrap();
    assert_eq!(
        service.failure.as_deref(),
        Some("users-2 ended before it was ready: exit code 9")
    );
    assert_eq!(find(&now, "users-1").unwrap().state, InstanceState::Ready);
    supervised.runtime.make_stillborn("users", false);
    let generation = supervised.want("users", Some(workload(1, "c")));
    let now = supervised.until_settled("users", generation).await;
    assert_eq!(now.services.values().next().unwrap().failure, None);
    assert_eq!(find(&now, "users-3").unwrap().state, InstanceState::Ready);
}

#[tokio::test(start_paused = true)]
async fn an_old_instance_is_asked_to_stop_only_when_it_has_drained() {
    let supervised = Supervised::new(FakeRuntime::new(&[]));
    let generation = supervised.want("users", Some(workload(1, "a")));
    let now = supervised.until_settled("users", generation).await;
    let address = find(&now, "users-1").unwrap().address.unwrap();
    supervised.traffic.listed.lock().unwrap().insert(address);
    supervised.traffic.in_flight.lock().unwrap().insert(address);
    let generation = supervised.want("users", Some(workload(1, "b")));
    supervised.until_state("users-1", InstanceState::Draining).await;
    for gone in [&supervised.traffic.listed, &supervised.traffic.in_flight] {
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(supervised.runtime.count("signal"), 0);
        gone.lock().unwrap().clear();
    }
    let now = supervised.until_settled("users", generation).await;
    assert!(find(&now, "users-1").is_none());
    let asked = supervised.runtime.asked();
    let from = asked
        .iter()
        .position(|asked| asked == "record users-1 stopping")
        .unwrap();
    let rest: Vec<&str> = asked[from..]
        .iter()
        .map(String::as_str)
        .filter(|asked| *asked != "usage")
        .collect();
    assert_eq!(
        rest,
        [
            "record users-1 stopping",
            "signal 15 to main of users-1",
            "forget users-1"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn requests_that_never_end_hold_a_stop_for_thirty_seconds_and_deafness_for_its_grace() {
    let supervised = Supervised::new(FakeRuntime::new(&[]));
    let generation = supervised.want("users", Some(workload(1, "a")));
    let now = supervised.until_settled("users", generation).await;
    let address = find(&now, "users-1").unwrap().address.unwrap();
    supervised.traffic.in_flight.lock().unwrap().insert(address);
    supervised.runtime.make_deaf("users-1");
    let generation = supervised.want("users", None);
    supervised.until_settled("users", generation).await;
    let notes = supervised.notes();
    let end = notes.iter().position(|note| note == "users-1: draining").unwrap();
    assert_eq!(
        notes[end..],
        [
            "users-1: draining",
            "users-1: stopping, signal 15",
            "users-1: killed, it did not stop in time",
            "users-1: ended: signal 9",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn probes_take_an_instance_out_and_back_in() {
    let supervised = Supervised::new(FakeRuntime::new(&[]));
    supervised.want("users", Some(workload(1, "a")));
    supervised.until_state("users-1", InstanceState::Ready).await;
    supervised.runtime.make_sick("users", true);
    let sick = supervised.until_state("users-1", InstanceState::Unhealthy).await;
    let why = "the health check command failed: cannot reach the database";
    assert_eq!(sick.message.as_deref(), Some(why));
    supervised.runtime.make_sick("users", false);
    let well = supervised.until_state("users-1", InstanceState::Ready).await;
    assert_eq!(
        (well.restarts, well.pid, well.message.as_deref()),
        (0, sick.pid, None)
    );
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_server_left_serves_on_before_anything_is_published() {
    let runtime = FakeRuntime::new(&[]);
    runtime.add(adopted("users-7", &workload(1, "a"), true));
    runtime.add(adopted("gone-3", &workload(1, "a"), true));
    runtime.set_down(true);
    let supervised = Supervised::new(runtime);
    let generation = supervised.want("users", Some(workload(2, "a")));
    supervised.until_asked("list", 3).await;
    let first = supervised.outputs.instances.get();
    assert_eq!(
        (first.synced, first.generation, supervised.runtime.count("start")),
        (false, 0, 0)
    );
    supervised.runtime.set_down(false);
    let now = supervised.until(|now| now.synced).await;
    let kept = find(&now, "users-7").unwrap();
    assert_eq!(
        (kept.state, kept.pid, kept.restarts),
        (InstanceState::Ready, Some(77), 2)
    );
    let now = supervised.until_settled("users", generation).await;
    assert_eq!(find(&now, "users-8").unwrap().slot, 1);
    supervised.until(|now| find(now, "gone-3").is_none()).await;
    assert_eq!(supervised.runtime.count("signal 2 to main of gone-3"), 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_loss_nothing_is_started_twice_and_unheard_exits_are_found() {
    let supervised = Supervised::new(FakeRuntime::new(&[]));
    let generation = supervised.want("users", Some(workload(2, "a")));
    supervised.until_settled("users", generation).await;
    supervised.runtime.set_down(true);
    supervised.runtime.exit_unheard("users-2");
    let generation = supervised.want("users", Some(workload(3, "a")));
    supervised.until_asked("list", 5).await;
    let meanwhile = supervised.outputs.instances.get();
    assert_eq!(find(&meanwhile, "users-2").unwrap().state, InstanceState::Ready);
    assert!(meanwhile.generation < generation);
    supervised.runtime.set_down(false);
    let now = supervised.until_settled("users", generation).await;
    let restarts = |id| find(&now, id).unwrap().restarts;
    assert_eq!(
        [restarts("users-1"), restarts("users-2"), restarts("users-3")],
        [0, 1, 0]
    );
    assert_eq!(supervised.runtime.count("start"), 4);
}

#[tokio::test(start_paused = true)]
async fn stop_all_stops_dependents_first_and_kills_at_its_deadline() {
    let supervised = Supervised::new(FakeRuntime::new(&[]));
    let database = workload(1, "a");
    let mut api = workload(1, "a");
    let dependency = hythe_model::workload::Dependency {
        condition: hythe_model::workload::Condition::ServiceHealthy,
        restart: false,
        required: true,
    };
    api.depends_on.insert("db".parse().unwrap(), dependency);
    supervised.want("db", Some(database));
    let generation = supervised.want("api", Some(api));
    supervised.until_settled("api", generation).await;
    supervised.runtime.make_deaf("db-1");
    assert!(supervised.outputs.handle.stop_all(Duration::from_secs(5)).await);
    let asked = supervised.runtime.asked();
    let signals: Vec<&String> = asked.iter().filter(|asked| asked.starts_with("signal")).collect();
    assert_eq!(
        signals,
        [
            "signal 15 to main of api-1",
            "signal 15 to main of db-1",
            "signal 9 to all of db-1"
        ]
    );
    assert_eq!(supervised.desired.get().workloads.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn usage_is_published_as_a_rate() {
    let supervised = Supervised::new(FakeRuntime::new(&[]));
    supervised.want("users", Some(workload(1, "a")));
    let measured = |now: &Instances| find(now, "users-1").is_some_and(|unit| unit.cpu_millis > 0);
    let now = supervised.until(measured).await;
    let unit = find(&now, "users-1").unwrap();
    assert_eq!((unit.cpu_millis, unit.memory_bytes), (250, 4096));
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_nobody_enforces_is_told_with_its_service() {
    let world = Supervised::new(FakeRuntime::new(&[]));
    let mut limited = workload(1, "one");
    limited.limits.pids = Some(20);
    world.want("web", Some(workload(1, "one")));
    let generation = world.want("users", Some(limited));
    let now = world.until_settled("users", generation).await;
    let warnings = |service: &str| {
        now.services[&service.parse::<FullName>().unwrap()]
            .warnings
            .clone()
    };
    assert_eq!(warnings("users"), ["at most 20 processes: nobody counts them"]);
    assert!(warnings("web").is_empty());
}

#[tokio::test(start_paused = true)]
async fn services_outlive_the_supervisor() {
    let supervised = Supervised::new(FakeRuntime::new(&[]));
    let generation = supervised.want("users", Some(workload(1, "a")));
    supervised.until_settled("users", generation).await;
    supervised.until_asked("record", 1).await;
    assert!(supervised.spine.stop(Duration::from_secs(1)).await);
    assert_eq!(supervised.runtime.count("signal"), 0);
    assert!(supervised.runtime.record_of("users-1").ready);
    assert_eq!(supervised.spine.panics(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_changed_health_check_is_used_at_once_and_rolls_nothing() {
    let supervised = Supervised::new(FakeRuntime::new(&[]));
    let mut patient = workload(1, "a");
    if let Some(check) = &mut patient.healthcheck {
        check.interval_ms = 3_600_000;
    }
    let generation = supervised.want("users", Some(patient));
    let before = find(&*supervised.until_settled("users", generation).await, "users-1").unwrap();
    supervised.runtime.make_sick("users", true);
    supervised.want("users", Some(workload(1, "a")));
    let after = supervised.until_state("users-1", InstanceState::Unhealthy).await;
    assert_eq!((after.pid, after.revision), (before.pid, before.revision));
}

#[tokio::test(start_paused = true)]
async fn without_a_port_and_a_check_running_is_ready() {
    let supervised = Supervised::new(FakeRuntime::new(&[]));
    let mut worker = workload(1, "a");
    (worker.port, worker.healthcheck) = (None, None);
    let generation = supervised.want("worker", Some(worker));
    let now = supervised.until_settled("worker", generation).await;
    assert_eq!(find(&now, "worker-1").unwrap().address, None);
    assert!(!supervised.runtime.environment("worker-1").contains_key("PORT"));
}

/// Listens nobody knows where, and is probed with a command.
fn script(revision: &str) -> Workload {
    let mut script = workload(1, revision);
    (script.port, script.publish) = (None, true);
    script
}

#[tokio::test(start_paused = true)]
async fn what_a_program_binds_is_where_it_is_reached_and_where_the_gateway_is_to_listen() {
    let supervised = Supervised::new(FakeRuntime::new(&[]));
    let published = |now: &Instances| now.services.values().next().unwrap().published.clone();
    let generation = supervised.want("web", Some(script("a")));
    let now = supervised.until_settled("web", generation).await;
    assert_eq!(
        (find(&now, "web-1").unwrap().address, published(&now)),
        (None, Vec::new())
    );
    assert!(!supervised.runtime.environment("web-1").contains_key("PORT"));

    supervised.runtime.bind("web-1", "[::]:3000", "127.64.0.1:3000");
    supervised.until(|now| !published(now).is_empty()).await;
    let bound = supervised.until_state("web-1", InstanceState::Ready).await;
    assert_eq!(bound.address, Some("127.64.0.1:3000".parse().unwrap()));

    // From now on a copy that does not listen is not ready, whatever its check says.
    let generation = supervised.want("web", Some(script("b")));
    supervised.until_state("web-2", InstanceState::Starting).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let now = supervised.outputs.instances.get();
    let states = ["web-1", "web-2"].map(|id| find(&now, id).unwrap().state);
    assert_eq!(states, [InstanceState::Ready, InstanceState::Starting]);
    supervised
        .runtime
        .bind("web-2", "0.0.0.0:4000", "127.64.0.2:4000");
    let now = supervised.until_settled("web", generation).await;
    assert_eq!(published(&now), ["0.0.0.0:4000".parse().unwrap()]);

    let mut stopped = script("b");
    stopped.stopped = true;
    let generation = supervised.want("web", Some(stopped));
    let now = supervised.until_settled("web", generation).await;
    assert_eq!(published(&now), [], "nobody listens for what was stopped");
}

#[tokio::test(start_paused = true)]
async fn a_place_is_known_to_the_next_server_and_kept_while_an_instance_is_restarted() {
    let runtime = FakeRuntime::new(&[]);
    let mut found = adopted("web-7", &script("a"), true);
    found.record.address = Some("127.64.0.1:0".parse().unwrap());
    found.record.publish = true;
    found.bound = Some(crate::runtime::Bound {
        asked: "[::]:3000".parse().unwrap(),
        address: "127.64.0.1:3000".parse().unwrap(),
    });
    runtime.add(found);
    let supervised = Supervised::new(runtime);
    let published = |now: &Instances| now.services.values().next().unwrap().published.clone();
    let generation = supervised.want("web", Some(script("a")));
    let now = supervised.until_settled("web", generation).await;
    let place = ["[::]:3000".parse().unwrap()];
    assert_eq!(published(&now), place);
    assert_eq!(
        find(&now, "web-7").unwrap().address,
        Some("127.64.0.1:3000".parse().unwrap())
    );
    supervised.runtime.exit("web-7", 1);
    supervised.until_state("web-7", InstanceState::Starting).await;
    assert_eq!(published(&supervised.outputs.instances.get()), place);
    supervised.runtime.bind("web-7", "[::]:3000", "127.64.0.9:3000");
    let again = supervised.until_state("web-7", InstanceState::Ready).await;
    assert_eq!(again.address, Some("127.64.0.9:3000".parse().unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_program_says_when_it_is_ready_or_is_taken_for_it_after_a_while() {
    let supervised = Supervised::new(FakeRuntime::new(&[]));
    let mut worker = workload(1, "a");
    (worker.port, worker.healthcheck, worker.says_ready) = (None, None, true);
    for (service, says) in [("says", true), ("shy", false)] {
        let begun = tokio::time::Instant::now();
        let generation = supervised.want(service, Some(worker.clone()));
        let id = format!("{service}-1");
        supervised.until_state(&id, InstanceState::Starting).await;
        supervised.until_asked(&format!("start {id}"), 1).await;
        if says {
            supervised.runtime.say_ready(&id);
        }
        supervised.until_settled(service, generation).await;
        let took = begun.elapsed();
        assert_eq!(took < Duration::from_millis(500), says, "{service}: {took:?}");
        assert!(took < Duration::from_secs(4), "{service}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_nobody_asks_for_sleeps_until_somebody_waits_for_it() {
    let supervised = Supervised::new(FakeRuntime::new(&[]));
    let mut sleepy = workload(2, "a");
    sleepy.sleep_after_ms = Some(10_000);
    let generation = supervised.want("sleepy", Some(sleepy));
    let now = supervised.until_settled("sleepy", generation).await;
    let busy = find(&now, "sleepy-1").unwrap().address.unwrap();
    supervised.traffic.in_flight.lock().unwrap().insert(busy);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let awake = |now: &Instances| now.services.values().next().unwrap().instances.len();
    assert_eq!(
        awake(&supervised.outputs.instances.get()),
        2,
        "somebody is served"
    );
    supervised.traffic.in_flight.lock().unwrap().clear();
    let asleep = supervised
        .until(|now| {
            now.services
                .values()
                .any(|service| service.asleep && service.instances.is_empty())
        })
        .await;
    assert!(
        asleep
            .services
            .values()
            .all(|service| service.settled && service.failure.is_none())
    );
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(awake(&supervised.outputs.instances.get()), 0);
    supervised
        .traffic
        .awaited
        .lock()
        .unwrap()
        .insert("sleepy".parse().unwrap());
    let now = supervised
        .until(|now| {
            now.services
                .values()
                .any(|service| service.settled && !service.asleep)
        })
        .await;
    assert_eq!(awake(&now), 2);
}

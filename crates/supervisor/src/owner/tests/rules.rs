//! What starts or replaces an instance by a rule of its workload.

use std::time::Duration;

use hythe_model::workload::{HealthCheck, Probe, Watch};
use hythe_model::{InstanceState, Instances};

use super::fakes::FakeRuntime;
use super::{Supervised, find, workload};

impl Supervised {
    async fn until_noted(&self, note: &str) {
        while !self.notes().iter().any(|noted| noted == note) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Until the only instances are these, and ready.
    async fn until_only(&self, ids: &[&str]) {
        let only = |now: &Instances| {
            let units = now.services.values().flat_map(|service| &service.instances);
            let ready = |id: &str| find(now, id).is_some_and(|unit| unit.state == InstanceState::Ready);
            units.count() == ids.len() && ids.iter().all(|id| ready(id))
        };
        self.until(only).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_hangs_is_killed_if_it_must_be_and_started_again() {
    let supervised = Supervised::new(FakeRuntime::new(&[]));
    let mut users = workload(1, "a");
    users.liveness = Some(HealthCheck {
        probe: Probe::Command(vec!["/bin/alive".to_owned()]),
        interval_ms: 1_000,
        timeout_ms: 500,
        retries: 3,
        start_period_ms: 0,
        start_interval_ms: 0,
    });
    let generation = supervised.want("users", Some(users));
    supervised.until_settled("users", generation).await;
    supervised.runtime.make_deaf("users-1");
    supervised.runtime.make_hang("users-1");
    let restarted = |now: &Instances| find(now, "users-1").is_some_and(|unit| unit.restarts == 1);
    supervised.until(restarted).await;
    let unit = supervised.until_state("users-1", InstanceState::Ready).await;
    let why = "hangs: the health check command failed: cannot reach the database";
    assert_eq!(
        (unit.cause.as_deref(), unit.last_exit.unwrap().signal),
        (Some(why), Some(9))
    );
    let notes = supervised.notes();
    let from = notes.iter().position(|note| note.contains("hangs")).unwrap();
    assert_eq!(
        notes[from..from + 4],
        [
            format!("users-1: {why}: started again"),
            "users-1: stopping to be started again, signal 15".to_owned(),
            "users-1: killed, it did not stop in time".to_owned(),
            format!("users-1: ended: {why}, restarting"),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_leaks_is_replaced() {
    let supervised = Supervised::new(FakeRuntime::new(&[]));
    let mut users = workload(2, "a");
    users.memory_restart_bytes = Some(300 << 20);
    let generation = supervised.want("users", Some(users));
    supervised.until_settled("users", generation).await;
    supervised.runtime.use_memory("users-2", 310 << 20);
    supervised.until_only(&["users-1", "users-3"]).await;
    supervised
        .until_noted("users-2: uses 310.0M, more than 300.0M: replaced")
        .await;
    let now = supervised.outputs.instances.get();
    let unit = find(&now, "users-3").unwrap();
    assert_eq!((unit.slot, unit.restarts), (1, 0));
    assert_eq!(unit.cause.as_deref(), Some("uses 310.0M, more than 300.0M"));
}

#[tokio::test(start_paused = true)]
async fn a_changed_file_replaces_every_instance_and_a_failure_keeps_the_old() {
    let folder = tempfile::tempdir().unwrap();
    let supervised = Supervised::new(FakeRuntime::new(&[]));
    let mut users = workload(2, "a");
    users.working_dir = folder.path().to_owned();
    users.watch = Some(Watch::default());
    let generation = supervised.want("users", Some(users));
    supervised.until_settled("users", generation).await;
    let path = folder.path().join("app.js");
    // The folder may not be watched yet when the service is ready.
    while !supervised
        .notes()
        .iter()
        .any(|note| note.ends_with("app.js changed: replaced"))
    {
        std::fs::write(&path, "").unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    supervised.until_only(&["users-3", "users-4"]).await;
    supervised.runtime.make_stillborn("users", true);
    std::fs::write(&path, "").unwrap();
    let failed = |now: &Instances| now.services.values().next().unwrap().failure.is_some();
    supervised.until(failed).await;
    supervised.until_only(&["users-3", "users-4"]).await;
    supervised.runtime.make_stillborn("users", false);
    std::fs::write(&path, "").unwrap();
    let replaced = |now: &Instances| !failed(now) && now.services.values().all(|users| users.settled);
    supervised.until(replaced).await;
    assert!(find(&supervised.outputs.instances.get(), "users-3").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_cron_expression_replaces_what_runs_each_time_it_comes_due() {
    let supervised = Supervised::new(FakeRuntime::new(&[]));
    let mut users = workload(1, "a");
    users.cron_restart = Some("* * * * * *".to_owned());
    supervised.want("users", Some(users.clone()));
    supervised.until(|now| find(now, "users-4").is_some()).await;
    assert!(
        supervised
            .notes()
            .contains(&"users-2: cron `* * * * * *`: replaced".to_owned())
    );
    users.stopped = true;
    let generation = supervised.want("users", Some(users));
    supervised.until_settled("users", generation).await;
    let started = supervised.runtime.count("start");
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(supervised.runtime.count("start"), started, "it stays stopped");
}

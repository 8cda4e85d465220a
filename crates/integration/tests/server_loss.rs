//! The server is killed while everything goes on, and another one takes over.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use hythe_testkit::http_client::get;
use hythe_testkit::process_table::{is_alive, signal};
use hythe_testkit::wait::until;
use rustix::process::Signal;

use crate::world::{ECHO_MANIFEST, alone, example, is_ready, load, none_failed, up};

#[test]
fn the_next_server_takes_over_and_nobody_is_refused_meanwhile() {
    let _turn = alone();
    let home = example();
    home.ok(&["up", "-d"]);
    let gateway = home.gateway();
    let load = Hammer::start(gateway, "/users");
    until("there is load", || load.answered() > 50);
    load.stop();
    let before = everything(&home);
    let (server, minder) = (home.status().server.pid, home.status().minder.pid);

    home.kill_server();
    // From here on there is no server: connections wait in the kernel.
    let hammer = Hammer::start(gateway, "/users");
    let waiting: Vec<_> = (0..20)
        .map(|_| thread::spawn(move || get(gateway, "/users")))
        .collect();
    for (service, pids) in &before {
        assert!(pids.iter().all(|pid| is_alive(*pid)), "{service} goes on");
    }
    let said = home.ok(&["up", "-d"]);
    assert!(said.contains("nothing to change"), "{said}");
    for request in waiting {
        assert_eq!(request.join().unwrap().unwrap().status, 200);
    }
    until("there is load again", || hammer.answered() > 50);
    println!("{} requests over the loss of the server", hammer.stop());

    assert_eq!(everything(&home), before, "the same processes, each once");
    assert_ne!(home.status().server.pid, server);
    assert_eq!(home.status().minder.pid, minder);
    assert_eq!(home.gateway(), gateway);
    for name in before.keys() {
        assert!(is_ready(&home.service(name)), "{name}");
        assert!(home.instances(name).iter().all(|instance| instance.restarts == 0));
    }
}

#[test]
fn a_server_that_dies_is_started_again_and_one_that_is_told_to_end_is_not() {
    let _turn = alone();
    let home = up(ECHO_MANIFEST);
    let (gateway, before) = (home.gateway(), home.pids("echo"));
    for _ in 0..3 {
        home.kill_server();
        let killed = Instant::now();
        let hammer = Hammer::start(gateway, "/");
        until("another server serves", || hammer.answered() > 0);
        println!("served again {:?} after the server was killed", killed.elapsed());
        until("there is load", || hammer.answered() > 50);
        hammer.stop();
    }
    assert_eq!(home.pids("echo"), before, "the same processes");

    let told = home.status().server.pid;
    signal(told, Signal::TERM);
    until("it has ended", || !is_alive(told));
    let said = home.ok(&["server", "start"]);
    assert!(said.contains("server started"), "{said}");
    home.ok(&["server", "stop", "--with-services"]);
    home.await_nothing_left();
}

#[test]
fn a_server_that_cannot_start_again_can_be_stopped_all_the_same() {
    let _turn = alone();
    let home = up(ECHO_MANIFEST);
    let server = home.status().server.pid;
    // What it finds at its next start.
    let store = home.path().join("store.db");
    std::fs::remove_file(&store).unwrap();
    std::fs::create_dir(&store).unwrap();
    signal(server, Signal::KILL);
    until("it was tried again, in vain", || {
        let said = std::fs::read_to_string(home.path().join("run/minder.log")).unwrap();
        said.matches("started again").count() > 2
    });
    let refused = home.run(&["server", "stop"]);
    assert!(refused.stderr.contains("2 children are running"), "{refused:?}");
    home.ok(&["server", "stop", "--with-services"]);
    home.await_nothing_left();
}

#[test]
fn what_ended_meanwhile_is_known_afterwards() {
    let home = up(ECHO_MANIFEST);
    let before = home.instances("echo");
    home.kill_server();
    let gone = before[0].pid.unwrap();
    signal(gone, Signal::KILL);
    until("it is gone", || !is_alive(gone));
    home.ok(&["up", "-d"]);
    let after = home.await_service("echo", "is whole again", |service| {
        is_ready(service) && service.instances.iter().any(|instance| instance.restarts == 1)
    });
    let of = |id: &str| after.instances.iter().find(|instance| instance.id == id).unwrap();
    assert_eq!(of(&before[0].id).restarts, before[0].restarts + 1);
    assert_eq!(of(&before[0].id).last_exit.and_then(|exit| exit.signal), Some(9));
    assert_eq!(
        (of(&before[1].id).pid, of(&before[1].id).restarts),
        (before[1].pid, 0)
    );
}

#[test]
fn a_change_begun_before_the_loss_is_finished_after_it() {
    let home = up(ECHO_MANIFEST);
    home.ok(&["scale", "echo=4", "--no-wait"]);
    home.kill_server();
    home.ok(&["server", "start"]);
    home.await_service("echo", "has four", |service| {
        is_ready(service) && service.ready == 4
    });
    let addresses: std::collections::BTreeSet<_> = home
        .instances("echo")
        .into_iter()
        .filter_map(|instance| instance.address)
        .collect();
    assert_eq!(addresses.len(), 4);
    let nodes = home
        .processes()
        .into_iter()
        .filter(|process| process.command.ends_with("echo.js"));
    assert_eq!(nodes.count(), 4, "none was started twice");
}

#[test]
fn an_update_cut_off_by_the_loss_is_finished_without_losing_a_request() {
    let _turn = alone();
    let home = up(ECHO_MANIFEST);
    let gateway = home.gateway();
    let before = home.pids("echo");
    home.ok(&["restart", "echo", "--no-wait"]);
    home.await_service("echo", "is being replaced", |service| {
        service
            .instances
            .iter()
            .any(|one| one.pid.is_some_and(|pid| !before.contains(&pid)))
    });
    home.kill_server();
    let hammer = Hammer::start(gateway, "/");
    home.ok(&["server", "start"]);
    home.await_service("echo", "is replaced", |service| {
        is_ready(service)
            && service.ready == 2
            && !service
                .instances
                .iter()
                .any(|one| one.pid.is_some_and(|pid| before.contains(&pid)))
    });
    until("there is load", || hammer.answered() > 50);
    hammer.stop();
    until("the old ones are gone", || {
        !before.iter().any(|pid| is_alive(*pid))
    });
}

#[test]
fn a_server_told_to_end_finishes_requests_and_leaves_services_running() {
    let _turn = alone();
    let home = up(ECHO_MANIFEST);
    let gateway = home.gateway();
    let before = home.pids("echo");
    let slow = thread::spawn(move || get(gateway, "/?ms=1500"));
    home.await_service("echo", "has a request in flight", |service| {
        service.instances.iter().any(|instance| instance.in_flight > 0)
    });
    let hammer = Hammer::start(gateway, "/");
    until("there is load", || hammer.answered() > 50);
    let pid = home.status().server.pid;
    signal(pid, Signal::TERM);
    until("it has ended", || !is_alive(pid));
    assert_eq!(slow.join().unwrap().unwrap().status, 200);
    let seen = hammer.answered();
    home.ok(&["server", "start"]);
    until("there is load again", || hammer.answered() > seen + 50);
    hammer.stop();
    assert_eq!(home.pids("echo"), before);
}

#[test]
fn load_goes_on_after_a_loss() {
    let _turn = alone();
    let home = up(ECHO_MANIFEST);
    home.kill_server();
    home.ok(&["up", "-d"]);
    let load = load(&home);
    none_failed(&load, "after the loss of the server");
    assert_eq!(load.stop().failures, [] as [String; 0]);
}

#[test]
fn a_lost_minder_ends_its_services_and_they_are_started_again() {
    let home = up(ECHO_MANIFEST);
    let before = home.pids("echo");
    let minder = home.status().minder.pid.unwrap();
    signal(minder, Signal::KILL);
    home.await_service("echo", "runs again", |service| {
        is_ready(service)
            && service
                .instances
                .iter()
                .all(|one| one.pid.is_some_and(|pid| !before.contains(&pid)))
    });
    assert!(before.iter().all(|pid| !is_alive(*pid)), "none runs twice");
    assert_ne!(home.status().minder.pid, Some(minder));
    until("it is served", || home.get("/").status == 200);
}

fn everything(home: &hythe_testkit::home::Home) -> BTreeMap<String, Vec<u32>> {
    let services = home.services().into_iter().map(|service| service.name);
    services.map(|name| (name.clone(), home.pids(&name))).collect()
}

/// Clients that open a connection for every request, as fast as they can.
pub(crate) struct Hammer {
    over: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Hammer {
    pub(crate) fn start(gateway: SocketAddr, path: &'static str) -> Self {
        let (over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let client = |_| {
            let (over, answered) = (Arc::clone(&over), Arc::clone(&answered));
            thread::spawn(move || strike(gateway, path, &over, &answered))
        };
        let clients = (0..4).map(client).collect();
        Self {
            over,
            answered,
            clients,
        }
    }

    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// How many were answered; all of them with 200.
    #[track_caller]
    pub(crate) fn stop(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        let failures: Vec<String> = self
            .clients
            .into_iter()
            .flat_map(|client| client.join().unwrap())
            .collect();
        assert!(failures.is_empty(), "{failures:#?}");
        self.answered.load(Ordering::Relaxed)
    }
}

fn strike(gateway: SocketAddr, path: &str, over: &AtomicBool, answered: &AtomicU64) -> Vec<String> {
    let mut failures = Vec::new();
    while !over.load(Ordering::Relaxed) {
        match get(gateway, path) {
            Ok(answer) if answer.status == 200 => {
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Ok(answer) => failures.push(format!("{} {}", answer.status, answer.body)),
            Err(error) => failures.push(error.to_string()),
        }
        if failures.len() > 20 {
            break;
        }
    }
    failures
}

//! What is changed under load: no request may be lost. The clients never try twice.

use std::collections::BTreeSet;

use hythe_testkit::home::Home;
use hythe_testkit::process_table::signal;
use hythe_testkit::wait::until;
use rustix::process::Signal;

use crate::world::{ECHO_MANIFEST, alone, gets, is_ready, load, none_failed, up};

#[test]
fn nothing_is_lost_to_a_kill_a_scale_a_restart_and_an_update() {
    let _turn = alone();
    let home = up(ECHO_MANIFEST);
    let load = load(&home);
    none_failed(&load, "undisturbed");

    let killed = home.pids("echo")[0];
    assert!(signal(killed, Signal::KILL));
    home.await_service("echo", "has a new process", |service| {
        is_ready(service)
            && service
                .instances
                .iter()
                .all(|instance| instance.pid != Some(killed))
    });
    none_failed(&load, "kill -9 of an instance");

    home.ok(&["scale", "echo=4"]);
    assert!(is_ready(&home.service("echo")), "scale waits until it is live");
    none_failed(&load, "scale to 4");
    let spread = none_failed(&load, "with 4").by_instance;
    assert_eq!(spread.len(), 4, "{spread:?}");
    let total: u64 = spread.values().sum();
    for (instance, count) in &spread {
        assert!(
            count.abs_diff(total / 4) * 20 <= total / 4 + 20,
            "{instance} is out of {spread:?}"
        );
    }

    let before: BTreeSet<u32> = home.pids("echo").into_iter().collect();
    home.ok(&["restart", "echo"]);
    let after: BTreeSet<u32> = home.pids("echo").into_iter().collect();
    assert!(
        before.is_disjoint(&after) && after.len() == 4,
        "{before:?} {after:?}"
    );
    none_failed(&load, "restart");

    home.write(
        "hythe.yaml",
        &ECHO_MANIFEST.replace("VERSION: one", "VERSION: two"),
    );
    home.ok(&["up", "-d"]);
    assert_eq!(home.get("/").header("x-version"), Some("two"));
    assert_eq!(
        home.service("echo").desired,
        4,
        "a scale by hand stays until the file's own number changes"
    );
    none_failed(&load, "an update");

    home.ok(&["scale", "echo", "1"]);
    none_failed(&load, "scale to 1");
    posts_are_answered(&home, load);
}

/// Until two POSTs were made on the connection that was idle for longer than the service keeps one.
fn posts_are_answered(home: &Home, load: hythe_testkit::load::Load) {
    until("two POSTs were made", || load.tally().posts >= 2);
    let tally = load.stop();
    assert!(tally.failures.is_empty(), "{:#?}", tally.failures);
    assert!(is_ready(&home.service("echo")));
}

#[test]
fn a_version_that_does_not_start_never_gets_traffic() {
    let _turn = alone();
    let home = up(ECHO_MANIFEST);
    let old = home.pids("echo");
    let load = load(&home);
    none_failed(&load, "undisturbed");

    let broken = ECHO_MANIFEST.replace(
        "command: node echo.js",
        "command: [sh, -c, 'echo cannot open the ledger >&2; exit 3']",
    );
    home.write("hythe.yaml", &broken);
    let ran = home.run(&["up", "-d"]);
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert_eq!(ran.code, Some(4), "{ran:#?}");
    assert!(said.contains("exit code 3"), "the reason: {said}");
    assert!(
        said.contains("cannot open the ledger"),
        "the last lines of output: {said}"
    );
    none_failed(&load, "an update that fails");
    assert_eq!(home.pids("echo"), old, "the old version goes on");
    let failure = home.service("echo").failure;
    assert!(
        failure.as_ref().is_some_and(|why| why.contains("exit code 3")),
        "{failure:?}"
    );

    home.write(
        "hythe.yaml",
        &ECHO_MANIFEST.replace("VERSION: one", "VERSION: three"),
    );
    home.ok(&["up", "-d"]);
    assert_eq!(home.get("/").header("x-version"), Some("three"));
    assert_eq!(home.service("echo").failure, None);
    let tally = load.stop();
    assert!(tally.failures.is_empty(), "{:#?}", tally.failures);
    assert!(tally.gets > 0 || gets() == 0);
}

#[test]
fn a_version_that_is_never_healthy_never_gets_traffic() {
    let home = up(ECHO_MANIFEST);
    let old = home.pids("echo");
    let sick = ECHO_MANIFEST
        .replace("VERSION: one", "VERSION: two")
        .replace("http: /health", "test: 'false'")
        .replace("replicas: 2", "replicas: 2, update_config: {monitor: 1s}");
    home.write("hythe.yaml", &sick);
    let ran = home.run(&["up", "-d"]);
    assert_eq!(ran.code, Some(4), "{ran:#?}");
    for _ in 0..10 {
        assert_eq!(home.get("/").header("x-version"), Some("one"));
    }
    assert_eq!(home.pids("echo"), old);
}

#[test]
fn a_request_in_flight_ends_before_its_instance_does() {
    let home = up(ECHO_MANIFEST);
    let gateway = home.gateway();
    let slow = |number: u32| {
        std::thread::spawn(move || hythe_testkit::http_client::get(gateway, &format!("/{number}?ms=2000")))
    };
    let slow: Vec<_> = (0..4).map(slow).collect();
    home.await_service("echo", "has requests in flight everywhere", |service| {
        service.instances.iter().all(|instance| instance.in_flight == 2)
    });
    home.ok(&["scale", "echo=1"]);
    for request in slow {
        assert_eq!(request.join().unwrap().unwrap().status, 200);
    }
    assert_eq!(home.pids("echo").len(), 1);
}

//! Services that crash, again and again, and what they leave behind.

use hythe_model::InstanceState;
use hythe_testkit::process_table::{is_alive, signal};
use hythe_testkit::wait::{eventually, until};
use rustix::process::Signal;

use crate::world::{ECHO_MANIFEST, home_with, is_ready, up};

const CRASHING: &str = "\
services:
  ledger:
    command: [sh, -c, 'echo the ledger is missing; exit 3']
  steady:
    command: sleep 100000
";

#[test]
fn a_crash_loop_is_seen_slows_down_and_ends_with_a_better_file() {
    let home = home_with(CRASHING);
    let ran = home.run(&["up", "-d"]);
    assert_eq!(ran.code, Some(4), "{ran:#?}");
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert!(
        said.contains("exit code 3") && said.contains("the ledger is missing"),
        "{said}"
    );

    let ledger = home.await_service("ledger", "waits for its next try", |service| {
        service
            .instances
            .iter()
            .any(|instance| instance.state == InstanceState::Backoff && instance.restarts >= 2)
    });
    let instance = &ledger.instances[0];
    let exit = instance.last_exit.unwrap();
    assert_eq!((exit.code, exit.signal), (Some(3), None));
    assert!(
        instance
            .message
            .as_ref()
            .is_some_and(|why| why.contains("exit code 3")),
        "{instance:#?}"
    );
    for verb in [&["ls"][..], &["describe", "ledger"]] {
        until("it is shown", || {
            let shown = home.ok(verb);
            shown.contains("backoff") && shown.contains("exit code 3")
        });
    }
    assert!(
        home.service("ledger")
            .failure
            .is_some_and(|why| why.contains("keeps ending"))
    );
    let steady = home.pids("steady");
    assert_eq!(steady.len(), 1, "the others run");

    home.write("hythe.yaml", &CRASHING.replace("exit 3", "exec sleep 100000"));
    home.ok(&["up", "-d"]);
    assert!(is_ready(&home.service("ledger")));
    assert_eq!(home.pids("steady"), steady);
}

#[test]
fn a_program_that_does_not_exist_is_named() {
    let home = home_with("services: {ledger: {command: no-such-program --serve}}\n");
    let ran = home.run(&["up", "-d"]);
    assert_eq!(ran.code, Some(4), "{ran:#?}");
    assert!(
        format!("{}{}", ran.stdout, ran.stderr).contains("no-such-program"),
        "{ran:#?}"
    );
    assert!(home.ok(&["describe", "ledger"]).contains("no-such-program"));
}

#[test]
fn a_killed_instance_is_restarted_and_keeps_its_name() {
    let home = up(ECHO_MANIFEST);
    let before = home.instances("echo");
    let killed = &before[0];
    signal(killed.pid.unwrap(), Signal::KILL);
    let after = home.await_service("echo", "is restarted", |service| {
        is_ready(service) && service.instances.iter().any(|instance| instance.restarts == 1)
    });
    let restarted = after
        .instances
        .iter()
        .find(|instance| instance.restarts == 1)
        .unwrap();
    assert_eq!((&restarted.id, restarted.slot), (&killed.id, killed.slot));
    assert_eq!(restarted.last_exit.and_then(|exit| exit.signal), Some(9));
    let other = after
        .instances
        .iter()
        .find(|instance| instance.id == before[1].id)
        .unwrap();
    assert_eq!(other.pid, before[1].pid);
}

#[test]
fn an_unhealthy_instance_gets_no_traffic() {
    let home = up(ECHO_MANIFEST);
    home.write("unhealthy", "");
    home.await_service("echo", "is unhealthy", |service| {
        service
            .instances
            .iter()
            .all(|instance| instance.state == InstanceState::Unhealthy)
    });
    until("nobody is asked", || home.get("/").status == 503);
    std::fs::remove_file(home.folder().join("unhealthy")).unwrap();
    home.await_service("echo", "is ready again", is_ready);
    until("somebody is asked", || home.get("/").status == 200);
}

#[test]
fn what_an_instance_started_ends_with_it() {
    let family = "\
services:
  family:
    command: [sh, -c, 'sleep 100001 & sleep 100002 & wait']
";
    let home = up(family);
    let named = |name: &str| {
        let processes = home.processes();
        processes
            .into_iter()
            .find(|process| process.command == format!("sleep {name}"))
    };
    let child = eventually("the first grandchild", || named("100001"));
    eventually("the second grandchild", || named("100002"));

    signal(home.pids("family")[0], Signal::KILL);
    until("the old family is gone", || !is_alive(child.pid));
    home.await_service("family", "runs again", is_ready);
    eventually("the next generation", || named("100001"));

    home.ok(&["stop", "family"]);
    until("nobody sleeps", || {
        named("100001").is_none() && named("100002").is_none()
    });
}

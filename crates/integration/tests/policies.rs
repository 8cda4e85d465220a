//! What starts an instance again or replaces it although nobody asked: exits, memory, hanging, changed files, times.

use std::fs;
use std::net::SocketAddr;

use hythe_model::InstanceState;
use hythe_testkit::home::Home;
use hythe_testkit::http_client;
use hythe_testkit::wait::until;

use crate::world::{ECHO, alone, home_with, is_ready, load, none_failed};

const UNRULY: &str = include_str!("../services/unruly.js");

fn manifest(service: &str) -> String {
    format!(
        "\
services:
  echo:
    port: 3000
{service}
routes:
  - {{name: all, service: echo, paths: [/], strip_path: false}}
"
    )
}

/// A service of these lines, applied and live.
fn up(service: &str) -> Home {
    let home = home_with(&manifest(service));
    home.write("unruly.js", UNRULY);
    home.ok(&["up", "-d"]);
    home
}

/// Asks one instance, not the gateway.
fn ask(home: &Home, instance: &str, path: &str) {
    let instances = home.instances("echo");
    let instance = instances.iter().find(|other| other.id == instance).unwrap();
    let address: SocketAddr = instance.address.as_ref().unwrap().parse().unwrap();
    assert_eq!(http_client::get(address, path).unwrap().status, 200);
}

#[test]
fn an_instance_that_leaks_is_replaced_and_no_request_is_lost() {
    let _turn = alone();
    let home = up("    command: node unruly.js
    max_memory_restart: 150M
    deploy: {replicas: 2}");
    let load = load(&home);
    none_failed(&load, "undisturbed");
    ask(&home, "echo-1", "/leak");
    let service = home.await_service("echo", "has replaced it", |service| {
        is_ready(service) && service.instances.iter().all(|instance| instance.id != "echo-1")
    });
    none_failed(&load, "a leak");
    load.stop();
    let mut ids: Vec<&str> = service.instances.iter().map(|instance| &*instance.id).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["echo-2", "echo-3"]);
    let logs = home.ok(&["logs", "echo", "-n", "1000"]);
    assert!(logs.contains("more than 150.0M: replaced"), "{logs}");
    let described = home.ok(&["describe", "echo"]);
    assert!(described.contains("replaced above 150.0M"), "{described}");
    assert!(described.contains("because"), "{described}");
}

#[test]
fn an_instance_that_hangs_is_killed_and_started_again() {
    let home = up("    command: node unruly.js
    stop_grace_period: 500ms
    liveness: {http: /, interval: 200ms, timeout: 300ms, retries: 2}");
    ask(&home, "echo-1", "/hang");
    let service = home.await_service("echo", "is there again", |service| {
        is_ready(service) && service.instances[0].restarts == 1
    });
    let instance = &service.instances[0];
    assert_eq!(instance.cause.as_deref(), Some("hangs: no answer within 300ms"));
    assert_eq!(
        instance.last_exit.unwrap().signal,
        Some(9),
        "it could not end by itself"
    );
    let described = home.ok(&["describe", "echo"]);
    assert!(described.contains("hangs: no answer within 300ms"), "{described}");
    assert_eq!(home.get("/").status, 200);
}

#[test]
fn an_exit_with_a_final_code_is_final() {
    let home = up("    command: [sh, -c, 'exit 3']
    restart: always
    stop_exit_codes: [3, 4]");
    let service = home.await_service("echo", "has ended", |service| service.settled);
    let instance = &service.instances[0];
    assert_eq!((instance.state, instance.restarts), (InstanceState::Completed, 0));
    assert_eq!(service.failure, None);
}

/// How many folders the server watches.
fn watched_folders(home: &Home) -> usize {
    let fds = format!("/proc/{}/fdinfo", home.status().server.pid);
    let texts = fs::read_dir(fds)
        .unwrap()
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
    texts.map(|text| text.matches("inotify wd:").count()).sum()
}

#[test]
fn a_changed_file_replaces_all_instances_and_what_is_broken_never_gets_traffic() {
    let _turn = alone();
    let service = "    command: node echo.js
    watch: {paths: ., extensions: js}
    deploy: {replicas: 2}";
    let home = up(service);
    let version = |number: &str| ECHO.replace("|| 'none'", &format!("|| '{number}'"));
    until("the folder is watched", || watched_folders(&home) == 1);
    let load = load(&home);
    none_failed(&load, "undisturbed");

    home.write("notes.txt", "not a program");
    home.write("echo.js", &version("two"));
    let all = |cause: &'static str| {
        home.await_service("echo", cause, |service| {
            let instances = &service.instances;
            is_ready(service)
                && instances
                    .iter()
                    .all(|instance| instance.cause.as_deref() == Some(cause))
        })
    };
    all("echo.js changed");
    assert_eq!(home.get("/").header("x-version"), Some("two"));
    none_failed(&load, "a changed file");

    home.write("echo.js", "this is not JavaScript");
    home.await_service("echo", "has refused it", |service| {
        service.failure.is_some() && service.instances.len() == 2
    });
    assert_eq!(home.get("/").header("x-version"), Some("two"));
    none_failed(&load, "a broken file");
    home.write("echo.js", &version("three"));
    home.await_service("echo", "has taken the better one", |service| {
        is_ready(service) && service.failure.is_none()
    });
    assert_eq!(home.get("/").header("x-version"), Some("three"));
    none_failed(&load, "a better file");
    load.stop();

    home.write(
        "hythe.yaml",
        &manifest(&service.replace("{paths: ., extensions: js}", "false")),
    );
    home.ok(&["up", "-d"]);
    until("nothing is watched any more", || watched_folders(&home) == 0);
}

#[test]
fn cron_replaces_what_runs_and_starts_nothing_that_is_stopped() {
    let _turn = alone();
    let home = up("    command: node echo.js
    cron_restart: '* * * * * *'");
    let load = load(&home);
    home.await_service("echo", "was replaced three times", |service| {
        service
            .instances
            .iter()
            .any(|instance| instance.id == "echo-4" && instance.state == InstanceState::Ready)
    });
    none_failed(&load, "three times");
    load.stop();
    home.ok(&["stop", "echo"]);
    let stopped = home.service("echo");
    assert!(stopped.stopped && stopped.instances.is_empty(), "{stopped:#?}");
    home.ok(&["start", "echo"]);
    let logs = home.ok(&["logs", "echo", "-n", "1000"]);
    assert!(logs.contains("cron `* * * * * *`: replaced"), "{logs}");
}

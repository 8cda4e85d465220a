//! Ending services, projects and the platform.

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use hythe_model::InstanceState;
use hythe_testkit::process_table::is_alive;
use rustix::process::Signal;

use crate::world::{ECHO_MANIFEST, example, home_with, is_ready, up};

#[test]
fn a_stopped_service_stays_stopped_until_it_is_started() {
    let home = example();
    home.ok(&["up", "-d"]);
    let web = home.pids("web");
    home.ok(&["stop", "phones"]);
    let phones = home.service("phones");
    assert!(phones.stopped && phones.instances.is_empty(), "{phones:#?}");
    assert_eq!(home.get("/users").header("x-phone-numbers"), Some("unavailable"));
    assert_eq!(home.get("/phones").status, 503);
    assert!(home.ok(&["ls"]).contains("stopped"));
    home.kill_server();
    home.ok(&["up", "-d"]);
    assert!(
        home.service("phones").instances.is_empty(),
        "nor does an unchanged file start it"
    );

    home.ok(&["start", "phones"]);
    assert!(is_ready(&home.service("phones")));
    assert_eq!(home.get("/phones").status, 200);
    assert_eq!(home.pids("web"), web);
}

#[test]
fn down_removes_a_project_and_leaves_the_server() {
    let home = up(ECHO_MANIFEST);
    let pids = home.pids("echo");
    home.ok(&["down"]);
    assert_eq!(home.services(), []);
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
    assert_eq!(home.get("/").status, 404);
    let again = home.run(&["down"]);
    assert!(matches!(again.code, Some(0 | 3)), "{again:#?}");
    home.ok(&["up", "-d"]);
    assert!(is_ready(&home.service("echo")));
}

#[test]
fn down_all_removes_every_project() {
    let home = up(ECHO_MANIFEST);
    home.write(
        "shop/hythe.yaml",
        "name: shop\nservices: {till: {command: sleep 100000}}\n",
    );
    home.ok(&["up", "-d", "shop"]);
    assert_eq!(home.services().len(), 2);
    home.ok(&["down", "--all"]);
    assert_eq!(home.services(), []);
    assert!(
        !home
            .processes()
            .iter()
            .any(|process| process.command.starts_with("sleep"))
    );
}

#[test]
fn the_server_does_not_stop_while_services_run_unless_told() {
    let home = up(ECHO_MANIFEST);
    let (server, pids) = (home.status().server.pid, home.pids("echo"));
    let refused = home.run(&["server", "stop"]);
    assert_ne!(refused.code, Some(0), "{refused:#?}");
    assert!(
        refused.stderr.contains("echo") && refused.stderr.contains("--with-services"),
        "{refused:#?}"
    );
    assert_eq!((home.status().server.pid, home.pids("echo")), (server, pids));

    home.ok(&["server", "stop", "--with-services"]);
    home.await_nothing_left();
    let gone = home.run(&["ls"]);
    assert!(gone.code != Some(0) && !gone.stderr.is_empty(), "{gone:#?}");

    // What should run is not forgotten.
    home.ok(&["server", "start"]);
    home.await_service("echo", "runs again", is_ready);
}

#[test]
fn a_second_interrupt_does_not_wait_for_anybody() {
    let stubborn = "\
services:
  stubborn:
    command: [sh, -c, \"trap '' TERM; while :; do sleep 0.1; done\"]
    stop_grace_period: 10m
";
    let home = home_with(stubborn);
    let mut up = home.spawn(&["up"]);
    up.await_line("hythe restart");
    up.signal(Signal::INT);
    home.await_service("stubborn", "was asked to stop", |service| {
        service
            .instances
            .iter()
            .all(|instance| instance.state == InstanceState::Stopping)
    });
    up.signal(Signal::INT);
    up.wait();
    home.await_nothing_left();
}

#[test]
fn what_does_not_stop_in_its_grace_period_is_killed() {
    let home = home_with(
        "services: {stubborn: {command: [sh, -c, \"trap '' TERM; while :; do sleep 0.1; done\"], stop_grace_period: 1s}}\n",
    );
    home.ok(&["up", "-d"]);
    let pid = home.pids("stubborn")[0];
    home.ok(&["stop", "stubborn"]);
    assert!(!is_alive(pid));
    home.ok(&["server", "stop"]);
    home.await_nothing_left();
}

#[test]
fn a_port_that_is_taken_is_named_and_nothing_is_left() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for variable in ["HYTHE_PROXY_LISTEN", "HYTHE_API_LISTEN"] {
        let mut home = home_with(ECHO_MANIFEST);
        home.set(variable, &address);
        let ran = home.run(&["up", "-d"]);
        assert_ne!(ran.code, Some(0), "{variable}: {ran:#?}");
        assert!(ran.stderr.contains(&address), "{variable}: {ran:#?}");
        home.await_nothing_left();
    }
}

#[test]
fn a_second_server_for_the_same_home_is_refused() {
    let home = up(ECHO_MANIFEST);
    let before = home.status().server.pid;
    let second = home.run(&["server", "run"]);
    assert_ne!(second.code, Some(0), "{second:#?}");
    assert_eq!(home.status().server.pid, before);
    assert_eq!(home.get("/").status, 200);
    home.ok(&["server", "start"]);
    assert_eq!(
        home.status().server.pid,
        before,
        "starting what runs changes nothing"
    );
}

#[test]
fn a_service_manager_is_told_when_the_server_serves_and_stops() {
    let mut home = home_with(ECHO_MANIFEST);
    let socket = home.path().with_file_name("notify");
    let told = UnixDatagram::bind(&socket).unwrap();
    told.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    home.set("NOTIFY_SOCKET", socket.to_str().unwrap());
    let next = || {
        let mut words = [0; 32];
        let length = told.recv(&mut words).unwrap();
        String::from_utf8_lossy(&words[..length]).into_owned()
    };
    let mut server = home.spawn(&["server", "run"]);
    assert_eq!(next(), "READY=1");
    assert_eq!(home.get("/").status, 404, "it serves, and has no route");
    server.signal(Signal::TERM);
    assert_eq!(next(), "STOPPING=1");
    assert!(server.wait().success());
    home.ok(&["server", "stop"]);
    home.await_nothing_left();
}

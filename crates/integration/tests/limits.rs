//! What instances may use, and that they end with all they started. By a kernel's control groups as root; without
//! privileges, by what is told instead and by looking for processes.
//!
//! On machines of today these are groups of version 1 or 2, whichever the kernel has mounted with controllers.

use hythe_testkit::control_groups::{groups_of, read_all};
use hythe_testkit::home::Home;
use hythe_testkit::process_table::is_alive;
use hythe_testkit::wait::until;
use rustix::process::geteuid;

const LIMITED: &str = "\
services:
  NAME:
    command: [python3, PROGRAM.py]
    restart: \"no\"
    deploy: {resources: {limits: {LIMIT}}}
";

fn limited(home: &Home, name: &str, program: &str, limit: &str) {
    home.write(&format!("{name}.py"), program);
    let manifest = LIMITED.replace("NAME", name).replace("PROGRAM", name);
    home.write("hythe.yaml", &manifest.replace("LIMIT", limit));
}

fn leaves_nothing(home: &Home) {
    home.ok(&["server", "stop", "--with-services"]);
    home.await_nothing_left();
    let groups = groups_of(&home.path());
    assert!(groups.is_empty(), "{groups:?}");
}

#[test]
fn who_uses_more_memory_than_allowed_is_killed_and_reported() {
    if !geteuid().is_root() {
        return limits_that_nobody_enforces_are_told();
    }
    let home = Home::new();
    let program = "import time\ntime.sleep(0.2)\nx = bytearray(256 << 20)\ntime.sleep(1000)\n";
    limited(&home, "eater", program, "memory: 64M");
    let ran = home.run(&["up", "-d"]);
    let why = "killed: over its memory limit of 64M";
    assert_eq!(ran.code, Some(4), "{ran:#?}");
    assert!(format!("{}{}", ran.stdout, ran.stderr).contains(why), "{ran:#?}");
    let service = home.service("eater");
    assert!(service.warnings.is_empty(), "{service:#?}");
    let exit = service.instances[0].last_exit.unwrap();
    assert_eq!(
        (exit.code, exit.signal, exit.out_of_memory),
        (None, Some(9), Some(64 << 20))
    );
    for verb in [&["ls"][..], &["describe", "eater"], &["logs", "eater"]] {
        assert!(home.ok(verb).contains(why), "{verb:?}");
    }
    leaves_nothing(&home);
}

#[test]
fn limits_that_nobody_enforces_are_told() {
    let home = Home::unprivileged();
    limited(
        &home,
        "eater",
        "import time\ntime.sleep(1000)\n",
        "memory: 64M, pids: 20",
    );
    let told = "its limit of 64M memory is not enforced";
    assert!(home.ok(&["up", "-d"]).contains(told));
    assert!(home.ok(&["describe", "eater"]).contains(told));
    let warnings = home.service("eater").warnings;
    assert!(
        warnings.len() == 2 && warnings[0].starts_with(told),
        "{warnings:?}"
    );
    let change: hythe_model::view::ChangeView = home.json(&["up", "-d"]);
    assert!(
        change.warnings[0].starts_with(&format!("eater: {told}")),
        "{change:#?}"
    );
    leaves_nothing(&home);
}

/// Every process starts others, for ever.
const BOMB: &str = "\
import os, time
while True:
    try:
        os.fork()
    except OSError:
        time.sleep(0.01)
";

#[test]
fn a_fork_bomb_stays_within_its_limit_and_ends_with_its_service() {
    if !geteuid().is_root() {
        return limits_that_nobody_enforces_are_told();
    }
    let home = Home::new();
    limited(&home, "bomb", BOMB, "pids: 20");
    home.ok(&["up", "-d"]);
    let bombs = || {
        let all = home.processes().into_iter();
        all.filter(|process| process.command.contains("bomb.py"))
            .collect::<Vec<_>>()
    };
    until("it reaches its limit", || bombs().len() == 20);
    assert_eq!(read_all(&home.path(), "pids.current"), ["20\n"]);
    until("it was refused more", || {
        let events = read_all(&home.path(), "pids.events");
        events.iter().any(|events| !events.contains("max 0\n"))
    });
    home.ok(&["describe", "bomb"]);
    home.ok(&["down"]);
    assert_eq!(bombs(), []);
    leaves_nothing(&home);
}

#[test]
fn cpu_time_is_rationed() {
    if !geteuid().is_root() {
        return limits_that_nobody_enforces_are_told();
    }
    let home = Home::new();
    limited(&home, "busy", "while True:\n    pass\n", "cpus: 0.1");
    home.ok(&["up", "-d"]);
    until("it was held up", || {
        let statistics = read_all(&home.path(), "cpu.stat");
        let throttled = |line: &str| line.starts_with("nr_throttled ") && line != "nr_throttled 0";
        statistics.iter().flat_map(|text| text.lines()).any(throttled)
    });
    leaves_nothing(&home);
}

/// A daemon of the old school beside a service that serves.
const DAEMON: &str = "\
services:
  web:
    command:
      - sh
      - -c
      - \"setsid sh -c 'setsid sleep 100000 & echo $$! > daemon.new; mv daemon.new daemon' & wait; exec sleep 100000\"
";

#[test]
fn a_daemon_does_not_outlive_its_service() {
    for home in [Home::new(), Home::unprivileged()] {
        home.write("hythe.yaml", DAEMON);
        home.ok(&["up", "-d"]);
        let daemon = || std::fs::read_to_string(home.folder().join("daemon")).unwrap_or_default();
        until("it has a daemon", || !daemon().is_empty());
        let daemon: u32 = daemon().trim().parse().unwrap();
        assert!(is_alive(daemon));
        home.ok(&["down"]);
        assert!(!is_alive(daemon));
        leaves_nothing(&home);
    }
}

#[test]
fn delete_leaves_nothing_of_what_was_started() {
    for home in [Home::new(), Home::unprivileged()] {
        home.write(
            "forks.sh",
            "setsid sh -c 'setsid sleep 100000 & echo $! > daemon.new; mv daemon.new daemon' & wait; exec sleep 100000\n",
        );
        home.ok(&["start", "sh forks.sh", "--name", "forks"]);
        let daemon = || std::fs::read_to_string(home.folder().join("daemon")).unwrap_or_default();
        until("it has a daemon", || !daemon().is_empty());
        let daemon: u32 = daemon().trim().parse().unwrap();
        assert!(is_alive(daemon));
        home.ok(&["delete", "forks"]);
        assert!(!is_alive(daemon));
        leaves_nothing(&home);
    }
}

const CONFINED: &str = "\
services:
  web:
    command: [sh, -c, 'echo I am $$(id -un) in $$(id -gn) with $$(ulimit -n) files; exec sleep 100000']
    working_dir: /
    user: daemon:adm
    ulimits: {nofile: {soft: 64, hard: 128}}
    healthcheck: {test: 'test $$(id -un) = daemon'}
";

#[test]
fn a_service_is_who_it_should_be() {
    let mut homes = vec![Home::unprivileged()];
    if geteuid().is_root() {
        homes.push(Home::new());
    }
    for (privileged, home) in homes.iter().enumerate() {
        home.write("hythe.yaml", CONFINED);
        let ran = home.run(&["up", "-d"]);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        if privileged == 0 {
            assert_eq!(ran.code, Some(4), "{ran:#?}");
            assert!(said.contains("it cannot run as `daemon:adm`"), "{said}");
        } else {
            assert_eq!(ran.code, Some(0), "{ran:#?}");
            let logs = || home.ok(&["logs", "web"]);
            until("it says so", || {
                logs().contains("I am daemon in adm with 64 files")
            });
            let described = home.ok(&["describe", "web"]);
            assert!(
                described.contains("daemon:adm") && described.contains("nofile 64:128"),
                "{described}"
            );
        }
        leaves_nothing(home);
    }
}

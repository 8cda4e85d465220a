//! Another binary for a running server and minder: nothing ends, and nobody is refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::thread;

use hythe_testkit::home::{Home, hythe_binary};
use hythe_testkit::wait::until;

use crate::scaling::up_with_sleeper;
use crate::world::{ECHO_MANIFEST, alone, gets, held, load, none_failed, up};

/// The binary under test as another file.
fn copy(home: &Home, name: &str) -> PathBuf {
    let copy = home.folder().join(name);
    fs::copy(hythe_binary(), &copy).unwrap();
    copy
}

fn path(binary: &std::path::Path) -> &str {
    binary.to_str().unwrap()
}

#[test]
fn an_upgrade_under_load_loses_no_request_and_touches_no_service() {
    let _turn = alone();
    let home = up(ECHO_MANIFEST);
    let pids = home.pids("echo");
    let before = home.status();
    let load = load(&home);
    load.await_gets(gets());
    for name in ["next", "after-next"] {
        let binary = copy(&home, name);
        let said = home.ok(&["upgrade", path(&binary)]);
        assert!(said.contains("noticed nothing"), "{said}");
        assert_eq!(home.status().server.program, path(&binary));
        none_failed(&load, "an upgrade");
        assert_eq!(home.pids("echo"), pids);
    }
    // The next server supervises what runs: a change and a crash are acted upon.
    home.ok(&["restart", "echo"]);
    none_failed(&load, "a restart after upgrades");
    load.stop();
    let after = home.status();
    assert_ne!(after.server.pid, before.server.pid);
    assert_eq!(
        after.minder.pid, before.minder.pid,
        "the minder is another binary in the same process"
    );
    assert!(
        home.pids("echo").iter().all(|pid| !pids.contains(pid)),
        "only the restart replaced them"
    );
    let minder = after.minder.pid.unwrap();
    let program = fs::read_link(format!("/proc/{minder}/exe")).unwrap();
    assert_eq!(program, home.folder().join("after-next").canonicalize().unwrap());

    // It is guarded like the one before.
    home.kill_server();
    until("the minder has started it again", || {
        home.run(&["status"]).code == Some(0) && home.status().server.pid != after.server.pid
    });
    assert_eq!(
        home.status().server.program,
        path(&home.folder().join("after-next").canonicalize().unwrap())
    );
}

#[test]
fn a_request_that_wakes_a_service_is_answered_across_an_upgrade() {
    let home = up_with_sleeper("1500");
    let binary = copy(&home, "next");
    let before = home.status();
    home.await_service("sleeper", "sleeps", |service| {
        service.asleep && service.instances.is_empty()
    });
    thread::scope(|scope| {
        let woken = scope.spawn(|| home.get("/sleeper"));
        until("the request waits", || held(&home) == 1);
        home.ok(&["upgrade", path(&binary)]);
        assert_eq!(woken.join().unwrap().status, 200);
    });
    assert_ne!(home.status().server.pid, before.server.pid);
    assert_eq!(home.get("/sleeper").status, 200);
}

#[test]
fn services_keep_their_pids_and_their_logs_are_whole() {
    let home = Home::new();
    home.write(
        "counter.js",
        "let number = 0; setInterval(() => console.log(`line ${number++}`), 2);",
    );
    home.ok(&["start", "counter.js"]);
    let pids = home.pids("counter");
    for name in ["one", "two", "three"] {
        home.ok(&["upgrade", path(&copy(&home, name))]);
    }
    assert_eq!(home.pids("counter"), pids);
    home.ok(&["stop", "counter"]);
    let said = home.ok(&["logs", "counter", "-n", "100000"]);
    let numbers: Vec<u64> = said
        .lines()
        .filter_map(|line| line.split_once("line ")?.1.trim().parse().ok())
        .collect();
    let expected: Vec<u64> = (0..numbers.len() as u64).collect();
    assert!(
        numbers.len() > 100 && numbers == expected,
        "a line is lost or doubled: {said}"
    );
}

#[test]
fn a_binary_that_is_none_changes_nothing_and_one_that_does_not_serve_is_taken_back() {
    let home = up(ECHO_MANIFEST);
    let (before, pids) = (home.status(), home.pids("echo"));
    let script = |name: &str, text: &str| {
        let file = home.folder().join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        file
    };
    for (file, expected) in [
        (script("older", "#!/bin/sh\necho 0\n"), "is older"),
        (script("other", "#!/bin/sh\necho hello\n"), "no Hythe"),
        (PathBuf::from("/etc/hostname"), "cannot be run"),
    ] {
        let refused = home.run(&["upgrade", path(&file)]);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains(expected), "{refused:?}");
        assert_eq!(home.status().server.pid, before.server.pid);
    }
    assert_eq!(home.run(&["upgrade", "/no/such/file"]).code, Some(2));

    let real = hythe_binary();
    let broken = script(
        "broken",
        &format!(
            "#!/bin/sh\n[ \"$1\" = minder ] && exec {} \"$@\"\necho 'cannot serve' >&2\nexit 1\n",
            real.display()
        ),
    );
    let refused = home.run(&["upgrade", path(&broken)]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains("did not come to serve") && refused.stderr.contains("cannot serve"),
        "{refused:?}"
    );
    assert_eq!(home.status().server.program, before.server.program);
    assert_eq!(home.pids("echo"), pids);
    assert_eq!(home.get("/users/7").status, 200);
}

#[test]
fn a_server_in_the_foreground_becomes_the_other_binary_itself() {
    let home = Home::new();
    home.write("job.js", "setInterval(() => {}, 1000)");
    let mut server = home.spawn(&["server", "run"]);
    until("it serves", || home.run(&["status"]).code == Some(0));
    home.ok(&["start", "job.js"]);
    let (before, pids) = (home.status(), home.pids("job"));
    let binary = copy(&home, "next");
    home.ok(&["upgrade", path(&binary)]);
    let after = home.status();
    assert_eq!(
        (after.server.pid, after.server.program.as_str()),
        (before.server.pid, path(&binary))
    );
    assert_eq!(home.pids("job"), pids);
    home.ok(&["server", "stop", "--with-services"]);
    assert!(server.wait().success());
}

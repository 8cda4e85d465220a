//! What instances are held in, by a real kernel. Groups and other users need root; without it, what is told is tested.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::error::Error;
use std::fs;

use hythe_model::workload::{Bounds, Limits, RunAs, Ulimit};
use hythe_supervisor::runtime::{ProbeSpec, Runtime, StartSpec};
use hythe_testkit::control_groups::groups_of;
use rustix::process::geteuid;

use crate::world::{Home, Server, environment, in_time, instance, lives, shell, until};

const MEMORY: u64 = 64 << 20;

fn limited(limits: Limits, spec: StartSpec) -> StartSpec {
    StartSpec { limits, ..spec }
}

fn all() -> Limits {
    Limits {
        cpu_millis: Some(100),
        memory_bytes: Some(MEMORY),
        pids: Some(20),
        ..Limits::default()
    }
}

/// In the folder of the home, with the variable that every instance has.
fn in_home(home: &Home, spec: StartSpec) -> StartSpec {
    let mut environment = environment();
    environment.insert("HYTHE_INSTANCE".to_owned(), spec.record.id.to_string());
    StartSpec {
        working_dir: home.path().to_owned(),
        environment,
        ..spec
    }
}

async fn read(home: &Home, name: &str) -> String {
    let text = || fs::read_to_string(home.path().join(name)).unwrap_or_default();
    until(|| text().ends_with('\n')).await;
    text().trim_end().to_owned()
}

#[tokio::test]
async fn who_uses_more_memory_than_its_limit_is_killed_and_that_is_told() {
    let home = Home::new();
    let mut server = home.server().await;
    if !geteuid().is_root() {
        let told = server.runtime.unenforced(&all());
        assert!(told.len() == 3 && told[0].contains("64M memory"), "{told:?}");
        return;
    }
    assert!(server.runtime.unenforced(&all()).is_empty());
    let eater = "exec python3 -c 'x = bytearray(256 << 20)'";
    for (id, script, code, signal) in [
        ("a-1", eater.to_owned(), None, Some(9)),
        ("a-2", format!("({eater}); exit 7"), Some(7), None),
    ] {
        server
            .try_start(limited(all(), shell(id, &script)))
            .await
            .unwrap();
        let exit = server.exit_of(id).await;
        assert_eq!(
            (exit.code, exit.signal, exit.out_of_memory),
            (code, signal, Some(MEMORY))
        );
    }
    // A later server is told the same.
    server.vanish().await;
    let later = home.server().await;
    let found = later.list().await;
    assert!(
        found
            .iter()
            .all(|found| found.exit.unwrap().out_of_memory == Some(MEMORY))
    );
}

#[tokio::test]
async fn a_start_that_comes_to_nothing_leaves_no_group() {
    let home = Home::new();
    let server = home.server().await;
    let spec = StartSpec {
        command: vec!["no-such-program".to_owned()],
        ..limited(all(), shell("a-1", ""))
    };
    server.try_start(spec).await.unwrap_err();
    server.start("a-2", "exec sleep 1000").await;
    server.runtime.forget(&instance("a-2")).await.unwrap();
    assert!(groups_of(home.path()).is_empty());
}

/// Forks twice, each time with a session of its own, and outlives its parents.
const DAEMON: &str = "setsid sh -c 'setsid sleep 1000 & echo $! > daemon' & wait";

async fn start_daemon(home: &Home, server: &Server, script: &str) -> u32 {
    server
        .try_start(in_home(home, shell("a-1", script)))
        .await
        .unwrap();
    read(home, "daemon").await.parse().unwrap()
}

#[tokio::test]
async fn a_daemon_ends_with_its_instance() {
    // Whose environment tells nothing is found by its group.
    let wiped = DAEMON.replace("setsid", "env -i PATH=$PATH setsid");
    let scripts = if geteuid().is_root() {
        vec![DAEMON, &wiped]
    } else {
        vec![DAEMON]
    };
    for (script, main) in scripts
        .iter()
        .flat_map(|script| [(script, "exit 0"), (script, "exec sleep 1000")])
    {
        let home = Home::new();
        let mut server = home.server().await;
        let daemon = start_daemon(&home, &server, &format!("{script}; {main}")).await;
        if main == "exit 0" {
            server.exit_of("a-1").await;
        }
        assert!(lives(daemon));
        server.runtime.forget(&instance("a-1")).await.unwrap();
        until(|| !lives(daemon)).await;
        assert!(groups_of(home.path()).is_empty());
        // Its tasks go on with the test, and would start another minder for one that ends.
        server.vanish().await;
    }
}

#[tokio::test]
async fn a_daemon_whose_minder_was_killed_ends_with_what_it_left() {
    if !geteuid().is_root() {
        return a_daemon_without_a_group_is_ended_by_the_minder().await;
    }
    let home = Home::new();
    let mut server = home.server().await;
    let daemon = start_daemon(&home, &server, &format!("{DAEMON}; exec sleep 1000")).await;
    crate::world::kill(server.runtime.minder_pid().unwrap());
    while in_time(server.events.recv()).await.is_some() {}
    until(|| !lives(daemon)).await;
    server.list_anew().await;
}

async fn a_daemon_without_a_group_is_ended_by_the_minder() {
    let home = Home::new();
    let server = home.server().await;
    let daemon = start_daemon(&home, &server, &format!("{DAEMON}; exec sleep 1000")).await;
    server.runtime.shutdown_minder(true).await.unwrap();
    assert!(!lives(daemon));
}

#[tokio::test]
async fn a_group_is_measured_with_those_who_lost_their_parents() {
    if !geteuid().is_root() {
        return;
    }
    let home = Home::new();
    let server = home.server().await;
    let eater = "python3 -c 'import time; x = bytearray(64 << 20); open(\"daemon\", \"w\").write(\"1\\n\"); time.sleep(1000)'";
    let script = format!("(setsid {eater} &) ; exec sleep 1000");
    start_daemon(&home, &server, &script).await;
    let usage = server.runtime.usage(&instance("a-1")).unwrap();
    assert!(usage.memory_bytes > 64 << 20, "{usage:?}");
    assert!(usage.cpu_us > 0, "{usage:?}");
}

#[tokio::test]
async fn an_instance_is_the_user_it_should_be() {
    let home = Home::new();
    let server = home.server().await;
    let spec = |id: &str, user: &str, group: Option<&str>| StartSpec {
        user: Some(RunAs {
            user: user.to_owned(),
            group: group.map(str::to_owned),
        }),
        ..shell(
            id,
            "echo $(id -un):$(id -gn):$(id -G):$HOME:$USER; exec sleep 1000",
        )
    };
    for (user, group, why) in [
        ("no-such-user", None, "there is no user `no-such-user`"),
        ("root", Some("no-such-group"), "there is no group `no-such-group`"),
    ] {
        let error = server.try_start(spec("a-1", user, group)).await.unwrap_err();
        assert_eq!(error.source().unwrap().to_string(), why);
    }
    if !geteuid().is_root() {
        let error = server.try_start(spec("a-1", "root", None)).await.unwrap_err();
        let why = "it cannot run as `root`: only a Hythe that runs as root can do that";
        assert_eq!(error.source().unwrap().to_string(), why);
        return;
    }
    server.try_start(spec("a-1", "daemon", None)).await.unwrap();
    server
        .try_start(spec("a-2", "daemon", Some("adm")))
        .await
        .unwrap();
    let first_line = |id: &str| {
        let run = home
            .files("raw")
            .into_iter()
            .find(|file| file.starts_with(id) && file.contains("out"));
        run.and_then(|run| fs::read_to_string(home.path().join("raw").join(run)).ok())
            .filter(|text| text.ends_with('\n'))
    };
    for (id, line) in [
        ("a-1", "daemon:daemon:1:/usr/sbin:daemon\n"),
        ("a-2", "daemon:adm:4:/usr/sbin:daemon\n"),
    ] {
        until(|| first_line(id).is_some()).await;
        assert_eq!(first_line(id).unwrap(), line);
    }
    let probe = ProbeSpec {
        command: ["sh", "-c", "id -un; exit 1"].map(str::to_owned).into(),
        working_dir: "/".into(),
        environment: environment(),
        user: spec("a-1", "daemon", None).user,
    };
    assert_eq!(
        in_time(server.runtime.probe(probe)).await.unwrap().output,
        "daemon\n"
    );
}

#[tokio::test]
async fn resource_limits_are_those_of_the_service() {
    let home = Home::new();
    let server = home.server().await;
    let bounds = |soft, hard| Bounds {
        soft: Some(soft),
        hard: Some(hard),
    };
    let limits = Limits {
        ulimits: [(Ulimit::Nofile, bounds(64, 128)), (Ulimit::Core, bounds(0, 0))].into(),
        ..Limits::default()
    };
    assert!(server.runtime.unenforced(&limits).is_empty());
    let script = "echo $(ulimit -Sn) $(ulimit -Hn) $(ulimit -c) > limits; exec sleep 1000";
    let spec = in_home(&home, limited(limits, shell("a-1", script)));
    server.try_start(spec).await.unwrap();
    assert_eq!(read(&home, "limits").await, "64 128 0");
}

//! What a child is held in: limits, a user, groups; and what it leaves behind at the end.

use std::{fs, path::PathBuf};

use hythe_minder::{
    client::Client,
    protocol::{Bounds, ControlGroups, Limits, Refusal, Spawn, SpawnStep, Stream, User},
};
use rustix::{io::Errno, process::geteuid};

use crate::world::{World, has_ended, shell, wait_for_end};

#[test]
fn resource_limits_have_two_bounds() {
    let mut world = World::start();
    let limit = |name: &str, soft, hard| (name.to_owned(), Bounds { soft, hard });
    let spawn = Spawn {
        limits: Limits {
            descriptors: Some(100),
            resources: [
                limit("nofile", Some(64), Some(128)),
                limit("core", Some(0), Some(0)),
                limit("fsize", Some(512), None),
            ]
            .into(),
            ..Limits::default()
        },
        ..shell(
            "limited",
            "ulimit -Sn; ulimit -Hn; ulimit -c; ulimit -Sf; ulimit -Hf",
        )
    };
    world.client.spawn(spawn).unwrap();
    assert_eq!(world.output("limited", Stream::Out), "64\n128\n0\n1\nunlimited\n");
    let unknown = Spawn {
        limits: Limits {
            resources: [limit("memory", Some(1), Some(1))].into(),
            ..Limits::default()
        },
        ..shell("unknown", "exit 0")
    };
    let refusal = world.refusal(|client| client.spawn(unknown));
    assert!(matches!(refusal, Refusal::BadField { field } if field == "limits"));
}

#[test]
fn a_child_is_another_user_if_the_minder_may_say_so() {
    let mut world = World::start();
    let spawn = Spawn {
        user: Some(User {
            uid: 65_534,
            gid: 65_533,
            groups: vec![65_533, 65_532],
        }),
        cwd: "/tmp".into(),
        // By name: what it has as a descriptor it could always write to.
        ..shell(
            "nobody",
            "echo $(/usr/bin/id -u) $(/usr/bin/id -G) > /dev/stdout; exec /bin/sleep 1000",
        )
    };
    if !geteuid().is_root() {
        let refusal = world.refusal(|client| client.spawn(spawn));
        let expected = Refusal::SpawnFailed {
            step: SpawnStep::User,
            errno: Errno::PERM.raw_os_error(),
        };
        assert_eq!(refusal, expected);
        return;
    }
    let pid = world.client.spawn(spawn).unwrap().pid;
    assert_eq!(world.first_line("nobody"), "65534 65533 65532");
    // It is still told when the minder dies.
    let minder = world.client.hello().pid;
    crate::world::kill(minder, libc::SIGKILL);
    wait_for_end(pid);
}

#[test]
fn a_child_is_in_its_groups_from_the_start() {
    let mut world = World::start();
    // Folders with the one file that matters look like groups to whoever joins them.
    let folder = |name: &str| {
        let folder = world.home().join("groups").join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("cgroup.procs"), "").unwrap();
        folder
    };
    let joined: Vec<PathBuf> = ["memory", "pids"].map(folder).into();
    let spawn = Spawn {
        groups: ControlGroups {
            birthplace: None,
            joined: joined.clone(),
        },
        ..shell("member", "exit 0")
    };
    world.client.spawn(spawn.clone()).unwrap();
    assert_eq!(world.exit_of("member").code, Some(0));
    for folder in &joined {
        assert_eq!(fs::read_to_string(folder.join("cgroup.procs")).unwrap(), "0");
    }
    // What is no group of the kernel's is no place to be born in.
    let born = Spawn {
        id: "born".to_owned(),
        groups: ControlGroups {
            birthplace: Some(joined[0].clone()),
            joined: Vec::new(),
        },
        ..spawn.clone()
    };
    let refusal = world.refusal(|client| client.spawn(born));
    assert!(
        matches!(
            refusal,
            Refusal::SpawnFailed {
                step: SpawnStep::Fork,
                ..
            }
        ),
        "{refusal:?}"
    );
    let nowhere = Spawn {
        id: "nowhere".to_owned(),
        groups: ControlGroups {
            birthplace: None,
            joined: vec!["/no/such/group".into()],
        },
        ..spawn
    };
    let expected = Refusal::SpawnFailed {
        step: SpawnStep::Groups,
        errno: Errno::NOENT.raw_os_error(),
    };
    assert_eq!(world.refusal(|client| client.spawn(nowhere)), expected);
}

/// Two forks and a session of its own, as daemons do it; without a trace in its environment.
const DAEMON: &str = "env -i setsid sh -c 'env -i setsid sleep 1000 & echo $!; echo $! > \"$0\"' \"$0\"";

#[test]
fn a_forced_end_leaves_no_daemon_of_any_child() {
    let mut world = World::start();
    let note = world.home().join("daemon");
    let spawn = Spawn {
        argv: ["/bin/sh", "-c", DAEMON, &note.display().to_string()]
            .map(Into::into)
            .into(),
        env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        ..shell("parent", "")
    };
    world.client.spawn(spawn).unwrap();
    let daemon: i32 = world.first_line("parent").parse().unwrap();
    world.exit_of("parent");
    world.client.forget("parent", true).unwrap();
    assert!(!has_ended(daemon));
    let mut client = Client::connect(world.home()).unwrap();
    client.shutdown(true).unwrap();
    client.await_end().unwrap();
    assert!(has_ended(daemon));
}

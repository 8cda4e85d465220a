//! A real minder with real children.

mod binds;
mod channels;
mod confinement;
mod handover;
mod sockets;
mod world;

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::{
        fd::AsFd,
        unix::{fs::PermissionsExt, net::UnixStream},
    },
    process::{Command, Stdio},
};

use hythe_minder::{
    client::{Client, ClientError, Events, spawn_detached},
    home,
    protocol::{
        self, ChildState, Exit, Limits, PAGE_CHILDREN, Refusal, Request, Spawn, SpawnStep, Stream, VERSION,
    },
    segments::{self, SegmentReader},
};
use serde_json::json;
use world::{EXE, World, has_ended, open_descriptors, private_kib, read_from, shell, wait_for_end};

#[test]
fn exits_are_told_with_their_codes_and_signals() {
    let mut world = World::start();
    for (id, script, code, signal) in [
        ("fine", "exit 0", Some(0), None),
        ("seven", "exit 7", Some(7), None),
        ("killed", "kill -KILL $$", None, Some(libc::SIGKILL)),
        ("hung-up", "kill -HUP $$", None, Some(libc::SIGHUP)),
        ("broken-pipe", "kill -PIPE $$", None, Some(libc::SIGPIPE)),
    ] {
        let spawned = world.client.spawn(shell(id, script)).unwrap();
        let exit = world.exit_of(id);
        assert_eq!((exit.code, exit.signal), (code, signal), "{id}");
        let child = world.child(id);
        assert_eq!((child.pid, child.start_time), (spawned.pid, spawned.start_time));
        assert_eq!(child.state, ChildState::Exited(exit));
    }
    world.client.spawn(shell("asleep", "exec sleep 1000")).unwrap();
    assert_eq!(world.child("asleep").state, ChildState::Running {});
    assert_eq!(
        world.refusal(|client| client.forget("asleep", false)),
        Refusal::ChildRunning { id: "asleep".into() }
    );
    world.client.signal("asleep", libc::SIGINT, false).unwrap();
    assert_eq!(world.exit_of("asleep").signal, Some(libc::SIGINT));
    let ended = world.refusal(|client| client.signal("asleep", libc::SIGINT, false));
    assert_eq!(ended, Refusal::ChildEnded { id: "asleep".into() });
    world.client.forget("asleep", true).unwrap();
    assert_eq!(
        world.refusal(|client| client.forget("asleep", true)),
        Refusal::NoChild { id: "asleep".into() }
    );
}

#[test]
fn a_child_gets_what_was_asked_for_and_nothing_else() {
    let mut world = World::start();
    let folder = tempfile::tempdir().unwrap();
    let script = "pwd; umask; ulimit -n; echo $GREETING; env | wc -l; readlink /proc/self/fd/0; \
                  ls /proc/$$/fd; grep SigBlk /proc/self/status; cut -d' ' -f5 /proc/$$/stat; echo $$";
    let spawn = Spawn {
        cwd: folder.path().canonicalize().unwrap(),
        env: vec![("GREETING".into(), "hello there".into())],
        umask: Some(0o027),
        limits: Limits {
            descriptors: Some(123),
            ..Limits::default()
        },
        ..shell("web", script)
    };
    let spawned = world.client.spawn(spawn).unwrap();
    world.exit_of("web");
    let pid = spawned.pid;
    let cwd = folder.path().canonicalize().unwrap();
    // A shell adds PWD, and env itself counts what it got.
    let output = world.output("web", Stream::Out);
    let expected = format!(
        "{}\n0027\n123\nhello there\n2\n/dev/null\n0\n1\n2\nSigBlk:\t0000000000000000\n{pid}\n{pid}\n",
        cwd.display()
    );
    assert_eq!(output, expected);
}

#[test]
fn what_cannot_start_is_an_error_and_no_exit() {
    let mut world = World::start();
    let not_executable = world.home().join("data");
    fs::write(&not_executable, "").unwrap();
    let not_executable = not_executable.to_str().unwrap().to_owned();
    let command = |program: &str| Spawn::new("x", vec![program.into()]);
    let failures = [
        (command("/does/not/exist"), SpawnStep::Exec, libc::ENOENT),
        (command("no-such-program-anywhere"), SpawnStep::Exec, libc::ENOENT),
        (command(&not_executable), SpawnStep::Exec, libc::EACCES),
        (
            Spawn {
                cwd: "/does/not/exist".into(),
                ..command("/bin/true")
            },
            SpawnStep::Chdir,
            libc::ENOENT,
        ),
        (
            Spawn {
                limits: Limits {
                    descriptors: Some(u64::MAX - 1),
                    ..Limits::default()
                },
                ..command("/bin/true")
            },
            SpawnStep::Limits,
            libc::EPERM,
        ),
    ];
    for (spawn, step, errno) in failures {
        let refusal = world.refusal(|client| client.spawn(spawn));
        assert_eq!(refusal, Refusal::SpawnFailed { step, errno });
    }
    for (spawn, field) in [
        (Spawn::new("x", vec![]), "argv"),
        (Spawn::new("x", vec!["a\0b".into()]), "argv"),
        (
            Spawn {
                cwd: "relative".into(),
                ..command("/bin/true")
            },
            "cwd",
        ),
        (
            Spawn {
                env: vec![("A=B".into(), String::new())],
                ..command("/bin/true")
            },
            "env",
        ),
        (
            Spawn {
                segment_limit: 0,
                ..command("/bin/true")
            },
            "segment_limit",
        ),
        (
            Spawn {
                label: json!("x".repeat(protocol::MAX_LABEL)),
                ..command("/bin/true")
            },
            "label",
        ),
    ] {
        assert_eq!(
            world.refusal(|client| client.spawn(spawn)),
            Refusal::BadField { field: field.into() }
        );
    }
    let bad_name = world.refusal(|client| client.spawn(Spawn::new("../x", vec!["/bin/true".into()])));
    assert_eq!(bad_name, Refusal::BadName { name: "../x".into() });
    assert!(world.client.list().unwrap().is_empty());
    assert!(world.children_of_minder().is_empty());
}

#[test]
fn outputs_are_whole_and_told_apart() {
    let mut world = World::start();
    world
        .client
        .spawn(shell(
            "web",
            "for i in 1 2 3; do echo out $i; echo err $i >&2; done",
        ))
        .unwrap();
    assert_eq!(world.output("web", Stream::Out), "out 1\nout 2\nout 3\n");
    assert_eq!(world.output("web", Stream::Err), "err 1\nerr 2\nerr 3\n");
    assert_eq!(
        fs::metadata(home::raw_folder(world.home()))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o700
    );
}

#[test]
fn fast_output_spreads_over_segments_and_loses_nothing() {
    let mut world = World::start();
    world.client.spawn(shell("web", "exec seq 1 3000000")).unwrap();
    let expected: String = (1..=3_000_000).map(|number| format!("{number}\n")).collect();
    assert!(expected.len() > 20_000_000);
    assert!(
        world.output("web", Stream::Out) == expected,
        "every byte in its place"
    );
    let raw = home::raw_folder(world.home());
    let lengths: Vec<u64> = segments::list(&raw, "web", Stream::Out)
        .unwrap()
        .iter()
        .map(|segment| segment.len)
        .collect();
    assert_eq!(lengths[..2], [8 * 1024 * 1024; 2]);
    world
        .client
        .consumed("web", Stream::Out, expected.len() as u64)
        .unwrap();
    assert!(segments::list(&raw, "web", Stream::Out).unwrap().is_empty());
}

#[test]
fn output_that_nobody_reads_is_bounded_and_the_loss_is_counted() {
    let mut world = World::start();
    let spawn = Spawn {
        segment_limit: 1000,
        unread_limit: 3000,
        ..shell("web", "exec seq 10000 19999")
    };
    world.client.spawn(spawn).unwrap();
    world.await_closed("web", Stream::Out);
    let out = world.child("web").out;
    assert_eq!((out.end, out.start, out.dropped), (60_000, 57_000, 57_000));
    let mut reader = SegmentReader::open(&home::raw_folder(world.home()), "web", Stream::Out, 0).unwrap();
    assert!(read_from(&mut reader).starts_with("19500\n"));
    assert_eq!((reader.lost(), reader.offset()), (57_000, 60_000));
    assert_eq!(world.child("web").err.end, 0);
}

#[test]
fn a_full_disk_makes_the_child_wait_and_loses_nothing() {
    let mut world = World::start();
    let raw = home::raw_folder(world.home());
    let away = world.home().join("away");
    fs::rename(&raw, &away).unwrap();
    // Looking for old segments is refused, before anything is started.
    let refused = world.refusal(|client| client.spawn(shell("web", "echo precious")));
    assert!(matches!(
        refused,
        Refusal::Failed {
            errno: libc::ENOENT,
            ..
        }
    ));
    fs::rename(&away, &raw).unwrap();
    let gate = world.fifo("gate");
    world
        .client
        .spawn(shell(
            "web",
            &format!("read line < {}; exec seq 1 100000", gate.display()),
        ))
        .unwrap();
    fs::rename(&raw, &away).unwrap();
    fs::write(&gate, "go\n").unwrap();
    world.until_child("web", |child| child.out.stalled_errno == Some(libc::ENOENT));
    fs::rename(&away, &raw).unwrap();
    let expected: String = (1..=100_000).map(|number| format!("{number}\n")).collect();
    assert!(world.output("web", Stream::Out) == expected);
    assert_eq!(world.exit_of("web").code, Some(0));
}

#[test]
fn the_next_server_sees_all_that_happened_while_there_was_none() {
    let mut world = World::start();
    let gate = world.fifo("gate");
    let script = format!(
        "echo before; read line < {}; seq 1 200000; echo $line; exit 5",
        gate.display()
    );
    let label = json!({"service": "web", "generation": 7});
    world
        .client
        .spawn(Spawn {
            label: label.clone(),
            ..shell("web", &script)
        })
        .unwrap();
    let pid = world.child("web").pid;
    world.client.label("web", json!("replaced")).unwrap();
    world.disconnect();
    fs::write(&gate, "after\n").unwrap();
    wait_for_end(pid);
    world.reconnect();
    let exit = world.exit_of("web");
    assert_eq!((exit.code, exit.signal), (Some(5), None));
    let child = world.child("web");
    assert_eq!((child.pid, child.label), (pid, json!("replaced")));
    let output = world.output("web", Stream::Out);
    assert!(output.starts_with("before\n1\n2\n") && output.ends_with("\n200000\nafter\n"));
    world.disconnect();
    world.reconnect();
    assert_eq!(world.exit_of("web"), exit, "told again until it is forgotten");
}

#[test]
fn a_group_ends_with_its_grandchildren_also_after_the_child() {
    let mut world = World::start();
    world
        .client
        .spawn(shell("web", "sleep 1000 & echo $!; exit 3"))
        .unwrap();
    assert_eq!(
        world.exit_of("web").code,
        Some(3),
        "told although the pipe is open"
    );
    let grandchild: i32 = world.first_line("web").parse().unwrap();
    assert!(!world.child("web").out.closed);
    assert!(!has_ended(grandchild));
    world.client.signal("web", libc::SIGKILL, true).unwrap();
    wait_for_end(grandchild);
    world.await_closed("web", Stream::Out);
    world.await_reaped(grandchild);
    let ended = world.refusal(|client| client.signal("web", libc::SIGKILL, true));
    assert_eq!(ended, Refusal::ChildEnded { id: "web".into() });
}

#[test]
fn orphans_are_reaped() {
    let mut world = World::start();
    let gate = world.fifo("gate");
    let script = format!("setsid sh -c 'echo $$; read line < {}' & exit 0", gate.display());
    world.client.spawn(shell("web", &script)).unwrap();
    world.exit_of("web");
    let orphan: i32 = world.first_line("web").parse().unwrap();
    assert!(
        world.children_of_minder().contains(&orphan),
        "it came to the minder"
    );
    fs::write(&gate, "end\n").unwrap();
    world.await_reaped(orphan);
    assert!(world.children_of_minder().is_empty());
}

#[test]
fn kept_sockets_queue_connections_while_nobody_serves() {
    let mut world = World::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    world.client.keep_socket("gateway-0", &listener, false).unwrap();
    let exists = world.refusal(|client| client.keep_socket("gateway-0", &listener, false));
    assert_eq!(
        exists,
        Refusal::SocketExists {
            name: "gateway-0".into()
        }
    );
    world.client.keep_socket("gateway-0", &listener, true).unwrap();
    let file = fs::File::open("/dev/null").unwrap();
    assert_eq!(
        world.refusal(|client| client.keep_socket("null", &file, false)),
        Refusal::MissingSocket {}
    );
    drop(listener);
    world.disconnect();
    let mut visitor = TcpStream::connect(address).unwrap();
    visitor.write_all(b"anybody there?").unwrap();
    visitor.shutdown(std::net::Shutdown::Write).unwrap();
    world.reconnect();
    assert_eq!(world.client.list_sockets().unwrap(), ["gateway-0"]);
    let listener = TcpListener::from(world.client.take_socket("gateway-0").unwrap());
    let mut said = String::new();
    listener.accept().unwrap().0.read_to_string(&mut said).unwrap();
    assert_eq!(said, "anybody there?");
    world.client.drop_socket("gateway-0").unwrap();
    assert_eq!(
        world.refusal(|client| client.take_socket("gateway-0")),
        Refusal::NoSocket {
            name: "gateway-0".into()
        }
    );
    drop(listener);
    assert!(TcpStream::connect(address).is_err(), "nobody holds it any more");
}

#[test]
fn there_is_one_minder_for_a_home() {
    let world = World::start();
    let pid = world.client.hello().pid;
    let second = Command::new(EXE)
        .arg("minder")
        .arg("--home")
        .arg(world.home())
        .output()
        .unwrap();
    assert!(!second.status.success());
    let complaint = String::from_utf8(second.stderr).unwrap();
    assert!(complaint.contains("a minder runs for"), "{complaint}");
    spawn_detached(EXE.as_ref(), world.home()).unwrap();
    assert_eq!(Client::connect(world.home()).unwrap().hello().pid, pid);
    let lock = fs::read_to_string(home::lock(world.home())).unwrap();
    assert_eq!(lock, format!("{pid}\n"));
    let modes = [home::socket(world.home()), home::run_folder(world.home())]
        .map(|path| fs::metadata(path).unwrap().permissions().mode() & 0o777);
    assert_eq!(modes, [0o600, 0o700]);
}

#[test]
fn a_client_that_talks_nonsense_hurts_only_itself() {
    let mut world = World::start();
    let hello = protocol::encode(&Request::Hello { version: VERSION }).unwrap();
    let list = protocol::encode(&Request::List { after: 0 }).unwrap();
    let subscribe = protocol::encode(&Request::Subscribe { binds: true }).unwrap();
    let garbage: [(&str, Vec<u8>, Option<&str>); 6] = [
        (
            "a frame that is too long",
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            Some("malformed"),
        ),
        ("no JSON", b"\0\0\0\x03{{{".to_vec(), Some("malformed")),
        (
            "an unknown request",
            b"\0\0\0\x0c{\"dance\": {}}"[..16].to_vec(),
            Some("malformed"),
        ),
        ("no hello", list.clone(), Some("hello_first")),
        ("half a frame", hello[..7].to_vec(), None),
        (
            "a request among events",
            [hello, subscribe, list].concat(),
            Some("hello"),
        ),
    ];
    for (what, bytes, answer) in garbage {
        let mut stream = UnixStream::connect(home::socket(world.home())).unwrap();
        stream.write_all(&bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answered = Vec::new();
        // What was not read when the minder hung up makes the end a reset.
        let _ = stream.read_to_end(&mut answered);
        let answered = String::from_utf8_lossy(&answered).into_owned();
        assert_eq!(answer.is_some(), !answered.is_empty(), "{what}: {answered}");
        assert!(
            answered.contains(answer.unwrap_or_default()),
            "{what}: {answered}"
        );
        world.client.list().unwrap();
    }
    world.client.spawn(shell("web", "echo fine")).unwrap();
    assert_eq!(world.output("web", Stream::Out), "fine\n");
}

#[test]
fn descriptors_nobody_asked_for_end_the_conversation() {
    let mut world = World::start();
    let minder = world.client.hello().pid;
    world.client.list().unwrap();
    let before = open_descriptors(minder);
    let stream = UnixStream::connect(home::socket(world.home())).unwrap();
    // The beginning of a frame that never ends.
    (&stream).write_all(&[0, 1, 0, 0]).unwrap();
    let flood = (0..100).try_for_each(|_| protocol::send(&stream, b"\0", Some(stream.as_fd())).map(drop));
    // Either it was cut off while sending, or it finds the connection closed.
    assert!(flood.is_err() || matches!((&stream).read(&mut [0]), Ok(0) | Err(_)));
    world.until(|| open_descriptors(minder) == before);
}

#[test]
fn a_subscriber_that_does_not_read_holds_nobody_up() {
    let mut world = World::start();
    let lazy = Events::subscribe(world.home()).unwrap();
    let ids: BTreeSet<String> = (0..300)
        .map(|index| format!("child-{index}-{}", "x".repeat(100)))
        .collect();
    for id in &ids {
        world.client.spawn(shell(id, "echo $0")).unwrap();
    }
    for id in &ids {
        world.await_closed(id, Stream::Out);
        world.exit_of(id);
    }
    assert_eq!(world.client.list().unwrap().len(), ids.len());
    assert!(ids.len() > 2 * PAGE_CHILDREN);
    let exits: BTreeSet<String> = lazy
        .filter_map(|event| match event.unwrap() {
            protocol::Event::Exited { id, .. } => Some(id),
            protocol::Event::Output { .. }
            | protocol::Event::Bound { .. }
            | protocol::Event::Ready { .. } => None,
        })
        .take(ids.len())
        .collect();
    assert_eq!(exits, ids, "each told once");
}

#[test]
fn connections_beyond_the_bound_are_closed_and_room_is_made_again() {
    let mut world = World::start();
    // Two are the world's own.
    let clients: Vec<Client> = (2..protocol::MAX_CONNECTIONS)
        .map(|_| Client::connect(world.home()).unwrap())
        .collect();
    assert!(matches!(
        Client::connect(world.home()),
        Err(ClientError::Connection(_))
    ));
    drop(clients);
    let home = world.home().to_owned();
    world.until(|| Client::connect(&home).is_ok());
}

#[test]
fn a_shutdown_waits_for_nobody_to_run_or_ends_them_decently() {
    let mut world = World::start();
    let script = "trap 'echo bye; exit 0' TERM; echo ready; while :; do :; done";
    world.client.spawn(shell("web", script)).unwrap();
    assert_eq!(world.first_line("web"), "ready");
    assert_eq!(
        world.refusal(|client| client.shutdown(false)),
        Refusal::ChildrenRunning { running: 1 }
    );
    let mut other = Client::connect(world.home()).unwrap();
    other.shutdown(true).unwrap();
    assert_eq!(world.exit_of("web").code, Some(0));
    other.await_end().unwrap();
    let mut reader = SegmentReader::open(&home::raw_folder(world.home()), "web", Stream::Out, 0).unwrap();
    assert_eq!(read_from(&mut reader), "ready\nbye\n");
    assert!(!home::socket(world.home()).exists());
}

#[test]
fn sigterm_ends_the_children_and_the_minder() {
    let mut world = World::start();
    let child = world.client.spawn(shell("web", "exec sleep 1000")).unwrap();
    let minder = world.client.hello().pid;
    world::kill(minder, libc::SIGHUP);
    world::kill(minder, libc::SIGTERM);
    assert_eq!(world.exit_of("web").signal, Some(libc::SIGTERM));
    wait_for_end(minder);
    assert!(has_ended(child.pid));
}

#[test]
fn when_the_minder_is_killed_its_children_are_told_and_offsets_go_on() {
    let mut world = World::start();
    let child = world
        .client
        .spawn(shell("web", "echo first; exec sleep 1000"))
        .unwrap();
    assert_eq!(world.first_line("web"), "first");
    world::kill(world.client.hello().pid, libc::SIGKILL);
    wait_for_end(child.pid);
    world.restart();
    assert!(world.client.list().unwrap().is_empty());
    let again = world.client.spawn(shell("web", "echo second")).unwrap();
    assert_eq!((again.out_start, again.err_start), (6, 0));
    assert_eq!(world.output("web", Stream::Out), "first\nsecond\n");
    world.exit_of("web");
    world.client.forget("web", true).unwrap();
    assert!(
        fs::read_dir(home::raw_folder(world.home()))
            .unwrap()
            .next()
            .is_none()
    );
}

#[test]
fn many_starts_leave_nothing_open() {
    let mut world = World::start();
    let minder = world.client.hello().pid;
    let run = |world: &mut World, count: usize| {
        for index in 0..count {
            let id = format!("run-{index}");
            world.client.spawn(shell(&id, "echo $0")).unwrap();
            world.await_closed(&id, Stream::Out);
            world.await_closed(&id, Stream::Err);
            world.exit_of(&id);
            world.client.forget(&id, true).unwrap();
            world.forget(&id);
        }
    };
    let before = open_descriptors(minder);
    run(&mut world, 500);
    assert_eq!(open_descriptors(minder), before);
    assert!(world.children_of_minder().is_empty());
    assert!(
        fs::read_dir(home::raw_folder(world.home()))
            .unwrap()
            .next()
            .is_none()
    );
}

#[test]
fn it_stays_small_with_fifty_children() {
    let mut world = World::start();
    for index in 0..50 {
        let id = format!("service-{index}");
        let label = json!({"service": id, "generation": index, "note": "x".repeat(500)});
        world
            .client
            .spawn(Spawn {
                label,
                ..shell(&id, "echo ready; seq 1 1000 >&2; exec sleep 1000")
            })
            .unwrap();
        assert_eq!(world.first_line(&id), "ready");
    }
    // A frame of the largest kind passes through without leaving its buffer behind.
    let env = (0..900)
        .map(|index| (format!("NAME_{index}"), "x".repeat(1000)))
        .collect();
    world
        .client
        .spawn(Spawn {
            env,
            ..shell("large", "exit 0")
        })
        .unwrap();
    world.exit_of("large");
    assert_eq!(world.client.list().unwrap().len(), 51);
    let kib = private_kib(world.client.hello().pid);
    println!("private memory with 50 children: {kib} KiB");
    let bound = if cfg!(debug_assertions) {
        8 * 1024
    } else {
        2 * 1024
    };
    assert!(kib <= bound, "{kib} KiB");
}

#[test]
fn the_log_is_where_a_detached_minder_complains() {
    let world = World::start();
    let log = fs::read_to_string(home::log(world.home())).unwrap();
    assert!(log.contains("minding"), "{log}");
    let status = Command::new(EXE).stderr(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(2));
    let nowhere = tempfile::tempdir().unwrap();
    let error = spawn_detached("/bin/false".as_ref(), nowhere.path()).unwrap_err();
    assert!(error.to_string().contains("minder.log"), "{error}");
    assert!(spawn_detached("/does/not/exist".as_ref(), nowhere.path()).is_err());
}

#[test]
fn exit_has_one_reason() {
    let exit = Exit {
        code: Some(0),
        signal: None,
        at_ms: 1,
    };
    let text = serde_json::to_value(ChildState::Exited(exit)).unwrap();
    assert_eq!(text, json!({"exited": {"code": 0, "signal": null, "at_ms": 1}}));
}

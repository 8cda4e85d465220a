//! Another binary in the minder's process: nothing that runs notices.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::{
    fs,
    io::Write,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
};

use hythe_minder::{
    client::{Client, ClientError},
    protocol::{Farewell, Guarded, NodeChannel, Rebind, Refusal, Spawn, Stream},
};
use rustix::process::{Pid, Signal, kill_process};

use crate::world::{EXE, World, free_port, shell};

/// To the same binary, which comes to the same thing.
pub(crate) fn hand_over(world: &mut World) {
    world.disconnect();
    let client = Client::connect(world.home()).unwrap();
    client.hand_over(Path::new(EXE)).unwrap();
    world.reconnect();
}

#[test]
fn children_output_sockets_binds_and_channels_go_on_under_the_next_binary() {
    let mut world = World::start();
    let before = world.client.hello();
    let kept = TcpListener::bind("127.0.0.1:0").unwrap();
    world.client.keep_socket("kept", &kept, false).unwrap();

    let go = world.home().join("go");
    let talker = format!(
        "trap 'echo told; exit 3' TERM; echo before; until [ -e {} ]; do sleep 0.01; done; echo after; \
         while :; do sleep 0.01; done",
        go.display()
    );
    world.client.spawn(shell("talker", &talker)).unwrap();
    assert_eq!(world.first_line("talker"), "before");
    world.client.spawn(shell("over", "exit 7")).unwrap();
    assert_eq!(world.exit_of("over").code, Some(7));
    let node = world.home().join("node.js");
    fs::write(
        &node,
        "process.send('ready');
         process.on('message', (message) => console.log(message));
         setTimeout(() => {
           const listen = () => require('node:net').createServer().listen(Number(process.argv[2]), () => {
             console.log('listens');
           });
           require('node:fs').existsSync(process.argv[3]) ? listen() : setTimeout(listen, 2000);
         }, 500);",
    )
    .unwrap();
    let port = free_port();
    let worker = Spawn {
        channel: Some(NodeChannel { worker: Some(1) }),
        rebind: Some(Rebind {
            from: 0,
            to: SocketAddr::from(([127, 64, 7, 1], 0)),
        }),
        ..shell(
            "worker",
            &format!("exec node {} {port} {}", node.display(), go.display()),
        )
    };
    world.client.spawn(worker).unwrap();
    world.await_ready("worker");
    let binder = Spawn {
        rebind: Some(Rebind {
            from: port,
            to: SocketAddr::from(([127, 64, 7, 2], port)),
        }),
        ..shell(
            "binder",
            &format!(
                "until [ -e {} ]; do sleep 0.01; done; exec python3 -c \"
import socket
listener = socket.create_server(('0.0.0.0', {port}))
print(*listener.getsockname(), flush=True)
listener.accept()\"",
                go.display()
            ),
        )
    };
    world.client.spawn(binder).unwrap();
    let listed = world.client.list().unwrap();
    hand_over(&mut world);
    let after = world.client.hello();
    assert_eq!(
        (after.pid, after.started_at_ms),
        (before.pid, before.started_at_ms)
    );
    let now = world.client.list().unwrap();
    let known = |children: &[hythe_minder::protocol::ChildStatus]| -> Vec<_> {
        children
            .iter()
            .map(|child| {
                (
                    child.serial,
                    child.id.clone(),
                    child.pid,
                    child.start_time,
                    child.state,
                    child.ready,
                )
            })
            .collect()
    };
    assert_eq!(known(&now), known(&listed));
    assert_eq!(world.client.list_sockets().unwrap(), ["kept"]);
    drop(world.client.take_socket("kept").unwrap());

    fs::write(&go, "").unwrap();
    let bound = world.bound_of("worker");
    assert_eq!(bound.to, SocketAddr::from(([127, 64, 7, 1], port)));
    world
        .client
        .part("worker", Farewell::Message("hello".to_owned()))
        .unwrap();
    world.await_line("worker", |line| line == "hello");
    world.await_line("binder", |line| line == format!("127.64.7.2 {port}"));
    let mut stream = TcpStream::connect(SocketAddr::from(([127, 64, 7, 2], port))).unwrap();
    stream.write_all(b"x").unwrap();
    assert_eq!(world.exit_of("binder").code, Some(0), "its parent reaps it");
    world.await_line("talker", |line| line == "after");
    world
        .client
        .signal("talker", Signal::TERM.as_raw(), false)
        .unwrap();
    assert_eq!(world.exit_of("talker").code, Some(3));
    assert_eq!(
        world.output("talker", Stream::Out),
        "before\nafter\ntold\n",
        "no byte lost or doubled"
    );
    assert_eq!(
        world
            .client
            .spawn(shell("over", "exit 0"))
            .unwrap_err()
            .to_string(),
        "child over exists"
    );

    // Twice works as well as once.
    hand_over(&mut world);
    assert_eq!(world.client.list().unwrap().len(), 4);
    world
        .client
        .signal("worker", Signal::KILL.as_raw(), true)
        .unwrap();
    assert_eq!(world.exit_of("worker").signal, Some(Signal::KILL.as_raw()));
}

#[test]
fn the_server_is_watched_under_the_next_binary() {
    let mut world = World::start();
    let began = world.home().join("began");
    // It ends by itself when the test's folder is gone.
    let script = "echo $$ >> \"$0\"; while [ -e \"$0\" ]; do sleep 0.05; done";
    let server = Guarded {
        argv: ["/bin/sh", "-c", script, began.to_str().unwrap()]
            .map(str::to_owned)
            .into(),
        env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        log: world.home().join("log"),
    };
    let pids = || -> Vec<i32> {
        let text = fs::read_to_string(&began).unwrap_or_default();
        text.lines().map(|pid| pid.parse().unwrap()).collect()
    };
    world.client.replace(server, None).unwrap();
    for times in 1..=2 {
        world.until(|| pids().len() == times);
        // Twice works as well as once.
        hand_over(&mut world);
        hand_over(&mut world);
        kill_process(Pid::from_raw(pids()[times - 1]).unwrap(), Signal::KILL).unwrap();
    }
    world.until(|| pids().len() == 3);
}

#[test]
fn a_binary_that_cannot_be_executed_changes_nothing() {
    let mut world = World::start();
    world
        .client
        .spawn(shell("child", "echo on; exec sleep 1000"))
        .unwrap();
    let text = world.home().join("no program");
    fs::write(&text, "no program").unwrap();
    for exe in [text.as_path(), Path::new("/no/such/file")] {
        let refused = Client::connect(world.home()).unwrap().hand_over(exe).unwrap_err();
        assert!(
            matches!(refused, ClientError::Refused(Refusal::Failed { .. })),
            "{refused}"
        );
    }
    assert_eq!(world.first_line("child"), "on");
    let child = world.client.list().unwrap().pop().unwrap();
    kill_process(Pid::from_raw(child.pid).unwrap(), Signal::KILL).unwrap();
    assert_eq!(world.exit_of("child").signal, Some(9));
}

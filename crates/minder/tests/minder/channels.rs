//! Node's channel: unmodified programs in Node's cluster, under several versions of Node.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::{
    env, fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    path::PathBuf,
};

use hythe_minder::protocol::{Farewell, NodeChannel, Rebind, Refusal, Spawn, Stream};

use crate::world::{World, free_port, shell};
use hythe_minder::client::ClientError;

const SERVER: &str = "\
const cluster = require('node:cluster');
require('node:http').createServer((request, response) => {
  if (request.url === '/slow') return setTimeout(() => response.end('slow'), 300);
  response.end(`${cluster.isWorker} ${cluster.worker.id}`);
}).listen(Number(process.argv[2]), () => process.send('ready'));
";

/// The versions that `scripts/setup test` fetches, and the system's own.
fn nodes() -> Vec<PathBuf> {
    let test = env::current_exe().unwrap();
    let fetched = test
        .ancestors()
        .skip(1)
        .take(4)
        .map(|folder| folder.join("nodes"));
    let fetched = fetched
        .into_iter()
        .find(|folder| folder.join("complete").is_file());
    let folder = fetched.expect("versions of Node are missing: run `scripts/setup test`");
    let binary = |version: &str| folder.join(version).join("node_modules/node/bin/node");
    vec![binary("18"), binary("24"), PathBuf::from("node")]
}

fn worker(id: &str, node: &std::path::Path, script: &std::path::Path, port: u16, number: u8) -> Spawn {
    let command = format!("exec {} {} {port}", node.display(), script.display());
    Spawn {
        channel: Some(NodeChannel {
            worker: Some(number.into()),
        }),
        rebind: Some(Rebind {
            from: 0,
            to: SocketAddr::from(([127, 64, 8, number], 0)),
        }),
        ..shell(id, &command)
    }
}

fn ask(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    stream
}

fn answer(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text.rsplit("\r\n").next().unwrap_or_default().to_owned()
}

#[test]
fn workers_of_the_cluster_listen_side_by_side_and_drain_when_they_are_disconnected() {
    let mut world = World::start();
    let script = world.home().join("server.js");
    fs::write(&script, SERVER).unwrap();
    for (version, node) in nodes().iter().enumerate() {
        let port = free_port();
        for number in [1, 2] {
            let id = format!("v{version}-{number}");
            world
                .client
                .spawn(worker(&id, node, &script, port, number))
                .unwrap();
            world.await_ready(&id);
            let bound = world.bound_of(&id);
            let address = SocketAddr::from(([127, 64, 8, number], port));
            assert_eq!((bound.asked.port(), bound.to), (port, address), "{id}");
            assert_eq!(answer(ask(address, "/")), format!("true {number}"), "{id}");
        }
        let listed = world.client.list().unwrap();
        assert!(listed.iter().all(|child| child.ready && child.bound.is_some()));

        // What is in flight is answered, nobody new is taken, and the program ends by itself.
        let id = format!("v{version}-1");
        let address = SocketAddr::from(([127, 64, 8, 1], port));
        let slow = ask(address, "/slow");
        answer(ask(address, "/"));
        world.client.part(&id, Farewell::Disconnect).unwrap();
        assert_eq!(answer(slow), "slow", "{id}");
        let exit = world.exit_of(&id);
        assert_eq!((exit.code, exit.signal), (Some(0), None), "{id}");
        assert!(TcpStream::connect(address).is_err(), "{id}");
        world
            .client
            .signal(&format!("v{version}-2"), libc::SIGKILL, true)
            .unwrap();
    }
}

#[test]
fn datagrams_pipes_and_errors_are_as_from_nodes_own_primary() {
    let mut world = World::start();
    let script = world.home().join("others.js");
    let pipe = world.home().join("pipe");
    fs::write(
        &script,
        format!(
            "const dgram = require('node:dgram'), net = require('node:net');
             const port = Number(process.argv[2]);
             const udp = dgram.createSocket('udp4');
             udp.on('message', (message, from) => udp.send(message, from.port, from.address));
             udp.bind(port, '127.0.0.1', () => {{
               net.createServer((socket) => socket.end('pipe')).listen({pipe:?}, () => {{
                 const second = net.createServer();
                 second.on('error', (error) => {{
                   console.log(error.code);
                   process.send('ready');
                 }});
                 second.listen('/dev/null/no/such/folder');
               }});
             }});"
        ),
    )
    .unwrap();
    for (version, node) in nodes().iter().enumerate() {
        let (id, port) = (format!("other-{version}"), free_port());
        let _ = fs::remove_file(&pipe);
        world.client.spawn(worker(&id, node, &script, port, 3)).unwrap();
        world.await_ready(&id);
        assert!(!world.first_line(&id).trim_end().is_empty(), "{id}");
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(b"echo", ("127.0.0.1", port)).unwrap();
        let mut echo = [0; 4];
        socket.recv_from(&mut echo).unwrap();
        assert_eq!(&echo, b"echo", "{id}");
        let mut stream = std::os::unix::net::UnixStream::connect(&pipe).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert_eq!(text, "pipe", "{id}");
        world.client.signal(&id, libc::SIGKILL, true).unwrap();
        world.exit_of(&id);
    }
}

#[test]
fn a_program_that_is_no_worker_hears_messages_and_one_without_a_channel_nothing() {
    let mut world = World::start();
    let script = world.home().join("messages.js");
    fs::write(
        &script,
        "process.on('message', (message) => { console.log(message); process.disconnect(); });
         process.send({ any: 'thing' }); process.send('ready'); process.send('ready');",
    )
    .unwrap();
    let spawn = Spawn {
        channel: Some(NodeChannel { worker: None }),
        ..shell("messages", &format!("exec node {}", script.display()))
    };
    world.client.spawn(spawn).unwrap();
    world.await_ready("messages");
    let shutdown = || Farewell::Message("shutdown".to_owned());
    world.client.part("messages", shutdown()).unwrap();
    assert_eq!(world.exit_of("messages").code, Some(0));
    assert_eq!(world.output("messages", Stream::Out), "shutdown\n");

    world.client.spawn(shell("plain", "exec sleep 1000")).unwrap();
    for id in ["messages", "plain"] {
        let refused = world.client.part(id, shutdown()).unwrap_err();
        assert!(
            matches!(refused, ClientError::Refused(Refusal::NoChannel { .. })),
            "{id}: {refused}"
        );
    }
}

#[test]
fn long_messages_and_nonsense_are_passed_over() {
    let mut world = World::start();
    let script = world.home().join("long.js");
    fs::write(
        &script,
        "require('node:fs').writeSync(Number(process.env.KEPT), 'no json\\n');
         process.send({ long: 'x'.repeat(400000) });
         process.send('ready');
         process.on('message', () => process.exit(5));",
    )
    .unwrap();
    let spawn = Spawn {
        channel: Some(NodeChannel { worker: Some(1) }),
        // Node takes the channel's number out of its environment.
        ..shell(
            "long",
            &format!("export KEPT=$NODE_CHANNEL_FD; exec node {}", script.display()),
        )
    };
    world.client.spawn(spawn).unwrap();
    world.await_ready("long");
    world
        .client
        .part("long", Farewell::Message("end".to_owned()))
        .unwrap();
    assert_eq!(world.exit_of("long").code, Some(5));
}

#[test]
fn a_worker_gets_no_port_that_is_kept_for_somebody_else_nor_what_its_user_may_not_have() {
    let mut world = World::start();
    let kept = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    kept.set_reuse_port(true).unwrap();
    kept.bind(&SocketAddr::from(([0, 0, 0, 0], 0)).into()).unwrap();
    kept.listen(1).unwrap();
    let taken = kept.local_addr().unwrap().as_socket().unwrap().port();
    world.client.keep_socket("kept", &kept, false).unwrap();
    let script = world.home().join("greedy.js");
    fs::write(
        &script,
        "const net = require('node:net');
         const attempt = (where, next) => {
           const server = net.createServer();
           server.on('error', (error) => { console.log(error.code); next(); });
           server.listen(where, () => { console.log('listens'); next(); });
         };
         const [port, taken, pipe] = process.argv.slice(2);
         attempt({ port }, () => attempt({ port: taken, host: '127.0.0.1' }, () =>
           attempt({ port: 81 }, () => attempt({ path: pipe }, () => console.log('done')))));",
    )
    .unwrap();
    let folder = world.home().join("open");
    fs::create_dir(&folder).unwrap();
    let pipe = folder.join("pipe");
    let greedy = |id: &str| {
        let command = format!(
            "exec node {} {} {taken} {}",
            script.display(),
            free_port(),
            pipe.display()
        );
        Spawn {
            channel: Some(NodeChannel { worker: Some(1) }),
            rebind: Some(Rebind {
                from: 0,
                to: SocketAddr::from(([127, 64, 6, 1], 0)),
            }),
            ..shell(id, &command)
        }
    };
    world.client.spawn(greedy("own")).unwrap();
    world.await_line("own", |line| line == "done");
    let said = world.output_so_far("own");
    assert!(
        said.starts_with("listens\nEADDRINUSE\n") && said.ends_with("listens\ndone\n"),
        "{said}"
    );
    world.client.signal("own", libc::SIGKILL, true).unwrap();

    if !rustix::process::geteuid().is_root() {
        return;
    }
    fs::remove_file(&pipe).unwrap();
    for readable in [world.home(), folder.as_path(), script.as_path()] {
        std::os::unix::fs::chown(readable, Some(65534), None).unwrap();
    }
    let foreign = Spawn {
        user: Some(hythe_minder::protocol::User {
            uid: 65534,
            gid: 65534,
            groups: Vec::new(),
        }),
        ..greedy("foreign")
    };
    world.client.spawn(foreign).unwrap();
    world.await_line("foreign", |line| line == "done");
    let said = world.output_so_far("foreign");
    assert_eq!(said, "listens\nEADDRINUSE\nEACCES\nEACCES\ndone\n");
    world.client.signal("foreign", libc::SIGKILL, true).unwrap();
}

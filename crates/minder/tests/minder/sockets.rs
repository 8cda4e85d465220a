//! Programs that take the socket that they listen with (`LISTEN_FDS`).

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
};

use hythe_minder::protocol::{NodeChannel, Refusal, Spawn, SpawnStep};
use rustix::io::Errno;

use crate::{
    handover::hand_over,
    world::{World, free_port, shell},
};

/// Says what it was given, and what its own child sees of that; serves one connection and ends.
const TAKES: &str = "\
import os, socket, subprocess
descriptors = [fd for fd in range(3, 64) if os.path.exists(f'/proc/self/fd/{fd}')]
listener = socket.socket(fileno=3)
meant = os.environ['LISTEN_PID'] == str(os.getpid())
others = subprocess.check_output(['sh', '-c', 'test $LISTEN_PID = $$ || echo others'], text=True).strip()
print(descriptors, os.environ['LISTEN_FDS'], meant, others, *listener.getsockname(), flush=True)
connection, _ = listener.accept()
connection.sendall(connection.recv(1))
";

const NODE: &str = "\
process.on('message', () => {});
const server = require('node:http').createServer((request, response) => {
  response.end(`${process.env.LISTEN_PID === `${process.pid}`} ${process.connected}`);
});
server.listen({fd: 3}, () => process.send('ready'));
";

fn given(id: &str, command: &str, address: SocketAddr) -> Spawn {
    let mut spawn = Spawn {
        socket: Some(address),
        ..shell(id, command)
    };
    // Of whoever gave sockets to the one who asks.
    let others = [("LISTEN_PID", "1"), ("LISTEN_FDS", "7")];
    spawn
        .env
        .extend(others.map(|(name, value)| (name.to_owned(), value.to_owned())));
    spawn
}

#[test]
fn a_child_listens_from_its_start_with_the_socket_that_it_inherits() {
    let mut world = World::start();
    let script = world.home().join("takes.py");
    fs::write(&script, TAKES).unwrap();
    let command = format!("exec python3 {}", script.display());
    let port = free_port();
    for (id, last) in [("one", 1), ("two", 2), ("after-a-handover", 3)] {
        if last == 3 {
            hand_over(&mut world);
        }
        let address = SocketAddr::from(([127, 64, 10, last], port));
        world.client.spawn(given(id, &command, address)).unwrap();
        // It need not be there yet.
        let mut stream = TcpStream::connect(address).unwrap();
        assert_eq!(
            world.first_line(id),
            format!("[3] 1 True others 127.64.10.{last} {port}")
        );
        stream.write_all(b"x").unwrap();
        let mut answer = [0; 1];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(world.exit_of(id).code, Some(0));
        assert!(
            TcpStream::connect(address).is_err(),
            "{id}: with it, its socket has gone"
        );
    }
}

#[test]
fn a_program_behind_a_shell_sees_that_the_socket_is_not_meant_for_it() {
    let mut world = World::start();
    let address = SocketAddr::from(([127, 64, 10, 4], free_port()));
    let command =
        "echo $(test $LISTEN_PID = $$ && echo mine) $(sh -c 'test $LISTEN_PID = $$ || echo not mine')";
    world.client.spawn(given("shell", command, address)).unwrap();
    assert_eq!(world.first_line("shell"), "mine not mine");
}

#[test]
fn a_socket_and_nodes_channel_are_both_there() {
    let mut world = World::start();
    let script = world.home().join("server.js");
    fs::write(&script, NODE).unwrap();
    let address = SocketAddr::from(([127, 64, 10, 5], free_port()));
    let spawn = Spawn {
        channel: Some(NodeChannel { worker: None }),
        ..given("node", &format!("exec node {}", script.display()), address)
    };
    world.client.spawn(spawn).unwrap();
    world.await_ready("node");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("true true"), "{answer}");
}

#[test]
fn an_address_that_is_taken_is_no_start() {
    let mut world = World::start();
    let taken = TcpListener::bind("127.64.10.6:0").unwrap();
    let address = taken.local_addr().unwrap();
    let refusal = world.refusal(|client| client.spawn(given("late", "true", address)));
    assert_eq!(
        refusal,
        Refusal::SpawnFailed {
            step: SpawnStep::Socket,
            errno: Errno::ADDRINUSE.raw_os_error()
        }
    );
}

//! Programs with a port of their own.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
};

use hythe_minder::protocol::{Rebind, Spawn, Stream};

use crate::world::{World, free_port, shell};

/// Listens on a port of its own choice, whatever it is told, and says where that was.
const HARD_CODED: &str = "\
import socket, sys
listener = socket.socket(getattr(socket, sys.argv[2]))
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind((sys.argv[3], int(sys.argv[1])))
listener.listen()
print(*listener.getsockname()[:2], flush=True)
listener.accept()
";

#[test]
fn a_bind_is_turned_to_the_port_of_the_instance() {
    let mut world = World::start();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (from, other) = (taken.local_addr().unwrap().port(), free_port());
    let script = world.home().join("hard_coded.py");
    fs::write(&script, HARD_CODED).unwrap();
    let rows = [
        ("v4", "AF_INET", "0.0.0.0", from, "127.0.0.1"),
        ("v6", "AF_INET6", "::", from, "::ffff:127.0.0.1"),
        ("v6-only", "AF_INET6", "::1", from, "::1"),
        ("other-port", "AF_INET", "127.0.0.1", other, "127.0.0.1"),
    ];
    for (id, family, address, port, expected) in rows {
        let to = free_port();
        // Behind a shell, as `npm start` is.
        let command = format!(
            "python3 {} {port} {family} {address}; echo ended",
            script.display()
        );
        let spawn = Spawn {
            rebind: Some(Rebind {
                from,
                to: SocketAddr::from(([127, 0, 0, 1], to)),
            }),
            ..shell(id, &command)
        };
        let spawned = world.client.spawn(spawn).unwrap();
        assert!(
            spawned.rebinds,
            "{id}: this test needs Linux 5.9 and ptrace_scope at most 1"
        );
        let bound = if port == from { to } else { port };
        if port == from {
            let told = world.bound_of(id);
            assert_eq!(
                told.asked,
                SocketAddr::new(address.parse().unwrap(), from),
                "{id}"
            );
            assert_eq!(told.to.port(), to, "{id}");
        }
        assert_eq!(
            world.first_line(id).trim_end(),
            format!("{expected} {bound}"),
            "{id}"
        );
        let reached = if expected == "::1" { "::1" } else { "127.0.0.1" };
        drop(TcpStream::connect((reached, bound)).unwrap());
        assert!(world.output(id, Stream::Out).ends_with("ended\n"), "{id}");
        assert_eq!(world.exit_of(id).code, Some(0), "{id}");
    }
    world
        .client
        .spawn(shell(
            "plain",
            &format!("python3 {} {from} AF_INET 0.0.0.0", script.display()),
        ))
        .unwrap();
    assert_eq!(world.exit_of("plain").code, Some(1), "the port is taken");
}

#[test]
fn the_first_port_that_is_bound_is_learned_and_shared_with_who_listens_everywhere() {
    let mut world = World::start();
    let script = world.home().join("hard_coded.py");
    fs::write(&script, HARD_CODED).unwrap();
    let gateway = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None).unwrap();
    gateway.set_reuse_port(true).unwrap();
    gateway.bind(&SocketAddr::from(([0; 8], 0)).into()).unwrap();
    gateway.listen(1).unwrap();
    let port = gateway.local_addr().unwrap().as_socket().unwrap().port();
    for (number, address) in [(1, "0.0.0.0"), (2, "127.0.0.1")] {
        let id = format!("copy-{number}");
        let ip = [127, 64, 9, number];
        let command = format!("exec python3 {} {port} AF_INET {address}", script.display());
        let spawn = Spawn {
            rebind: Some(Rebind {
                from: 0,
                to: SocketAddr::from((ip, 0)),
            }),
            ..shell(&id, &command)
        };
        world.client.spawn(spawn).unwrap();
        assert_eq!(
            world.first_line(&id).trim_end(),
            format!("127.64.9.{number} {port}")
        );
        let told = world.bound_of(&id);
        assert_eq!(told.asked, SocketAddr::new(address.parse().unwrap(), port));
        assert_eq!(told.to, SocketAddr::from((ip, port)));
        let listed = world.client.list().unwrap();
        assert!(
            listed
                .iter()
                .any(|child| child.id == id && child.bound == Some(told))
        );
    }
    for number in [1, 2] {
        drop(TcpStream::connect(SocketAddr::from(([127, 64, 9, number], port))).unwrap());
        assert_eq!(world.exit_of(&format!("copy-{number}")).code, Some(0));
    }
    gateway.set_nonblocking(true).unwrap();
    assert!(
        gateway.accept().is_err(),
        "both were reached at their own addresses"
    );
}

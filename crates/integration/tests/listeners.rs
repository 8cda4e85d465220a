//! Listeners of a manifest: they come, go and outlive the server, and nobody else notices.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use hythe_testkit::free_address;
use hythe_testkit::home::Home;
use hythe_testkit::http_client::get;
use hythe_testkit::wait::until;

use crate::server_loss::Hammer;
use crate::world::{ECHO_MANIFEST, alone, home_with, up};

fn apply(home: &Home, listeners: &str) {
    home.write("hythe.yaml", &format!("{ECHO_MANIFEST}{listeners}"));
    home.ok(&["up", "-d"]);
}

#[test]
fn a_listener_comes_survives_the_server_and_goes_while_others_serve() {
    let _turn = alone();
    let home = up(ECHO_MANIFEST);
    let hammer = Hammer::start(home.gateway(), "/");
    until("there is load", || hammer.answered() > 50);
    let internal = free_address();
    apply(
        &home,
        &format!("listeners:\n  internal: {{listen: '{internal}'}}\n"),
    );
    assert_eq!(get(internal, "/").unwrap().status, 200);
    hammer.stop();

    home.kill_server();
    let waiting = thread::spawn(move || get(internal, "/"));
    home.ok(&["server", "start"]);
    assert_eq!(waiting.join().unwrap().unwrap().status, 200);

    let hammer = Hammer::start(home.gateway(), "/");
    apply(&home, "");
    until("it is closed", || TcpStream::connect(internal).is_err());
    until("there is load", || hammer.answered() > 50);
    hammer.stop();
}

#[test]
fn a_listener_whose_port_is_taken_is_named_and_opens_later() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let manifest = format!("{ECHO_MANIFEST}listeners:\n  internal: {{listen: '{address}'}}\n");
    let home = home_with(&manifest);
    home.run(&["up", "-d"]);
    let status = home.ok(&["status"]);
    assert!(
        status.contains(&format!("cannot listen on {address}")),
        "{status}"
    );
    assert_eq!(home.get("/").status, 200);
    drop(taken);
    until("it is open", || {
        get(address, "/").is_ok_and(|answer| answer.status == 200)
    });
}

#[test]
fn a_connection_is_passed_on_to_a_service() {
    let address = free_address();
    let manifest =
        format!("{ECHO_MANIFEST}listeners:\n  raw: {{listen: '{address}', protocol: tcp, service: echo}}\n");
    let home = up(&manifest);
    let mut client = TcpStream::connect(address).unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(
        !answer.to_ascii_lowercase().contains("x-request-id"),
        "not touched: {answer}"
    );
    drop(home);
}

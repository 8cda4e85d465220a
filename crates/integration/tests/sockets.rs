//! Programs that take the socket that they listen with (`LISTEN_FDS`), in several languages.

use std::collections::BTreeSet;
use std::fs;

use hythe_model::InstanceState;
use hythe_model::instance::Listening;
use hythe_model::view::ServiceView;
use hythe_testkit::home::{Home, hythe_binary};
use hythe_testkit::load::{Load, Plan};
use hythe_testkit::process_table::signal;
use rustix::process::Signal;

use crate::programs::python;
use crate::world::{alone, gets, is_ready, none_failed};
use hythe_testkit::free_address;

const NODE: &str = "\
require('node:http').createServer((request, response) => {
  response.end(`${process.pid}`);
}).listen({fd: 3});
";

const PYTHON: &str = "\
import os, socket
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = str(os.getpid()).encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

assert os.environ['LISTEN_PID'] == str(os.getpid()) and os.environ['LISTEN_FDNAMES'] == 'python'
server = HTTPServer(('', 0), Handler, bind_and_activate=False)
server.socket = socket.socket(fileno=3)
server.serve_forever()
";

/// Finds its socket by itself.
const WSGI: &str = "\
import os

def app(environ, start_response):
    body = str(os.getpid()).encode()
    start_response('200 OK', [('Content-Length', str(len(body)))])
    return [body]
";

/// As many copies of each as the test asks for.
const COPIES: usize = 2;

const MANIFEST: &str = "\
x-given: &given {port: @PORT@, listens: socket, scale: 2}
services:
  node: {<<: *given, command: node node.js}
  python: {<<: *given, command: python3 python.py}
  gunicorn: {<<: *given, command: '@PYTHON@ -m gunicorn wsgi:app'}
routes:
  - {name: node, service: node, paths: [/node]}
  - {name: python, service: python, paths: [/python]}
  - {name: gunicorn, service: gunicorn, paths: [/gunicorn]}
";

const SERVICES: [&str; 3] = ["node", "python", "gunicorn"];

fn home() -> Home {
    let home = Home::new();
    let port = free_address().port().to_string();
    let manifest = MANIFEST.replace("@PORT@", &port).replace("@PYTHON@", &python());
    for (file, text) in [
        ("node.js", NODE),
        ("python.py", PYTHON),
        ("wsgi.py", WSGI),
        ("hythe.yaml", &manifest),
    ] {
        home.write(file, text);
    }
    home
}

/// The processes that answer through the gateway.
fn answers(home: &Home, service: &str) -> BTreeSet<String> {
    let path = format!("/{service}/");
    let answers = (0..4 * COPIES).map(|_| home.get(&path));
    answers
        .map(|answer| {
            assert_eq!(answer.status, 200, "{service}: {answer:?}");
            answer.body
        })
        .collect()
}

fn load(home: &Home, service: &str) -> Load {
    let load = Load::start(&Plan {
        gateway: home.gateway(),
        path: format!("/{service}/"),
        readers: 8,
        pause: std::time::Duration::from_millis(20),
        post_every: None,
    });
    load.await_gets(gets());
    load
}

#[test]
fn copies_take_their_sockets_and_are_replaced_without_losing_a_request() {
    let _turn = alone();
    let home = home();
    home.ok(&["up", "-d"]);
    for service in SERVICES {
        let before = answers(&home, service);
        assert_eq!(before.len(), COPIES, "{service}: {before:?}");
        let load = load(&home, service);
        home.ok(&["restart", service]);
        none_failed(&load, &format!("a restart of {service}"));
        load.stop();
        let after = answers(&home, service);
        assert_eq!(after.len(), COPIES, "{service}: {after:?}");
        assert!(before.is_disjoint(&after), "{service}: {before:?} {after:?}");
    }
    let described = home.ok(&["describe", "node"]);
    assert!(
        described.contains("it was given the socket (LISTEN_FDS)"),
        "{described}"
    );
    let instances = home.instances("gunicorn");
    assert!(
        instances
            .iter()
            .all(|instance| instance.listening == Some(Listening::Socket)),
        "{instances:#?}"
    );
}

#[test]
fn they_outlive_crashes_servers_and_upgrades() {
    let home = home();
    home.ok(&["up", "-d"]);
    for service in SERVICES {
        let killed = home.pids(service)[0];
        assert!(signal(killed, Signal::KILL));
        home.await_service(service, "has a new process", |now| {
            is_ready(now) && now.instances.iter().all(|one| one.pid != Some(killed))
        });
        assert_eq!(answers(&home, service).len(), COPIES, "{service}");
    }
    let pids = SERVICES.map(|service| home.pids(service));
    home.kill_server();
    home.ok(&["server", "start"]);
    assert_eq!(SERVICES.map(|service| home.pids(service)), pids);
    let next = home.folder().join("next");
    fs::copy(hythe_binary(), &next).unwrap();
    home.ok(&["upgrade", next.to_str().unwrap()]);
    assert_eq!(SERVICES.map(|service| home.pids(service)), pids);
    for service in SERVICES {
        assert_eq!(answers(&home, service).len(), COPIES, "{service}");
        home.ok(&["scale", &format!("{service}=3")]);
        home.ok(&["stop", service]);
        assert!(home.pids(service).is_empty(), "{service}");
    }
}

#[test]
fn who_does_not_take_its_socket_is_told_and_never_served() {
    let home = Home::new();
    let port = free_address().port();
    home.write("node.js", NODE);
    home.write("ignores.js", "setInterval(() => {}, 1000)");
    home.write(
        "hythe.yaml",
        &format!(
            "services:
  web:
    command: node node.js
    port: {port}
    listens: socket
    deploy: {{update_config: {{monitor: 1s}}}}
routes:
  - {{name: web, service: web, paths: [/]}}
"
        ),
    );
    home.ok(&["up", "-d"]);
    let before = home.get("/").body;
    home.write(
        "hythe.yaml",
        &fs::read_to_string(home.folder().join("hythe.yaml"))
            .unwrap()
            .replace("node.js", "ignores.js"),
    );
    let refused = home.run(&["up", "-d"]);
    assert_eq!(refused.code, Some(4), "{refused:?}");
    let said = "the program has not taken the socket that it was given, descriptor 3 (LISTEN_FDS)";
    assert!(refused.stderr.contains(said), "{refused:?}");
    assert_eq!(home.get("/").body, before, "the old one serves on");
    let is_as_before = |now: &ServiceView| {
        let ready = now
            .instances
            .iter()
            .filter(|one| one.state == InstanceState::Ready);
        now.instances.len() == 1 && ready.count() == 1
    };
    home.await_service("web", "has only the old one", is_as_before);
}

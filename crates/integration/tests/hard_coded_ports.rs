//! Programs that listen on a port of their own, whatever they are told: any number of copies, in any language.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use hythe_model::{InstanceState, is_own_address};
use hythe_testkit::free_address;
use hythe_testkit::home::Home;
use hythe_testkit::http_client::get;
use hythe_testkit::wait::until;

use crate::world::is_ready;

const NODE: &str = "\
require('node:http').createServer((request, response) => {
  response.end(`${process.pid}`);
}).listen(@PORT@);
";

/// Forks workers itself, as tutorials do.
const CLUSTER: &str = "\
const cluster = require('node:cluster');
if (cluster.isPrimary) {
  cluster.fork();
  cluster.fork();
} else {
  require('node:http').createServer((request, response) => {
    response.end(`${process.ppid}`);
  }).listen(@PORT@, '0.0.0.0');
}
";

const PYTHON: &str = "\
import os
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = str(os.getpid()).encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

HTTPServer(('', @PORT@), Handler).serve_forever()
";

const MANIFEST: &str = "\
services:
  node: {command: node node.js, port: @PORT@, scale: 3}
  script: {command: [sh, -c, 'node node.js; exit 3'], port: @PORT@, scale: 3}
  cluster: {command: node cluster.js, port: @PORT@, scale: 2}
  python: {command: python3 python.py, port: @PORT@, scale: 3}
  static: {command: busybox httpd -f -p @PORT@ -h ., port: @PORT@, scale: 3}
routes:
  - {name: node, service: node, paths: [/node]}
  - {name: script, service: script, paths: [/script]}
  - {name: cluster, service: cluster, paths: [/cluster]}
  - {name: python, service: python, paths: [/python]}
  - {name: static, service: static, paths: [/static]}
";

/// A home with these programs, and a port that somebody else has as well.
fn home() -> (Home, TcpListener) {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let home = Home::new();
    for (file, text) in [
        ("node.js", NODE),
        ("cluster.js", CLUSTER),
        ("python.py", PYTHON),
        ("hythe.yaml", MANIFEST),
    ] {
        home.write(file, &text.replace("@PORT@", &port));
    }
    home.write("page", "static");
    (home, taken)
}

#[test]
fn copies_of_programs_with_a_port_of_their_own_run_side_by_side() {
    let (home, _taken) = home();
    home.ok(&["up", "-d"]);
    for (service, copies) in [("node", 3), ("script", 3), ("cluster", 2), ("python", 3)] {
        let path = format!("/{service}/");
        let answers: BTreeSet<String> = (0..3 * copies).map(|_| home.get(&path).body).collect();
        assert_eq!(answers.len(), copies, "{service}: {answers:?}");
    }
    for _ in 0..6 {
        assert_eq!(home.get("/static/page").body, "static");
    }
    let described = home.ok(&["describe", "script"]);
    let turned = home.instances("script").into_iter().all(|instance| {
        let address = instance.address.unwrap_or_default();
        described.contains(&format!("is turned to {address}"))
    });
    assert!(turned && described.contains("its bind to "), "{described}");
    let before = home.pids("node");
    home.ok(&["restart", "node", "static"]);
    assert!(home.pids("node").iter().all(|pid| !before.contains(pid)));
    assert_eq!(home.get("/static/page").body, "static");

    // The minder answers: a program that binds while there is no server, or under the next one, gets its port too.
    home.kill_server();
    home.ok(&["server", "start"]);
    home.ok(&["scale", "python=5"]);
    let answers: BTreeSet<String> = (0..15).map(|_| home.get("/python/").body).collect();
    assert_eq!(answers.len(), 5, "{answers:?}");
}

#[test]
fn copies_keep_their_own_addresses_where_the_gateway_has_the_port() {
    let home = Home::new();
    let port = free_address().port();
    home.write("node.js", &NODE.replace("@PORT@", &port.to_string()));
    home.write(
        "hythe.yaml",
        &format!("services: {{node: {{command: node node.js, port: {port}, publish: true, scale: 2}}}}"),
    );
    home.ok(&["up", "-d"]);
    // The gateway listens at the port by now.
    for _ in 0..2 {
        home.ok(&["restart", "node"]);
        let addresses = home
            .instances("node")
            .into_iter()
            .filter_map(|instance| instance.address);
        let addresses: Vec<SocketAddr> = addresses.map(|address| address.parse().unwrap()).collect();
        let own = |address: &SocketAddr| is_own_address(address.ip()) && address.port() == port;
        assert!(addresses.len() == 2 && addresses.iter().all(own), "{addresses:?}");
    }
    assert_eq!(get((Ipv4Addr::LOCALHOST, port).into(), "/").unwrap().status, 200);
}

#[test]
fn binds_that_are_left_alone_meet_each_other() {
    let (home, taken) = home();
    let port = taken.local_addr().unwrap().port();
    drop(taken);
    home.write(
        "hythe.yaml",
        &format!("services:\n  node: {{command: node node.js, port: {port}, listens: port}}\n"),
    );
    home.run(&["up", "-d", "--no-wait"]);
    until("it has its own port", || {
        get(([127, 0, 0, 1], port).into(), "/").is_ok()
    });
    let service = home.service("node");
    assert!(
        !is_ready(&service),
        "nobody listens where it was told to: {service:#?}"
    );
    assert!(
        service
            .instances
            .iter()
            .all(|one| one.state != InstanceState::Ready)
    );
}

//! Scripts and ecosystem files that are started as they are (walkthrough D1): programs with a port of their own are
//! served at that port, however many of them run.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use hythe_model::InstanceState;
use hythe_model::instance::Listening;
use hythe_testkit::free_address;
use hythe_testkit::home::Home;
use hythe_testkit::http_client::{Connection, get};
use hythe_testkit::load::{Load, Plan};
use hythe_testkit::process_table::{is_alive, signal};
use hythe_testkit::wait::until;
use rustix::process::Signal;

use crate::world::{gets, held, is_ready, none_failed};

const CLUSTER_APP: &str = "\
require('node:http').createServer((request, response) => {
  if (request.url === '/die') process.exit(3);
  response.end(`${process.pid}`);
}).listen(@PORT@);
";

/// Tells whose request it is, and how many connections it has on which nobody has asked for anything.
const COUNTING: &str = "\
const silent = new Set();
const server = require('node:http').createServer((request, response) => {
  silent.delete(request.socket);
  response.end(`${request.headers['x-forwarded-for']} ${silent.size} silent`);
});
server.on('connection', (socket) => {
  silent.add(socket);
  socket.on('close', () => silent.delete(socket));
});
server.listen(@PORT@);
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

/// Speaks first, and is no HTTP.
const GREETER: &str = "\
require('node:net').createServer((socket) => {
  socket.write('220 ready\\r\\n');
  socket.on('data', (data) => socket.write(data));
}).listen(@PORT@, '127.0.0.1');
";

/// A home with a program that listens there.
fn home_with(file: &str, text: &str) -> (Home, SocketAddr) {
    let place = free_address();
    let home = Home::new();
    home.write(file, &text.replace("@PORT@", &place.port().to_string()));
    (home, place)
}

/// Of a load.
const CLIENTS: usize = 8;

pub(crate) fn load(place: SocketAddr) -> Load {
    let load = Load::start(&Plan {
        gateway: place,
        path: "/".to_owned(),
        readers: CLIENTS,
        pause: Duration::from_millis(20),
        post_every: None,
    });
    load.await_gets(gets());
    load
}

fn answer(place: SocketAddr) -> String {
    get(place, "/").unwrap().body
}

fn answers(place: SocketAddr, requests: usize) -> BTreeSet<String> {
    (0..requests).map(|_| answer(place)).collect()
}

#[test]
fn the_tutorials_cluster_app_runs_once_and_on_every_core() {
    let (home, place) = home_with("app.js", CLUSTER_APP);
    let said = home.ok(&["start", "app.js", "-i", "1"]);
    assert!(
        said.contains(&format!("app: 1 instance ready, localhost:{}", place.port())),
        "{said}"
    );
    assert_eq!(answers(place, 4).len(), 1);

    home.ok(&["start", "app.js", "-i", "3"]);
    assert_eq!(answers(place, 9).len(), 3);
    let tree = home.ok(&["ls", "--tree"]);
    for (pid, branch) in home.pids("app").iter().zip(["├─", "├─", "└─"]) {
        let of_it = tree
            .lines()
            .find(|line| line.ends_with(&format!(" ({pid})")))
            .unwrap();
        assert!(
            of_it.starts_with(&format!("   {branch} app-")) && of_it.contains(": node "),
            "{tree}"
        );
    }
    let said = home.ok(&["start", "app.js", "-i", "3"]);
    let expected = format!("app: 3 instances ready, localhost:{}", place.port());
    assert!(
        said.starts_with("nothing to change\n") && said.contains(&expected),
        "{said}"
    );

    let load = load(place);
    home.ok(&["restart", "app"]);
    home.ok(&["scale", "app=5"]);
    home.ok(&["scale", "app=2"]);
    none_failed(&load, "restart and scale of an app with a port of its own");
    load.stop();

    let pids = home.pids("app");
    home.kill_server();
    assert_eq!(
        answers(place, 6).len(),
        2,
        "the next server listens there at once"
    );
    assert_eq!(home.pids("app"), pids);

    home.ok(&["start", "app.js", "-i", "0"]);
    let cores = thread::available_parallelism().unwrap().get();
    assert_eq!(answers(place, 3 * cores).len(), cores, "one for each core");
    home.ok(&["scale", "app=2"]);
    home.ok(&["stop", "all"]);
    assert!(
        TcpStream::connect(place).is_err(),
        "nobody listens for a stopped app"
    );
    home.ok(&["start", "all"]);
    assert_eq!(answers(place, 6).len(), 2);
    home.ok(&["delete", "all"]);
    assert!(home.services().is_empty());
    assert!(TcpStream::connect(place).is_err());
}

#[test]
fn an_app_that_crashes_is_there_again_and_waits_longer_each_time() {
    let (home, place) = home_with("app.js", CLUSTER_APP);
    home.ok(&["start", "app.js"]);
    let first = answer(place);
    let _ = get(place, "/die");
    let again = home.await_service("app", "is restarted", |service| {
        service.instances[0].restarts >= 1 && service.instances[0].state == InstanceState::Ready
    });
    assert_ne!(answer(place), first);
    assert_eq!(again.instances[0].last_exit.unwrap().code, Some(3));

    home.write("app.js", "process.exit(7)");
    let broken = home.run(&["restart", "app"]);
    assert_eq!(broken.code, Some(4), "{broken:?}");
    assert!(broken.stderr.contains("exit code 7"), "{broken:?}");
    assert_ne!(answer(place), first, "the old one serves on");

    home.write("loop.js", "setTimeout(() => process.exit(1), 20)");
    assert_eq!(home.run(&["start", "loop.js"]).code, Some(4));
    home.await_service("loop", "backs off", |service| {
        service.instances[0].state == InstanceState::Backoff && service.instances[0].restarts > 2
    });
}

/// A POST on a connection of its own, whose body comes behind its head.
fn post(place: SocketAddr) -> Result<(), String> {
    let ask = || -> std::io::Result<_> {
        let mut connection = Connection::open(place)?;
        connection
            .send("POST /orders HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\n")?;
        connection.exchange("body")
    };
    match ask() {
        Ok(answer) if answer.status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

/// The program's port is the gateway's too, so the gateway itself gets the connections to an instance that has ended, also
/// as long as nobody has told it of the end: the minder, which does, is stopped meanwhile.
#[test]
fn a_crash_costs_the_requests_at_work_and_no_other() {
    let (home, place) = home_with("app.js", CLUSTER_APP);
    // However long it takes until the minder is asked to go on.
    home.write(
        "hythe.yaml",
        &format!(
            "services: {{app: {{command: node app.js, port: {}, publish: true}}}}\nupstreams: [{{name: app, hold: 5m}}]\n",
            place.port()
        ),
    );
    home.ok(&["up", "-d"]);
    let minder = home.status().minder.pid.unwrap();
    for crash in 1..=2 {
        post(place).unwrap();
        let pid = home.pids("app")[0];
        signal(minder, Signal::STOP);
        signal(pid, Signal::KILL);
        until("it has ended", || !is_alive(pid));
        thread::scope(|scope| {
            let posts: Vec<_> = (0..3).map(|_| scope.spawn(|| post(place))).collect();
            until("they wait", || {
                held(&home) == 3 || posts.iter().any(thread::ScopedJoinHandle::is_finished)
            });
            signal(minder, Signal::CONT);
            for post in posts {
                assert_eq!(post.join().unwrap(), Ok(()), "crash {crash}");
            }
        });
        home.await_service("app", "is there again", |service| {
            is_ready(service) && service.instances[0].restarts >= crash
        });
    }
}

#[test]
fn clients_who_connect_ahead_of_their_first_request_lose_none() {
    let (home, place) = home_with("app.js", COUNTING);
    home.ok(&["start", "app.js"]);
    let mut ahead: Vec<Connection> = (0..4).map(|_| Connection::open(place).unwrap()).collect();
    let seen = |connection: &mut Connection| {
        let answer = connection.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    };
    // The program sees the connections that are made for those who might wait for its greeting.
    until("they were silent for long", || {
        seen(&mut Connection::open(place).unwrap()).ends_with(" 4 silent")
    });
    assert!(
        seen(&mut ahead[0]).starts_with("127.0.0.1 "),
        "the client's address is told"
    );
    home.ok(&["restart", "app"]);
    until("they were silent for the next one", || {
        seen(&mut Connection::open(place).unwrap()).ends_with(" 3 silent")
    });
    for connection in &mut ahead {
        assert!(seen(connection).starts_with("127.0.0.1 "));
    }
}

#[test]
fn programs_of_other_languages_are_served_at_their_ports_too() {
    let (home, place) = home_with("server.py", PYTHON);
    home.ok(&["start", "server.py", "-i", "3"]);
    assert_eq!(answers(place, 9).len(), 3);
    let load = load(place);
    home.ok(&["restart", "server"]);
    none_failed(&load, "a restart of a program in Python");
    load.stop();

    let place = free_address();
    home.write("page", "static");
    let command = format!("exec busybox httpd -f -p {} -h .", place.port());
    home.ok(&["start", &command, "--name", "static", "-i", "2"]);
    let page = || get(place, "/page").unwrap().body;
    assert_eq!(page(), "static");
    home.ok(&["restart", "static"]);
    assert_eq!(page(), "static");

    let tree = home.ok(&["ls", "--tree"]);
    for (service, command) in [("server", "server.py"), ("static", ": busybox httpd ")] {
        for pid in home.pids(service) {
            let ending = format!(" ({pid})");
            let of_it = tree.lines().find(|line| line.ends_with(&ending)).unwrap();
            assert!(of_it.contains(command), "{tree}");
        }
        signal(home.pids(service)[0], Signal::KILL);
        home.await_service(service, "is restarted", |service| {
            is_ready(service) && service.instances[0].restarts >= 1
        });
    }
    home.ok(&["stop", "all"]);
    assert!(
        TcpStream::connect(place).is_err(),
        "nobody listens for a stopped program"
    );
    home.ok(&["start", "all"]);
    assert_eq!(page(), "static");
    home.ok(&["delete", "all"]);
    assert!(home.services().is_empty() && TcpStream::connect(place).is_err());
}

#[test]
fn a_restart_in_which_the_server_is_killed_loses_what_was_at_work_in_it() {
    let (home, place) = home_with("app.js", CLUSTER_APP);
    home.ok(&["start", "app.js", "-i", "2"]);
    let before = home.pids("app");
    let is_new = |pid: Option<u32>| pid.is_some_and(|pid| !before.contains(&pid));
    let load = load(place);
    home.ok(&["restart", "app", "--no-wait"]);
    home.await_service("app", "is being replaced", |service| {
        service.instances.iter().any(|one| is_new(one.pid))
    });
    home.kill_server();
    until("the next server answers", || {
        home.run(&["status"]).code == Some(0)
    });
    home.await_service("app", "is replaced", |service| {
        is_ready(service) && service.ready == 2 && service.instances.iter().all(|one| is_new(one.pid))
    });
    load.await_gets(gets());
    let failures = load.stop().failures;
    let refused = failures.iter().any(|failure| failure.contains("refused"));
    // Each client has one request at a time.
    assert!(failures.len() <= CLIENTS && !refused, "{failures:#?}");
}

/// Has its port before it listens, and says when it does.
const LATE: &str = "\
import pathlib, time
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header('Content-Length', '4')
        self.end_headers()
        self.wfile.write(b'late')

server = HTTPServer(('', @PORT@), Handler, bind_and_activate=False)
server.server_bind()
time.sleep(1.5)
pathlib.Path('listens').touch()
server.server_activate()
server.serve_forever()
";

#[test]
fn who_has_bound_a_port_is_ready_when_it_listens() {
    let (home, place) = home_with("late.py", LATE);
    home.ok(&["server", "start"]);
    let mut start = home.spawn(&["start", "late.py"]);
    until("it has its port", || {
        home.services()
            .iter()
            .any(|service| !service.published.is_empty())
    });
    let before = accepted(&home);
    let client = thread::spawn(move || get(place, "/"));
    until("it listens", || {
        let is_ready = home.service("late").ready > 0;
        let listens = home.folder().join("listens").exists();
        assert!(listens || !is_ready, "ready before it listens");
        is_ready
    });
    assert!(start.wait().success());
    let early = client.join().unwrap().unwrap();
    assert!(
        matches!((early.status, early.body.as_str()), (200, "late") | (503, _)),
        "{early:?}"
    );
    // Its address is the gateway's too until it listens: what goes there must not come around again.
    let came = accepted(&home) - before;
    assert!(came < 100, "{came} connections for one client");
    assert_eq!(answer(place), "late");
}

/// Connections that the gateway has taken.
fn accepted(home: &Home) -> u64 {
    let api = home.status().listen.api.unwrap().parse().unwrap();
    let metrics = get(api, "/metrics").unwrap().body;
    let lines = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix("hythe_connections_accepted")?;
        rest.rsplit(' ').next()?.parse::<u64>().ok()
    });
    lines.sum()
}

#[test]
fn who_works_hard_to_start_is_waited_for_and_who_has_no_port_is_not() {
    let (home, place) = home_with(
        "slow.js",
        "const until = Date.now() + 2500;
         while (Date.now() < until);
         require('node:fs').writeFileSync('listens', '');
         require('node:http').createServer((request, response) => response.end('slow')).listen(@PORT@);",
    );
    home.write("worker.js", "setInterval(() => {}, 1000)");
    home.ok(&["start", "slow.js"]);
    assert!(home.folder().join("listens").exists(), "ready before it listens");
    assert_eq!(answer(place), "slow");
    home.ok(&["start", "worker.js"]);
    let instances = home.instances("slow");
    assert!(
        matches!(instances[0].listening, Some(Listening::Bind { asked }) if asked.port() == place.port()),
        "{instances:?}"
    );
}

#[test]
fn copies_of_which_one_has_a_port_are_each_replaced_by_their_like() {
    let (home, place) = home_with(
        "half.js",
        "if (process.env.NODE_APP_INSTANCE !== '0') setInterval(() => {}, 1000);
         else require('node:http').createServer((request, response) => {
           response.end(`${process.pid}`);
         }).listen(@PORT@);",
    );
    home.ok(&["start", "half.js", "-i", "2"]);
    let before = home.pids("half");
    assert_eq!(answers(place, 4), [before[0].to_string()].into());
    home.ok(&["restart", "half"]);
    let after = home.pids("half");
    assert!(after.iter().all(|pid| !before.contains(pid)));
    assert_eq!(answers(place, 4), [after[0].to_string()].into());
}

#[test]
fn what_is_no_http_is_passed_on() {
    let (home, place) = home_with("greeter.js", GREETER);
    home.ok(&["start", "greeter.js"]);
    let mut client = TcpStream::connect(place).unwrap();
    let mut greeting = [0; 11];
    client.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"220 ready\r\n");
    client.write_all(b"HELO\r\n").unwrap();
    let mut echo = [0; 6];
    client.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"HELO\r\n");
    let listener: Vec<String> = home.service("greeter").published;
    assert_eq!(listener, [place.to_string()], "not on every address");
}

#[test]
fn an_ecosystem_file_starts_its_apps_with_the_chosen_environment() {
    let home = Home::new();
    let (web, api) = (free_address(), free_address());
    home.write(
        "show.js",
        "require('node:http').createServer((request, response) => {
           const { NODE_ENV, MODE, PORT, NODE_APP_INSTANCE } = process.env;
           response.end(JSON.stringify([NODE_ENV, MODE, PORT, NODE_APP_INSTANCE, process.argv.slice(2)]));
         }).listen(process.env.PORT);",
    );
    home.write(
        "ecosystem.config.js",
        &format!(
            "module.exports = {{ apps: [
               {{ name: 'web', script: './show.js', args: 'one \"two words\"', env: {{ PORT: {}, MODE: 'plain' }},
                  env_production: {{ NODE_ENV: 'production' }} }},
               {{ name: 'api', script: 'show.js', port: {}, instances: 2, env_production: {{ MODE: 'fast' }} }},
             ] }}",
            web.port(),
            api.port()
        ),
    );
    home.ok(&["start", "--env", "production"]);
    assert_eq!(
        answer(web),
        format!(
            r#"["production","plain","{}","0",["one","two words"]]"#,
            web.port()
        )
    );
    let of_api = |slot: u32| format!(r#"[null,"fast","{}","{slot}",[]]"#, api.port());
    assert_eq!(answers(api, 6), [of_api(0), of_api(1)].into());

    // Without the environment its variables are gone again.
    home.ok(&["start", "ecosystem.config.js", "--only", "web"]);
    assert_eq!(
        answer(web),
        format!(r#"[null,"plain","{}","0",["one","two words"]]"#, web.port())
    );
    assert_eq!(answers(api, 6), [of_api(0), of_api(1)].into());
}

#[test]
fn what_cannot_be_started_is_refused_as_a_whole() {
    let home = Home::new();
    home.write("good.js", "setInterval(() => {}, 1000)");
    home.write(
        "apps.json",
        "[{name: 'good', script: 'good.js'}, {name: 'bad', script: 'gone.js', instances: 2}]",
    );
    let refused = home.run(&["start", "apps.json"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(
        refused.stderr.contains("`script` is") && refused.stderr.contains("gone.js"),
        "{refused:?}"
    );
    let nothing = home.run(&["start"]);
    assert_eq!(nothing.code, Some(2), "{nothing:?}");

    home.write("hythe.yaml", "services:\n  users: {command: node good.js}\n");
    home.ok(&["up", "-d"]);
    let refused = home.run(&["start", "good.js", "--name", "users"]);
    assert!(refused.stderr.contains("is described by"), "{refused:?}");
    let refused = home.run(&["delete", "users"]);
    assert!(refused.stderr.contains("hythe down"), "{refused:?}");
    home.ok(&["start", "good.js"]);
    home.ok(&["down"]);
    let left: Vec<String> = home.services().into_iter().map(|service| service.name).collect();
    assert_eq!(left, ["good"], "the manifest's are gone, the others stay");
    let pids = home.pids("good");
    home.ok(&["delete", "good"]);
    until("the program is gone", || {
        !home.processes().iter().any(|process| pids.contains(&process.pid))
    });
}

#[test]
fn nodes_cluster_mode_is_as_programs_know_it() {
    let place = free_address();
    let home = Home::new();
    home.write(
        "worker.js",
        &"const cluster = require('node:cluster');
          const server = require('node:http').createServer((request, response) => {
            response.end(`${cluster.isWorker} ${cluster.worker.id} ${process.env.NODE_APP_INSTANCE}`);
          });
          server.listen(@PORT@, () => process.send('ready'));
          process.on('exit', () => console.log('ended by itself'));"
            .replace("@PORT@", &place.port().to_string()),
    );
    home.ok(&["start", "worker.js", "-i", "2", "--wait-ready"]);
    let known = ["true 1 0".to_owned(), "true 2 1".to_owned()];
    assert_eq!(answers(place, 6), known.clone().into());
    let described = home.ok(&["describe", "worker"]);
    let says = |part: &str| described.contains(part);
    assert!(
        says("worker of Node's cluster") && says("where the gateway listens for it"),
        "{described}"
    );
    let load = load(place);
    home.ok(&["restart", "worker"]);
    none_failed(&load, "a restart of workers of Node's cluster");
    load.stop();
    assert_eq!(answers(place, 6), known.into());
    // Without a handler for signals they end when nothing is left to do.
    home.ok(&["stop", "worker"]);
    let said = home.ok(&["logs", "worker"]);
    assert_eq!(said.matches("ended by itself").count(), 4, "{said}");
}

#[test]
fn programs_say_when_they_are_ready_and_hear_when_to_stop() {
    let home = Home::new();
    home.write(
        "job.js",
        "setTimeout(() => {
           console.log('says so');
           process.send('ready');
         }, 1500);
         setInterval(() => {}, 1000);
         process.on('message', (message) => {
           console.log(`heard ${message}`);
           if (message === 'shutdown') process.exit(0);
         });",
    );
    home.write(
        "apps.json",
        "[{name: 'job', script: 'job.js', wait_ready: true, shutdown_with_message: true, kill_timeout: 60000},
          {name: 'shy', script: 'shy.js', wait_ready: true, listen_timeout: 300}]",
    );
    home.write("shy.js", "setInterval(() => {}, 1000)");
    home.ok(&["start", "apps.json"]);
    let said = home.ok(&["logs", "job"]);
    assert!(said.contains("says so"), "the start has waited for it: {said}");
    home.ok(&["stop", "all"]);
    let said = home.ok(&["logs", "job"]);
    assert!(said.contains("heard shutdown"), "{said}");
}

#[test]
fn sites_of_an_ecosystem_file_are_answered() {
    let home = Home::new();
    let place = free_address();
    home.write("public/index.html", "hello");
    home.write(
        "sites.json",
        &format!(
            "{{static: [{{path: 'public', port: {}, host: '127.0.0.1', name: 'docs', spa: true}}]}}",
            place.port()
        ),
    );
    let told = home.ok(&["start", "sites.json"]);
    assert!(told.contains("hythe down -p docs"), "{told}");
    assert_eq!(get(place, "/somewhere").unwrap().body, "hello");
    home.ok(&["down", "-p", "docs"]);
    until("nobody answers", || get(place, "/").is_err());
    home.write("sites.json", "{static: [{path: 'absent'}]}");
    let refused = home.run(&["start", "sites.json"]);
    assert!(
        refused.code == Some(3) && refused.stderr.contains("absent is not a folder"),
        "{refused:?}"
    );
}

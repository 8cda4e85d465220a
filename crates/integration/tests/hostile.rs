//! Attacks by the field's own tools, and crowds that say nothing, while other clients go on: each of their requests is
//! served. How long they took is printed, calm and under attack, and not judged here: the machine is shared.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hythe_testkit::home::Home;
use hythe_testkit::http_client::Connection;
use hythe_testkit::wait::until;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::footprint::memory;
use crate::world::{alone, home_with};

const MANIFEST: &str = "\
services:
  echo: {command: node echo.js, port: 3000}
  site: {files: ./public}
routes:
  - {name: site, service: site, paths: [/site]}
  - {name: all, service: echo, paths: [/], strip_path: false}
";

/// Requests of the other clients before an attack, and at least as many during it.
const REQUESTS: usize = 200;
/// Larger than what the sockets of all who read slowly would hold.
const LARGE: usize = 4 << 20;

/// How long each of the other clients' requests took, sorted.
struct Times(Vec<Duration>);

impl Times {
    fn p99(&self) -> Duration {
        let at = self.0.len() * 99 / 100;
        self.0.get(at).copied().unwrap_or_default()
    }
}

/// Other clients, one with a connection that it keeps and one with a new one each time, until `is_over`; each of their
/// requests must be served.
fn others(gateway: SocketAddr, mut is_over: impl FnMut() -> bool) -> Times {
    let request = format!("GET /users HTTP/1.1\r\nHost: {gateway}\r\n\r\n");
    let mut kept = Connection::open(gateway).unwrap();
    let mut times = Vec::new();
    while times.len() < REQUESTS || !is_over() {
        let start = Instant::now();
        let answer = if times.len() % 2 == 0 {
            kept.exchange(&request)
        } else {
            Connection::open(gateway).and_then(|mut new| new.exchange(&request))
        };
        assert_eq!(answer.unwrap().status, 200, "request {}", times.len());
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Times(times)
}

/// Runs a tool against the gateway, with the other clients beside it; what it says.
fn attack(home: &Home, name: &str, program: &str, args: &[&str]) -> String {
    let gateway = home.gateway();
    let calm = others(gateway, || true);
    let mut tool = start(program, args);
    let attacked = others(gateway, || tool.try_wait().unwrap().is_some());
    println!(
        "{name}: p99 of others {:?} calm, {:?} under attack ({} requests, none failed)",
        calm.p99(),
        attacked.p99(),
        attacked.0.len()
    );
    let output = tool.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program}: {}: {text}", output.status);
    text
}

fn start(program: &str, args: &[&str]) -> Child {
    let child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    child.unwrap_or_else(|error| panic!("{program}: {error}: run `scripts/setup test`"))
}

fn home(settings: &[(&str, &str)]) -> Home {
    let mut home = home_with(MANIFEST);
    home.write("public/large", &"x".repeat(LARGE));
    home.write("public/small", "x");
    for (name, value) in settings {
        home.set(name, value);
    }
    home.ok(&["up", "-d"]);
    home
}

#[test]
fn slow_clients_hold_up_nobody_else() {
    let _alone = alone();
    let home = home(&[]);
    let all = format!("http://{}/", home.gateway());
    let large = format!("http://{}/site/large", home.gateway());
    let common = ["-c", "400", "-r", "400", "-l", "5", "-i", "1", "-p", "3"];
    let kinds: [(&str, &[&str]); 3] = [
        ("slow heads", &["-H", "-u", &all]),
        ("slow bodies", &["-B", "-s", "100000", "-u", &all]),
        (
            "slow readers",
            &["-X", "-w", "10", "-y", "20", "-n", "1", "-z", "5", "-u", &large],
        ),
    ];
    for (name, args) in kinds {
        let said = attack(&home, name, "slowhttptest", &[&common, args].concat());
        // It was an attack: connections were held until the time was over.
        assert!(said.contains("Hit test time limit"), "{name}: {said}");
    }
}

#[test]
fn floods_of_requests_are_shared_with_others() {
    let _alone = alone();
    let home = home(&[]);
    let url = format!("http://{}/site/small", home.gateway());
    let said = attack(
        &home,
        "HTTP/2 flood",
        "h2load",
        &["-n", "20000", "-c", "50", "-m", "100", &url],
    );
    assert!(
        said.contains("20000 succeeded, 0 failed, 0 errored, 0 timeout"),
        "{said}"
    );
}

/// Connections that say nothing; the server holds a descriptor for each, and so does this test.
const CROWD: usize = 9_500;
/// Against growth, not a bar: the build is one for debugging. What a connection costs is the benchmark's to say.
const BYTES_EACH: u64 = 32 * 1024;

#[test]
fn thousands_of_silent_connections_cost_little() {
    let _alone = alone();
    raise_descriptor_limit();
    let home = home(&[("HYTHE_MAX_CONNECTIONS", "15000")]);
    let (gateway, server) = (home.gateway(), home.status().server.pid);
    others(gateway, || true);
    let before = memory(server, "Pss:");
    let crowd: Vec<TcpStream> = (0..CROWD).map(|_| TcpStream::connect(gateway).unwrap()).collect();
    until("all are accepted", || descriptors(server) > CROWD);
    let each = memory(server, "Pss:").saturating_sub(before) * 1024 / CROWD as u64;
    println!("{CROWD} silent connections: {each} bytes each");
    assert!(each < BYTES_EACH, "{each} bytes each");
    println!("p99 of others beside them: {:?}", others(gateway, || true).p99());
    drop(crowd);
    until("all are closed", || descriptors(server) < CROWD / 10);
    others(gateway, || true);
    assert_eq!(home.status().server.pid, server);
}

fn descriptors(process: u32) -> usize {
    fs::read_dir(format!("/proc/{process}/fd")).map_or(0, Iterator::count)
}

fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).unwrap();
}

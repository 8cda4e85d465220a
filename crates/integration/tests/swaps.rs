//! Manifests that are applied and members that fall ill, again and again, under everything that clients do: each
//! request is served, and each change with the answer of the command that made it.
//!
//! `HYTHE_LONG=1`: a thousand changes of ten thousand routes, and a thousand times ill or well.

use std::fmt::Write as _;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hythe_testkit::backend::Backend;
use hythe_testkit::home::Home;
use hythe_testkit::mixed_load::MixedLoad;
use hythe_testkit::wait::until;

use crate::programs::{file_of_python, python, python_command};
use crate::world::{alone, is_long};

/// How much is done.
struct Amounts {
    projects: usize,
    routes_each: usize,
    swaps: usize,
    flaps: u64,
}

const SHORT: Amounts = Amounts {
    projects: 4,
    routes_each: 100,
    swaps: 20,
    flaps: 100,
};
const LONG: Amounts = Amounts {
    projects: 10,
    routes_each: 1_000,
    swaps: 1_000,
    flaps: 1_000,
};

#[test]
fn nobody_notices_swaps_and_flaps() {
    let _alone = alone();
    let amounts = if is_long() { LONG } else { SHORT };
    let backend = Backend::start().unwrap();
    let home = Home::new();
    home.write("load/hythe.yaml", &asked_by_load(&backend));
    home.ok(&["up", "-d", "load"]);
    let mut projects: Vec<Project> = (0..amounts.projects)
        .map(|number| Project::new(number, amounts.routes_each, &backend))
        .collect();
    for project in &projects {
        project.up(&home);
    }

    let gateway = home.gateway();
    let load = MixedLoad::start(gateway, "/load/");
    let calls = Calls::start(&home);
    let count = projects.len();
    let mut times = Vec::new();
    for swap in 0..amounts.swaps {
        let project = &mut projects[swap % count];
        let route = (swap / count) % amounts.routes_each;
        project.versions[route] += 1;
        times.push(project.up(&home));
        assert_eq!(home.get(&project.asked(route)).status, 200, "swap {swap}");
        project.versions[route] -= 1;
        assert_eq!(home.get(&project.asked(route)).status, 404, "swap {swap}");
        project.versions[route] += 1;
    }
    until("the member has been ill and well often enough", || {
        backend.checks() >= amounts.flaps
    });
    until("the member is ill", || home.service("load.echo").ready == 1);
    until("the member is well", || home.service("load.echo").ready == 2);
    calls.none_failed();
    load.none_failed(&format!("{} swaps and {} flaps", times.len(), backend.checks()));
    times.sort_unstable();
    println!(
        "a swap, from the manifest to its being live: median {:?}, longest {:?}",
        times[times.len() / 2],
        times[times.len() - 1]
    );
}

/// The service that is under load, with the member that flaps, and the one for calls.
fn asked_by_load(backend: &Backend) -> String {
    let command = python_command("grpc_service.py");
    format!(
        "\
name: load
services:
  echo:
    targets: [{{target: '{}'}}, {{target: '{}'}}]
    upstream:
      healthchecks:
        active:
          http_path: /health
          healthy: {{interval: 20ms, successes: 1}}
          unhealthy: {{interval: 20ms, http_failures: 1}}
  calls: {{command: {command}, port: 50051, upstream: {{protocol: grpc}}}}
routes:
  - {{name: load, service: echo, paths: [/load/], strip_path: false}}
  - {{name: calls, service: calls, protocols: [grpc], paths: [/walk.Calls]}}
",
        backend.member(1),
        backend.member(2)
    )
}

/// A project of many routes, each with a version in its path.
struct Project {
    number: usize,
    service: String,
    versions: Vec<usize>,
}

impl Project {
    fn new(number: usize, routes: usize, backend: &Backend) -> Self {
        Self {
            number,
            service: backend.member(1).to_string(),
            versions: vec![0; routes],
        }
    }

    /// The path that a route takes; for some it is a regular expression, which are those that take time to compile.
    fn path(&self, route: usize) -> String {
        let begin = format!("/p{}/r{route}/v{}/", self.number, self.versions[route]);
        match route % 10 {
            0 => format!("~{begin}\\d+$"),
            _ => begin,
        }
    }

    /// A path that it takes.
    fn asked(&self, route: usize) -> String {
        format!("/p{}/r{route}/v{}/1", self.number, self.versions[route])
    }

    /// Applies it; how long that took until it was served.
    fn up(&self, home: &Home) -> Duration {
        let folder = format!("p{}", self.number);
        let mut text = format!(
            "name: {folder}\nservices:\n  app: {{url: 'http://{}'}}\nroutes:\n",
            self.service
        );
        for route in 0..self.versions.len() {
            let path = self.path(route);
            writeln!(text, "  - {{name: r{route}, service: app, paths: ['{path}']}}").unwrap();
        }
        home.write(&format!("{folder}/hythe.yaml"), &text);
        let start = Instant::now();
        home.ok(&["up", "-d", &folder]);
        start.elapsed()
    }
}

/// grpcio, with one long call and many short ones.
struct Calls(Child);

impl Calls {
    fn start(home: &Home) -> Self {
        let child = Command::new(python())
            .arg(file_of_python("grpc_client.py"))
            .args([&home.gateway().to_string(), "load"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        Self(child.unwrap())
    }

    /// Ends it by the end of its input.
    #[track_caller]
    fn none_failed(mut self) {
        drop(self.0.stdin.take());
        let mut said = String::new();
        let mut stdout = self.0.stdout.take().unwrap();
        stdout.read_to_string(&mut said).unwrap();
        assert!(self.0.wait().unwrap().success(), "gRPC: {said}");
        println!("gRPC: {} calls and messages, none failed", said.trim());
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

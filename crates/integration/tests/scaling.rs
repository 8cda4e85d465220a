//! Services whose load decides how many instances there are, and those that sleep.

use std::time::{Duration, Instant};

use hythe_testkit::home::Home;
use hythe_testkit::load::{Load, Plan};
use hythe_testkit::wait::{pause, until};

use crate::world::alone;

/// Takes 200 ms for each request.
const SLOW: &str = "\
require('node:http').createServer((request, response) => {
  setTimeout(() => response.end(`${process.pid}`), 200);
}).listen(process.env.PORT);
";

/// Answers at once, and starts as slowly as it is told.
const SLEEPER: &str = "\
setTimeout(() => require('node:http').createServer((request, response) => {
  response.end(`${process.pid}`);
}).listen(process.env.PORT), Number(process.env.BOOT_MS));
";

fn load(home: &Home, readers: usize) -> Load {
    Load::start(&Plan {
        gateway: home.gateway(),
        path: "/slow".to_owned(),
        readers,
        pause: Duration::from_millis(1),
        post_every: None,
    })
}

fn desired(home: &Home) -> u32 {
    home.service("slow").desired
}

#[test]
fn a_ramp_of_load_is_followed_up_and_down_and_no_request_is_lost() {
    let _alone = alone();
    let home = Home::new();
    home.write("slow.js", SLOW);
    home.write(
        "hythe.yaml",
        "services:
  slow:
    command: node slow.js
    port: 3000
    autoscale: {min: 1, max: 4, in_flight: 4, cooldown: 4s}
routes: [{name: slow, service: slow, paths: [/slow]}]
",
    );
    home.ok(&["up", "-d"]);
    assert_eq!(desired(&home), 1);

    let (few, many) = (load(&home, 3), load(&home, 8));
    until("11 in flight have 3 instances", || {
        home.service("slow").ready == 3
    });
    let mut seen = Vec::new();
    let watched = Instant::now();
    while watched.elapsed() < Duration::from_secs(8) {
        seen.push(desired(&home));
        pause(Duration::from_millis(200));
    }
    assert!(
        seen.iter().all(|desired| *desired == 3),
        "steady under a steady load: {seen:?}"
    );

    let tally = many.stop();
    assert_eq!(tally.failures, [""; 0]);
    until("3 in flight have 1 instance", || {
        let service = home.service("slow");
        service.desired == 1 && service.instances.len() == 1
    });
    let tally = few.stop();
    assert_eq!(tally.failures, [""; 0]);
}

#[test]
fn a_service_that_sleeps_is_woken_by_a_request_which_waits() {
    let home = up_with_sleeper("300");
    let first = home.get("/sleeper").body;
    home.await_service("sleeper", "sleeps", |service| {
        service.asleep && service.instances.is_empty()
    });
    assert!(home.ok(&["ls"]).contains("asleep"));

    let asked = Instant::now();
    let woken = home.get("/sleeper");
    println!(
        "the first request after sleep took {:?}, 300 ms of it the program's own",
        asked.elapsed()
    );
    assert_eq!(woken.status, 200);
    assert_ne!(woken.body, first, "another process");

    // Many at once wake it once.
    home.await_service("sleeper", "sleeps", |service| {
        service.asleep && service.instances.is_empty()
    });
    let bodies: Vec<String> = std::thread::scope(|scope| {
        let asks: Vec<_> = (0..20).map(|_| scope.spawn(|| home.get("/sleeper"))).collect();
        asks.into_iter().map(|ask| ask.join().unwrap().body).collect()
    });
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
}

#[test]
fn the_next_server_knows_a_sleeper_and_wakes_it() {
    let home = up_with_sleeper("0");
    home.await_service("sleeper", "sleeps", |service| {
        service.asleep && service.instances.is_empty()
    });
    home.kill_server();
    home.ok(&["server", "start"]);
    assert_eq!(home.get("/sleeper").status, 200);
    home.await_service("sleeper", "sleeps again", |service| {
        service.asleep && service.instances.is_empty()
    });
    home.ok(&["stop", "sleeper"]);
    assert_eq!(
        home.get("/sleeper").status,
        503,
        "what was stopped by hand is not woken"
    );
}

/// A service that sleeps after two seconds, and takes so long to start; it is awake.
pub(crate) fn up_with_sleeper(boot_ms: &str) -> Home {
    let home = Home::new();
    home.write("sleeper.js", SLEEPER);
    let manifest = format!(
        "services:
  sleeper:
    command: node sleeper.js
    port: 3000
    environment: {{BOOT_MS: '{boot_ms}'}}
    sleep: 2s
routes: [{{name: sleeper, service: sleeper, paths: [/sleeper]}}]
"
    );
    home.write("hythe.yaml", &manifest);
    home.ok(&["up", "-d"]);
    assert_eq!(home.get("/sleeper").status, 200);
    home
}

//! What the walkthroughs start from.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hythe_model::InstanceState;
use hythe_model::view::ServiceView;
use hythe_testkit::home::{Home, copy_folder};
use hythe_testkit::http_client::get;
use hythe_testkit::load::{Load, Plan};

pub(crate) const ECHO: &str = include_str!("../services/echo.js");
const STREAMS: &str = include_str!("../services/streams.js");
const NUMBERS: &str = include_str!("../services/numbers.js");

/// Two copies behind one route that takes everything; quick to notice what happens to them.
pub(crate) const ECHO_MANIFEST: &str = "\
services:
  echo:
    command: node echo.js
    port: 3000
    environment: {VERSION: one}
    healthcheck: {http: /health, interval: 1s, timeout: 5s, start_interval: 100ms}
    deploy: {replicas: 2}
routes:
  - {name: all, service: echo, paths: [/], strip_path: false}
";

/// Bodies that have no end in sight.
pub(crate) const STREAMS_MANIFEST: &str = "\
services:
  streams: {command: node streams.js, port: 3000}
routes:
  - {name: all, service: streams, paths: [/], strip_path: false}
";

/// A home with the manifest in its folder and the services it may run beside it.
pub(crate) fn home_with(manifest: &str) -> Home {
    let home = Home::new();
    home.write("echo.js", ECHO);
    home.write("numbers.js", NUMBERS);
    home.write("streams.js", STREAMS);
    home.write("hythe.yaml", manifest);
    home
}

/// The same, applied and live.
pub(crate) fn up(manifest: &str) -> Home {
    let home = home_with(manifest);
    home.ok(&["up", "-d"]);
    home
}

/// The example application, in the folder of a home.
pub(crate) fn example() -> Home {
    let home = Home::new();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/directory");
    copy_folder(&example, &home.folder());
    home
}

/// Held by whoever puts load on the machine.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// About 150 GETs a second, and a POST every 6 seconds: longer than a service keeps an idle connection.
pub(crate) fn load(home: &Home) -> Load {
    Load::start(&Plan {
        gateway: home.gateway(),
        path: "/users/7".to_owned(),
        readers: 8,
        pause: Duration::from_millis(50),
        post_every: Some(Duration::from_secs(6)),
    })
}

/// Whether there is time for more than the usual.
pub(crate) fn is_long() -> bool {
    std::env::var_os("HYTHE_LONG").is_some()
}

/// Bytes that are streamed to see that nobody keeps them; a gigabyte when there is time.
pub(crate) fn volume() -> u64 {
    if is_long() { 1 << 30 } else { 192 << 20 }
}

/// The most memory that a home's server ever held, when this was made.
pub(crate) struct Peak {
    server: u32,
    kibibytes: u64,
}

impl Peak {
    /// As it is now.
    pub(crate) fn of(home: &Home) -> Self {
        let server = home.status().server.pid;
        Self {
            server,
            kibibytes: peak(server),
        }
    }

    /// Fails if the server has since held 32 MiB more: far above its windows and buffers, far below what went
    /// through it.
    #[track_caller]
    pub(crate) fn stayed(&self) {
        let now = peak(self.server);
        println!("the server's peak: {} KiB, then {now} KiB", self.kibibytes);
        assert!(
            now < self.kibibytes + 32 * 1024,
            "{} KiB, then {now}",
            self.kibibytes
        );
    }
}

fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Requests that wait for an instance, as the server's metrics tell.
pub(crate) fn held(home: &Home) -> u64 {
    let api = home.status().listen.api.unwrap().parse().unwrap();
    let metrics = get(api, "/metrics").unwrap().body;
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("hythe_requests_held "));
    line.unwrap().parse().unwrap()
}

/// GETs that go with each disturbance.
pub(crate) fn gets() -> u64 {
    if is_long() { 5_000 } else { 300 }
}

/// Waits until there was load after a disturbance, and fails if any request did.
#[track_caller]
pub(crate) fn none_failed(load: &Load, after: &str) -> hythe_testkit::load::Tally {
    load.await_gets(gets());
    let tally = load.take();
    println!(
        "{after}: {} requests, {} failed",
        tally.requests(),
        tally.failures.len()
    );
    assert!(tally.failures.is_empty(), "{after}: {:#?}", tally.failures);
    tally
}

/// Whether every wanted instance receives traffic.
pub(crate) fn is_ready(service: &ServiceView) -> bool {
    service.settled && service.ready == service.desired && service.instances.iter().all(in_traffic)
}

fn in_traffic(instance: &hythe_model::view::InstanceView) -> bool {
    instance.state == InstanceState::Ready
}

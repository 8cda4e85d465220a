//! What goes on for long: events, WebSocket, and bodies larger than anybody would keep.

use std::fs::File;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

use hythe_testkit::home::Home;
use hythe_testkit::process_table::signal;
use rustix::process::Signal;

use crate::programs::{python_command, run, run_python};
use crate::world::{Peak, STREAMS_MANIFEST, alone, up, volume};

const VERSIONS: [&str; 2] = ["--http1.1", "--http2-prior-knowledge"];

/// curl, reading server-sent events.
struct Events {
    curl: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Events {
    fn open(home: &Home, version: &str) -> Self {
        let mut curl = Command::new("curl")
            .args(["-sSN", "--max-time", "60", version])
            .arg(format!("http://{}/events", home.gateway()))
            .stdout(Stdio::piped())
            .spawn()
            .expect("curl is missing: run `scripts/setup test`");
        let lines = BufReader::new(curl.stdout.take().unwrap()).lines();
        Self { curl, lines }
    }

    /// The next event's number.
    #[track_caller]
    fn next(&mut self) -> u64 {
        let line = self
            .lines
            .find_map(|line| line.ok().filter(|line| !line.is_empty()));
        let line = line.expect("there is another event");
        line.strip_prefix("data: ").unwrap().parse().unwrap()
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        signal(self.curl.id(), Signal::KILL);
        let _ = self.curl.wait();
    }
}

/// The next event is made only when the one before has arrived, so one that is kept back ends the test.
#[test]
fn each_event_arrives_when_it_is_sent() {
    let home = up(STREAMS_MANIFEST);
    for version in VERSIONS {
        let mut events = Events::open(&home, version);
        let mut last = events.next();
        for _ in 0..20 {
            run(&home, "curl", &["-sS", "-XPOST", &url(&home, "/next")]);
            let event = events.next();
            assert_eq!(event, last + 1, "{version}");
            last = event;
        }
    }
}

#[test]
fn websocket_messages_pass_both_ways() {
    let command = python_command("websocket_service.py");
    let home = up(&format!(
        "\
services:
  echo: {{command: {command}, port: 3000}}
routes:
  - {{name: echo, service: echo, paths: [/echo]}}
"
    ));
    run_python(&home, "websocket_client.py", &[&home.gateway().to_string()]);
}

#[test]
fn large_bodies_take_no_memory() {
    let _turn = alone();
    let home = up(STREAMS_MANIFEST);
    let bytes = volume();
    File::create(home.folder().join("large"))
        .unwrap()
        .set_len(bytes)
        .unwrap();
    let down = url(&home, &format!("/down?bytes={bytes}"));
    let up = url(&home, "/up");
    for version in VERSIONS {
        let peak = Peak::of(&home);
        let size = run(
            &home,
            "curl",
            &["-sS", version, "-o/dev/null", "-w%{size_download}", &down],
        );
        assert_eq!(size, bytes.to_string(), "{version}");
        let size = run(&home, "curl", &["-sS", version, "-XPOST", "-Tlarge", &up]);
        assert_eq!(size, bytes.to_string(), "{version}");
        peak.stayed();
    }
}

fn url(home: &Home, path: &str) -> String {
    format!("http://{}{path}", home.gateway())
}

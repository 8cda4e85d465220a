//! What services print: each line once, in order, whatever happens to the server.

use std::fs;
use std::process::{Child, Command, Stdio};

use hythe_model::view::LogLine;
use hythe_testkit::home::{Home, hythe_binary};
use hythe_testkit::wait::until;
use rustix::process::{Signal, geteuid};
use serde_json::Value;

use crate::world::{ECHO_MANIFEST, home_with, up};

const CRASHES: usize = 4;

const NUMBERS: &str = "services: {numbers: {command: node numbers.js, logs: {compress: false}}}\n";

#[test]
fn no_line_is_lost_or_doubled_when_the_server_is_killed() {
    let home = up(NUMBERS);
    let pids = home.pids("numbers");
    for _ in 0..CRASHES {
        let seen = written(&home, "out").len();
        until("it goes on printing", || written(&home, "out").len() > seen + 500);
        home.kill_server();
        home.ok(&["server", "start"]);
    }
    home.write("enough", "");
    until("the end is written", || {
        written(&home, "out")
            .last()
            .is_some_and(|line| line.starts_with("end "))
    });
    assert_eq!(home.pids("numbers"), pids, "it was one process all the time");

    let mut out = written(&home, "out");
    let count: u64 = out
        .pop()
        .and_then(|end| end.strip_prefix("end ")?.parse().ok())
        .unwrap();
    let expected: Vec<String> = (0..count).map(|number| number.to_string()).collect();
    assert_same(&out, &expected);
    let sevenths: Vec<String> = (0..count).step_by(7).map(|number| number.to_string()).collect();
    until("the other stream is written", || {
        written(&home, "err").len() >= sevenths.len()
    });
    assert_same(&written(&home, "err"), &sevenths);
    println!("{count} lines over {CRASHES} crashes");

    let shown = lines(&home.ok(&["logs", "numbers", "--json"]));
    let last = shown.iter().rfind(|line| line.stream == "stdout").unwrap();
    assert_eq!(last.message, format!("end {count}"));
}

/// The first difference, and not two lists of a hundred thousand lines.
#[track_caller]
fn assert_same(lines: &[String], expected: &[String]) {
    let differs = lines
        .iter()
        .zip(expected)
        .position(|(line, expected)| line != expected);
    assert_eq!(
        differs,
        None,
        "{:?}",
        differs.map(|at| &lines[at.saturating_sub(2)..(at + 3).min(lines.len())])
    );
    assert_eq!(lines.len(), expected.len());
}

/// The messages of one stream in the files, oldest first.
fn written(home: &Home, stream: &str) -> Vec<String> {
    let folder = home.path().join("logs");
    let name = "default.numbers.log";
    let rotated = (1..10)
        .rev()
        .map(|number| folder.join(format!("{name}.{number}")));
    let files = rotated.chain([folder.join(name)]);
    let text: String = files.filter_map(|file| fs::read_to_string(file).ok()).collect();
    // The last line may be half written at this moment.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let entries = whole
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_stream = entries.filter(|entry| entry["s"] == stream);
    of_stream
        .filter_map(|entry| Some(entry["m"].as_str()?.to_owned()))
        .collect()
}

#[test]
fn logs_are_shown_followed_and_cut_off_by_time() {
    let talk = "\
services:
  talk:
    command: [sh, -c, 'echo good morning; echo over there >&2; while [ ! -e more ]; do sleep 0.05; done; echo good night; exec sleep 100000']
  quiet:
    command: [sh, -c, 'echo nothing to say; exec sleep 100000']
";
    let home = up(talk);
    let logs = |arguments: &[&str]| lines(&home.ok(&[&["logs", "--json"], arguments].concat()));
    until("both lines are there", || {
        logs(&["talk"])
            .iter()
            .filter(|line| line.stream != "hythe")
            .count()
            == 2
    });
    let talked = logs(&["talk"]);
    let message = |stream: &str| {
        talked
            .iter()
            .find(|line| line.stream == stream)
            .map(|line| line.message.as_str())
    };
    assert_eq!(
        (message("stdout"), message("stderr")),
        (Some("good morning"), Some("over there"))
    );
    assert!(
        talked
            .iter()
            .all(|line| line.service == "talk" && line.instance.starts_with("talk-") && line.at > 0)
    );
    until("all services", || {
        logs(&[]).iter().any(|line| line.message == "nothing to say")
    });
    let recent = logs(&["talk", "--since", "1h"]);
    assert!(recent.iter().any(|line| line.message == "good morning"));
    let text = home.ok(&["logs", "talk"]);
    assert!(
        text.contains("good morning") && text.contains("over there"),
        "{text}"
    );

    let mut follow = home.spawn(&["logs", "-f", "talk"]);
    follow.await_line("good morning");
    home.write("more", "");
    follow.await_line("good night");
    follow.signal(Signal::INT);
    follow.wait();

    let since = |when: &str| logs(&["talk", "--since", when]).len();
    assert_eq!(since("2999-01-01T00:00:00Z"), 0);
    assert!(since("2020-01-01T00:00:00Z") >= 3);
}

#[test]
fn the_life_of_an_instance_is_told_among_its_lines() {
    let home = up(ECHO_MANIFEST);
    let pid = home.pids("echo")[0];
    hythe_testkit::process_table::signal(pid, Signal::KILL);
    until("its end is told", || {
        let lines = lines(&home.ok(&["logs", "echo", "--json"]));
        lines
            .iter()
            .any(|line| line.stream == "hythe" && line.message.contains("signal 9"))
    });
}

#[test]
fn a_service_that_prints_without_end_takes_no_more_than_the_budget() {
    let mut home = home_with(
        "services:\n  flood:\n    command: [sh, -c, 'yes some output | head -n 200000; echo done; exec sleep 100000']\n    \
         logs: {max_size: 100k}\n",
    );
    home.set("HYTHE_LOGS_BUDGET", "1M");
    home.ok(&["up", "-d"]);
    let folder = home.path().join("logs");
    let files = || -> Vec<(String, u64)> {
        fs::read_dir(&folder)
            .unwrap()
            .flatten()
            .filter_map(|entry| {
                Some((
                    entry.file_name().into_string().ok()?,
                    entry.metadata().ok()?.len(),
                ))
            })
            .filter(|(name, _)| name.starts_with("default.flood"))
            .collect()
    };
    until("it has said everything, and what is old is compressed", || {
        let size: u64 = files().iter().map(|(_, size)| size).sum();
        assert!(size <= (1 << 20) + (1 << 21), "a budget and one write: {size}");
        let written = lines(&home.ok(&["logs", "flood", "--json", "-n", "1"]));
        let compressed = files().iter().any(|(name, _)| name.ends_with(".gz"));
        written.first().is_some_and(|line| line.message == "done") && compressed
    });
    assert!(
        files().iter().map(|(_, size)| size).sum::<u64>() <= 1 << 20,
        "{:?}",
        files()
    );
    let compressed = files()
        .into_iter()
        .find(|(name, _)| name.ends_with(".gz"))
        .unwrap()
        .0;
    let unpacked = Command::new("zcat")
        .arg(folder.join(compressed))
        .output()
        .unwrap();
    let text = String::from_utf8(unpacked.stdout).unwrap();
    assert!(unpacked.status.success() && text.lines().all(|line| line.contains("some output")));

    home.ok(&["logs", "--flush", "flood"]);
    assert_eq!(home.ok(&["logs", "flood"]), "");
    assert_eq!(home.run(&["logs", "--flush", "other"]).code, Some(3));
}

#[test]
fn a_full_disk_of_logs_costs_old_lines_and_nothing_else() {
    let home = home_with(
        "services:\n  flood:\n    command: [sh, -c, 'yes some output | head -n 300000; echo done; exec sleep 100000']\n  \
         quiet:\n    command: [sh, -c, 'until [ -f go ]; do sleep 0.05; done; echo still heard; exec sleep 100000']\n",
    );
    let mut server = on_a_small_disk(&home);
    until("the server answers", || home.run(&["status"]).code == Some(0));
    home.ok(&["up", "-d"]);
    let newest = |service: &str| {
        let lines = lines(&home.ok(&["logs", service, "--json", "-n", "1"]));
        lines.into_iter().next().map(|line| line.message)
    };
    until("the flood is over", || newest("flood").as_deref() == Some("done"));
    home.write("go", "");
    until("others have room", || {
        newest("quiet").as_deref() == Some("still heard")
    });
    let kept = home.ok(&["logs", "flood", "-n", "1000000"]);
    assert!((1..300_000).contains(&kept.lines().count()), "{}", kept.len());
    assert!(
        home.services()
            .iter()
            .all(|service| service.instances[0].restarts == 0)
    );
    let _ = server.kill();
    let _ = server.wait();
}

/// A server whose logs are on a disk of one megabyte, which only it and its services see.
fn on_a_small_disk(home: &Home) -> Child {
    let logs = home.path().join("logs");
    fs::create_dir_all(&logs).unwrap();
    let mut unshare = Command::new("unshare");
    if !geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    let run = home.command(&["server", "run"]);
    let settings = run.get_envs().filter_map(|(name, value)| Some((name, value?)));
    unshare
        .args([
            "--mount",
            "sh",
            "-c",
            "mount -t tmpfs -o size=1m none \"$1\" && exec \"$2\" server run",
            "sh",
        ])
        .args([&logs, &hythe_binary()])
        .envs(settings)
        .current_dir(home.folder())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("unshare: apt-get install util-linux (scripts/setup test)")
}

#[test]
fn a_service_has_files_at_paths_of_its_own() {
    let home = up("\
services:
  talk:
    command: [sh, -c, 'echo one; echo two >&2; while [ ! -e more ]; do sleep 0.05; done; echo three; exec sleep 100000']
    logs: {out_file: own/out.log, log_file: own/all.log, per_instance: true}
");
    let read = |file: &str| fs::read_to_string(home.folder().join("own").join(file)).unwrap_or_default();
    until("both lines are there", || read("all-0.log").lines().count() == 2);
    assert_eq!(read("out-0.log"), "one\n");
    let moved = |file: &str| home.folder().join("own").join(file);
    fs::rename(moved("out-0.log"), moved("rotated")).unwrap();
    home.write("more", "");
    until("it goes on in a new file", || read("out-0.log") == "three\n");
    assert_eq!(read("rotated"), "one\n");
    home.ok(&["logs", "--flush"]);
    assert_eq!(read("out-0.log") + &read("all-0.log"), "");
}

fn lines(text: &str) -> Vec<LogLine> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

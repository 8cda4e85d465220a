//! Releases over SSH: real `ssh`, real `sshd`s on loopback with throw-away keys, each with a home of its own, as if
//! they were machines.

mod sources;
mod values;
mod ways;
mod world;

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::Ordering;

use hythe_testkit::free_address;
use hythe_testkit::home::hythe_binary;
use hythe_testkit::http_client;
use hythe_testkit::wait::until;
use rustix::process::Signal;
use serde_json::{Value, json};

use self::world::{Service, Site, read};

/// A service that does not run if its version says so. It goes back with its release, as a real one would.
const RESTART: &str = "\
v=$(cat version)
[ \"$v\" != broken ] || { echo \"it's \\\"broken\\\"\"; exit 3; }
[ ! -e \"$HOME/refuses\" ] || { echo 'this machine refuses'; exit 4; }
echo \"$v\" >> \"$SHARED/runs\"";

fn runs(site: &Site, machine: usize) -> String {
    let text = read(&site.app(machine).join("shared/runs"));
    text.lines().collect::<Vec<_>>().join(" ")
}

fn current(site: &Site, machine: usize) -> String {
    read(&site.app(machine).join("current/version"))
}

/// The numbers by which `revert` goes back, and the version that is current.
fn listed(site: &Site) -> Vec<(bool, Option<u64>)> {
    let hosts: Value = site.home.json(&["deploy", "production", "list"]);
    let releases = hosts[0]["releases"].as_array().unwrap();
    let row = |release: &Value| (release["current"] == json!(true), release["revert"].as_u64());
    releases.iter().map(row).collect()
}

#[test]
fn a_target_is_set_up_deployed_and_gone_back_from() {
    let site = Site::new(1);
    site.push("one");
    site.target(&json!({"post-deploy": RESTART, "pre-setup": "echo here > \"$HOME/before\"", "post-setup": "cat version"}));

    let refused = site.home.run(&["deploy", "production"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains("is not set up on this host"),
        "{refused:?}"
    );
    assert!(
        refused.stderr.contains("run `hythe deploy ... setup` first"),
        "{refused:?}"
    );

    for _ in 0..2 {
        let said = site.home.ok(&["deploy", "ecosystem.json", "production", "setup"]);
        assert!(said.contains("| one"), "{said}");
        assert!(!said.contains("noise") && !said.contains("hythe:"), "{said}");
        assert_eq!(current(&site, 0), "one");
    }
    assert_eq!(read(&site.machines[0].home.join("before")), "here");

    for version in ["one", "two", "three"] {
        site.push(version);
        site.home.ok(&["deploy", "ecosystem.json", "production"]);
        assert_eq!(current(&site, 0), version);
    }
    for version in ["two", "one"] {
        site.home.ok(&["deploy", "production", "revert", "1"]);
        assert_eq!(current(&site, 0), version);
    }
    assert_eq!(runs(&site, 0), "one two three two one");
    assert_eq!(listed(&site), [(false, None), (false, None), (true, None)]);
    let refused = site.home.run(&["deploy", "production", "revert"]);
    assert!(
        refused
            .stderr
            .contains("there is no release 1 before the current one"),
        "{refused:?}"
    );

    site.push("four");
    site.home.ok(&["deploy", "production"]);
    assert_eq!(listed(&site), [(true, None), (false, Some(1))]);
    let commit = site.git(&["rev-parse", "HEAD"]);
    let now: Value = site.home.json(&["deploy", "production", "curr"]);
    assert_eq!(now[0]["commit"], json!(commit));
    let before: Value = site.home.json(&["deploy", "production", "prev"]);
    assert_eq!(before[0]["commit"], json!(site.git(&["rev-parse", "HEAD~3"])));
    assert!(
        site.home
            .ok(&["deploy", "production", "curr"])
            .contains(&commit[..7])
    );
}

#[test]
fn what_fails_after_the_switch_is_put_back() {
    let site = Site::new(1);
    site.push("one");
    site.target(&json!({"post-deploy": RESTART}));
    site.home.ok(&["deploy", "production", "setup"]);
    site.home.ok(&["deploy", "production"]);

    site.push("broken");
    let failed = site.home.run(&["deploy", "production"]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    for part in [
        "post-deploy failed with exit code 3",
        "  | it's \"broken\"",
        "what was current before is current again",
    ] {
        assert!(failed.stderr.contains(part), "{part}: {failed:#?}");
    }
    assert_eq!(current(&site, 0), "one");
    assert_eq!(
        runs(&site, 0),
        "one one",
        "the service of the release before was started again"
    );
    assert_eq!(listed(&site), [(true, None)]);

    let log = site.home.path().join("deploy/production.log");
    assert!(read(&log).contains("it's \"broken\""));
    assert_eq!(
        std::fs::metadata(&log).unwrap().permissions().mode() & 0o777,
        0o600
    );

    site.push("two");
    site.target(&json!({"post-deploy": RESTART, "health_check": {
        "check": "echo asked >> \"$SHARED/asked\"; test -e \"$HOME/healthy\"", "retries": 2, "interval": 0}}));
    let failed = site.home.run(&["deploy", "production"]);
    assert!(
        failed.stderr.contains("health-check failed with exit code 1"),
        "{failed:#?}"
    );
    assert_eq!(read(&site.app(0).join("shared/asked")), "asked\nasked\nasked");
    assert_eq!(
        (current(&site, 0), runs(&site, 0)),
        ("one".to_owned(), "one one two one".to_owned())
    );
    std::fs::write(site.machines[0].home.join("healthy"), "").unwrap();
    site.home.ok(&["deploy", "production"]);
    assert_eq!(current(&site, 0), "two");
    let folders = std::fs::read_dir(site.app(0).join("releases")).unwrap().count();
    assert_eq!(folders, 2, "what failed is removed by what works");
}

#[test]
fn a_url_is_asked_on_the_host() {
    let site = Site::new(1);
    site.push("one");
    let service = Service::start();
    service.answer.store(503, Ordering::Release);
    site.target(
        &json!({"post-deploy": RESTART, "health_check": {"check": service.url, "retries": 1, "interval": 0}}),
    );
    site.home.ok(&["deploy", "production", "setup"]);
    let failed = site.home.run(&["deploy", "production"]);
    assert!(failed.stderr.contains("health-check failed"), "{failed:#?}");
    assert_eq!(service.asked.load(Ordering::Acquire), 2);
    service.answer.store(200, Ordering::Release);
    site.home.ok(&["deploy", "production"]);
}

#[test]
fn apps_are_started_where_nothing_else_is_said() {
    let site = Site::new(1);
    site.push("one");
    let home = &site.machines[0].home;
    std::fs::create_dir_all(home.join(".hythe/bin")).unwrap();
    let hythe = home.join(".hythe/bin/hythe");
    std::fs::write(&hythe, "#!/bin/sh\nprintf '%s|' \"$@\" >\"$HOME/started\"\n").unwrap();
    std::fs::set_permissions(&hythe, std::fs::Permissions::from_mode(0o700)).unwrap();
    site.target(&json!({"env": {"PATH": "/usr/bin:/bin"}}));
    site.home.ok(&["deploy", "production", "setup"]);
    site.home.ok(&["deploy", "./ecosystem.json", "production"]);
    assert_eq!(
        read(&home.join("started")),
        "start|ecosystem.json|--env|production|"
    );

    std::fs::remove_file(hythe).unwrap();
    let failed = site.home.run(&["deploy", "production"]);
    assert!(failed.stderr.contains("there is neither hythe"), "{failed:#?}");
}

#[test]
fn an_app_goes_with_its_releases() {
    let site = Site::new(1);
    let port = free_address().port();
    let app = |code: &str| {
        site.home.write("app.js", &format!("{code};\n"));
        site.git(&["add", "app.js", "ecosystem.json"]);
        site.push(code);
    };
    let serve = |text: &str| {
        app(&format!(
            "require('http').createServer((_, r) => r.end('{text}')).listen({port})"
        ));
    };
    let binary = hythe_binary();
    let path = format!(
        "{}:/usr/local/bin:/usr/bin:/bin",
        binary.parent().unwrap().display()
    );
    let off = "127.0.0.1:0";
    site.target(
        &json!({"apps": [{"name": "web", "script": "app.js"}], "env": {"PATH": path,
        "HYTHE_HOME": site.home.path(), "HYTHE_PROXY_LISTEN": off, "HYTHE_PROXY_TLS_LISTEN": off,
        "HYTHE_API_LISTEN": off}}),
    );
    let said = || http_client::get(([127, 0, 0, 1], port).into(), "/").map(|answer| answer.body);

    serve("one");
    site.home.ok(&["deploy", "production", "setup"]);
    site.home.ok(&["deploy", "production"]);
    assert_eq!(said().unwrap(), "one");
    serve("two");
    site.home.ok(&["deploy", "production"]);
    assert_eq!(said().unwrap(), "two");
    app("process.exit(3)");
    let failed = site.home.run(&["deploy", "production"]);
    assert_eq!(failed.code, Some(1), "{failed:#?}");
    assert!(
        failed.stderr.contains("ended before it was ready: exit code 3"),
        "{failed:#?}"
    );
    assert_eq!(said().unwrap(), "two");
    site.home.ok(&["deploy", "production", "revert", "1"]);
    assert_eq!(said().unwrap(), "one");
}

#[test]
fn hosts_go_together_or_not_at_all() {
    let site = Site::new(2);
    site.push("one");
    site.target(&json!({"post-deploy": RESTART}));
    site.home.ok(&["deploy", "production", "setup"]);
    site.home.ok(&["deploy", "production"]);
    assert_eq!(
        (current(&site, 0), current(&site, 1)),
        ("one".to_owned(), "one".to_owned())
    );

    site.push("two");
    std::fs::write(site.machines[1].home.join("refuses"), "").unwrap();
    let failed = site.home.run(&["deploy", "production"]);
    assert_eq!(failed.code, Some(1), "{failed:#?}");
    assert!(failed.stderr.contains("this machine refuses"), "{failed:#?}");
    assert_eq!(
        (current(&site, 0), current(&site, 1)),
        ("one".to_owned(), "one".to_owned())
    );
    assert!(runs(&site, 0).ends_with("one"), "{}", runs(&site, 0));
    assert!(
        failed.stderr.contains("could not be put back"),
        "its old release is refused too: {failed:#?}"
    );

    std::fs::remove_file(site.machines[1].home.join("refuses")).unwrap();
    let before = runs(&site, 0);
    site.machines[1].stop();
    let failed = site.home.run(&["deploy", "production"]);
    assert!(failed.stderr.contains("Connection refused"), "{failed:#?}");
    assert!(
        failed.stderr.contains("hint: nothing listens there"),
        "{failed:#?}"
    );
    assert_eq!(runs(&site, 0), before, "nothing was begun");
}

#[test]
fn nobody_deploys_into_a_deployment() {
    let site = Site::new(1);
    site.push("one");
    let gate = site.home.folder().join("gate");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &gate,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let wait = format!("echo waiting; cat '{}'", gate.display());
    site.target(&json!({"post-deploy": RESTART, "pre-deploy": wait}));
    site.home.ok(&["deploy", "production", "setup"]);

    let mut first = site.home.spawn(&["deploy", "production"]);
    first.await_line("| waiting");
    let second = site.home.run(&["deploy", "production"]);
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.stderr.contains("is being deployed to by"), "{second:?}");
    std::fs::write(&gate, "").unwrap();
    assert!(first.wait().success());

    let mut killed = site.home.spawn(&["deploy", "production"]);
    killed.await_line("| waiting");
    killed.signal(Signal::KILL);
    let _ = killed.wait();
    site.target(&json!({"post-deploy": RESTART}));
    let lock = "a lock ends with whoever held it";
    until(lock, || site.home.run(&["deploy", "production"]).code == Some(0));
    std::fs::write(&gate, "").unwrap();
}

#[test]
fn an_interrupt_puts_back_what_has_switched() {
    let site = Site::new(1);
    site.push("one");
    site.target(&json!({"post-deploy": RESTART}));
    site.home.ok(&["deploy", "production", "setup"]);
    site.home.ok(&["deploy", "production"]);
    site.push("two");
    let go = site.home.folder().join("go");
    let waits = format!(
        "cat version >> \"$SHARED/runs\"; [ \"$(cat version)\" = one ] || {{ echo waiting; \
         while [ ! -e '{}' ]; do sleep 0.1; done; }}",
        go.display()
    );
    site.target(&json!({"post-deploy": waits, "health_check": "true"}));
    let mut running = site.home.spawn(&["deploy", "production"]);
    running.await_line("| waiting");
    running.signal(Signal::INT);
    std::fs::write(&go, "").unwrap();
    assert_eq!(running.wait().code(), Some(130));
    assert_eq!(
        (current(&site, 0), runs(&site, 0)),
        ("one".to_owned(), "one two one".to_owned())
    );
}

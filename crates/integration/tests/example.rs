//! The example application, as the documentation tells people to use it.

use std::fs;
use std::path::Path;
use std::process::Command;

use hythe_testkit::http_client;
use hythe_testkit::process_table::is_alive;
use hythe_testkit::wait::until;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::world::{example, is_ready};

#[test]
fn it_comes_up_and_finds_people() {
    let home = example();
    home.ok(&["up", "-d"]);
    for service in ["users", "phones", "web"] {
        assert!(is_ready(&home.service(service)), "{service}");
    }

    let people: Value = serde_json::from_str(&home.get("/users").body).unwrap();
    let homer = json!({"email": "homer@thesimpsons.com", "phoneNumber": "+1 888 123 1111"});
    let known = people_of(&home.folder());
    assert_eq!(people.as_array().map(Vec::len), Some(known));
    assert!(people.as_array().unwrap().contains(&homer), "{people:#}");

    let found = home.get("/search?email=homer@thesimpsons.com");
    assert_eq!(
        (found.status, serde_json::from_str(&found.body).ok()),
        (200, Some(homer))
    );
    let unknown = home.get("/search?email=nobody@thesimpsons.com");
    assert_eq!((unknown.status, unknown.body.as_str()), (404, "User not found."));
    let page = home.get("/");
    assert_eq!(page.status, 200);
    assert!(page.body.contains("homer@thesimpsons.com"), "{}", page.body);
}

#[test]
fn a_crash_costs_only_its_own_request() {
    let home = example();
    home.ok(&["up", "-d"]);
    let crashed = home.get("/users/crash");
    assert_eq!((crashed.status, crashed.body.as_str()), (500, "Crashing now."));
    for _ in 0..20 {
        assert_eq!(home.get("/users").status, 200);
    }
    let restarts = |service: &hythe_model::view::ServiceView| {
        service
            .instances
            .iter()
            .map(|instance| instance.restarts)
            .sum::<u32>()
    };
    home.await_service("users", "is whole again", |service| {
        is_ready(service) && restarts(service) == 1
    });
}

#[test]
fn curl_is_answered() {
    let home = example();
    home.ok(&["up", "-d"]);
    let url = |path: &str| format!("http://{}{path}", home.gateway());
    let curl = |arguments: &[&str]| {
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "30"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };

    let head = curl(&["-i", &url("/users")]);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(
        head.to_ascii_lowercase().contains("\r\nx-instance: users-"),
        "{head}"
    );
    // One connection, several requests.
    let twice = curl(&[
        "-w",
        "%{http_code} %{num_connects}\n",
        "-o",
        "/dev/null",
        "-o",
        "/dev/null",
        &url("/users"),
        &url("/phones"),
    ]);
    assert_eq!(twice, "200 1\n200 0\n");
    let head_only = curl(&["-I", "--http1.0", &url("/users")]);
    assert!(head_only.contains(" 200 OK\r\n"), "{head_only}");
    let refused = curl(&["-i", "-X", "POST", "-d", "x=1", &url("/users")]);
    assert!(refused.starts_with("HTTP/1.1 405"), "{refused}");
    let nowhere = curl(&[
        "-i",
        "-H",
        "Accept: application/json",
        &url("/search/%2e%2e/../x"),
    ]);
    assert!(nowhere.starts_with("HTTP/1.1 404"), "{nowhere}");
}

#[test]
fn in_the_foreground_it_ends_with_everything_it_started() {
    let home = example();
    let mut up = home.spawn(&["up"]);
    up.await_line("http://");
    let gateway = home.gateway();
    until("its output is followed", || {
        assert_eq!(http_client::get(gateway, "/users").unwrap().status, 200);
        up.has_line("GET /users 200")
    });
    let minder = home.status().minder.pid.unwrap();

    up.signal(Signal::INT);
    up.wait();
    home.await_nothing_left();
    assert!(!is_alive(minder));
    assert!(
        http_client::get(gateway, "/users").is_err(),
        "nobody listens any more"
    );
}

#[test]
fn in_the_foreground_it_leaves_alone_a_server_that_was_there() {
    let home = example();
    home.ok(&["server", "start"]);
    let server = home.status().server.pid;
    let mut up = home.spawn(&["up"]);
    up.await_line("http://");
    up.signal(Signal::TERM);
    up.wait();
    assert_eq!(home.status().server.pid, server);
    assert_eq!(home.services(), []);
    home.ok(&["server", "stop"]);
    home.await_nothing_left();
}

fn people_of(folder: &Path) -> usize {
    let users = fs::read(folder.join("data/users.json")).unwrap();
    serde_json::from_slice::<Vec<Value>>(&users).unwrap().len()
}

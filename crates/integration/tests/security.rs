//! Who may tell the server what to run, and what secrets become of.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hythe_testkit::home::Home;
use hythe_testkit::http_client::{Answer, Connection};

use crate::world::{ECHO_MANIFEST, up};

const SCALE: &str = "/v1/services/echo/scale";

#[test]
fn over_tcp_a_change_needs_the_token_and_pages_cannot_make_one() {
    let home = up(ECHO_MANIFEST);
    let api: SocketAddr = home.status().listen.api.unwrap().parse().unwrap();
    let token = fs::read_to_string(home.path().join("api-token")).unwrap();
    let (token, own) = (
        format!("Authorization: Bearer {}\r\n", token.trim()),
        api.to_string(),
    );
    let no_token = String::new();
    let wrong_token = "Authorization: Bearer 0000\r\n".to_owned();
    let page = format!("{token}Origin: http://evil.example\r\n");
    for (what, host, headers, status) in [
        ("without the token", own.as_str(), &no_token, 401),
        ("with a wrong token", &own, &wrong_token, 401),
        ("for another host", "evil.example", &token, 403),
        ("from a page elsewhere", &own, &page, 403),
        ("with the token", &own, &token, 200),
    ] {
        let answer = scale(api, host, headers, 1);
        assert_eq!(answer.status, status, "{what}: {answer:#?}");
        if status != 200 {
            assert_eq!(
                answer.header("content-type"),
                Some("application/problem+json"),
                "{what}"
            );
        }
    }
    home.await_service("echo", "is scaled by the last one", |service| {
        service.desired == 1
    });
    // Names can be pointed at this machine by anybody: reading needs the right one too.
    let get = |host: &str| {
        let request = format!("GET /v1/services HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        Connection::open(api).unwrap().exchange(&request).unwrap().status
    };
    assert_eq!((get(&own), get("evil.example")), (200, 403));
}

fn scale(api: SocketAddr, host: &str, headers: &str, replicas: u32) -> Answer {
    let body = format!("{{\"replicas\":{replicas}}}");
    let request = format!(
        "POST {SCALE} HTTP/1.1\r\nHost: {host}\r\n{headers}Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    Connection::open(api).unwrap().exchange(&request).unwrap()
}

#[test]
fn files_are_readable_by_their_owner_only() {
    let home = up(ECHO_MANIFEST);
    assert_eq!(mode(&home.path()), 0o700);
    assert_eq!(mode(&home.path().join("hythe.sock")), 0o600);
    assert_eq!(mode(&home.path().join("api-token")), 0o600);
    for entry in everything_in(&home.path()) {
        if entry.is_dir() {
            assert_eq!(mode(&entry), 0o700, "{}", entry.display());
        }
    }
}

#[test]
fn values_of_the_environment_stay_where_they_belong() {
    let secret = "correct-horse-battery";
    let home = up(&ECHO_MANIFEST.replace("VERSION: one", &format!("VERSION: one, PASSWORD: {secret}")));
    home.ok(&["restart", "echo"]);
    home.kill_server();
    home.ok(&["server", "start"]);

    for process in home.processes() {
        assert!(!process.command.contains(secret), "{process:?}");
    }
    for verb in [
        &["describe", "echo"][..],
        &["describe", "echo", "--json"],
        &["ls", "--json"],
        &["history"],
        &["status"],
    ] {
        assert!(!home.ok(verb).contains(secret), "{verb:?}");
    }
    for file in everything_in(&home.path()).filter(|file| file.is_file()) {
        let holds = contains(&fs::read(&file).unwrap_or_default(), secret);
        assert!(
            !holds || mode(&file) == 0o600,
            "{}: {:o}",
            file.display(),
            mode(&file)
        );
        let is_log =
            file.starts_with(home.path().join("logs")) || file.extension().is_some_and(|end| end == "log");
        assert!(!holds || !is_log, "{}", file.display());
    }
    assert!(!over_tcp(&home).contains(secret));
}

fn over_tcp(home: &Home) -> String {
    let api: SocketAddr = home.status().listen.api.unwrap().parse().unwrap();
    let read = |path: &str| hythe_testkit::http_client::get(api, path).unwrap().body;
    [
        "/v1/services",
        "/v1/services/echo",
        "/v1/instances",
        "/v1/history",
        "/metrics",
    ]
    .map(read)
    .concat()
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

fn everything_in(folder: &Path) -> Box<dyn Iterator<Item = PathBuf>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    Box::new(entries.flat_map(|path| -> Box<dyn Iterator<Item = PathBuf>> {
        let below = if path.is_dir() {
            everything_in(&path)
        } else {
            Box::new(std::iter::empty())
        };
        Box::new(std::iter::once(path).chain(below))
    }))
}

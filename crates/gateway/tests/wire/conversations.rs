//! Plays every text file of this folder.
//!
//! Settings of a case: `route`, `service`, `pool` and `listener` as JSON, fields of the model's documents (the
//! service's host is the upstream of the case, which `pool` is about); `plugin`, a whole document, as often as wanted; `limits` as
//! `name=milliseconds` (or a number of requests or connections); `members: none` for a pool without members, `dead` for
//! one where nobody listens, `dead first` and `two` for two members; `pace: whole` when it matters that bytes
//! come together; `trust` with the field in which a trusted proxy names its client. `WIRE_CASE=get.txt` plays only that.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hythe_gateway::{Limits, RealIpHeader, Trust};
use hythe_testkit::wire_case::{Pace, WireCase};
use serde_json::{Value, json};

use crate::proxy::{Proxy, Setup};

#[test]
fn conversations() {
    let paths = cases();
    assert!(paths.len() > 30, "the cases are not where they should be");
    let only = std::env::var("WIRE_CASE").ok();
    let chosen = paths
        .iter()
        .filter(|path| only.as_ref().is_none_or(|only| path.ends_with(only)));
    let paces = [Pace::Whole, Pace::Bytes];
    let failures: Vec<String> = std::thread::scope(|scope| {
        let running: Vec<_> = chosen
            .flat_map(|path| paces.map(|pace| scope.spawn(move || play(path, pace))))
            .collect();
        let outcomes = running.into_iter().map(|case| case.join().unwrap());
        outcomes.filter_map(Result::err).collect()
    });
    let count = failures.len();
    assert!(failures.is_empty(), "{}\n\n{count} failed", failures.join("\n\n"));
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire");
    let entries = std::fs::read_dir(folder).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    paths
}

fn play(path: &Path, pace: Pace) -> Result<(), String> {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let case = WireCase::parse(&name, &std::fs::read_to_string(path).unwrap())?;
    if pace == Pace::Bytes && settings(&case, "pace").any(|only| only == "whole") {
        return Ok(());
    }
    // Reached under every address of the loopback network, so one listener can be many members.
    let upstream = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let proxy = Proxy::start(setup(&case, upstream.local_addr().unwrap().port()));
    case.play(proxy.address, &upstream, pace)
        .map_err(|error| format!("{pace:?}: {error}"))?;
    match proxy.stop() {
        0 => Ok(()),
        panics => Err(format!("{pace:?}: {name}: {panics} panics")),
    }
}

fn setup(case: &WireCase, port: u16) -> Setup {
    let read = |key| {
        settings(case, key)
            .map(|text| serde_json::from_str(text).unwrap())
            .collect()
    };
    let first = |key| {
        let found: Vec<Value> = read(key);
        found.into_iter().next().unwrap_or(json!({}))
    };
    Setup {
        upstream: members(settings(case, "members").next(), port),
        route: first("route"),
        service: first("service"),
        pool: first("pool"),
        listener: first("listener"),
        plugins: read("plugin"),
        limits: limits(case),
        trust: trust(case),
        ..Setup::default()
    }
}

fn settings<'a>(case: &'a WireCase, wanted: &'a str) -> impl Iterator<Item = &'a str> {
    let settings = case.settings.iter().filter(move |(key, _)| key == wanted);
    settings.map(|(_, value)| value.as_str())
}

fn members(wanted: Option<&str>, port: u16) -> Vec<SocketAddr> {
    let member = |last| SocketAddr::new(IpAddr::from([127, 0, 0, last]), port);
    // Nobody listens on port 1 of this address.
    let dead = SocketAddr::from(([127, 0, 0, 9], 1));
    match wanted {
        None => vec![member(1)],
        Some("none") => vec![],
        Some("dead") => vec![dead],
        Some("dead first") => vec![dead, member(1)],
        Some("two") => vec![member(1), member(2)],
        Some(other) => panic!("unknown members: {other}"),
    }
}

/// The client of a case is a proxy that is trusted, and names its client in a field.
fn trust(case: &WireCase) -> Trust {
    let Some(header) = settings(case, "trust").next() else {
        return Trust::default();
    };
    Trust {
        proxies: vec!["127.0.0.0/8".parse().unwrap()],
        header: match header {
            "X-Real-IP" => RealIpHeader::XRealIp,
            "X-Forwarded-For" => RealIpHeader::XForwardedFor,
            other => panic!("unknown field: {other}"),
        },
        recursive: true,
    }
}

fn limits(case: &WireCase) -> Limits {
    let mut limits = Setup::default().limits;
    for text in settings(case, "limits") {
        let (name, value) = text.split_once('=').unwrap();
        let time = Duration::from_millis(value.parse().unwrap());
        match name {
            "head_timeout" => limits.head_timeout = time,
            "idle_timeout" => limits.idle_timeout = time,
            "body_timeout" => limits.body_timeout = time,
            "connections_per_worker" => limits.connections_per_worker = value.parse().unwrap(),
            "connections_per_client" => limits.connections_per_client = value.parse().unwrap(),
            "requests_per_connection" => limits.requests_per_connection = Some(value.parse().unwrap()),
            other => panic!("unknown limit: {other}"),
        }
    }
    limits
}

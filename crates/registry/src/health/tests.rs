//! Real servers that change their minds, a paused clock where only time matters.

use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use hythe_model::{Entry, HealthChecks, Upstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// A server that answers every request with the status it is told.
struct Server {
    address: SocketAddr,
    status: Arc<AtomicU16>,
    asked: Arc<AtomicUsize>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            status: Arc::new(AtomicU16::new(200)),
            asked: Arc::default(),
        };
        let (status, asked) = (Arc::clone(&server.status), Arc::clone(&server.asked));
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                asked.fetch_add(1, Ordering::SeqCst);
                let status = status.load(Ordering::SeqCst);
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") && stream.read_buf(&mut request).await.unwrap() > 0
                    {
                    }
                    let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        server
    }

    fn says(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }
}

/// Requests that show nothing.
fn nobody() -> Receiver<Observation> {
    tokio::sync::mpsc::channel(1).1
}

fn name() -> FullName {
    "users".parse().unwrap()
}

fn desired(checks: &str) -> Desired {
    let healthchecks: HealthChecks = serde_json::from_str(checks).unwrap();
    let upstream = Upstream {
        healthchecks: Some(healthchecks),
        ..Upstream::default()
    };
    let mut desired = Desired::default();
    let entry = Entry {
        uid: String::new(),
        generation: 1,
        created_at: 0,
        spec: upstream,
    };
    Arc::make_mut(&mut desired.upstreams).insert(name(), Arc::new(entry));
    desired
}

fn endpoints(addresses: &[SocketAddr]) -> Endpoints {
    let endpoint = |address: &SocketAddr| hythe_model::Endpoint {
        id: address.to_string().into(),
        address: *address,
        weight: 1,
        healthy: true,
        revision: None,
        rules: hythe_model::endpoint::EndpointRules::default(),
    };
    let pool = PoolEndpoints {
        endpoints: addresses.iter().map(endpoint).collect(),
        ..PoolEndpoints::default()
    };
    Endpoints {
        generation: 1,
        pools: BTreeMap::from([(name(), Arc::new(pool))]),
    }
}

/// Who may be picked, with the reasons that there are.
fn shown(checks: &Checks, endpoints: &Endpoints) -> String {
    let pool = checks.judge(&name(), &endpoints.pools[&name()]);
    let sides: String = pool
        .endpoints
        .iter()
        .map(|endpoint| if endpoint.healthy { '+' } else { '.' })
        .collect();
    let reasons: Vec<_> = pool
        .checked
        .values()
        .map(|health| health.reason.as_str())
        .collect();
    format!("{sides} {}", reasons.join("; "))
}

/// Checks in quick succession, `extra` beside them.
fn eager(extra: &str) -> String {
    format!(
        r#"{{"active": {{{extra} "healthy": {{"interval": 0.001, "successes": 2}},
        "unhealthy": {{"interval": 0.001, "http_failures": 3, "tcp_failures": 1, "timeouts": 1}}}}}}"#
    )
}

#[tokio::test]
async fn an_endpoint_goes_and_comes_back() {
    let (steady, flips) = (Server::start().await, Server::start().await);
    let endpoints = endpoints(&[steady.address, flips.address]);
    let mut checks = Checks::new(nobody());
    checks.want(&desired(&eager("")), &endpoints);
    assert_eq!(shown(&checks, &endpoints), "++ ");
    flips.says(500);
    assert_eq!(checks.changed().await, name());
    assert_eq!(
        shown(&checks, &endpoints),
        "+. active check: status 500, 3 failures"
    );
    flips.says(200);
    assert_eq!(checks.changed().await, name());
    assert_eq!(shown(&checks, &endpoints), "++ active check: 2 successes");
    assert!(steady.asked.load(Ordering::SeqCst) > 0);
}

#[tokio::test]
async fn a_closed_port_is_a_failure_of_the_connection() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    for kind in ["tcp", "http", "grpc"] {
        let endpoints = endpoints(&[closed]);
        let mut checks = Checks::new(nobody());
        checks.want(&desired(&eager(&format!(r#""type": "{kind}","#))), &endpoints);
        checks.changed().await;
        assert_eq!(
            shown(&checks, &endpoints),
            ". active check: connection refused, 1 failure",
            "{kind}"
        );
    }
}

#[tokio::test]
async fn who_accepts_and_is_silent_is_too_late() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoints = endpoints(&[listener.local_addr().unwrap()]);
    let mut checks = Checks::new(nobody());
    checks.want(&desired(&eager(r#""timeout": 0.01,"#)), &endpoints);
    checks.changed().await;
    assert_eq!(
        shown(&checks, &endpoints),
        ". active check: no answer in time, 1 failure"
    );
}

#[tokio::test]
async fn another_port_may_be_asked() {
    let server = Server::start().await;
    server.says(503);
    // Nobody listens on the endpoint's own port; what is refused would be another reason.
    let endpoint = SocketAddr::new(server.address.ip(), 1);
    let endpoints = endpoints(&[endpoint]);
    let port = format!(r#""port": {},"#, server.address.port());
    let mut checks = Checks::new(nobody());
    checks.want(&desired(&eager(&port)), &endpoints);
    checks.changed().await;
    assert_eq!(
        shown(&checks, &endpoints),
        ". active check: status 503, 3 failures"
    );
}

#[tokio::test]
async fn who_must_prove_itself_is_out_until_it_does() {
    let server = Server::start().await;
    let endpoints = endpoints(&[server.address]);
    let mandatory = r#"{"active": {"mandatory": true, "healthy": {"interval": 0.001}}}"#;
    let mut checks = Checks::new(nobody());
    checks.want(&desired(mandatory), &endpoints);
    assert_eq!(shown(&checks, &endpoints), ". not checked yet");
    checks.changed().await;
    assert_eq!(shown(&checks, &endpoints), "+ active check: 1 success");
}

#[tokio::test]
async fn what_is_known_outlives_the_configuration_and_not_the_endpoint() {
    let server = Server::start().await;
    let (there, gone) = (endpoints(&[server.address]), endpoints(&[]));
    server.says(500);
    let mut checks = Checks::new(nobody());
    checks.want(&desired(&eager("")), &there);
    checks.changed().await;
    let slower = eager("").replace("0.001", "3600");
    checks.want(&desired(&slower), &there);
    assert_eq!(shown(&checks, &there), ". active check: status 500, 3 failures");
    checks.want(&desired(&slower), &gone);
    checks.want(&desired(&slower), &there);
    assert_eq!(shown(&checks, &there), "+ ");
    checks.want(&Desired::default(), &there);
    assert!(checks.pools.is_empty());
}

#[tokio::test]
async fn so_many_at_a_time() {
    // One that accepts and never answers: the checks that are under way stay so.
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let addresses: Vec<_> = (1..=20)
        .map(|last| SocketAddr::from(([127, 0, 0, last], port)))
        .collect();
    let slow = r#"{"active": {"concurrency": 3, "timeout": 3600, "healthy": {"interval": 1}, "unhealthy": {"timeouts": 1}}}"#;
    let mut checks = Checks::new(nobody());
    checks.want(&desired(slow), &endpoints(&addresses));
    let mut accepted = Vec::new();
    let accept = async {
        while accepted.len() < 3 {
            accepted.push(listener.accept().await.unwrap());
        }
    };
    tokio::select! {
        () = accept => {}
        _ = checks.changed() => panic!("nobody answers"),
    }
    assert_eq!(checks.pools[&name()].slots.available_permits(), 0);
    assert_eq!(checks.everywhere.available_permits(), MOST_AT_ONCE - 3);
}

#[test]
fn the_next_check_is_an_interval_and_its_jitter_away() {
    let checks = r#"{"active": {"jitter": 2, "healthy": {"interval": 10}, "unhealthy": {"interval": 3}}}"#;
    let checks = serde_json::from_str(checks).unwrap();
    let settings = Settings::new(checks, None).unwrap();
    for (healthy, from, to) in [(true, 10, 12), (false, 3, 5)] {
        let mut verdict = Verdict::new(false);
        verdict.healthy = healthy;
        for _ in 0..100 {
            let wait = interval(&settings, &verdict).unwrap();
            assert!(
                (Duration::from_secs(from)..Duration::from_secs(to)).contains(&wait),
                "{wait:?}"
            );
        }
    }
}

/// What the requests of a test show.
struct Requests {
    checks: Checks,
    endpoints: Endpoints,
    observer: tokio::sync::mpsc::Sender<Observation>,
}

impl Requests {
    fn to(address: SocketAddr, checks: &str) -> Self {
        let (observer, observations) = tokio::sync::mpsc::channel(8);
        let mut requests = Self {
            checks: Checks::new(observations),
            endpoints: endpoints(&[address]),
            observer,
        };
        requests.checks.want(&desired(checks), &requests.endpoints);
        requests
    }

    fn show(&self, healthy: bool, reason: &str) {
        let observation = Observation {
            pool: name(),
            address: self.endpoints.pools[&name()].endpoints[0].address,
            healthy,
            reason: reason.to_owned(),
        };
        self.observer.try_send(observation).unwrap();
    }

    async fn shown_after_change(&mut self) -> String {
        assert_eq!(self.checks.changed().await, name());
        shown(&self.checks, &self.endpoints)
    }
}

#[tokio::test]
async fn whom_requests_take_out_active_checks_bring_back() {
    let server = Server::start().await;
    let checks = eager("").replacen('{', r#"{"passive": {"unhealthy": {"http_failures": 1}}, "#, 1);
    let mut requests = Requests::to(server.address, &checks);
    requests.show(false, "passive check: status 500, 1 failure");
    assert_eq!(
        requests.shown_after_change().await,
        ". passive check: status 500, 1 failure"
    );
    assert_eq!(requests.shown_after_change().await, "+ active check: 2 successes");
}

#[tokio::test(start_paused = true)]
async fn without_active_checks_it_is_tried_again() {
    let passive = r#"{"passive": {"unhealthy": {"tcp_failures": 2}, "healthy": {"recovery_time": 7200}}}"#;
    let mut requests = Requests::to("10.0.0.1:80".parse().unwrap(), passive);
    for _ in 0..2 {
        requests.show(false, "broken");
        // Told twice, it is out once.
        requests.show(false, "broken again");
        assert_eq!(requests.shown_after_change().await, ". broken");
        assert_eq!(
            requests.shown_after_change().await,
            "+ passive check: tried again after 2h"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn requests_under_way_may_bring_it_back_and_nothing_else() {
    let passive =
        r#"{"passive": {"unhealthy": {"timeouts": 1}, "healthy": {"recovery_time": 0, "successes": 1}}}"#;
    let mut requests = Requests::to("10.0.0.1:80".parse().unwrap(), passive);
    requests.show(true, "it is healthy already");
    requests.show(false, "slow");
    assert_eq!(requests.shown_after_change().await, ". slow");
    assert_eq!(requests.checks.due.len(), 0);
    requests.show(true, "well");
    assert_eq!(requests.shown_after_change().await, "+ well");
}

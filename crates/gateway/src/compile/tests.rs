//! What a change makes anew, and that nothing else is told by it than by a beginning from nothing.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use hythe_balance::EndpointTable;
use hythe_model::traffic::{Plugin, Protocol, Service};
use hythe_model::{CaCertificate, Certificate, ProjectName, Route, Upstream, Workload};
use hythe_routing::RequestKey;
use hythe_testkit::documents::entry;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::plugin::fixture::answered;
use crate::plugin::{correlation_id, request_termination};
use crate::snapshot::ServicePlan;

const BUILTIN: [PluginKind; 2] = [correlation_id::KIND, request_termination::KIND];

/// Two of them, with their keys, in PEM.
static CERTIFICATES: LazyLock<[(String, String); 2]> = LazyLock::new(|| {
    ["one.test", "two.test"].map(|name| {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    })
});

struct Fixture {
    compiler: Compiler,
    snapshot: Snapshot,
    pools: Pools,
    desired: Desired,
    writes: u64,
}

impl Fixture {
    fn new() -> Self {
        let compiler = Compiler::new(&BUILTIN, 1, Arc::default());
        let mut fixture = Self {
            snapshot: compiler.empty(),
            compiler,
            pools: Pools::new(Arc::new(EndpointTable::default())),
            desired: Desired::default(),
            writes: 0,
        };
        for name in ["good", "other"] {
            fixture.service(name, None);
            fixture.route(name, &format!("/{name}"));
        }
        fixture
    }

    fn service(&mut self, name: &str, authority: Option<&str>) {
        let spec = Service {
            protocol: authority.map_or(Protocol::Http, |_| Protocol::Https),
            ca_certificates: authority.into_iter().map(|name| name.parse().unwrap()).collect(),
            ..Service::at("far.test")
        };
        Arc::make_mut(&mut self.desired.services).insert(name.parse().unwrap(), entry(spec));
    }

    fn service_at(&mut self, name: &str, host: &str) {
        self.service_as(name, Service::at(host));
    }

    fn service_as(&mut self, name: &str, spec: Service) {
        Arc::make_mut(&mut self.desired.services).insert(name.parse().unwrap(), entry(spec));
    }

    /// To the service of its name, but for what is behind a dash.
    fn route(&mut self, name: &str, path: &str) {
        let (service, _) = name.split_once('-').unwrap_or((name, ""));
        self.route_to(name, path, service);
    }

    fn route_to(&mut self, name: &str, path: &str, service: &str) {
        let mut spec = Route::to(Some(service.parse().unwrap()));
        spec.paths = vec![path.to_owned()];
        self.route_as(name, spec, 0);
    }

    fn route_as(&mut self, name: &str, spec: Route, created_at: u64) {
        let mut entry = Entry::clone(&entry(spec));
        entry.created_at = created_at;
        Arc::make_mut(&mut self.desired.routes).insert(name.parse().unwrap(), Arc::new(entry));
    }

    fn upstream(&mut self, name: &str) {
        self.upstream_as(name, Upstream::default());
    }

    fn upstream_as(&mut self, name: &str, spec: Upstream) {
        let name = FullName::new(ProjectName::default(), name.parse().unwrap());
        Arc::make_mut(&mut self.desired.upstreams).insert(name, entry(spec));
    }

    fn plugin(&mut self, name: &str, mut document: serde_json::Value) {
        document["name"] = "correlation-id".into();
        self.plugin_as(name, document);
    }

    fn plugin_as(&mut self, name: &str, document: serde_json::Value) {
        let spec: Plugin = serde_json::from_value(document).unwrap();
        let mut entry = Entry::clone(&entry(spec));
        self.writes += 1;
        entry.generation = self.writes;
        Arc::make_mut(&mut self.desired.plugins).insert(name.parse().unwrap(), Arc::new(entry));
    }

    /// Makes one of the two the authority `ca`.
    fn authority(&mut self, number: usize) {
        let spec = CaCertificate {
            cert: CERTIFICATES[number].0.clone(),
            tags: Vec::new(),
        };
        Arc::make_mut(&mut self.desired.ca_certificates).insert("ca".parse().unwrap(), entry(spec));
    }

    /// Makes one of the two the certificate `own`.
    fn certificate(&mut self, number: usize) {
        let (cert, key) = CERTIFICATES[number].clone();
        let spec = Certificate {
            cert,
            key,
            cert_alt: None,
            key_alt: None,
            snis: None,
            tags: Vec::new(),
        };
        Arc::make_mut(&mut self.desired.certificates).insert("own".parse().unwrap(), entry(spec));
    }

    /// The services that are not spoken to as they want to be now.
    fn spoken_to_otherwise(&mut self) -> Vec<String> {
        let Services { plans, tls, .. } = &mut self.compiler.services;
        let differs = |(name, plan): (&FullName, &Arc<ServicePlan>)| {
            let entry = self.desired.services.get(name).unwrap();
            let wanted = tls.of(&self.desired, name, &entry.spec).unwrap();
            let has = plan.tls.as_ref().map(|tls| tls.peer(plan.host.as_bytes()));
            let same = match (&has, &wanted) {
                (Some(has), Some(wanted)) => Arc::ptr_eq(&has.config, wanted),
                (has, wanted) => has.is_none() && wanted.is_none(),
            };
            (!same).then(|| name.to_string())
        };
        plans.iter().filter_map(differs).collect()
    }

    /// The service that each path leads to now, and the problems.
    fn compiled(&mut self, paths: &[&str]) -> (Vec<String>, Vec<String>) {
        let (snapshot, problems) = self
            .compiler
            .compile(&self.snapshot, &self.desired, &mut self.pools);
        self.snapshot = snapshot;
        let served = paths
            .iter()
            .map(|path| service_of(&self.snapshot, path))
            .collect();
        (served, problems.iter().map(ToString::to_string).collect())
    }
}

fn service_of(snapshot: &Snapshot, path: &str) -> String {
    let headers: Vec<(String, String)> = Vec::new();
    let key = RequestKey {
        method: b"GET",
        host: b"a",
        path: path.as_bytes(),
        https: false,
        sni: None,
        listener: None,
        headers: &headers,
    };
    match snapshot.table.find(&key) {
        None => "no route".to_owned(),
        Some(found) => {
            let service = found.entry.payload.service.as_ref();
            service.map_or_else(|| "no service".to_owned(), |service| service.label.clone())
        }
    }
}

#[test]
fn a_bad_service_is_missing_and_the_others_are_served() {
    let mut fixture = Fixture::new();
    fixture.service("other", Some("nobody"));
    let (served, problems) = fixture.compiled(&["/good", "/other"]);
    assert_eq!(served, ["good", "no service"]);
    assert_eq!(problems, ["service `other`: there is no CA certificate `nobody`"]);
}

#[test]
fn what_became_bad_stays_as_it_was() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.compiled(&[]).1, [""; 0]);
    fixture.service("other", Some("nobody"));
    fixture.route("good", "~/(?!look-around)");
    let (served, problems) = fixture.compiled(&["/good", "/other"]);
    assert_eq!(served, ["good", "other"]);
    assert_eq!(problems.len(), 2, "{problems:?}");
}

#[test]
fn a_bad_route_that_never_was_is_left_out() {
    let mut fixture = Fixture::new();
    fixture.route("new", "~/(?!look-around)");
    let (served, problems) = fixture.compiled(&["/good", "/new"]);
    assert_eq!(served, ["good", "no route"]);
    assert!(problems[0].starts_with("route `new`: "), "{problems:?}");
}

/// Where the plan of each route lies: one that stays is the same.
fn plans(snapshot: &Snapshot) -> BTreeMap<String, usize> {
    let plans = snapshot.table.in_order(None);
    plans
        .map(|entry| (entry.name.to_string(), std::ptr::from_ref(&entry.payload).addr()))
        .collect()
}

/// What changes, how, and the routes that are planned anew.
type Row = (&'static str, fn(&mut Fixture), &'static [&'static str]);

#[test]
fn what_a_change_does_not_concern_is_not_planned_again() {
    let mut fixture = Fixture::new();
    fixture.service_at("bulk", "bulk.test");
    for number in 0..1_000 {
        fixture.route(&format!("bulk-{number}"), &format!("/bulk/{number}"));
    }
    fixture.compiled(&[]);
    let rows: [Row; 6] = [
        (
            "a route",
            |fixture| fixture.route("bulk-7", "/bulk/seven"),
            &["bulk-7"],
        ),
        ("a service", |fixture| fixture.service("other", None), &["other"]),
        (
            "its upstream",
            |fixture| fixture.upstream("far.test"),
            &["good", "other"],
        ),
        (
            "a plugin of a route",
            |fixture| fixture.plugin("p", json!({"route": "bulk-8"})),
            &["bulk-8"],
        ),
        (
            "a plugin of a service",
            |fixture| fixture.plugin("q", json!({"service": "other"})),
            &["other"],
        ),
        ("another upstream", |fixture| fixture.upstream("elsewhere"), &[]),
    ];
    for (what, change, concerned) in rows {
        let before = plans(&fixture.snapshot);
        change(&mut fixture);
        fixture.compiled(&[]);
        let after = plans(&fixture.snapshot);
        let others: Vec<&str> = after
            .iter()
            .filter(|(name, plan)| before.get(*name) != Some(plan))
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(others, concerned, "{what}");
    }
}

/// What a snapshot serves, in words.
fn shown(snapshot: &Snapshot) -> Vec<String> {
    let route = |entry: &hythe_routing::RouteEntry<RoutePlan>| {
        let (route, plan) = (&entry.route, shown_route(&entry.payload));
        format!("{} {} {route:?} {plan}", entry.name, entry.created_at)
    };
    snapshot.table.in_order(None).map(route).collect()
}

fn shown_route(plan: &RoutePlan) -> String {
    let RoutePlan {
        label,
        service,
        strip_path,
        preserve_host,
        path_handling,
        https_redirect,
        is_grpc,
        chain,
        metrics,
        elsewhere,
    } = plan;
    let links = chain.links().map(|link| {
        let answer = answered(&*link.plugin, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        (link.kind, &link.scope, answer.map(|(status, _)| status))
    });
    let links: Vec<_> = links.collect();
    let service = service.as_deref().map(shown_service);
    let elsewhere: Vec<&str> = elsewhere.iter().map(|(label, _)| label.as_str()).collect();
    let taken = (strip_path, preserve_host, path_handling, https_redirect, is_grpc);
    let counted = metrics.service();
    format!("{label} {taken:?} {links:?} {counted} {elsewhere:?} {service:?}")
}

/// All of a plan, but for how TLS is spoken: of that only the name that is asked for.
fn shown_service(plan: &ServicePlan) -> String {
    let ServicePlan {
        label,
        pool,
        pool_label,
        by_client,
        hash_key,
        host,
        path,
        retries,
        retry_on,
        retry_share,
        breaker,
        sticky,
        hold,
        total_timeout,
        try_timeout,
        hedge_after,
        connect_timeout,
        write_timeout,
        read_timeout,
        speaks_http2,
        tls,
        announce,
    } = plan;
    let pool = pool.cell.load();
    let picked = (pool_label, pool.rules(), by_client, hash_key, sticky, hold);
    let repeated = (retries, retry_on, retry_share, breaker, hedge_after);
    let times = (
        total_timeout,
        try_timeout,
        connect_timeout,
        write_timeout,
        read_timeout,
    );
    let peer = tls.as_ref().map(|tls| tls.peer(host.as_bytes()).name.clone());
    let spoken = (host, path, speaks_http2, announce, peer);
    format!("{label} {picked:?} {repeated:?} {times:?} {spoken:?}")
}

/// Kind, number of a document, and what it is to be; `None`: it goes.
type Change = (u8, u8, Option<u8>);

fn any_change() -> impl Strategy<Value = Change> {
    (0..6_u8, 0..7_u8, prop::option::weighted(0.7, 0..12_u8))
}

/// Sets or takes away one of seven documents of a kind. The last plugin and the last route cannot be read, whatever
/// they are to be: what a document was once served as is not to be told from the documents.
fn change(fixture: &mut Fixture, (kind, number, value): Change) {
    let name = format!("n{number}");
    let Some(value) = value else {
        remove(&mut fixture.desired, kind, &name.parse().unwrap());
        return;
    };
    match kind {
        0 => fixture.route_as(&name, any_route(number, value), u64::from(value % 2)),
        1 => fixture.service_as(&name, any_service(value)),
        2 => fixture.upstream_as(&name, any_upstream(value)),
        3 => fixture.plugin_as(&name, any_plugin(number, value)),
        4 => {
            let workload = Workload::new(vec!["node".to_owned()], "/".into());
            Arc::make_mut(&mut fixture.desired.workloads).insert(name.parse().unwrap(), entry(workload));
        }
        _ if number < 4 => fixture.authority(usize::from(value % 2)),
        _ => fixture.certificate(usize::from(value % 2)),
    }
}

/// Certificates stay: a service that has lost its own goes on as before.
fn remove(desired: &mut Desired, kind: u8, name: &FullName) {
    match kind {
        0 => drop(Arc::make_mut(&mut desired.routes).remove(name)),
        1 => drop(Arc::make_mut(&mut desired.services).remove(name)),
        2 => drop(Arc::make_mut(&mut desired.upstreams).remove(name)),
        3 => drop(Arc::make_mut(&mut desired.plugins).remove(name)),
        4 => drop(Arc::make_mut(&mut desired.workloads).remove(name)),
        _ => {}
    }
}

fn any_route(number: u8, value: u8) -> Route {
    let path = if number == 6 {
        "~(".to_owned()
    } else {
        format!("/{}", number % 2)
    };
    let hosts = [&[][..], &["a.test"], &["b.test"]][usize::from(value % 3)];
    Route {
        hosts: hosts.iter().map(ToString::to_string).collect(),
        paths: vec![path],
        strip_path: value.is_multiple_of(4),
        ..Route::to(Some(format!("n{}", value % 7).parse().unwrap()))
    }
}

fn any_service(value: u8) -> Service {
    let listed = |is: bool, name: &str| is.then(|| name.parse().unwrap());
    Service {
        protocol: [Protocol::Http, Protocol::Https, Protocol::Grpcs][usize::from(value % 3)],
        ca_certificates: listed(value.is_multiple_of(2), "ca").into_iter().collect(),
        client_certificate: listed(value % 4 < 2, "own"),
        retries: u32::from(value),
        enabled: !value.is_multiple_of(5),
        ..Service::at(format!("n{}", value % 7))
    }
}

fn any_upstream(value: u8) -> Upstream {
    let document = match value {
        0 => json!({"algorithm": "ip-hash"}),
        1 => json!({"algorithm": "consistent-hashing", "hash_on": "path"}),
        2 => json!({"algorithm": "consistent-hashing", "hash_on": "ip", "slots": 100}),
        3 => json!({"sticky": {"cookie": "a"}}),
        4 => json!({"sticky": {"cookie": "a", "secure": true}}),
        5 => json!({"circuit_breaker": {"max_requests": 5}}),
        6 => json!({"hold_ms": 100}),
        7 => json!({"host_header": "named.test"}),
        8 => json!({"retry_budget": {"percent": 1}}),
        9 => json!({"outlier": {}}),
        10 => json!({"panic_threshold": 50, "slow_start_ms": 5}),
        _ => json!({}),
    };
    serde_json::from_value(document).unwrap()
}

fn any_plugin(number: u8, value: u8) -> serde_json::Value {
    let name = format!("n{}", value % 7);
    let mut document = match value {
        0..=3 => json!({"route": name}),
        4..=7 => json!({"service": name}),
        8 => json!({"route": name, "service": "n1"}),
        9 => json!({"route": name, "consumer": "c"}),
        10 => json!({"consumer": "c"}),
        _ => json!({}),
    };
    let status = if number == 6 {
        json!("x")
    } else {
        json!(400 + u16::from(value))
    };
    document["name"] = "request-termination".into();
    document["config"] = json!({"status_code": status});
    document
}

proptest! {
    #[test]
    fn a_snapshot_after_another_is_as_one_made_anew(
        rounds in prop::collection::vec(prop::collection::vec(any_change(), 0..16), 1..6),
    ) {
        let mut fixture = Fixture::new();
        fixture.authority(0);
        fixture.certificate(0);
        for changes in rounds {
            for one in changes {
                change(&mut fixture, one);
            }
            let (_, problems) = fixture.compiled(&[]);
            let mut anew = Fixture::new();
            anew.desired = fixture.desired.clone();
            prop_assert_eq!(problems, anew.compiled(&[]).1);
            prop_assert_eq!(shown(&fixture.snapshot), shown(&anew.snapshot));
            prop_assert_eq!(fixture.spoken_to_otherwise(), [""; 0]);
        }
    }
}

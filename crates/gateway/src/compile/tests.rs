//! What a change makes anew, and that nothing else is told by it than by a beginning from nothing.

use std::collections::BTreeMap;

use hythe_balance::EndpointTable;
use hythe_model::traffic::{Plugin, Protocol, Service};
use hythe_model::{ProjectName, Route, Upstream};
use hythe_routing::RequestKey;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::plugin::correlation_id;

struct Fixture {
    compiler: Compiler,
    snapshot: Snapshot,
    pools: Pools,
    desired: Desired,
    writes: u64,
}

impl Fixture {
    fn new() -> Self {
        let compiler = Compiler::new(&[correlation_id::KIND], 1, Arc::default());
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
        let services = Arc::make_mut(&mut self.desired.services);
        services.insert(name.parse().unwrap(), entry(Service::at(host)));
    }

    /// To the service of its name, but for what is behind a dash.
    fn route(&mut self, name: &str, path: &str) {
        let (service, _) = name.split_once('-').unwrap_or((name, ""));
        self.route_to(name, path, service);
    }

    fn route_to(&mut self, name: &str, path: &str, service: &str) {
        let mut spec = Route::to(Some(service.parse().unwrap()));
        spec.paths = vec![path.to_owned()];
        Arc::make_mut(&mut self.desired.routes).insert(name.parse().unwrap(), entry(spec));
    }

    fn upstream(&mut self, name: &str) {
        let name = FullName::new(ProjectName::default(), name.parse().unwrap());
        Arc::make_mut(&mut self.desired.upstreams).insert(name, entry(Upstream::default()));
    }

    fn plugin(&mut self, name: &str, mut document: serde_json::Value) {
        document["name"] = "correlation-id".into();
        let spec: Plugin = serde_json::from_value(document).unwrap();
        let mut entry = Entry::clone(&entry(spec));
        self.writes += 1;
        entry.generation = self.writes;
        Arc::make_mut(&mut self.desired.plugins).insert(name.parse().unwrap(), Arc::new(entry));
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

fn entry<T>(spec: T) -> Arc<Entry<T>> {
    Arc::new(Entry {
        uid: String::new(),
        generation: 1,
        created_at: 0,
        spec,
    })
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
        let plan = &entry.payload;
        let service = plan.service.as_ref();
        let service =
            service.map(|service| format!("{} {} {}", service.label, service.pool_label, service.retries));
        format!(
            "{} {:?} {service:?} {:?}",
            entry.name, entry.route.paths, plan.chain
        )
    };
    snapshot.table.in_order(None).map(route).collect()
}

fn any_change() -> impl Strategy<Value = (u8, u8, Option<u8>)> {
    (0..4_u8, 0..6_u8, prop::option::weighted(0.7, 0..6_u8))
}

/// Sets or takes away one of six documents of a kind.
fn change(fixture: &mut Fixture, (kind, number, value): (u8, u8, Option<u8>)) {
    let name = format!("n{number}");
    let full: FullName = name.parse().unwrap();
    let desired = &mut fixture.desired;
    match (kind, value) {
        (0, None) => drop(Arc::make_mut(&mut desired.routes).remove(&full)),
        (1, None) => drop(Arc::make_mut(&mut desired.services).remove(&full)),
        (2, None) => drop(Arc::make_mut(&mut desired.upstreams).remove(&full)),
        (_, None) => drop(Arc::make_mut(&mut desired.plugins).remove(&full)),
        (0, Some(value)) => fixture.route_to(&name, &format!("/{number}"), &format!("n{value}")),
        (1, Some(value)) => fixture.service_at(&name, &format!("n{value}")),
        (2, Some(_)) => fixture.upstream(&name),
        (_, Some(value)) => {
            let scope = ["route", "service"][usize::from(value % 2)];
            fixture.plugin(&name, json!({scope: format!("n{value}")}));
        }
    }
}

proptest! {
    #[test]
    fn a_snapshot_after_another_is_as_one_made_anew(
        rounds in prop::collection::vec(prop::collection::vec(any_change(), 0..12), 1..6),
    ) {
        let mut fixture = Fixture::new();
        for changes in rounds {
            for one in changes {
                change(&mut fixture, one);
            }
            let (_, problems) = fixture.compiled(&[]);
            let mut anew = Fixture::new();
            anew.desired = fixture.desired.clone();
            prop_assert_eq!(problems, anew.compiled(&[]).1);
            prop_assert_eq!(shown(&fixture.snapshot), shown(&anew.snapshot));
        }
    }
}

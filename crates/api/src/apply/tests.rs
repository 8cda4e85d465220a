//! Last applied file, new file, live documents: what is written and what is said.

use std::collections::{BTreeMap, BTreeSet};

use hythe_model::desired::{AppliedManifest, Kind};
use hythe_model::{ProjectName, ProjectSpec};
use hythe_ports::documents::{Document, Expect, Identity, NodeId, Placement, Write};
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::PluginFindings;
use crate::tests::doubles::route_problems;

/// A project with one workload of these fields, and a service and route if it has a port.
fn file(fields: &Value) -> ProjectSpec {
    let mut workload = json!({"command": ["run"], "working_dir": "/app"});
    for (field, value) in fields.as_object().unwrap() {
        workload[field] = value.clone();
    }
    let mut spec = json!({"workloads": {"users": workload}});
    if fields.get("port").is_some() {
        spec["services"] = json!({"users": {"host": "users"}});
        spec["routes"] = json!({"all": {"service": "users", "paths": ["/"]}});
    }
    serde_json::from_value(spec).unwrap()
}

fn replicas(count: u32) -> Value {
    json!({"replicas": {"count": count}})
}

fn nothing() -> ProjectSpec {
    ProjectSpec::default()
}

struct Case {
    last: Option<ProjectSpec>,
    live: BTreeMap<ItemKey, Document>,
}

impl Case {
    /// As it is after `last` was applied.
    fn applied(last: ProjectSpec) -> Self {
        let live = items::items(&last).unwrap().into_iter();
        let live = live.map(|(key, fields)| {
            (
                key.clone(),
                document(&key.identity(&project()), Value::Object(fields)),
            )
        });
        Self {
            live: live.collect(),
            last: Some(last),
        }
    }

    fn edited(mut self, kind: ItemKind, name: &str, field: &str, value: Value, owner: &str) -> Self {
        let key = ItemKey {
            kind,
            name: name.to_owned(),
        };
        let document = self.live.get_mut(&key).unwrap();
        document.body[field] = value;
        document
            .owners
            .insert(format!("/{field}/count"), owner.to_owned());
        self
    }

    fn without(mut self, kind: ItemKind, name: &str) -> Self {
        self.live.remove(&ItemKey {
            kind,
            name: name.to_owned(),
        });
        self
    }

    fn forgotten(self) -> Self {
        Self { last: None, ..self }
    }

    fn decide(&self, decide: impl FnOnce(&Facts<'_>) -> Plan) -> String {
        let manifest = self.last.clone().map(|spec| {
            let body = serde_json::to_value(AppliedManifest {
                path: "/app/hythe.yaml".to_owned(),
                spec,
            })
            .unwrap();
            document(&Identity::new(AppliedManifest::KIND, "default", MANIFEST), body)
        });
        let node = NodeId("here".to_owned());
        let facts = Facts {
            project: &project(),
            node: &node,
            manifest: manifest.as_ref(),
            live: &self.live,
        };
        words(&decide(&facts))
    }

    fn up(&self, new: &ProjectSpec) -> String {
        self.decide(|facts| plan(facts, "/app/hythe.yaml", new).unwrap())
    }

    fn down(&self) -> String {
        self.decide(remove)
    }
}

fn project() -> ProjectName {
    ProjectName::default()
}

fn document(identity: &Identity, body: Value) -> Document {
    Document {
        identity: identity.clone(),
        uid: Uuid::nil(),
        generation: 7,
        created_generation: 7,
        created_at: 0,
        updated_at: 0,
        placement: Placement::Shared,
        tags: BTreeSet::new(),
        unique: BTreeSet::new(),
        references: BTreeSet::new(),
        owners: BTreeMap::new(),
        body,
    }
}

fn words(plan: &Plan) -> String {
    let mut lines = Vec::new();
    for change in &plan.changes {
        let rolls = if change.rolls { " (rolls)" } else { "" };
        let fields = change.fields.join("; ");
        lines.push(
            format!(
                "{} {} {} {fields}{rolls}",
                change.action, change.kind, change.name
            )
            .trim()
            .to_owned(),
        );
    }
    lines.extend(plan.conflicts.iter().map(|conflict| format!("! {conflict}")));
    for write in &plan.writes {
        let placed = match write {
            Write::Put(put) if put.placement != Placement::Shared => "local ",
            _ => "",
        };
        let expect = match write.expect() {
            Expect::Absent => "absent".to_owned(),
            Expect::Generation(generation) => generation.to_string(),
            other => format!("{other:?}"),
        };
        let verb = if matches!(write, Write::Put(_)) {
            "put"
        } else {
            "delete"
        };
        lines.push(format!("  {verb} {placed}{} if {expect}", write.identity()));
    }
    lines.join("\n")
}

#[test]
fn a_new_project_is_created_whole() {
    let case = Case {
        last: None,
        live: BTreeMap::new(),
    };
    insta::assert_snapshot!(case.up(&file(&json!({"port": 80}))), @r"
    create workload users
    create service users
    create route all
      put local workload `default/users` if absent
      put service `default/users` if absent
      put route `default/all` if absent
      put local manifest `default/manifest` if absent
    ");
}

#[test]
fn an_unchanged_file_writes_nothing() {
    let spec = file(&json!({"port": 80}));
    assert_eq!(Case::applied(spec.clone()).up(&spec), "");
}

#[test]
fn what_changed_in_the_file_is_written() {
    let case = Case::applied(file(&replicas(2)));
    insta::assert_snapshot!(case.up(&file(&replicas(4))), @r"
    update workload users replicas: 2 -> 4
      put local workload `default/users` if 7
      put local manifest `default/manifest` if 7
    ");
    insta::assert_snapshot!(case.up(&file(&json!({"command": ["run", "fast"], "replicas": {"count": 2}}))), @r"
    update workload users command: [run] -> [run, fast] (rolls)
      put local workload `default/users` if 7
      put local manifest `default/manifest` if 7
    ");
}

#[test]
fn a_change_by_hand_stays_until_the_file_says_otherwise() {
    let scaled = || {
        let count = replicas(4)["replicas"].clone();
        Case::applied(file(&replicas(2))).edited(ItemKind::Workload, "users", "replicas", count, "cli")
    };
    insta::assert_snapshot!(
        scaled().up(&file(&replicas(2))),
        @"! users: replicas is 4 (set by cli), the file says 2: kept"
    );
    insta::assert_snapshot!(scaled().up(&file(&json!({"port": 80, "replicas": {"count": 2}}))), @r"
    update workload users port: none -> 80 (rolls)
    create service users
    create route all
    ! users: replicas is 4 (set by cli), the file says 2: kept
      put local workload `default/users` if 7
      put service `default/users` if absent
      put route `default/all` if absent
      put local manifest `default/manifest` if 7
    ");
    insta::assert_snapshot!(scaled().up(&file(&replicas(3))), @r"
    update workload users replicas: 4 -> 3
      put local workload `default/users` if 7
      put local manifest `default/manifest` if 7
    ");
    insta::assert_snapshot!(scaled().up(&file(&replicas(4))), @"  put local manifest `default/manifest` if 7");
}

#[test]
fn without_a_last_file_the_file_wins() {
    let count = replicas(4)["replicas"].clone();
    let case =
        Case::applied(file(&replicas(2))).edited(ItemKind::Workload, "users", "replicas", count, "cli");
    insta::assert_snapshot!(case.forgotten().up(&file(&replicas(2))), @r"
    update workload users replicas: 4 -> 2
      put local workload `default/users` if 7
      put local manifest `default/manifest` if absent
    ");
}

#[test]
fn what_is_stopped_stays_stopped_and_restarts_are_nobodys_business() {
    let case = Case::applied(file(&replicas(2)))
        .edited(ItemKind::Workload, "users", "stopped", json!(true), "cli")
        .edited(ItemKind::Workload, "users", "restarts_asked", json!(3), "cli");
    insta::assert_snapshot!(
        case.up(&file(&replicas(2))),
        @"! users: stopped (by cli): kept; `hythe start users` runs it again"
    );
}

#[test]
fn what_is_gone_from_the_file_goes_and_what_it_never_had_stays() {
    let case = Case::applied(file(&json!({"port": 80})));
    insta::assert_snapshot!(case.up(&nothing()), @r"
    delete workload users
    delete service users
    delete route all
      delete workload `default/users` if 7
      delete service `default/users` if 7
      delete route `default/all` if 7
      put local manifest `default/manifest` if 7
    ");
    let foreign = Case {
        last: Some(nothing()),
        ..Case::applied(file(&json!({"port": 80})))
    };
    assert_eq!(foreign.up(&nothing()), "");
}

#[test]
fn what_somebody_deleted_is_made_again() {
    let spec = file(&json!({"port": 80}));
    let case = Case::applied(spec.clone()).without(ItemKind::Route, "all");
    insta::assert_snapshot!(case.up(&spec), @r"
    create route all
      put route `default/all` if absent
    ");
}

#[test]
fn down_takes_what_the_file_made() {
    let case = Case::applied(file(&json!({"port": 80}))).without(ItemKind::Service, "users");
    insta::assert_snapshot!(case.down(), @r"
    delete workload users
    delete route all
      delete workload `default/users` if 7
      delete route `default/all` if 7
      delete manifest `default/manifest` if 7
    ");
    let foreign = Case {
        last: Some(nothing()),
        ..Case::applied(file(&json!({})))
    };
    insta::assert_snapshot!(foreign.down(), @r"
    ! users: not from the project's file: kept
      delete manifest `default/manifest` if 7
    ");
}

#[test]
fn environments_are_told_by_key() {
    let before = json!({"environment": {"A": "secret", "B": "secret", "C": "1"}});
    let after = json!({"environment": {"A": "secret", "B": "other", "D": "1"}});
    let told = Case::applied(file(&before)).up(&file(&after));
    assert!(
        told.starts_with("update workload users environment: ~B +D -C (rolls)"),
        "{told}"
    );
    assert!(!told.contains("secret"));
}

#[test]
fn references_follow_what_they_need() {
    let spec: ProjectSpec = serde_json::from_value(json!({
        "services": {"api": {"host": "pool"}},
        "upstreams": {"pool": {}},
        "targets": {"one": {"upstream": "pool", "target": "127.0.0.1:1"}},
        "routes": {"all": {"service": "api", "paths": ["/"]}, "none": {"paths": ["/none"]}},
        "plugins": {"id": {"name": "correlation-id", "route": "all"}},
    }))
    .unwrap();
    let mut references = Vec::new();
    for (key, fields) in items::items(&spec).unwrap() {
        let put = key.put(&project(), &NodeId("here".to_owned()), fields, Expect::Any);
        references.extend(
            put.references
                .iter()
                .map(|to| format!("{} -> {} {:?}", key.label(), to.target(), to.on_delete)),
        );
    }
    insta::assert_snapshot!(references.join("\n"), @r"
    target one -> upstream `default/pool` Cascade
    route all -> service `default/api` Restrict
    plugin id -> route `default/all` Cascade
    ");
}

#[test]
fn every_mistake_is_told() {
    let spec: ProjectSpec = serde_json::from_value(json!({
        "workloads": {"users": {
            "command": [], "working_dir": "app", "replicas": {"count": 1001}, "stop_signal": 99,
            "healthcheck": {"probe": "tcp", "interval_ms": 1, "timeout_ms": 0, "retries": 1, "start_period_ms": 0, "start_interval_ms": 1},
            "depends_on": {"phones": {"condition": "service_started"}},
        }},
        "routes": {"all": {"service": "web", "paths": ["~/("]}},
        "plugins": {"p": {"name": "nosuch", "consumer": "me"}},
    }))
    .unwrap();
    let check_plugin = |name: &str, _: &_| PluginFindings {
        problems: vec![format!("`{name}` is not enabled")],
        services: vec!["b".parse().unwrap()],
    };
    let problems = validate(&spec, &BTreeSet::new(), &check_plugin, route_problems);
    insta::assert_snapshot!(problems.join("\n"), @r"
    users: command is empty
    users: working_dir `app` is not absolute
    users: more than 1000 replicas
    users: stop_signal 99 is no signal
    users: healthcheck cannot be tried: it needs a port and a path from `/`, or a command
    users: healthcheck times must not be 0
    users: depends_on: there is no workload `phones`
    route all: there is no service `web`
    plugin p: there is no consumer `me`
    plugin p: there is no service `b`
    plugin p: `nosuch` is not enabled
    route `all`: path `~/(` is not a regex that runs in linear time: regex parse error:
        /(
         ^
    error: unclosed group
    ");
    let live = BTreeSet::from([ItemKey {
        kind: ItemKind::Service,
        name: "web".to_owned(),
    }]);
    let problems = validate(&spec, &live, &|_, _| PluginFindings::default(), route_problems);
    assert!(
        !problems.iter().any(|problem| problem.contains("`web`")),
        "{problems:?}"
    );
}

//! Services beside a project's file: put there one by one, taken away again one by one.

use hythe_model::desired::AppliedManifest;
use hythe_model::{Name, ProjectSpec};
use hythe_ports::documents::Expect;
use serde::Deserialize;
use serde_json::{Value, json};

use super::differ;
use super::items::{Fields, ItemKey, ItemKind, items};
use super::plan::{Facts, Plan, delete, line, revision};

/// Why a service is left alone: the file at this path says what it is.
pub(crate) struct OfFile {
    pub(crate) service: String,
    pub(crate) path: String,
}

/// Has the services of `spec` run as it says, new ones and those that are there; nothing else is touched. `restart`:
/// those that are there get new instances in any case.
///
/// # Errors
/// When something cannot be written as JSON.
pub(crate) fn add(facts: &Facts<'_>, spec: &ProjectSpec, restart: bool) -> serde_json::Result<Plan> {
    let mut plan = Plan::default();
    for (key, mut fields) in items(spec)? {
        let Some(document) = facts.live.get(&key) else {
            let put = key.put(facts.project, facts.node, fields, Expect::Absent);
            plan.writes.push(put.into());
            plan.changes.push(line("create", &key, Vec::new(), false));
            continue;
        };
        let live = key.kind.complete(&document.body);
        if key.kind == ItemKind::Workload {
            ask_again(&mut fields, &live, restart);
        }
        let change = |(field, after): (&String, &Value)| {
            let before = live.get(field);
            (before != Some(after)).then(|| differ::change(field, before, after))
        };
        let changed: Vec<String> = fields.iter().filter_map(change).collect();
        if changed.is_empty() {
            continue;
        }
        let rolls = key.kind == ItemKind::Workload && revision(&live) != revision(&fields);
        let expect = Expect::Generation(document.generation);
        plan.writes
            .push(key.put(facts.project, facts.node, fields, expect).into());
        plan.changes.push(line("update", &key, changed, rolls));
    }
    Ok(plan)
}

/// What was asked by hand before still counts, and one more restart if it is asked for.
fn ask_again(fields: &mut Fields, live: &Fields, restart: bool) {
    let asked = live.get("restarts_asked").and_then(Value::as_u64).unwrap_or(0);
    fields.insert("restarts_asked".to_owned(), json!(asked + u64::from(restart)));
}

/// Takes a service away, with how the gateway reaches it.
pub(crate) fn remove_one(facts: &Facts<'_>, service: &Name) -> Plan {
    let mut plan = Plan::default();
    for kind in [ItemKind::Workload, ItemKind::Service] {
        let name = service.to_string();
        delete(facts, &mut plan, &ItemKey { kind, name });
    }
    plan
}

impl Facts<'_> {
    /// The first of these services that the project's file describes.
    pub(crate) fn of_file<'a>(&self, mut services: impl Iterator<Item = &'a Name>) -> Option<OfFile> {
        let last = AppliedManifest::deserialize(&self.manifest?.body).ok()?;
        let service = services.find(|service| {
            last.spec.workloads.contains_key(*service) || last.spec.services.contains_key(*service)
        })?;
        Some(OfFile {
            service: service.to_string(),
            path: last.path,
        })
    }
}

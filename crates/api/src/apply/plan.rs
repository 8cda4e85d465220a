//! The three-way comparison.

use std::collections::BTreeMap;

use hythe_model::desired::{AppliedManifest, Kind};
use hythe_model::view::ChangeLine;
use hythe_model::{ProjectName, ProjectSpec, Workload};
use hythe_ports::documents::{Document, Expect, Identity, NodeId, Placement, Put, Write};
use serde::Deserialize;
use serde_json::Value;

use super::differ;
use super::items::{Fields, ItemKey, ItemKind, items};

/// The name of the document that keeps the applied file.
pub(crate) const MANIFEST: &str = "manifest";

/// Fields that no file sets: a change by hand is the only one there is.
const BY_HAND: [&str; 2] = ["stopped", "restarts_asked"];

/// What a plan is made from.
pub(crate) struct Facts<'a> {
    pub(crate) project: &'a ProjectName,
    /// The node that runs the workloads.
    pub(crate) node: &'a NodeId,
    /// The document of the file applied last.
    pub(crate) manifest: Option<&'a Document>,
    /// Every document of the project that a file could make.
    pub(crate) live: &'a BTreeMap<ItemKey, Document>,
}

/// What is to be written, and what to say about it.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub(crate) writes: Vec<Write>,
    pub(crate) changes: Vec<ChangeLine>,
    pub(crate) conflicts: Vec<String>,
}

/// Makes the project what the file at `path` says.
///
/// # Errors
/// When the file cannot be written as JSON.
pub(crate) fn plan(facts: &Facts<'_>, path: &str, spec: &ProjectSpec) -> serde_json::Result<Plan> {
    let wanted = items(spec)?;
    let last = facts.last_items();
    let mut plan = Plan::default();
    for (key, fields) in &wanted {
        match facts.live.get(key) {
            Some(live) => update(facts, &mut plan, key, fields, last.get(key), live),
            None => create(facts, &mut plan, key, fields),
        }
    }
    for key in last.keys().filter(|key| !wanted.contains_key(key)) {
        delete(facts, &mut plan, key);
    }
    keep_manifest(facts, &mut plan, path, spec)?;
    Ok(plan)
}

/// Removes what the project's file has made; what others added to the project stays.
pub(crate) fn remove(facts: &Facts<'_>) -> Plan {
    let mut plan = Plan::default();
    let last = facts.last_items();
    for key in last.keys() {
        delete(facts, &mut plan, key);
    }
    for key in facts.live.keys().filter(|key| !last.contains_key(key)) {
        plan.conflicts
            .push(format!("{}: not from the project's file: kept", key.label()));
    }
    if let Some(manifest) = facts.manifest {
        plan.writes.push(delete_of(manifest));
    }
    plan
}

impl Facts<'_> {
    fn last_items(&self) -> BTreeMap<ItemKey, Fields> {
        let last = self
            .manifest
            .and_then(|document| AppliedManifest::deserialize(&document.body).ok());
        last.and_then(|last| items(&last.spec).ok()).unwrap_or_default()
    }

    /// The owner whose fields a file of this project writes.
    pub(crate) fn owner(&self) -> String {
        format!("file:{}", self.project)
    }
}

fn create(facts: &Facts<'_>, plan: &mut Plan, key: &ItemKey, wanted: &Fields) {
    let put = key.put(facts.project, facts.node, wanted.clone(), Expect::Absent);
    plan.writes.push(put.into());
    plan.changes.push(line("create", key, Vec::new(), false));
}

pub(super) fn delete(facts: &Facts<'_>, plan: &mut Plan, key: &ItemKey) {
    if let Some(live) = facts.live.get(key) {
        plan.writes.push(delete_of(live));
        plan.changes.push(line("delete", key, Vec::new(), false));
    }
}

fn delete_of(document: &Document) -> Write {
    let Identity { kind, scope, name } = document.identity.clone();
    Write::Delete {
        kind,
        scope,
        name,
        expect: Expect::Generation(document.generation),
    }
}

fn update(
    facts: &Facts<'_>,
    plan: &mut Plan,
    key: &ItemKey,
    wanted: &Fields,
    last: Option<&Fields>,
    document: &Document,
) {
    // Most documents of most files: nothing to compare field by field.
    if document.body.as_object() == Some(wanted) {
        return;
    }
    let live = key.kind.complete(&document.body);
    let mut merged = live.clone();
    let mut changed = Vec::new();
    for (field, wish) in wanted {
        let current = live.get(field);
        if current == Some(wish) {
            continue;
        }
        let by_hand = key.kind == ItemKind::Workload && BY_HAND.contains(&field.as_str());
        let same_in_file = last.is_some_and(|last| last.get(field) == Some(wish));
        if by_hand || same_in_file {
            plan.conflicts
                .extend(conflict(facts, key, field, wish, current, document));
        } else {
            changed.push(differ::change(field, current, wish));
            merged.insert(field.clone(), wish.clone());
        }
    }
    if changed.is_empty() {
        return;
    }
    let rolls = key.kind == ItemKind::Workload && revision(&live) != revision(&merged);
    let put = key.put(
        facts.project,
        facts.node,
        merged,
        Expect::Generation(document.generation),
    );
    plan.writes.push(put.into());
    plan.changes.push(line("update", key, changed, rolls));
}

fn conflict(
    facts: &Facts<'_>,
    key: &ItemKey,
    field: &str,
    wish: &Value,
    current: Option<&Value>,
    document: &Document,
) -> Option<String> {
    let label = key.label();
    let own = facts.owner();
    let owner = other_owner(document, field, &own);
    match field {
        "restarts_asked" => None,
        "stopped" => Some(format!(
            "{label}: stopped (by {owner}): kept; `hythe start {label}` runs it again"
        )),
        _ => {
            let current = current.map_or_else(|| "none".to_owned(), |value| differ::show(field, value));
            let wish = differ::show(field, wish);
            Some(format!(
                "{label}: {field} is {current} (set by {owner}), the file says {wish}: kept"
            ))
        }
    }
}

/// Who set a field or a part of it; somebody other than `own` if there is one.
fn other_owner<'a>(document: &'a Document, field: &str, own: &'a str) -> &'a str {
    let whole = format!("/{field}");
    let part = format!("/{field}/");
    let setters = document
        .owners
        .iter()
        .filter(|(at, _)| **at == whole || at.starts_with(&part));
    setters
        .map(|(_, owner)| owner.as_str())
        .find(|owner| *owner != own)
        .unwrap_or(own)
}

pub(super) fn revision(fields: &Fields) -> Option<hythe_model::Revision> {
    Workload::deserialize(Value::Object(fields.clone()))
        .ok()
        .map(|workload| workload.revision())
}

fn keep_manifest(
    facts: &Facts<'_>,
    plan: &mut Plan,
    path: &str,
    spec: &ProjectSpec,
) -> serde_json::Result<()> {
    let body = serde_json::to_value(AppliedManifest {
        path: path.to_owned(),
        spec: spec.clone(),
    })?;
    if facts.manifest.is_some_and(|manifest| manifest.body == body) {
        return Ok(());
    }
    let expect = facts
        .manifest
        .map_or(Expect::Absent, |manifest| Expect::Generation(manifest.generation));
    let identity = Identity::new(AppliedManifest::KIND, facts.project.as_str(), MANIFEST);
    let placement = Placement::Local(facts.node.clone());
    plan.writes.push(
        Put {
            placement,
            expect,
            ..Put::new(identity, body)
        }
        .into(),
    );
    Ok(())
}

pub(super) fn line(action: &str, key: &ItemKey, fields: Vec<String>, rolls: bool) -> ChangeLine {
    ChangeLine {
        action: action.to_owned(),
        kind: key.kind.in_store().to_owned(),
        name: key.name.clone(),
        fields,
        rolls,
    }
}

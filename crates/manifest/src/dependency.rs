//! Compose's `depends_on`: who must be there before whom.

use std::collections::{BTreeMap, BTreeSet};

use hythe_model::Name;
use hythe_model::workload::{Condition, Dependency};

use crate::context::Context;
use crate::draft::{Draft, Edge, Kind};
use crate::keys::{Shape, TEXTS, Table, key};
use crate::node::Node;
use crate::position::Span;
use crate::problem::Finding;
use crate::reader::Block;
use crate::service::Service;
use crate::suggest::did_you_mean;

pub(crate) const DEPENDS_ON: Shape = Shape::Either(&[TEXTS, Shape::Map(&Shape::Block(&DEPENDENCY))]);

static DEPENDENCY: Table = Table {
    name: "dependency",
    title: "a dependency",
    doc: "When a service that is depended on counts as there. A list of names waits for `service_started`.",
    interpolated: true,
    keys: &[
        key(
            "condition",
            Shape::OneOf(&[
                "service_started",
                "service_healthy",
                "service_completed_successfully",
            ]),
            "An instance was started, is ready, or has run and exited with 0. Default: `service_started`.",
        ),
        key(
            "restart",
            Shape::Boolean,
            "Restart with it when it is restarted or updated. Default: `false`.",
        ),
        key(
            "required",
            Shape::Boolean,
            "`false`: only warn when it is missing or fails. Default: `true`.",
        ),
    ],
};

/// The dependencies of a service, each noted in the draft for [`check`].
pub(crate) fn read(service: &Service<'_>, draft: &mut Draft) -> BTreeMap<Name, Dependency> {
    let cx = service.block.cx;
    let mut dependencies = BTreeMap::new();
    let Some(node) = service.block.get("depends_on") else {
        return dependencies;
    };
    for (text, span, details) in listed(cx, node) {
        let dependency = details
            .and_then(|node| Block::open(cx, node, &DEPENDENCY))
            .map_or_else(started, |block| of(&block));
        let Some(name) = cx.accept(span, text.parse::<Name>()) else {
            continue;
        };
        let edge = Edge {
            from: service.name.clone(),
            on: name.clone(),
            span,
            required: dependency.required,
        };
        draft.dependencies.push(edge);
        if dependencies.insert(name, dependency).is_some() {
            cx.report(Finding::error(span, format!("`{text}` is listed twice")));
        }
    }
    dependencies
}

/// Checks that what is waited for exists, runs here, and does not wait for who waits for it.
pub(crate) fn check(cx: &Context<'_>, draft: &mut Draft) {
    let mut graph: BTreeMap<Name, Vec<(Name, Span)>> = BTreeMap::new();
    for edge in std::mem::take(&mut draft.dependencies) {
        if draft.spec.workloads.contains_key(&edge.on) {
            graph.entry(edge.from).or_default().push((edge.on, edge.span));
            continue;
        }
        if let Some(finding) = missing(draft, &edge) {
            cx.report(finding);
        }
        if let Some(workload) = draft.spec.workloads.get_mut(&edge.from) {
            workload.depends_on.remove(&edge.on);
        }
    }
    report_cycles(cx, &graph);
}

fn listed<'a>(cx: &Context<'_>, node: &'a Node) -> Vec<(&'a str, Span, Option<&'a Node>)> {
    if let Some(items) = node.list() {
        return items
            .iter()
            .filter_map(|item| Some((cx.text(item)?, item.span, None)))
            .collect();
    }
    let entries = cx.entries(node).unwrap_or_default();
    let details = |value: &'a Node| Some(value).filter(|value| !value.is_null());
    entries
        .iter()
        .map(|entry| (&*entry.key, entry.key_span, details(&entry.value)))
        .collect()
}

fn started() -> Dependency {
    Dependency {
        condition: Condition::ServiceStarted,
        restart: false,
        required: true,
    }
}

fn of(block: &Block<'_>) -> Dependency {
    let condition = match block.choice("condition") {
        Some("service_healthy") => Condition::ServiceHealthy,
        Some("service_completed_successfully") => Condition::ServiceCompletedSuccessfully,
        _ => Condition::ServiceStarted,
    };
    Dependency {
        condition,
        restart: block.boolean("restart").unwrap_or(false),
        required: block.boolean("required").unwrap_or(true),
    }
}

/// What to say about a dependency that runs nowhere here; nothing if that may be.
fn missing(draft: &Draft, edge: &Edge) -> Option<Finding> {
    let Edge {
        from,
        on,
        span,
        required,
    } = edge;
    if draft.inactive.contains_key(on) {
        let profiles = draft.inactive[on]
            .iter()
            .map(|profile| format!("`{profile}`"))
            .collect::<Vec<_>>()
            .join(" or ");
        let finding = Finding::error(
            *span,
            format!("`{from}` depends on `{on}`, whose profile is not active"),
        );
        return required.then(|| {
            finding.help(format!(
                "activate the profile {profiles}, or write `required: false`"
            ))
        });
    }
    if draft.is_defined(Kind::Service, on) {
        return Some(Finding::warning(
            *span,
            format!("`{on}` does not run here, so nothing waits for it"),
        ));
    }
    let message = format!("no service is named `{on}`");
    let finding = if *required {
        Finding::error(*span, message)
    } else {
        Finding::warning(*span, message)
    };
    Some(finding.maybe_help(did_you_mean(on.as_str(), draft.names(Kind::Service))))
}

type Graph = BTreeMap<Name, Vec<(Name, Span)>>;

/// One report for each way back that a walk in the order of names finds.
fn report_cycles(cx: &Context<'_>, graph: &Graph) {
    let mut done = BTreeSet::new();
    for start in graph.keys() {
        walk(cx, graph, start, &mut Vec::new(), &mut done);
    }
}

/// As deep as there are services, a thousand at most.
fn walk<'g>(
    cx: &Context<'_>,
    graph: &'g Graph,
    at: &'g Name,
    path: &mut Vec<&'g Name>,
    done: &mut BTreeSet<&'g Name>,
) {
    if done.contains(at) {
        return;
    }
    path.push(at);
    for (next, span) in graph.get(at).into_iter().flatten() {
        if let Some(position) = path.iter().position(|name| *name == next) {
            let names = path[position..]
                .iter()
                .chain([&next])
                .map(|name| name.as_str())
                .collect::<Vec<_>>();
            cx.report(Finding::error(
                *span,
                format!("services wait for each other: {}", names.join(" -> ")),
            ));
        } else {
            walk(cx, graph, next, path, done);
        }
    }
    path.pop();
    done.insert(at);
}

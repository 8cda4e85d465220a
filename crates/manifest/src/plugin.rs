//! Kong's plugins: what is done to requests, and for which of them.
//!
//! A plugin's own settings are not known here: the caller checks them, and this places its complaints.

use hythe_model::{Name, Plugin};

use crate::context::Context;
use crate::derived_name::{derived, of_consumer};
use crate::draft::{Draft, Kind};
use crate::keys::{Shape, TAGS_DOC, TEXTS, Table, ignored, key, not_yet};
use crate::node::{Node, to_object};
use crate::position::Span;
use crate::problem::Finding;
use crate::reader::Block;
use crate::reference::{self, REFERENCE};
use crate::{PluginFinding, PluginProblem};

pub(crate) static PLUGIN: Table = Table {
    name: "plugin",
    title: "a plugin",
    doc: "What is done to requests on their way. Without `service`, `route` and `consumer` it applies to all; inside one of these, to that one.",
    interpolated: false,
    keys: &[
        key("name", Shape::Text, "Which plugin. Required."),
        key(
            "instance_name",
            Shape::Text,
            "A name of its own. Default: made from the plugin and its scope.",
        ),
        key("service", REFERENCE, "Only for this service."),
        key("route", REFERENCE, "Only for this route."),
        key("consumer", REFERENCE, "Only for this consumer."),
        key("config", Shape::Map(&Shape::Anything), "Its own settings."),
        key(
            "enabled",
            Shape::Boolean,
            "`false`: as if it were not there. Default: `true`.",
        ),
        key("tags", TEXTS, TAGS_DOC),
        not_yet(
            "protocols",
            Shape::Anything,
            "It applies to all protocols of its routes.",
        ),
        ignored("id", Shape::Text, "Of Kong's declarative files."),
    ],
};

/// What a plugin stands inside of.
#[derive(Default, Clone)]
pub(crate) struct Scope {
    pub(crate) service: Option<Name>,
    pub(crate) route: Option<Name>,
    pub(crate) consumer: Option<Name>,
}

pub(crate) fn read(cx: &Context<'_>, node: &Node, inside: &Scope, draft: &mut Draft) {
    let Some(block) = Block::open(cx, node, &PLUGIN) else {
        return;
    };
    let Some(kind) = block.get("name") else {
        return cx.report(node.error("a plugin needs a `name`: which plugin it is"));
    };
    let Some(plugin) = cx.text(kind) else { return };
    let mut references = Vec::new();
    let scope = scope(&block, inside, &mut references);
    let config = block
        .get("config")
        .and_then(|config| cx.entries(config))
        .map(to_object)
        .unwrap_or_default();
    let findings = (cx.inputs.plugin_check)(plugin, &config);
    let Some(name) = name(&block, plugin, &scope) else {
        return cx.report(kind.error(format!("`{plugin}` is not a name")));
    };
    for finding in findings {
        match finding {
            PluginFinding::Problem(problem) => place(&block, kind, problem),
            PluginFinding::Service { path, name } => {
                references.push(((Kind::Service, name), setting(&block, &path)));
            }
        }
    }
    if claim(draft, plugin, &scope) {
        let span = block.get("instance_name").unwrap_or(kind).span;
        draft.define(cx, Kind::Plugin, &name, span);
    } else {
        cx.report(kind.error(format!(
            "the plugin `{plugin}` is given twice for the same requests"
        )));
    }
    for (to, span) in references {
        draft.refer((Kind::Plugin, name.clone()), to, span);
    }
    let enabled = block.boolean("enabled").unwrap_or(true);
    let Scope {
        service,
        route,
        consumer,
    } = scope;
    let plugin = Plugin {
        name: plugin.to_owned(),
        service,
        route,
        consumer,
        config,
        enabled,
        tags: block.tags(),
    };
    draft.spec.plugins.insert(name, plugin);
}

type Place = ((Kind, Name), Span);

/// What it stands inside of, and what it names beyond that; both are references.
fn scope(block: &Block<'_>, inside: &Scope, references: &mut Vec<Place>) -> Scope {
    let mut one = |kind: Kind, key: &str, inside: Option<&Name>| {
        if let Some(name) = inside {
            reference::refuse(block, key);
            references.push(((kind, name.clone()), block.node.span));
            return Some(name.clone());
        }
        let (name, span) = match kind {
            Kind::Consumer => {
                reference::text(block, key).and_then(|(text, span)| Some((of_consumer(text)?, span)))?
            }
            _ => reference::read(block, key)?,
        };
        references.push(((kind, name.clone()), span));
        Some(name)
    };
    Scope {
        service: one(Kind::Service, "service", inside.service.as_ref()),
        route: one(Kind::Route, "route", inside.route.as_ref()),
        consumer: one(Kind::Consumer, "consumer", inside.consumer.as_ref()),
    }
}

/// Kong's unique key: which plugin, and its whole scope.
pub(crate) fn claim(draft: &mut Draft, plugin: &str, scope: &Scope) -> bool {
    draft.claim(format!(
        "plugin {plugin:?} {:?} {:?} {:?}",
        scope.service, scope.route, scope.consumer
    ))
}

/// The instance's name, or the plugin's followed by its scope.
fn name(block: &Block<'_>, plugin: &str, scope: &Scope) -> Option<Name> {
    if block.has("instance_name") {
        return block.name("instance_name");
    }
    let mut parts = Vec::new();
    parts.extend(scope.service.as_ref().map(Name::as_str));
    parts.extend(
        scope
            .route
            .as_ref()
            .into_iter()
            .flat_map(|route| ["route", route.as_str()]),
    );
    parts.extend(
        scope
            .consumer
            .as_ref()
            .into_iter()
            .flat_map(|consumer| ["consumer", consumer.as_str()]),
    );
    derived(plugin, &parts)
}

/// Reports a problem of the plugin's settings at the setting that it is about, or at the nearest around it.
fn place(block: &Block<'_>, kind: &Node, problem: PluginProblem) {
    let span = if problem.path.is_empty() {
        kind.span
    } else {
        setting(block, &problem.path)
    };
    block
        .cx
        .report(Finding::error(span, problem.message).maybe_help(problem.suggestion));
}

fn setting(block: &Block<'_>, path: &[String]) -> Span {
    let Some(config) = block.entry("config") else {
        return block.node.span;
    };
    let (mut node, mut span) = (&config.value, config.key_span);
    for step in path {
        if let Some(entry) = node.entry(step) {
            (node, span) = (&entry.value, entry.span());
        } else if let Some(item) = node
            .list()
            .and_then(|items| items.get(step.parse::<usize>().ok()?))
        {
            (node, span) = (item, item.span);
        } else {
            break;
        }
    }
    span
}

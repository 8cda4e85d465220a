//! The whole file: services, and the gateway's entities beside them.

use hythe_model::{ProjectName, ProjectSpec};

use crate::context::Context;
use crate::draft::Draft;
use crate::files::LARGEST_FILE;
use crate::keys::{Shape, Table, ignored, key, not_yet};
use crate::node::Node;
use crate::plugin::Scope;
use crate::position::Span;
use crate::problem::Finding;
use crate::reader::Block;
use crate::{
    certificate, consumer, dependency, interpolate, listener, plugin, route, service, tree, upstream,
};

const MOST_SERVICES: usize = 1_000;

pub(crate) static PROJECT: Table = Table {
    name: "project",
    title: "a manifest",
    doc: "A project: the services of a team and the routes that lead to them.",
    interpolated: false,
    keys: &[
        key(
            "name",
            Shape::Text,
            "The project: lower-case letters, digits, `-` and `_`. Default: `default`.",
        ),
        key(
            "services",
            Shape::Map(&Shape::Block(&service::SERVICE)),
            "What runs here or is reached from here, by name.",
        ),
        key(
            "routes",
            Shape::List(&Shape::Block(&route::ROUTE)),
            "Which requests go to which service.",
        ),
        key(
            "upstreams",
            Shape::List(&Shape::Block(&upstream::UPSTREAM)),
            "Named pools of addresses.",
        ),
        key(
            "consumers",
            Shape::List(&Shape::Block(&consumer::CONSUMER)),
            "Who calls.",
        ),
        key(
            "plugins",
            Shape::List(&Shape::Block(&plugin::PLUGIN)),
            "What is done to requests on their way.",
        ),
        key(
            "listeners",
            Shape::Map(&Shape::Block(&listener::LISTENER)),
            "Where the gateway listens besides the node's own addresses, by name.",
        ),
        key(
            "certificates",
            Shape::List(&Shape::Block(&certificate::CERTIFICATE)),
            "Who the gateway is, by the names that TLS clients ask for.",
        ),
        key(
            "ca_certificates",
            Shape::List(&Shape::Block(&certificate::CA_CERTIFICATE)),
            "Authorities that vouch for upstreams.",
        ),
        not_yet("networks", Shape::Anything, "Compose's networks."),
        not_yet("volumes", Shape::Anything, "Compose's volumes."),
        not_yet("configs", Shape::Anything, "Compose's configs."),
        not_yet("secrets", Shape::Anything, "Compose's secrets."),
        not_yet("snis", Shape::Anything, "Kong's server names of certificates."),
        ignored("version", Shape::Anything, "Of old Compose files."),
        ignored(
            "_format_version",
            Shape::OneOf(&["3.0"]),
            "Of Kong's declarative files.",
        ),
        ignored("_transform", Shape::Boolean, "Of Kong's declarative files."),
        ignored("_comment", Shape::Text, "Of Kong's declarative files."),
    ],
};

/// The project as far as it can be read; the context knows whether that is far enough.
pub(crate) fn read(cx: &Context<'_>) -> Option<ProjectSpec> {
    let root = readable(cx)?;
    let block = Block::open(cx, &root, &PROJECT)?;
    let mut draft = Draft::default();
    draft.spec.project = project_name(&block).unwrap_or_default();
    block.choice("_format_version");
    services(&block, &mut draft);
    for item in block.list("routes") {
        route::read(cx, item, None, &mut draft);
    }
    for item in block.list("upstreams") {
        upstream::read(cx, item, &mut draft);
    }
    for item in block.list("consumers") {
        consumer::read(cx, item, &mut draft);
    }
    for item in block.list("plugins") {
        plugin::read(cx, item, &Scope::default(), &mut draft);
    }
    let listeners = block.get("listeners").and_then(|node| cx.entries(node));
    for entry in listeners.unwrap_or_default() {
        listener::read(cx, entry, &mut draft);
    }
    for item in block.list("certificates") {
        certificate::read(cx, item, &mut draft);
    }
    for item in block.list("ca_certificates") {
        certificate::read_authority(cx, item, &mut draft);
    }
    draft.check_references(cx);
    dependency::check(cx, &mut draft);
    Some(draft.spec)
}

/// The project's name and nothing else: what is wrong with other keys is no business of it.
pub(crate) fn read_name(cx: &Context<'_>) -> Option<ProjectName> {
    let root = readable(cx)?;
    cx.entries(&root)?;
    let node = &root.entry("name").filter(|entry| !entry.value.is_null())?.value;
    cx.accept(node.span, cx.text(node)?.parse())
}

/// The tree, if the text can be one at all.
fn readable(cx: &Context<'_>) -> Option<Node> {
    let text = cx.lines.text();
    let refuse = |at: usize, message: &str| {
        cx.report(Finding::error(Span::new(at, at), message));
        None
    };
    if text.len() > LARGEST_FILE {
        return refuse(0, "the manifest is larger than 4 MiB");
    }
    if let Some(at) = text.find('\0') {
        return refuse(at, "the manifest holds a zero byte");
    }
    let (root, findings) = tree::build(&cx.lines);
    findings.into_iter().for_each(|finding| cx.report(finding));
    match root {
        Some(root) if root.is_null() => refuse(0, "the manifest is empty"),
        root => root,
    }
}

fn project_name(block: &Block<'_>) -> Option<ProjectName> {
    let node = block.get("name")?;
    block.cx.accept(node.span, block.cx.text(node)?.parse())
}

fn services(block: &Block<'_>, draft: &mut Draft) {
    let cx = block.cx;
    let Some(entry) = block.entry("services") else {
        return;
    };
    if entry.value.list().is_some() {
        let finding = entry.value.error("expected a map, found a list");
        return cx.report(finding.help("`services` maps each service's name to what it is"));
    }
    let services = interpolate::services(cx, &entry.value);
    let Some(entries) = cx.entries(&services) else {
        return;
    };
    if entries.len() > MOST_SERVICES {
        let message = format!(
            "{} services are more than the {MOST_SERVICES} of one manifest",
            entries.len()
        );
        return cx.report(Finding::error(entry.key_span, message));
    }
    for entry in entries {
        service::read(cx, entry, draft);
    }
}

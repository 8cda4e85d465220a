//! Kong's routes: which requests go to which service.

use std::collections::BTreeMap;

use hythe_model::traffic::{PathHandling, Protocol};
use hythe_model::{Name, Route};
use serde_json::json;

use crate::context::Context;
use crate::derived_name::{derived, hash8};
use crate::draft::{Draft, Kind};
use crate::gateway_service::{PROTOCOLS, protocol};
use crate::keys::{Shape, TAGS_DOC, TEXTS, Table, ignored, key, not_yet};
use crate::node::Node;
use crate::plugin::{self, Scope};
use crate::reader::{Block, quoted_list};
use crate::reference::{self, REFERENCE};
use crate::{matcher, path};

pub(crate) static ROUTE: Table = Table {
    name: "route",
    title: "a route",
    doc: "Which requests go to which service. It needs at least one of `methods`, `hosts`, `headers`, `paths`, `snis`; a request must fit all that it has.",
    interpolated: false,
    keys: &[
        key(
            "name",
            Shape::Text,
            "Its name. Default: made from its service and what it matches.",
        ),
        key(
            "service",
            REFERENCE,
            "Where the requests go. Not for a route inside a service.",
        ),
        key(
            "protocols",
            Shape::List(&Shape::OneOf(PROTOCOLS)),
            "The protocols it takes. Default: `http` and `https`.",
        ),
        key("methods", TEXTS, "Methods, in upper case."),
        key("hosts", TEXTS, "Hosts; the first or the last label may be `*`."),
        key(
            "paths",
            TEXTS,
            "Prefixes of the path, or regular expressions after a `~`.",
        ),
        key(
            "headers",
            Shape::Map(&Shape::List(&Shape::Text)),
            "Headers by name with the values allowed, or with one regular expression after `~*`.",
        ),
        key("snis", TEXTS, "Server names of TLS."),
        key(
            "listeners",
            TEXTS,
            "The listeners it is served on: of `listeners`, or of the node (`http`, `https` or as it names them). Default: all.",
        ),
        key(
            "https_redirect_status_code",
            Shape::Integer(301, 426),
            "The answer to a request over a protocol that is not taken: 426, or a redirect by 301, 302, 307, 308. Default: 426.",
        ),
        key(
            "regex_priority",
            Shape::Integer(-2_147_483_648, 2_147_483_647),
            "Order among regular expressions; higher first. Default: 0.",
        ),
        key(
            "strip_path",
            Shape::Boolean,
            "Cut the matched path off. Default: `true`.",
        ),
        key(
            "path_handling",
            Shape::OneOf(&["v0", "v1"]),
            "How the service's path and the request's are joined. Default: `v0`.",
        ),
        key(
            "preserve_host",
            Shape::Boolean,
            "Send the client's `Host` on. Default: `false`.",
        ),
        key("tags", TEXTS, TAGS_DOC),
        key(
            "plugins",
            Shape::List(&Shape::Block(&plugin::PLUGIN)),
            "Plugins for its requests.",
        ),
        not_yet(
            "request_buffering",
            Shape::Anything,
            "Bodies are always passed on as they come.",
        ),
        not_yet(
            "response_buffering",
            Shape::Anything,
            "Bodies are always passed on as they come.",
        ),
        not_yet("sources", Shape::Anything, "Of Kong's stream routes."),
        not_yet("destinations", Shape::Anything, "Of Kong's stream routes."),
        ignored("id", Shape::Text, "Of Kong's declarative files."),
    ],
};

const MATCHERS: [&str; 5] = ["methods", "hosts", "headers", "paths", "snis"];
const REDIRECTS: [u16; 5] = [426, 301, 302, 307, 308];

/// Reads one route; `inside` is the service whose block it stands in.
pub(crate) fn read(cx: &Context<'_>, node: &Node, inside: Option<&Name>, draft: &mut Draft) {
    let Some(block) = Block::open(cx, node, &ROUTE) else {
        return;
    };
    let service = match inside {
        Some(service) => {
            reference::refuse(&block, "service");
            Some((service.clone(), node.span))
        }
        None => reference::read(&block, "service"),
    };
    let route = read_route(&block, service.as_ref().map(|(name, _)| name.clone()));
    let Some(name) = name(&block, &route) else { return };
    let span = block.get("name").unwrap_or(node).span;
    if block.has("name") {
        draft.define(cx, Kind::Route, &name, span);
    } else if draft.is_defined(Kind::Route, &name) {
        cx.report(
            node.error("another route matches the same for the same service")
                .help("leave one out, or give each a `name`"),
        );
    } else {
        draft.define(cx, Kind::Route, &name, span);
    }
    if let Some((service, span)) = service.filter(|_| inside.is_none()) {
        draft.refer((Kind::Route, name.clone()), (Kind::Service, service), span);
    }
    let scope = Scope {
        route: Some(name.clone()),
        ..Scope::default()
    };
    for item in block.list("plugins") {
        plugin::read(cx, item, &scope, draft);
    }
    draft.spec.routes.insert(name, route);
}

fn read_route(block: &Block<'_>, service: Option<Name>) -> Route {
    let defaults = Route::to(service);
    let route = Route {
        protocols: protocols(block).unwrap_or(defaults.protocols),
        methods: checked(block, "methods", matcher::check_method),
        hosts: checked(block, "hosts", matcher::check_host),
        paths: paths(block),
        headers: headers(block),
        snis: checked(block, "snis", matcher::check_sni),
        listeners: listeners(block),
        https_redirect_status_code: redirect(block).unwrap_or(defaults.https_redirect_status_code),
        regex_priority: block.integer("regex_priority").unwrap_or(0),
        strip_path: block.boolean("strip_path").unwrap_or(true),
        path_handling: if block.choice("path_handling") == Some("v1") {
            PathHandling::V1
        } else {
            PathHandling::V0
        },
        preserve_host: block.boolean("preserve_host").unwrap_or(false),
        tags: block.tags(),
        service: defaults.service,
    };
    check_matchers(block, &route.protocols);
    keep_grpc_path(block, route)
}

/// A call of gRPC is its path: Kong never strips it.
fn keep_grpc_path(block: &Block<'_>, route: Route) -> Route {
    let is_grpc = route
        .protocols
        .iter()
        .any(|protocol| matches!(protocol, Protocol::Grpc | Protocol::Grpcs));
    if let Some(node) = block
        .get("strip_path")
        .filter(|node| is_grpc && node.boolean() == Some(true))
    {
        block
            .cx
            .report(node.error("cannot set 'strip_path' when 'protocols' is 'grpc' or 'grpcs'"));
    }
    Route {
        strip_path: route.strip_path && !is_grpc,
        ..route
    }
}

/// Kong's rule: at least one matcher that fits the protocol.
fn check_matchers(block: &Block<'_>, protocols: &[Protocol]) {
    let of_protocol: [(Protocol, &str, &[&str]); 4] = [
        (Protocol::Https, "https", &MATCHERS),
        (Protocol::Http, "http", &MATCHERS[..4]),
        (Protocol::Grpcs, "grpcs", &MATCHERS[1..]),
        (Protocol::Grpc, "grpc", &MATCHERS[1..4]),
    ];
    let Some((_, word, matchers)) = of_protocol
        .into_iter()
        .find(|(protocol, ..)| protocols.contains(protocol))
    else {
        return;
    };
    let has_one = |key: &&str| block.get(key).is_some_and(|node| !is_empty(node));
    if !matchers.iter().any(has_one) {
        let names = matchers
            .iter()
            .map(|matcher| format!("'{matcher}'"))
            .collect::<Vec<_>>()
            .join(", ");
        block.cx.report(
            block
                .node
                .error(format!("must set one of {names} when 'protocols' is '{word}'")),
        );
    }
}

fn is_empty(node: &Node) -> bool {
    node.list().is_some_and(<[Node]>::is_empty) || node.map().is_some_and(<[_]>::is_empty)
}

fn protocols(block: &Block<'_>) -> Option<Vec<Protocol>> {
    let node = block.get("protocols")?;
    let items = block.cx.list(node)?;
    if items.is_empty() {
        block.cx.report(node.error("a route takes at least one protocol"));
    }
    let mut protocols: Vec<_> = items
        .iter()
        .filter_map(|item| block.cx.choice(item, PROTOCOLS))
        .map(protocol)
        .collect();
    protocols.sort_unstable();
    protocols.dedup();
    Some(protocols).filter(|protocols| !protocols.is_empty())
}

fn checked(
    block: &Block<'_>,
    key: &str,
    check: fn(&str) -> Result<(), matcher::MatcherError>,
) -> Vec<String> {
    let mut kept = Vec::new();
    for (node, text) in block.texts(key) {
        if let Err(error) = check(text) {
            block
                .cx
                .report(node.error(error.to_string()).maybe_help(error.help()));
        }
        kept.push(text.to_owned());
    }
    kept
}

fn listeners(block: &Block<'_>) -> Vec<Name> {
    let texts = block.texts("listeners").into_iter();
    texts
        .filter_map(|(node, text)| block.cx.accept(node.span, text.parse()))
        .collect()
}

fn paths(block: &Block<'_>) -> Vec<String> {
    let mut kept = Vec::new();
    for (node, text) in block.texts("paths") {
        if let Err(error) = path::check_route(text) {
            block.cx.report(
                node.error(error.to_string())
                    .maybe_help(error.help().map(str::to_owned)),
            );
        }
        kept.push(text.to_owned());
    }
    kept
}

/// Names in lower case, as the gateway compares them.
fn headers(block: &Block<'_>) -> BTreeMap<String, Vec<String>> {
    let mut headers = BTreeMap::new();
    let entries = block
        .get("headers")
        .and_then(|node| block.cx.entries(node))
        .unwrap_or_default();
    for entry in entries {
        let name = entry.key.to_ascii_lowercase();
        if let Err(error) = matcher::check_header_name(&name) {
            block.cx.report(
                crate::problem::Finding::error(entry.key_span, error.to_string()).maybe_help(error.help()),
            );
        }
        let values = header_values(block.cx, &entry.value);
        if headers.insert(name, values).is_some() {
            block.cx.report(crate::problem::Finding::error(
                entry.key_span,
                format!("the header `{}` is given twice", entry.key),
            ));
        }
    }
    headers
}

fn header_values(cx: &Context<'_>, node: &Node) -> Vec<String> {
    let items = cx.list(node).unwrap_or_default();
    if node.list().is_some_and(<[Node]>::is_empty) {
        cx.report(node.error("a header needs at least one value"));
    }
    let values: Vec<String> = items
        .iter()
        .filter_map(|item| cx.text(item))
        .map(str::to_owned)
        .collect();
    if let [only] = &values[..]
        && let Some(pattern) = only.strip_prefix("~*")
        && let Err(error) = path::check_regex(pattern)
    {
        cx.report(items.first().unwrap_or(node).error(error.to_string()));
    }
    values
}

fn redirect(block: &Block<'_>) -> Option<u16> {
    let node = block.get("https_redirect_status_code")?;
    let status = node
        .integer()
        .and_then(|number| u16::try_from(number).ok())
        .filter(|status| REDIRECTS.contains(status));
    if status.is_none() {
        let known = quoted_list(&["426", "301", "302", "307", "308"]);
        block
            .cx
            .report(node.error(format!("expected one of {known}, found {}", node.shown())));
    }
    status
}

fn name(block: &Block<'_>, route: &Route) -> Option<Name> {
    if block.has("name") {
        return block.name("name");
    }
    let base = route.service.as_ref().map_or("route", Name::as_str);
    derived(base, &[&hash8(&matchers_in_order(route))])
}

/// What it matches, the same however its lists are ordered.
fn matchers_in_order(route: &Route) -> String {
    let sorted = |list: &[String]| {
        let mut sorted = list.to_vec();
        sorted.sort_unstable();
        sorted
    };
    let headers: BTreeMap<_, _> = route
        .headers
        .iter()
        .map(|(name, values)| (name, sorted(values)))
        .collect();
    json!([
        sorted(&route.methods),
        sorted(&route.hosts),
        sorted(&route.paths),
        headers,
        sorted(&route.snis),
        route.protocols
    ])
    .to_string()
}

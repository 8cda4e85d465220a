//! How the gateway speaks to a service: Kong's service and upstream behind one of ours.

use hythe_model::balancing::RetryOn;
use hythe_model::traffic::Protocol;
use hythe_model::{Name, Service as GatewayService};

use crate::context::Context;
use crate::draft::{Draft, Kind};
use crate::keys::{MILLISECONDS, Shape, TAGS_DOC, TEXTS, Table, key};
use crate::listener;
use crate::node::Node;
use crate::position::Span;
use crate::problem::Finding;
use crate::reader::Block;
use crate::reference::{self, REFERENCE};
use crate::service::Service;
use crate::upstream::{self, ALGORITHM, HEALTHCHECKS, HOST_HEADER, PANIC_THRESHOLD};
use crate::{address, path};

/// The protocols of services and routes.
pub(crate) const PROTOCOLS: &[&str] = &["http", "https", "grpc", "grpcs"];

/// nginx's words of `proxy_next_upstream`.
const RETRY_WORDS: &[&str] = &[
    "error",
    "timeout",
    "invalid_header",
    "http_403",
    "http_404",
    "http_429",
    "http_500",
    "http_502",
    "http_503",
    "http_504",
    "non_idempotent",
];

pub(crate) static SETTINGS: Table = Table {
    name: "service-upstream",
    title: "`upstream`",
    doc: "How the gateway speaks to a service, in Kong's words for services and upstreams.",
    interpolated: true,
    keys: &[
        key(
            "protocol",
            Shape::OneOf(PROTOCOLS),
            "Default: `http`, or what `url` says.",
        ),
        key(
            "path",
            Shape::Text,
            "What stands before every path that is sent. Default: nothing, or what `url` says.",
        ),
        key(
            "retries",
            Shape::Integer(0, 32_767),
            "How many other instances are tried after a failure that is safe to repeat. Default: 5.",
        ),
        key(
            "connect_timeout",
            MILLISECONDS,
            "Milliseconds to connect. Default: 5000.",
        ),
        key(
            "write_timeout",
            MILLISECONDS,
            "Milliseconds between two writes. Default: 60000.",
        ),
        key(
            "read_timeout",
            MILLISECONDS,
            "Milliseconds between two reads. Default: 60000.",
        ),
        key(
            "retry_on",
            Shape::List(&Shape::OneOf(RETRY_WORDS)),
            "After which failures another instance is tried, if that is safe: nginx's words of \
             `proxy_next_upstream`. Statuses are passed on if there is no other try. Default: `[error, timeout]`.",
        ),
        key(
            "total_timeout",
            Shape::Duration,
            "Time for all tries together, up to the head of an answer. Default: none.",
        ),
        key(
            "try_timeout",
            Shape::Duration,
            "Time for one try, up to the head of an answer. Default: none.",
        ),
        key(
            "hedge_after",
            Shape::Duration,
            "After how long without an answer a second instance is asked too; the first answer counts. Only for requests \
             without a body that may be sent twice by their method, and within the `retry_budget`. Default: never.",
        ),
        key(
            "enabled",
            Shape::Boolean,
            "`false`: as if it had no routes. Default: `true`.",
        ),
        ALGORITHM,
        PANIC_THRESHOLD,
        HOST_HEADER,
        HEALTHCHECKS,
        upstream::RETRY_BUDGET,
        upstream::CIRCUIT_BREAKER,
        upstream::OUTLIER,
        upstream::SLOW_START,
        upstream::HOLD,
        upstream::STICKY,
        key("tags", TEXTS, TAGS_DOC),
        upstream::HASH_ON,
        upstream::HASH_FALLBACK,
        upstream::HASH_ON_HEADER,
        upstream::HASH_FALLBACK_HEADER,
        upstream::HASH_ON_COOKIE,
        upstream::HASH_ON_COOKIE_PATH,
        upstream::HASH_ON_QUERY_ARG,
        upstream::HASH_FALLBACK_QUERY_ARG,
        upstream::HASH_ON_URI_CAPTURE,
        upstream::HASH_FALLBACK_URI_CAPTURE,
        upstream::SLOTS,
        upstream::USE_SRV_NAME,
        key(
            "client_certificate",
            REFERENCE,
            "The certificate by which an `https` service knows us. Default: none.",
        ),
        key(
            "ca_certificates",
            TEXTS,
            "The CA certificates that vouch for an `https` service, by name. Default: those of the system.",
        ),
        key(
            "tls_verify",
            Shape::Boolean,
            "`false`: whoever answers is believed, so that anybody on the way can read and change everything. Default: `true`; the certificate must be of the `Host` that is sent.",
        ),
        key(
            "tls_verify_depth",
            Shape::Integer(0, 64),
            "The most CA certificates between an `https` service's and one that is believed; more than 6 are never followed. Default: 6.",
        ),
        key(
            "send_proxy_protocol",
            listener::PROXY_PROTOCOLS,
            "Tell the service whose connection it is, by a header of the PROXY protocol; every request then has a connection of its own. For `http` and `https`. Default: no.",
        ),
    ],
};

/// The keys of [`SETTINGS`] that say something about a pool.
const OF_POOLS: [&str; 13] = [
    "algorithm",
    "panic_threshold",
    "host_header",
    "healthchecks",
    "retry_budget",
    "circuit_breaker",
    "outlier",
    "slow_start",
    "hold",
    "sticky",
    "hash_on",
    "hash_fallback",
    "slots",
];

/// A service that runs here: its pool bears its name.
pub(crate) fn read_pool(service: &Service<'_>, draft: &mut Draft) {
    let settings = settings(service);
    if let Some(block) = settings.filter(|block| OF_POOLS.iter().any(|key| block.has(key))) {
        define_upstream(service, Some(&block), draft);
    }
    let gateway_service = with_settings(
        service,
        GatewayService::at(service.name.as_str()),
        settings.as_ref(),
        draft,
    );
    draft.spec.services.insert(service.name.clone(), gateway_service);
}

/// A service whose addresses are listed: an upstream of its name.
pub(crate) fn read_targets(service: &Service<'_>, draft: &mut Draft) {
    let settings = settings(service);
    define_upstream(service, settings.as_ref(), draft);
    upstream::read_targets(&service.block, &service.name, draft);
    let gateway_service = with_settings(
        service,
        GatewayService::at(service.name.as_str()),
        settings.as_ref(),
        draft,
    );
    draft.spec.services.insert(service.name.clone(), gateway_service);
}

/// A service at one URL.
pub(crate) fn read_url(service: &Service<'_>, draft: &mut Draft) {
    let cx = service.block.cx;
    let settings = settings(service);
    if let Some(block) = &settings {
        refuse_what_the_url_says(block);
    }
    let Some(node) = service.block.get("url") else {
        return;
    };
    let Some(url) = cx
        .text(node)
        .and_then(|text| cx.accept(node.span, address::parse_url(text)))
    else {
        return;
    };
    if let Some(path) = &url.path {
        check_base_path(cx, node, path);
    }
    let mut gateway_service = with_settings(service, GatewayService::at(url.host), settings.as_ref(), draft);
    if let Some(block) = &settings {
        refuse_announced_calls(block, url.protocol);
    }
    gateway_service.protocol = url.protocol;
    gateway_service.port = url.port;
    gateway_service.path = url.path;
    draft.spec.services.insert(service.name.clone(), gateway_service);
}

/// The protocol of one of [`PROTOCOLS`].
pub(crate) fn protocol(word: &str) -> Protocol {
    match word {
        "https" => Protocol::Https,
        "grpc" => Protocol::Grpc,
        "grpcs" => Protocol::Grpcs,
        _ => Protocol::Http,
    }
}

fn settings<'a>(service: &Service<'a>) -> Option<Block<'a>> {
    service.block.block("upstream", &SETTINGS)
}

fn define_upstream(service: &Service<'_>, settings: Option<&Block<'_>>, draft: &mut Draft) {
    draft.define(
        service.block.cx,
        Kind::Upstream,
        &service.name,
        service.entry.key_span,
    );
    let upstream = settings.map(upstream::settings).unwrap_or_default();
    draft.spec.upstreams.insert(service.name.clone(), upstream);
}

fn with_settings(
    owner: &Service<'_>,
    service: GatewayService,
    settings: Option<&Block<'_>>,
    draft: &mut Draft,
) -> GatewayService {
    let Some(block) = settings else { return service };
    let mut refer = |kind, (name, span): (Name, Span)| {
        draft.refer((Kind::Service, owner.name.clone()), (kind, name.clone()), span);
        name
    };
    let client_certificate =
        reference::read(block, "client_certificate").map(|named| refer(Kind::Certificate, named));
    let ca_certificates = reference::list(block, "ca_certificates", |name, span| {
        refer(Kind::CaCertificate, (name.clone(), span));
    });
    let protocol = block.choice("protocol").map_or(service.protocol, protocol);
    refuse_announced_calls(block, protocol);
    GatewayService {
        protocol,
        path: base_path(block),
        retries: block.integer("retries").unwrap_or(service.retries),
        connect_timeout_ms: block
            .integer("connect_timeout")
            .unwrap_or(service.connect_timeout_ms),
        write_timeout_ms: block.integer("write_timeout").unwrap_or(service.write_timeout_ms),
        read_timeout_ms: block.integer("read_timeout").unwrap_or(service.read_timeout_ms),
        retry_on: retry_on(block).unwrap_or(service.retry_on),
        total_timeout_ms: time(block, "total_timeout"),
        try_timeout_ms: time(block, "try_timeout"),
        hedge_after_ms: time(block, "hedge_after"),
        enabled: block.boolean("enabled").unwrap_or(true),
        client_certificate,
        ca_certificates,
        tls_verify: block.boolean("tls_verify"),
        tls_verify_depth: block.integer("tls_verify_depth"),
        send_proxy_protocol: listener::send_proxy_protocol(block),
        tags: block.tags(),
        ..service
    }
}

/// Calls of many clients share connections.
fn refuse_announced_calls(block: &Block<'_>, protocol: Protocol) {
    let is_grpc = matches!(protocol, Protocol::Grpc | Protocol::Grpcs);
    if let Some(entry) = block.entry("send_proxy_protocol").filter(|_| is_grpc) {
        let message =
            "`send_proxy_protocol` is for `http` and `https`: calls of many clients share a connection";
        block.cx.report(Finding::error(entry.key_span, message));
    }
}

/// Milliseconds, at least one.
fn time(block: &Block<'_>, key: &str) -> Option<u64> {
    let milliseconds = block.duration(key)?;
    if milliseconds == 0 {
        let span = block.get(key)?.span;
        block.cx.report(Finding::error(
            span,
            format!("`{key}` leaves no time for an answer"),
        ));
    }
    Some(milliseconds)
}

fn retry_on(block: &Block<'_>) -> Option<Vec<RetryOn>> {
    block.has("retry_on").then(|| {
        let words = block.list("retry_on").iter();
        words
            .filter_map(|node| block.cx.choice(node, RETRY_WORDS))
            .map(retry_word)
            .collect()
    })
}

fn retry_word(word: &str) -> RetryOn {
    match word {
        "timeout" => RetryOn::Timeout,
        "invalid_header" => RetryOn::InvalidHeader,
        "http_403" => RetryOn::Http403,
        "http_404" => RetryOn::Http404,
        "http_429" => RetryOn::Http429,
        "http_500" => RetryOn::Http500,
        "http_502" => RetryOn::Http502,
        "http_503" => RetryOn::Http503,
        "http_504" => RetryOn::Http504,
        "non_idempotent" => RetryOn::NonIdempotent,
        _ => RetryOn::Error,
    }
}

fn base_path(block: &Block<'_>) -> Option<String> {
    let node = block.get("path")?;
    let text = block.cx.text(node)?;
    check_base_path(block.cx, node, text);
    Some(text.to_owned())
}

fn check_base_path(cx: &Context<'_>, node: &Node, text: &str) {
    if let Err(error) = path::check_plain(text) {
        cx.report(node.error(error.to_string()));
    }
}

fn refuse_what_the_url_says(block: &Block<'_>) {
    for entry in ["protocol", "path"].iter().filter_map(|key| block.entry(key)) {
        block.cx.report(Finding::error(
            entry.key_span,
            format!("`url` says the `{}` already", entry.key),
        ));
    }
    for entry in OF_POOLS.iter().filter_map(|key| block.entry(key)) {
        let finding = Finding::error(
            entry.key_span,
            format!("`{}` is about a pool, and a `url` is one address", entry.key),
        );
        block
            .cx
            .report(finding.help("list the addresses in `targets` instead"));
    }
}

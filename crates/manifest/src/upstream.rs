//! Kong's upstreams and targets.

use hythe_model::balancing::{CircuitBreaker, HashOn, Outlier, RetryBudget, SameSite, Sticky};
use hythe_model::traffic::Algorithm;
use hythe_model::{Name, Target, Upstream};

use crate::address;
use crate::context::Context;
use crate::derived_name::{derived, hash8};
use crate::draft::{Draft, Kind};
use crate::healthchecks;
use crate::keys::{Key, Shape, TAGS_DOC, TEXTS, Table, ignored, key, not_yet};
use crate::node::Node;
use crate::problem::Finding;
use crate::reader::Block;

pub(crate) static UPSTREAM: Table = Table {
    name: "upstream",
    title: "an upstream",
    doc: "A named pool of addresses. A service leads to it by `url: http://<its name>`.",
    interpolated: false,
    keys: &[
        key("name", Shape::Text, "Its name. Required."),
        ALGORITHM,
        PANIC_THRESHOLD,
        HOST_HEADER,
        HEALTHCHECKS,
        RETRY_BUDGET,
        CIRCUIT_BREAKER,
        OUTLIER,
        SLOW_START,
        HOLD,
        STICKY,
        key("targets", Shape::List(&Shape::Block(&TARGET)), "Its members."),
        key("tags", TEXTS, TAGS_DOC),
        HASH_ON,
        HASH_FALLBACK,
        HASH_ON_HEADER,
        HASH_FALLBACK_HEADER,
        HASH_ON_COOKIE,
        HASH_ON_COOKIE_PATH,
        HASH_ON_QUERY_ARG,
        HASH_FALLBACK_QUERY_ARG,
        HASH_ON_URI_CAPTURE,
        HASH_FALLBACK_URI_CAPTURE,
        SLOTS,
        USE_SRV_NAME,
        ignored("id", Shape::Text, "Of Kong's declarative files."),
    ],
};

pub(crate) static TARGET: Table = Table {
    name: "target",
    title: "a target",
    doc: "One address of a pool.",
    interpolated: true,
    keys: &[
        key(
            "target",
            Shape::Text,
            "`host:port`; without a port, Kong's 8000. Required.",
        ),
        key(
            "weight",
            Shape::Integer(0, 65_535),
            "Its share of the traffic; 0: none. Default: 100.",
        ),
        key(
            "max_fails",
            Shape::Integer(0, 1_000_000),
            "Failures within `fail_timeout` after which it is left alone for as long; 0: failures do not count. \
             As in nginx, not for one that is alone. Default: 1.",
        ),
        key("fail_timeout", Shape::Duration, "See `max_fails`. Default: 10s."),
        key(
            "max_conns",
            Shape::Integer(0, 1_000_000),
            "Most requests in flight to it; 0: any number. Default: 0.",
        ),
        key(
            "backup",
            Shape::Boolean,
            "`true`: only asked while no other can be. Default: `false`.",
        ),
        key("down", Shape::Boolean, "`true`: never asked. Default: `false`."),
        key("tags", TEXTS, TAGS_DOC),
        ignored("id", Shape::Text, "Of Kong's declarative files."),
    ],
};

pub(crate) const ALGORITHM: Key = key(
    "algorithm",
    Shape::OneOf(&[
        "round-robin",
        "least-connections",
        "consistent-hashing",
        "ip-hash",
        "random",
        "latency",
    ]),
    "Who gets the next request: by turns and weight; who has the fewest in flight; by a key (`hash_on`), \
     so that few move when members change; by the client's network, as \
     nginx's `ip_hash`; the less busy of two drawn at random by weight; or of two so drawn the one that \
     answers sooner (`latency`). Default: `round-robin`.",
);
pub(crate) const PANIC_THRESHOLD: Key = key(
    "panic_threshold",
    Shape::Integer(0, 100),
    "Percent of members: while fewer than that are available, neither failures nor health are held against any. 0: \
     as in nginx, nobody is asked when all have failed. Default: failures are overlooked when nobody would be left, \
     health is not.",
);
pub(crate) static RETRY_BUDGET_BLOCK: Table = Table {
    name: "retry-budget",
    title: "`retry_budget`",
    doc: "How many retries a pool takes; the larger of the two counts.",
    interpolated: true,
    keys: &[
        key(
            "percent",
            Shape::Integer(0, 10_000),
            "Retries for every hundred requests. Default: 20.",
        ),
        key(
            "per_second",
            Shape::Integer(0, 1_000_000),
            "Retries a second that are allowed whatever the share. Default: 10.",
        ),
    ],
};

pub(crate) static CIRCUIT_BREAKER_BLOCK: Table = Table {
    name: "circuit-breaker",
    title: "`circuit_breaker`",
    doc: "When requests are refused at once, with a 503.",
    interpolated: true,
    keys: &[
        key(
            "max_requests",
            Shape::Integer(0, 1_000_000),
            "Most requests in flight; 0: any number. Default: 0.",
        ),
        key(
            "error_percent",
            Shape::Integer(0, 100),
            "Percent of a window's requests whose failure opens it; 0: none does. Default: 0.",
        ),
        key(
            "min_requests",
            Shape::Integer(1, 1_000_000),
            "Requests of a window below which the share says nothing. Default: 20.",
        ),
        key("window", Shape::Duration, "How long a window is. Default: 10s."),
        key(
            "open",
            Shape::Duration,
            "How long it stays open before one request at a time tries. Default: 5s.",
        ),
    ],
};

pub(crate) static OUTLIER_BLOCK: Table = Table {
    name: "outlier",
    title: "`outlier`",
    doc: "Which members are left alone for a while for their errors. One always may be, the last one never.",
    interpolated: true,
    keys: &[
        key(
            "consecutive_errors",
            Shape::Integer(1, 1_000_000),
            "Errors in a row, with no good answer between: no connection, no answer in time, a status from 500 on. \
             Default: 5.",
        ),
        key(
            "ejection_time",
            Shape::Duration,
            "How long it is left alone the first time; each time that follows is longer by as much. Default: 30s.",
        ),
        key(
            "max_ejection_time",
            Shape::Duration,
            "How long at most. Who serves for as long without being ejected begins anew. Default: 5m.",
        ),
        key(
            "max_ejection_percent",
            Shape::Integer(0, 100),
            "Percent of the members that are ejected at a time, at most. Default: 50.",
        ),
    ],
};

pub(crate) const OUTLIER: Key = key(
    "outlier",
    Shape::Block(&OUTLIER_BLOCK),
    "Which members errors eject for a while. Default: none.",
);
pub(crate) const SLOW_START: Key = key(
    "slow_start",
    Shape::Duration,
    "In which the weight of a member grows from nearly nothing after it came or came back, as nginx's `slow_start`. \
     Not for `ip-hash` and `consistent-hashing`. Default: it has its weight at once.",
);
pub(crate) const RETRY_BUDGET: Key = key(
    "retry_budget",
    Shape::Block(&RETRY_BUDGET_BLOCK),
    "How many retries there may be.",
);
pub(crate) const CIRCUIT_BREAKER: Key = key(
    "circuit_breaker",
    Shape::Block(&CIRCUIT_BREAKER_BLOCK),
    "When requests are refused at once. Default: never.",
);
pub(crate) const HOLD: Key = key(
    "hold",
    Shape::Duration,
    "How long requests wait for a member while there is none that is healthy, before they get a 503. Default: not at \
     all.",
);
pub(crate) static STICKY_BLOCK: Table = Table {
    name: "sticky",
    title: "`sticky`",
    doc: "A cookie by which clients come back to the member they had: nginx's `sticky cookie`. It names the member by a \
          hash. When that one cannot be picked another is, and the cookie set anew.",
    interpolated: true,
    keys: &[
        key("cookie", Shape::Text, "Its name. Required."),
        key("path", Shape::Text, "Its path. Default: `/`."),
        key(
            "max_age",
            Shape::Duration,
            "How long clients keep it, to the second. Default: as long as they run.",
        ),
        key(
            "http_only",
            Shape::Boolean,
            "`true`: scripts do not see it. Default: `true`.",
        ),
        key(
            "secure",
            Shape::Boolean,
            "`true`: only sent over TLS. Default: `false`.",
        ),
        key(
            "same_site",
            Shape::OneOf(&["strict", "lax", "none"]),
            "Whether it is sent with requests that other sites cause. Default: the client decides.",
        ),
    ],
};
pub(crate) const STICKY: Key = key(
    "sticky",
    Shape::Block(&STICKY_BLOCK),
    "The cookie by which clients come back to the member they had. Default: none.",
);
pub(crate) const HOST_HEADER: Key = key(
    "host_header",
    Shape::Text,
    "The `Host` to send instead of the service's.",
);
pub(crate) const HEALTHCHECKS: Key = key(
    "healthchecks",
    Shape::Block(&healthchecks::HEALTHCHECKS),
    "When its members count as healthy. Default: nothing is checked.",
);
const HASH_WORDS: &[&str] = &[
    "none",
    "consumer",
    "ip",
    "header",
    "cookie",
    "path",
    "query_arg",
    "uri_capture",
];
pub(crate) const HASH_ON: Key = key(
    "hash_on",
    Shape::OneOf(HASH_WORDS),
    "What `consistent-hashing` goes by. Default: `none`, requests take turns.",
);
pub(crate) const HASH_FALLBACK: Key = key(
    "hash_fallback",
    Shape::OneOf(HASH_WORDS),
    "What it goes by if a request has not got that. Default: `none`.",
);
pub(crate) const HASH_ON_HEADER: Key = key("hash_on_header", Shape::Text, "The header of `hash_on: header`.");
pub(crate) const HASH_FALLBACK_HEADER: Key = key(
    "hash_fallback_header",
    Shape::Text,
    "The header of `hash_fallback: header`.",
);
pub(crate) const HASH_ON_COOKIE: Key = key(
    "hash_on_cookie",
    Shape::Text,
    "The cookie of `cookie`; set in the answer if it is missing.",
);
pub(crate) const HASH_ON_COOKIE_PATH: Key = key(
    "hash_on_cookie_path",
    Shape::Text,
    "The path of a cookie that is set. Default: `/`.",
);
pub(crate) const HASH_ON_QUERY_ARG: Key = key(
    "hash_on_query_arg",
    Shape::Text,
    "The argument of `hash_on: query_arg`.",
);
pub(crate) const HASH_FALLBACK_QUERY_ARG: Key = key(
    "hash_fallback_query_arg",
    Shape::Text,
    "The argument of `hash_fallback: query_arg`.",
);
pub(crate) const HASH_ON_URI_CAPTURE: Key = key(
    "hash_on_uri_capture",
    Shape::Text,
    "The group of `hash_on: uri_capture`, by its name in the route's regular expression.",
);
pub(crate) const HASH_FALLBACK_URI_CAPTURE: Key = key(
    "hash_fallback_uri_capture",
    Shape::Text,
    "The group of `hash_fallback: uri_capture`.",
);
pub(crate) const SLOTS: Key = key(
    "slots",
    Shape::Integer(10, 65_536),
    "Size of the table of `consistent-hashing`. Default: 10000.",
);
pub(crate) const USE_SRV_NAME: Key = not_yet(
    "use_srv_name",
    Shape::Anything,
    "Of targets found by SRV records.",
);

/// Reads one entry of the top-level `upstreams`.
pub(crate) fn read(cx: &Context<'_>, node: &Node, draft: &mut Draft) {
    let Some(block) = Block::open(cx, node, &UPSTREAM) else {
        return;
    };
    if !block.has("name") {
        cx.report(node.error("an upstream needs a `name`"));
    }
    // Without a name its targets are still read, for their mistakes.
    let (name, mut scratch) = (block.name("name"), Draft::default());
    let draft = if name.is_some() { draft } else { &mut scratch };
    let Some(name) = name.or_else(|| derived("unnamed", &[])) else {
        return;
    };
    draft.define(cx, Kind::Upstream, &name, block.get("name").unwrap_or(node).span);
    draft.spec.upstreams.insert(name.clone(), settings(&block));
    read_targets(&block, &name, draft);
}

/// What Kong's upstream and our service's `upstream` block both say.
pub(crate) fn settings(block: &Block<'_>) -> Upstream {
    let algorithm = match block.choice("algorithm") {
        Some("least-connections") => Algorithm::LeastConnections,
        Some("consistent-hashing") => Algorithm::ConsistentHashing,
        Some("ip-hash") => Algorithm::IpHash,
        Some("random") => Algorithm::Random,
        Some("latency") => Algorithm::Latency,
        _ => Algorithm::RoundRobin,
    };
    let text = |key| block.text(key).map(str::to_owned);
    let upstream = Upstream {
        algorithm,
        hash_on: hash_on(block, "hash_on"),
        hash_fallback: hash_on(block, "hash_fallback"),
        hash_on_header: text("hash_on_header"),
        hash_fallback_header: text("hash_fallback_header"),
        hash_on_cookie: text("hash_on_cookie"),
        hash_on_cookie_path: text("hash_on_cookie_path"),
        hash_on_query_arg: text("hash_on_query_arg"),
        hash_fallback_query_arg: text("hash_fallback_query_arg"),
        hash_on_uri_capture: text("hash_on_uri_capture"),
        hash_fallback_uri_capture: text("hash_fallback_uri_capture"),
        slots: block.integer("slots"),
        panic_threshold: block.integer("panic_threshold"),
        retry_budget: retry_budget(block),
        circuit_breaker: circuit_breaker(block),
        outlier: outlier(block),
        slow_start_ms: block.duration("slow_start"),
        hold_ms: block.duration("hold"),
        sticky: sticky(block),
        host_header: host_header(block),
        healthchecks: healthchecks::read(block),
        tags: block.tags(),
    };
    let problems = [upstream.hashing_problem(), upstream.slow_start_problem()];
    for problem in problems.into_iter().flatten() {
        block.cx.report(block.node.error(problem));
    }
    upstream
}

fn hash_on(block: &Block<'_>, key: &str) -> HashOn {
    match block.choice(key) {
        Some("consumer") => HashOn::Consumer,
        Some("ip") => HashOn::Ip,
        Some("header") => HashOn::Header,
        Some("cookie") => HashOn::Cookie,
        Some("path") => HashOn::Path,
        Some("query_arg") => HashOn::QueryArg,
        Some("uri_capture") => HashOn::UriCapture,
        _ => HashOn::None,
    }
}

fn retry_budget(block: &Block<'_>) -> RetryBudget {
    let usual = RetryBudget::default();
    let Some(block) = block.block("retry_budget", &RETRY_BUDGET_BLOCK) else {
        return usual;
    };
    RetryBudget {
        percent: block.integer("percent").unwrap_or(usual.percent),
        per_second: block.integer("per_second").unwrap_or(usual.per_second),
    }
}

fn circuit_breaker(block: &Block<'_>) -> Option<CircuitBreaker> {
    let usual = CircuitBreaker::default();
    let block = block.block("circuit_breaker", &CIRCUIT_BREAKER_BLOCK)?;
    Some(CircuitBreaker {
        max_requests: block.integer("max_requests").unwrap_or(usual.max_requests),
        error_percent: block.integer("error_percent").unwrap_or(usual.error_percent),
        min_requests: block.integer("min_requests").unwrap_or(usual.min_requests),
        window_ms: block.duration("window").unwrap_or(usual.window_ms),
        open_ms: block.duration("open").unwrap_or(usual.open_ms),
    })
}

fn outlier(block: &Block<'_>) -> Option<Outlier> {
    let usual = Outlier::default();
    let block = block.block("outlier", &OUTLIER_BLOCK)?;
    let first = block.duration("ejection_time").unwrap_or(usual.ejection_time_ms);
    let outlier = Outlier {
        consecutive_errors: block
            .integer("consecutive_errors")
            .unwrap_or(usual.consecutive_errors),
        ejection_time_ms: first,
        max_ejection_time_ms: block
            .duration("max_ejection_time")
            .unwrap_or(usual.max_ejection_time_ms.max(first)),
        max_ejection_percent: block
            .integer("max_ejection_percent")
            .unwrap_or(usual.max_ejection_percent),
    };
    if let Some(problem) = outlier.problem() {
        block.cx.report(block.node.error(problem));
    }
    Some(outlier)
}

fn sticky(block: &Block<'_>) -> Option<Sticky> {
    let block = block.block("sticky", &STICKY_BLOCK)?;
    let text = |key| block.text(key).map(str::to_owned);
    if !block.has("cookie") {
        block
            .cx
            .report(block.node.error("`sticky` needs a `cookie`: its name"));
    }
    let sticky = Sticky {
        cookie: text("cookie")?,
        path: text("path"),
        max_age_ms: block.duration("max_age"),
        http_only: block.boolean("http_only").unwrap_or(true),
        secure: block.boolean("secure").unwrap_or_default(),
        same_site: match block.choice("same_site") {
            Some("strict") => Some(SameSite::Strict),
            Some("lax") => Some(SameSite::Lax),
            Some("none") => Some(SameSite::None),
            _ => None,
        },
    };
    if let Some(problem) = sticky.problem() {
        block.cx.report(block.node.error(problem));
    }
    Some(sticky)
}

/// The targets listed in `block`, as members of `upstream`.
pub(crate) fn read_targets(block: &Block<'_>, upstream: &Name, draft: &mut Draft) {
    for (place, item) in (0..).zip(block.list("targets")) {
        read_target(block.cx, item, place, upstream, draft);
    }
}

fn read_target(cx: &Context<'_>, node: &Node, place: u32, upstream: &Name, draft: &mut Draft) {
    let Some(block) = Block::open(cx, node, &TARGET) else {
        return;
    };
    let Some(address) = block.get("target") else {
        return cx.report(node.error("a target needs a `target`: its `host:port`"));
    };
    let target = cx
        .text(address)
        .and_then(|text| cx.accept(address.span, address::parse_target(text)));
    let Some(target) = target else { return };
    let Some(name) = derived(upstream.as_str(), &[&hash8(&target)]) else {
        return;
    };
    let plain = Target::of(upstream.clone(), target);
    let target = Target {
        weight: block.integer("weight").unwrap_or(plain.weight),
        max_fails: block.integer("max_fails").unwrap_or(plain.max_fails),
        fail_timeout_ms: block.duration("fail_timeout").unwrap_or(plain.fail_timeout_ms),
        max_conns: block.integer("max_conns").unwrap_or(plain.max_conns),
        backup: block.boolean("backup").unwrap_or(plain.backup),
        down: block.boolean("down").unwrap_or(plain.down),
        place,
        tags: block.tags(),
        ..plain
    };
    if draft.spec.targets.contains_key(&name) {
        cx.report(address.error(format!("`{}` is a target of `{upstream}` already", target.target)));
    }
    draft.spec.targets.insert(name, target);
}

fn host_header(block: &Block<'_>) -> Option<String> {
    let node = block.get("host_header")?;
    let text = block.cx.text(node)?;
    let (host, port) = text
        .split_once(':')
        .map_or((text, None), |(host, port)| (host, Some(port)));
    let port_is_fine = port.is_none_or(|port| address::parse_port(port).is_ok());
    if !address::is_host(host) || !port_is_fine {
        block
            .cx
            .report(Finding::error(node.span, format!("`{text}` is not a host name")));
    }
    Some(text.to_owned())
}

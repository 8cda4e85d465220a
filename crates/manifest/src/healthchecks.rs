//! Kong's `healthchecks` of an upstream, with nginx's additions.

use std::collections::BTreeMap;
use std::time::Duration;

use hythe_model::HealthChecks;
use hythe_model::health::{
    ActiveChecks, ActiveHealthy, ActiveUnhealthy, CheckType, Expected, LONGEST, PassiveChecks,
    PassiveHealthy, PassiveUnhealthy, Thresholds, status_range,
};
use regex::Regex;

use crate::keys::{PORT, Shape, TEXT_OR_LIST, Table, key};
use crate::matcher::check_header_name;
use crate::node::Node;
use crate::problem::Finding;
use crate::reader::Block;

pub(crate) static HEALTHCHECKS: Table = Table {
    name: "healthchecks",
    title: "`healthchecks`",
    doc: "When the members of a pool count as healthy, in Kong's words. With the defaults nothing is checked.",
    interpolated: true,
    keys: &[
        key("active", Shape::Block(&ACTIVE), "Checks that Hythe makes."),
        key(
            "passive",
            Shape::Block(&PASSIVE),
            "What is concluded from the answers to clients' requests.",
        ),
        key(
            "threshold",
            Shape::Number,
            "The least percentage of weight that must be healthy; with less, the whole pool counts as unavailable. Default: 0.",
        ),
    ],
};

static ACTIVE: Table = Table {
    name: "active-checks",
    title: "`active`",
    doc: "Checks that Hythe makes. They are on once an interval is set.",
    interpolated: true,
    keys: &[
        key(
            "type",
            Shape::OneOf(TYPES),
            "What is tried: a connection, a GET, or `grpc.health.v1`. Default: `http`.",
        ),
        key("timeout", SECONDS, "Time for one check. Default: `1s`."),
        key(
            "concurrency",
            Shape::Integer(1, 1_000),
            "Checks of the pool at the same time. Default: 10.",
        ),
        key(
            "http_path",
            Shape::Text,
            "Path and query of the GET. Default: `/`.",
        ),
        key(
            "https_verify_certificate",
            Shape::Boolean,
            "Whether the certificate must be valid. Default: `true`.",
        ),
        key(
            "https_sni",
            Shape::Text,
            "The name in the TLS handshake. Default: the target's host.",
        ),
        key(
            "headers",
            Shape::Map(&TEXT_OR_LIST),
            "Further headers of the GET.",
        ),
        key(
            "healthy",
            Shape::Block(&ACTIVE_HEALTHY),
            "How often healthy members are checked, and what makes others healthy.",
        ),
        key(
            "unhealthy",
            Shape::Block(&ACTIVE_UNHEALTHY),
            "How often unhealthy members are checked, and what makes others unhealthy.",
        ),
        key(
            "jitter",
            SECONDS,
            "Each interval is longer by a random part of this. Default: `0s`.",
        ),
        key("port", PORT, "The port to check. Default: the member's own."),
        key(
            "match",
            Shape::Block(&MATCH),
            "What an answer must be; decides alone, `http_statuses` are not looked at.",
        ),
        key(
            "mandatory",
            Shape::Boolean,
            "`true`: a member gets no requests before its first success. Default: `false`.",
        ),
    ],
};

static ACTIVE_HEALTHY: Table = Table {
    name: "active-healthy",
    title: "`active.healthy`",
    doc: "Checks of healthy members.",
    interpolated: true,
    keys: &[
        key(
            "interval",
            SECONDS,
            "Time between two checks; 0: none. Default: 0.",
        ),
        key(
            "http_statuses",
            STATUSES,
            "Statuses that are a success. Default: 200 and 302.",
        ),
        key(
            "successes",
            OUTCOMES,
            "Successes in a row that make a member healthy; 0: none do. Default: 0.",
        ),
    ],
};

static ACTIVE_UNHEALTHY: Table = Table {
    name: "active-unhealthy",
    title: "`active.unhealthy`",
    doc: "Checks of unhealthy members.",
    interpolated: true,
    keys: &[
        key(
            "interval",
            SECONDS,
            "Time between two checks; 0: none. Default: 0.",
        ),
        key(
            "http_statuses",
            STATUSES,
            "Statuses that are a failure. Default: 429, 404, 500 to 505.",
        ),
        TCP_FAILURES,
        TIMEOUTS,
        HTTP_FAILURES,
    ],
};

static PASSIVE: Table = Table {
    name: "passive-checks",
    title: "`passive`",
    doc: "What is concluded from clients' requests, as Kong does it. They are on once a threshold of `unhealthy` is \
          set. Whom they take out active checks bring back; where there are none, `recovery_time` does.",
    interpolated: true,
    keys: &[
        key(
            "type",
            Shape::OneOf(TYPES),
            "`tcp`: statuses do not count. Default: `http`.",
        ),
        key(
            "healthy",
            Shape::Block(&PASSIVE_HEALTHY),
            "What makes a member healthy.",
        ),
        key(
            "unhealthy",
            Shape::Block(&PASSIVE_UNHEALTHY),
            "What makes a member unhealthy.",
        ),
    ],
};

static PASSIVE_HEALTHY: Table = Table {
    name: "passive-healthy",
    title: "`passive.healthy`",
    doc: "What makes a member healthy. An unhealthy one gets no requests, so `successes` only count those that were under way.",
    interpolated: true,
    keys: &[
        key(
            "http_statuses",
            STATUSES,
            "Statuses that are a success. Default: 200 to 208, 226, 300 to 308.",
        ),
        key(
            "successes",
            OUTCOMES,
            "Successes in a row that make a member healthy; 0: none do. Default: 0.",
        ),
        key(
            "recovery_time",
            SECONDS,
            "After how long a member is healthy again that passive checks took out, where no active check can say so \
             (`active.unhealthy.interval` and `active.healthy.successes`); 0: never, as with Kong. Default: `30s`.",
        ),
    ],
};

static PASSIVE_UNHEALTHY: Table = Table {
    name: "passive-unhealthy",
    title: "`passive.unhealthy`",
    doc: "What makes a member unhealthy.",
    interpolated: true,
    keys: &[
        key(
            "http_statuses",
            STATUSES,
            "Statuses that are a failure. Default: 429, 500, 503.",
        ),
        TCP_FAILURES,
        TIMEOUTS,
        HTTP_FAILURES,
    ],
};

static MATCH: Table = Table {
    name: "check-match",
    title: "`match`",
    doc: "What the answer to a check must be: nginx's `match`. What is left out is not asked.",
    interpolated: true,
    keys: &[
        key(
            "status",
            TEXT_OR_LIST,
            "Statuses, alone or as a range: `200-399`.",
        ),
        key(
            "headers",
            Shape::Map(&Shape::Text),
            "Headers with their value, or with a regular expression after `~`.",
        ),
        key(
            "body",
            Shape::Text,
            "A regular expression that is found in the first 256 KiB of the body.",
        ),
    ],
};

const TYPES: &[&str] = &["http", "https", "tcp", "grpc", "grpcs"];
/// Kong's seconds, or one of our durations.
const SECONDS: Shape = Shape::Either(&[Shape::Number, Shape::Duration]);
const STATUSES: Shape = Shape::List(&Shape::Integer(100, 999));
/// Up to [`hythe_model::health::MOST_OUTCOMES`].
const OUTCOMES: Shape = Shape::Integer(0, 255);
const TCP_FAILURES: crate::keys::Key = key(
    "tcp_failures",
    OUTCOMES,
    "Connections refused or broken, with no success between, that make a member unhealthy; 0: none do. Default: 0.",
);
const TIMEOUTS: crate::keys::Key = key("timeouts", OUTCOMES, "The same for time-outs. Default: 0.");
const HTTP_FAILURES: crate::keys::Key = key(
    "http_failures",
    OUTCOMES,
    "The same for answers that are a failure. Default: 0.",
);

/// The `healthchecks` of `upstream`; `None` without any.
pub(crate) fn read(upstream: &Block<'_>) -> Option<HealthChecks> {
    let block = upstream.block("healthchecks", &HEALTHCHECKS)?;
    Some(HealthChecks {
        active: block
            .block("active", &ACTIVE)
            .map(|active| read_active(&active))
            .unwrap_or_default(),
        passive: block
            .block("passive", &PASSIVE)
            .map(|passive| read_passive(&passive))
            .unwrap_or_default(),
        threshold: threshold(&block).unwrap_or_default(),
    })
}

fn read_active(block: &Block<'_>) -> ActiveChecks {
    refuse_tls(block);
    let defaults = ActiveChecks::default();
    let healthy = block.block("healthy", &ACTIVE_HEALTHY);
    let unhealthy = block.block("unhealthy", &ACTIVE_UNHEALTHY);
    let checks = ActiveChecks {
        kind: check_type(block),
        timeout: timeout(block).unwrap_or(defaults.timeout),
        concurrency: block.integer("concurrency").unwrap_or(defaults.concurrency),
        http_path: http_path(block).unwrap_or(defaults.http_path),
        https_verify_certificate: block.boolean("https_verify_certificate").unwrap_or(true),
        https_sni: block.text("https_sni").map(str::to_owned),
        headers: headers(block),
        healthy: healthy.map(|block| active_healthy(&block)).unwrap_or_default(),
        unhealthy: unhealthy
            .map(|block| active_unhealthy(&block))
            .unwrap_or_default(),
        jitter: seconds(block, "jitter").unwrap_or_default(),
        port: block.integer("port"),
        expected: block.block("match", &MATCH).map(|block| read_match(&block)),
        mandatory: block.boolean("mandatory").unwrap_or_default(),
    };
    warn_of_no_effect(block, &checks);
    checks
}

fn active_healthy(block: &Block<'_>) -> ActiveHealthy {
    let defaults = ActiveHealthy::default();
    ActiveHealthy {
        interval: seconds(block, "interval").unwrap_or_default(),
        http_statuses: statuses(block).unwrap_or(defaults.http_statuses),
        successes: block.integer("successes").unwrap_or_default(),
    }
}

fn active_unhealthy(block: &Block<'_>) -> ActiveUnhealthy {
    let defaults = ActiveUnhealthy::default();
    let counts = failures(block);
    ActiveUnhealthy {
        interval: seconds(block, "interval").unwrap_or_default(),
        http_statuses: statuses(block).unwrap_or(defaults.http_statuses),
        tcp_failures: counts.tcp_failures,
        timeouts: counts.timeouts,
        http_failures: counts.http_failures,
    }
}

fn read_passive(block: &Block<'_>) -> PassiveChecks {
    let healthy = |block: Block<'_>| PassiveHealthy {
        http_statuses: statuses(&block).unwrap_or_else(|| PassiveHealthy::default().http_statuses),
        successes: block.integer("successes").unwrap_or_default(),
        recovery_time: seconds(&block, "recovery_time")
            .unwrap_or_else(|| PassiveHealthy::default().recovery_time),
    };
    let unhealthy = |block: Block<'_>| {
        let counts = failures(&block);
        PassiveUnhealthy {
            http_statuses: statuses(&block).unwrap_or_else(|| PassiveUnhealthy::default().http_statuses),
            tcp_failures: counts.tcp_failures,
            timeouts: counts.timeouts,
            http_failures: counts.http_failures,
        }
    };
    PassiveChecks {
        kind: check_type(block),
        healthy: block
            .block("healthy", &PASSIVE_HEALTHY)
            .map(healthy)
            .unwrap_or_default(),
        unhealthy: block
            .block("unhealthy", &PASSIVE_UNHEALTHY)
            .map(unhealthy)
            .unwrap_or_default(),
    }
}

fn read_match(block: &Block<'_>) -> Expected {
    let expected = Expected {
        status: status_ranges(block),
        headers: expected_headers(block),
        body: block.text("body").map(str::to_owned),
    };
    if let (Some(node), Some(body)) = (block.get("body"), &expected.body) {
        check_regex(block, node, body);
    }
    expected
}

fn refuse_tls(block: &Block<'_>) {
    let node = block.get("type");
    if let Some(node) = node.filter(|node| matches!(node.text(), Some("https" | "grpcs"))) {
        let finding = node.error(format!(
            "checks by `{}` are not made yet",
            node.text().unwrap_or_default()
        ));
        block
            .cx
            .report(finding.help("`tcp` at least sees that the port is open"));
    }
}

/// What can never change anything was not meant so.
fn warn_of_no_effect(block: &Block<'_>, checks: &ActiveChecks) {
    let thresholds = checks.thresholds();
    let warn = |message: &str, help: &str| block.cx.report(block.node.warning(message).help(help));
    if thresholds.can_fail() && checks.healthy.interval.is_zero() {
        warn(
            "healthy members are never checked",
            "set `healthy.interval`, for example to `5s`",
        );
    }
    if !checks.is_on() {
        return;
    }
    if !thresholds.can_fail() && !checks.mandatory {
        warn(
            "no failure makes a member unhealthy",
            "set `unhealthy.http_failures`, `tcp_failures` and `timeouts`, for example to 3",
        );
    } else if thresholds.successes == 0 || checks.unhealthy.interval.is_zero() {
        warn(
            "a member that is unhealthy once stays so",
            "set `healthy.successes` and `unhealthy.interval`",
        );
    }
}

fn check_type(block: &Block<'_>) -> CheckType {
    match block.choice("type") {
        Some("https") => CheckType::Https,
        Some("tcp") => CheckType::Tcp,
        Some("grpc") => CheckType::Grpc,
        Some("grpcs") => CheckType::Grpcs,
        _ => CheckType::Http,
    }
}

fn seconds(block: &Block<'_>, key: &str) -> Option<Duration> {
    let node = block.get(key)?;
    let duration = match node.number() {
        Some(number) => Duration::try_from_secs_f64(number).ok(),
        None => Some(Duration::from_millis(block.cx.duration(node)?)),
    };
    let short = duration.filter(|duration| *duration <= LONGEST);
    if short.is_none() {
        block
            .cx
            .report(node.error(format!("`{key}` must be from 0 to {} seconds", LONGEST.as_secs())));
    }
    short
}

fn timeout(block: &Block<'_>) -> Option<Duration> {
    let timeout = seconds(block, "timeout")?;
    if let Some(node) = block.get("timeout").filter(|_| timeout.is_zero()) {
        block.cx.report(node.error("`timeout` must not be 0"));
    }
    Some(timeout)
}

fn threshold(block: &Block<'_>) -> Option<f64> {
    let node = block.get("threshold")?;
    let percent = node.number().filter(|percent| (0.0..=100.0).contains(percent));
    if percent.is_none() {
        block.cx.report(node.error(format!(
            "expected a percentage from 0 to 100, found {}",
            node.shown()
        )));
    }
    percent
}

fn http_path(block: &Block<'_>) -> Option<String> {
    let path = block.text("http_path")?;
    let is_path = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
    if let Some(node) = block.get("http_path").filter(|_| !is_path) {
        block
            .cx
            .report(node.error(format!("`{path}` is not a path such as `/health`")));
    }
    Some(path.to_owned())
}

fn headers(block: &Block<'_>) -> Option<BTreeMap<String, Vec<String>>> {
    let entries = block.cx.entries(block.get("headers")?)?;
    let header = |entry: &crate::node::Entry| {
        check_name(block, entry);
        let values = texts(block, &entry.value);
        for (node, value) in &values {
            if value.bytes().any(|byte| byte.is_ascii_control()) {
                block.cx.report(node.error("a header has no control characters"));
            }
        }
        let values = values.into_iter().map(|(_, value)| value.to_owned()).collect();
        (entry.key.to_string(), values)
    };
    Some(entries.iter().map(header).collect())
}

fn expected_headers(block: &Block<'_>) -> BTreeMap<String, String> {
    let entries = block.get("headers").and_then(|node| block.cx.entries(node));
    let header = |entry: &crate::node::Entry| {
        check_name(block, entry);
        let value = block.cx.text(&entry.value)?;
        if let Some(regex) = value.strip_prefix('~') {
            check_regex(block, &entry.value, regex);
        }
        Some((entry.key.to_string(), value.to_owned()))
    };
    entries.unwrap_or_default().iter().filter_map(header).collect()
}

fn check_name(block: &Block<'_>, entry: &crate::node::Entry) {
    // `Host` may be set here, although routes do not match it as a header.
    if !entry.key.eq_ignore_ascii_case("host") {
        block.cx.accept(entry.key_span, check_header_name(&entry.key));
    }
}

fn check_regex(block: &Block<'_>, node: &Node, regex: &str) {
    if let Err(error) = Regex::new(regex) {
        let reason = error.to_string();
        let reason = reason
            .lines()
            .last()
            .unwrap_or_default()
            .trim_start_matches("error: ");
        block
            .cx
            .report(node.error(format!("`{regex}` is not a regular expression: {reason}")));
    }
}

fn statuses(block: &Block<'_>) -> Option<Vec<u16>> {
    block.get("http_statuses")?;
    let items = block.list("http_statuses").iter();
    Some(
        items
            .filter_map(|item| block.cx.integer(item, 100, 999))
            .collect(),
    )
}

fn status_ranges(block: &Block<'_>) -> Vec<String> {
    let Some(node) = block.get("status") else {
        return Vec::new();
    };
    let range = |(node, text): (&Node, &str)| {
        if status_range(text).is_none() {
            let message = format!("`{text}` is not a status such as `200`, or a range such as `200-399`");
            block.cx.report(Finding::error(node.span, message));
        }
        text.to_owned()
    };
    texts(block, node).into_iter().map(range).collect()
}

/// A text, or a list of them, each with its node.
fn texts<'n>(block: &Block<'_>, node: &'n Node) -> Vec<(&'n Node, &'n str)> {
    let one = std::slice::from_ref(node);
    let items = node.list().unwrap_or(one).iter();
    items
        .filter_map(|item| Some((item, block.cx.text(item)?)))
        .collect()
}

fn failures(block: &Block<'_>) -> Thresholds {
    Thresholds {
        successes: 0,
        http_failures: block.integer("http_failures").unwrap_or_default(),
        tcp_failures: block.integer("tcp_failures").unwrap_or_default(),
        timeouts: block.integer("timeouts").unwrap_or_default(),
    }
}

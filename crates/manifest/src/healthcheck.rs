//! How an instance is known to be ready: Compose's health check, with `http` and `tcp` beside `test`.

use hythe_model::workload::{HealthCheck, Probe};

use crate::context::Context;
use crate::keys::{Shape, TEXT_OR_LIST, Table, key};
use crate::node::Node;
use crate::problem::Finding;
use crate::reader::Block;

pub(crate) static HEALTHCHECK: Table = Table {
    name: "healthcheck",
    title: "a health check",
    doc: "How an instance is known to be ready and alive. It needs one of `http`, `tcp` and `test`.",
    interpolated: true,
    keys: &[
        key(
            "http",
            Shape::Text,
            "GET of this path on the instance's port answers 200 to 399.",
        ),
        key(
            "tcp",
            Shape::Boolean,
            "`true`: the instance's port accepts a connection.",
        ),
        key(
            "test",
            TEXT_OR_LIST,
            "A command exits with 0: `[CMD, program, argument]`, `[CMD-SHELL, line]` or a text, which a shell runs. `[NONE]`: no check.",
        ),
        key(
            "interval",
            Shape::Duration,
            "Time between two tries. Default: `30s`.",
        ),
        key(
            "timeout",
            Shape::Duration,
            "A try that takes longer has failed. Default: `30s`.",
        ),
        key(
            "retries",
            Shape::Integer(1, 1_000),
            "Failures in a row that make it unhealthy. Default: 3.",
        ),
        key(
            "start_period",
            Shape::Duration,
            "Failures in this time after the start do not count. Default: `0s`.",
        ),
        key(
            "start_interval",
            Shape::Duration,
            "Time between tries until it was healthy once. Default: `100ms`, or `interval` if that is shorter.",
        ),
        key("disable", Shape::Boolean, "`true`: no check."),
    ],
};

const DEFAULT_MS: u64 = 30_000;
/// Short, so that a start takes little longer than the application's own.
const START_INTERVAL_MS: u64 = 100;
const PROBES: [&str; 3] = ["http", "tcp", "test"];

/// The health check at `key` of the service's block; `None`: none, or none that can be read.
pub(crate) fn read(service: &Block<'_>, key: &str) -> Option<HealthCheck> {
    let block = service.block(key, &HEALTHCHECK)?;
    let interval_ms = positive(&block, "interval").unwrap_or(DEFAULT_MS);
    let times = HealthCheck {
        probe: Probe::Tcp,
        interval_ms,
        timeout_ms: positive(&block, "timeout").unwrap_or(DEFAULT_MS),
        retries: block.integer("retries").unwrap_or(3),
        start_period_ms: block.duration("start_period").unwrap_or(0),
        start_interval_ms: positive(&block, "start_interval").unwrap_or(START_INTERVAL_MS.min(interval_ms)),
    };
    if block.boolean("disable") == Some(true) {
        return None;
    }
    let probe = probe(&block, service.has("port"))?;
    Some(HealthCheck { probe, ..times })
}

fn positive(block: &Block<'_>, key: &str) -> Option<u64> {
    let milliseconds = block.duration(key)?;
    if let Some(node) = block.get(key).filter(|_| milliseconds == 0) {
        block
            .cx
            .report(node.error(format!("`{key}` must be at least 1ms")));
    }
    Some(milliseconds)
}

fn probe(block: &Block<'_>, has_port: bool) -> Option<Probe> {
    let cx = block.cx;
    let given: Vec<_> = PROBES.iter().filter_map(|key| block.entry(key)).collect();
    let entry = match given[..] {
        [entry] => entry,
        [] => {
            cx.report(
                block
                    .node
                    .error("a health check needs one of `http`, `tcp` and `test`"),
            );
            return None;
        }
        [_, second, ..] => {
            cx.report(Finding::error(
                second.key_span,
                "a health check has one of `http`, `tcp` and `test`, not two",
            ));
            return None;
        }
    };
    if &*entry.key != "test" && !has_port {
        let finding = Finding::error(
            entry.key_span,
            format!("`{}` needs the service's `port`", entry.key),
        );
        cx.report(finding.help("`port` says where the application listens"));
    }
    match &*entry.key {
        "http" => http(cx, &entry.value),
        "tcp" => block.boolean("tcp").filter(|tcp| *tcp).map(|_| Probe::Tcp),
        _ => test(cx, &entry.value),
    }
}

fn http(cx: &Context<'_>, node: &Node) -> Option<Probe> {
    let path = cx.text(node)?;
    let is_path = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_path {
        cx.report(node.error(format!("`{path}` is not a path such as `/health`")));
        return None;
    }
    Some(Probe::Http(path.to_owned()))
}

fn test(cx: &Context<'_>, node: &Node) -> Option<Probe> {
    let shell = |line: &str| Probe::Command(vec!["/bin/sh".to_owned(), "-c".to_owned(), line.to_owned()]);
    let Some(items) = node.list() else {
        return cx.text(node).map(shell);
    };
    let words: Vec<&str> = items.iter().filter_map(|item| cx.text(item)).collect();
    match words[..] {
        ["NONE"] => None,
        ["CMD", _, ..] => Some(Probe::Command(
            words[1..].iter().map(|&word| word.to_owned()).collect(),
        )),
        ["CMD-SHELL", line] => Some(shell(line)),
        ["CMD" | "CMD-SHELL" | "NONE", ..] => {
            cx.report(node.error("expected `[CMD, program, ...]`, `[CMD-SHELL, line]` or `[NONE]`"));
            None
        }
        _ => {
            let first = items.first().unwrap_or(node);
            cx.report(first.error("a list must start with `CMD`, `CMD-SHELL` or `NONE`"));
            None
        }
    }
}

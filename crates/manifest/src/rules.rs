//! What else ends an instance for good or replaces it: exits that are final, memory, times, changed files, and what it
//! must go on passing.

use std::path::{Path, PathBuf};

use hythe_model::workload::{RestartRules, Watch};
use hythe_model::{Schedule, Workload};

use crate::context::Context;
use crate::healthcheck;
use crate::keys::{Shape, TEXT_OR_LIST, Table, key};
use crate::node::Node;
use crate::reader::Block;

const EXIT_CODE: Shape = Shape::Integer(0, 255);
pub(crate) const EXIT_CODES: Shape = Shape::Either(&[EXIT_CODE, Shape::List(&EXIT_CODE)]);
pub(crate) const WATCHED: Shape = Shape::Either(&[
    Shape::Boolean,
    Shape::Text,
    Shape::List(&Shape::Text),
    Shape::Block(&WATCH),
]);

static WATCH: Table = Table {
    name: "watch",
    title: "`watch`",
    doc: "Files whose change replaces all instances of a service.",
    interpolated: true,
    keys: &[
        key(
            "paths",
            TEXT_OR_LIST,
            "Files, and folders with all that is in them, relative to `working_dir`. Default: all of `working_dir`.",
        ),
        key(
            "ignore",
            TEXT_OR_LIST,
            "What is left out: names such as `*.log` at any depth, paths such as `public/**/*.css`, regular expressions such as `/\\.test\\./`. Default: hidden files and `node_modules`.",
        ),
        key(
            "extensions",
            TEXT_OR_LIST,
            "Only files that end so, such as `js`. Default: all.",
        ),
        key(
            "delay",
            Shape::Duration,
            "How long nothing may change before instances are replaced, so that a burst of changes is one. Default: `100ms`.",
        ),
    ],
};

const WATCH_DELAY_MS: u64 = 100;

/// Reads the rules of a service into `workload`, which knows its folder and what `deploy` says.
pub(crate) fn read(block: &Block<'_>, workload: &mut Workload) {
    let rules = &mut workload.restart_rules;
    rules.stop_exit_codes = stop_exit_codes(block);
    rules.min_uptime_ms = min_uptime(block, rules);
    workload.memory_restart_bytes = memory(block);
    workload.cron_restart = cron(block);
    workload.watch = watch(block, &workload.working_dir);
    workload.liveness = healthcheck::read(block, "liveness");
}

fn stop_exit_codes(block: &Block<'_>) -> Vec<i32> {
    let Some(node) = block.get("stop_exit_codes") else {
        return Vec::new();
    };
    let codes = node.list().unwrap_or(std::slice::from_ref(node));
    codes
        .iter()
        .filter_map(|code| block.cx.integer(code, 0, 255))
        .collect()
}

/// `min_uptime`, or `window` of `deploy.restart_policy`; they must not disagree.
fn min_uptime(block: &Block<'_>, rules: &RestartRules) -> Option<u64> {
    let min_uptime = block.duration("min_uptime");
    if let (Some(own), Some(window), Some(node)) = (min_uptime, rules.min_uptime_ms, block.get("min_uptime"))
        && own != window
    {
        let finding = node.error("`min_uptime` and `window` of `deploy.restart_policy` are not the same");
        block.cx.report(finding.help("leave one of them out"));
    }
    min_uptime.or(rules.min_uptime_ms)
}

fn memory(block: &Block<'_>) -> Option<u64> {
    let node = block.get("max_memory_restart")?;
    let text = block.cx.text(node)?;
    let bytes = block.cx.accept(node.span, hythe_stdx::parse_size(text))?;
    if bytes == 0 {
        block.cx.report(
            node.error("every process uses more than nothing")
                .help("leave it out"),
        );
    }
    Some(bytes)
}

fn cron(block: &Block<'_>) -> Option<String> {
    let node = block.get("cron_restart")?;
    let text = block.cx.text(node)?;
    block.cx.accept(node.span, text.parse::<Schedule>())?;
    Some(text.to_owned())
}

fn watch(block: &Block<'_>, folder: &Path) -> Option<Watch> {
    let node = block.get("watch")?;
    let paths = |node| paths(block.cx, node);
    let all = Watch {
        delay_ms: WATCH_DELAY_MS,
        ..Watch::default()
    };
    if let Some(wanted) = node.boolean() {
        return wanted.then_some(all);
    }
    if node.map().is_none() {
        return Some(Watch {
            paths: paths(node),
            ..all
        });
    }
    let inner = block.block("watch", &WATCH)?;
    let texts = |key| {
        inner
            .get(key)
            .map(|node| texts(block.cx, node))
            .unwrap_or_default()
    };
    check_patterns(&inner, folder);
    Some(Watch {
        paths: inner.get("paths").map(paths).unwrap_or_default(),
        ignore: texts("ignore"),
        extensions: texts("extensions"),
        delay_ms: inner.duration("delay").unwrap_or(all.delay_ms),
    })
}

/// Each pattern by itself, so that each mistake has its place.
fn check_patterns(block: &Block<'_>, folder: &Path) {
    let Some(node) = block.get("ignore") else {
        return;
    };
    for item in items(node) {
        let Some(text) = item.text() else {
            continue;
        };
        let watch = Watch {
            ignore: vec![text.to_owned()],
            ..Watch::default()
        };
        block.cx.accept(item.span, watch.filter(folder));
    }
}

fn paths(cx: &Context<'_>, node: &Node) -> Vec<PathBuf> {
    texts(cx, node).into_iter().map(PathBuf::from).collect()
}

fn texts(cx: &Context<'_>, node: &Node) -> Vec<String> {
    let texts = items(node).iter().filter_map(|item| cx.text(item));
    texts.map(str::to_owned).collect()
}

/// The items of a list, or the one text that is no list.
fn items(node: &Node) -> &[Node] {
    node.list().unwrap_or(std::slice::from_ref(node))
}

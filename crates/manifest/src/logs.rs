//! A service's `logs`: how much of its output is kept, and which files get it besides.

use std::path::PathBuf;

use hythe_model::LogRules;

use crate::keys::{Shape, Table, key};
use crate::node::Node;
use crate::reader::Block;

const MOST_FILES: i64 = 1_000;
/// Less would be a file for each line.
const LEAST_SIZE: u64 = 1 << 10;
const MOST_SIZE: u64 = 1 << 30;

pub(crate) static LOGS: Table = Table {
    name: "logs",
    title: "`logs`",
    doc: "How much of the output is kept, and which files get it besides.",
    interpolated: true,
    keys: &[
        key(
            "max_size",
            Shape::Size,
            "A log file is rotated before it is larger than this, `1k` to `1G`. Default: `10M`.",
        ),
        key(
            "max_age",
            Shape::Duration,
            "A log file is rotated when its first line is this old, and deleted when its last line is. Default: never.",
        ),
        key(
            "max_files",
            Shape::Integer(1, MOST_FILES),
            "How many log files are kept, the written one included. Default: 10.",
        ),
        key(
            "compress",
            Shape::Boolean,
            "Whether log files are compressed once they are not written any more; `zcat` reads them. Default: `true`.",
        ),
        key(
            "out_file",
            Shape::Text,
            "A file that gets the lines of the standard output as well, relative to the manifest's folder. It is rotated \
             and compressed in the same way.",
        ),
        key("error_file", Shape::Text, "The same for the standard error."),
        key("log_file", Shape::Text, "The same for both."),
        key(
            "per_instance",
            Shape::Boolean,
            "Whether each instance has files of its own: `out-0.log`, `out-1.log` instead of `out.log`. Default: `false`.",
        ),
        key(
            "time_format",
            Shape::Text,
            "What stands in front of each line of these files, such as `YYYY-MM-DD HH:mm:ss`. Default: nothing.",
        ),
        key(
            "json",
            Shape::Boolean,
            "Whether the lines of these files are JSON objects. Default: `false`.",
        ),
        key(
            "disabled",
            Shape::Boolean,
            "Nothing is written to any file; `hythe logs` shows the newest lines in memory. Default: `false`.",
        ),
    ],
};

/// What the service's `logs` says.
pub(crate) fn read(service: &Block<'_>) -> LogRules {
    let usual = LogRules::default();
    let Some(block) = service.block("logs", &LOGS) else {
        return usual;
    };
    let flag = |key, usual| block.boolean(key).unwrap_or(usual);
    LogRules {
        max_size: block
            .get("max_size")
            .and_then(|node| size(&block, node))
            .unwrap_or(usual.max_size),
        max_age_ms: block.duration("max_age"),
        max_files: block.integer("max_files").unwrap_or(usual.max_files),
        compress: flag("compress", usual.compress),
        out_file: file(&block, "out_file"),
        error_file: file(&block, "error_file"),
        merged_file: file(&block, "log_file"),
        per_instance: flag("per_instance", usual.per_instance),
        disabled: flag("disabled", usual.disabled),
        time_format: block.text("time_format").map(str::to_owned),
        json: flag("json", usual.json),
    }
}

fn size(block: &Block<'_>, node: &Node) -> Option<u64> {
    let cx = block.cx;
    let bytes = cx.accept(node.span, hythe_stdx::parse_size(cx.text(node)?))?;
    if (LEAST_SIZE..=MOST_SIZE).contains(&bytes) {
        return Some(bytes);
    }
    cx.report(node.error(format!("expected a size from 1k to 1G, found {}", node.shown())));
    None
}

fn file(block: &Block<'_>, key: &str) -> Option<PathBuf> {
    let path = block.cx.folder.join(block.text(key)?);
    Some(std::path::absolute(&path).unwrap_or(path))
}

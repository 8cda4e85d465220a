//! What we say of a configuration, held against what nginx says of it.

use std::path::Path;
use std::process::Command;

use crate::{Disk, check, load};

/// Where Debian keeps the module for `stream`.
const STREAM: &str = "load_module /usr/lib/nginx/modules/ngx_stream_module.so; ";

#[test]
fn the_same_verdicts_as_nginx() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("mime.types"), "types { text/html html; }\n").unwrap();
    let file = folder.path().join("nginx.conf");
    let cases = include_str!("../../testdata/verdicts.txt");
    let mut different = Vec::new();
    let mut broken = 0;
    for case in cases.split("=== ").skip(1) {
        let (name, text) = case.split_once('\n').unwrap();
        let module = if text.contains("stream {") { STREAM } else { "" };
        std::fs::write(&file, format!("{module}{text}")).unwrap();
        let (theirs, ours) = (nginx(&file), hythe(&file));
        broken += usize::from(theirs.contains("[emerg]"));
        if theirs != ours {
            different.push(format!("{name}\n  nginx: {theirs}\n  hythe: {ours}"));
        }
    }
    assert!(
        different.is_empty(),
        "{} differ\n{}",
        different.len(),
        different.join("\n")
    );
    assert!(broken > 80, "{broken} broken files: nginx is not what was asked");
}

fn nginx(file: &Path) -> String {
    let pid = file.with_extension("pid");
    let output = Command::new("nginx")
        .env("PATH", "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
        .arg("-t")
        .arg("-c")
        .arg(file)
        .arg("-g")
        .arg(format!("pid {};", pid.display()))
        .output()
        .expect("nginx is missing: run `scripts/setup test`");
    let text = String::from_utf8(output.stderr).unwrap();
    let lines = text
        .lines()
        .filter(|line| line.contains("[emerg]") || line.contains("[warn]"));
    lines.map(without_time).collect::<Vec<_>>().join("\n")
}

/// With a log on the standard error, nginx writes the time and its process's number before what it says.
fn without_time(line: &str) -> String {
    let (_, from_level) = line.split_once('[').unwrap();
    let (level, rest) = from_level.split_once("] ").unwrap();
    let rest = match rest.split_once(": ") {
        Some((number, rest)) if number.contains('#') => rest,
        _ => rest,
    };
    format!("[{level}] {rest}")
}

fn hythe(file: &Path) -> String {
    let verdict = check(&load(&Disk, file, ""), &Disk);
    let warnings = verdict.warnings.iter().map(|warning| format!("[warn] {warning}"));
    let error = verdict.error.iter().map(|error| format!("[emerg] {error}"));
    warnings.chain(error).collect::<Vec<_>>().join("\n")
}

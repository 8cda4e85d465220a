//! `docs/hostile-input.md` and the tests agree: every rule names tests that are there, and every conversation that ends
//! in a refusal is named by a rule.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[test]
fn every_rule_has_tests() {
    let page = page();
    let rules: Vec<_> = page.lines().filter(|line| is_rule(line)).collect();
    assert!(rules.len() > 30, "the tables are not where they should be");
    for rule in rules {
        let tests = links(rule);
        assert!(!tests.is_empty(), "no test for: {rule}");
        for (name, target) in tests {
            let path = docs().join(&target);
            let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{target}: {error}"));
            let is_there = match path.extension().and_then(|extension| extension.to_str()) {
                Some("rs") => text.contains(&format!("fn {name}(")),
                _ if target.contains("/testdata/") => text.contains(&format!("case {name}\n")),
                _ => path.file_stem().is_some_and(|stem| stem == name.as_str()),
            };
            assert!(is_there, "{target} has no {name}");
        }
    }
}

#[test]
fn every_refusal_is_a_rule() {
    let named: BTreeSet<PathBuf> = page()
        .lines()
        .flat_map(links)
        .map(|(_, target)| target.into())
        .collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire");
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        // These two are about connections that are refused.
        let is_refusal =
            name.starts_with("refused_") && !matches!(name.as_str(), "refused_all.txt" | "refused_next.txt");
        let target = Path::new("../crates/gateway/tests/wire").join(&name);
        assert!(
            !is_refusal || named.contains(&target),
            "{name} is not in docs/hostile-input.md"
        );
    }
}

fn page() -> String {
    std::fs::read_to_string(docs().join("hostile-input.md")).unwrap()
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

/// A row of a table that is neither its head nor the line below it.
fn is_rule(line: &str) -> bool {
    line.starts_with("| ") && !line.starts_with("| rule") && !line.starts_with("| ---")
}

/// Texts and targets of `[text](target)`.
fn links(line: &str) -> Vec<(String, String)> {
    let link = regex::Regex::new(r"\[([^\]]+)\]\((\.\.[^)]+)\)").unwrap();
    let found = link.captures_iter(line);
    found
        .map(|found| (found[1].to_owned(), found[2].to_owned()))
        .collect()
}

//! Plans as people read them: a file of PM2's and an operation in, words out. `UPDATE_GOLDEN=1` writes the words anew.

#![expect(clippy::unwrap_used, reason = "what is not there is a test that fails")]

use std::path::Path;

use hythe_deploy::{Operation, plan};
use hythe_dialect_pm2::file::parse_json;

const LINE: &str = "----------\n";

#[test]
fn plans_are_told_without_asking_a_host() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 3);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let (written, expected) = text.split_once(LINE).unwrap_or((&text, ""));
        let told = told(written);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&file, format!("{written}{LINE}{told}")).unwrap();
        } else {
            assert_eq!(told, expected, "{}", file.display());
        }
    }
}

fn told(written: &str) -> String {
    let ecosystem = parse_json(&format!("{{deploy: {{production: {written}}}}}"))
        .ecosystem
        .unwrap();
    let (target, problems) = ecosystem.deploy["production"].read("production");
    let target = target.unwrap_or_else(|| panic!("{problems:#?}"));
    [Operation::Setup, Operation::Deploy, Operation::Revert(2)]
        .map(|operation| format!("# {operation:?}\n{}", plan(operation, &target).told(&target)))
        .concat()
}

//! Golden files: a configuration, a line of dashes, the manifest it becomes, a line of dashes, what is told.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{MAIN, Memory};
use crate::{check, load, translate};

const SEPARATOR: &str = "----------\n";

/// Knows every plugin but one, finds all files but one, and takes rules without look-ahead and without what is known
/// of answers only.
fn plugin_check(name: &str, config: &Map<String, Value>) -> Vec<String> {
    let file = config.get("users_file").and_then(Value::as_str);
    match name {
        "basic-auth" if file.is_some_and(|file| file.ends_with("missing")) => {
            vec!["config.users_file: cannot be read".to_owned()]
        }
        "request-rules" => {
            let text = Value::from(config.clone()).to_string();
            let refused = ["(?!", "$upstream_", "$sent_"]
                .into_iter()
                .filter(|part| text.contains(part));
            refused.map(|part| format!("config.rules: `{part}`")).collect()
        }
        "compression" => vec!["plugin 'compression' not enabled".to_owned()],
        _ => Vec::new(),
    }
}

fn translated(text: &str) -> String {
    let mut memory = Memory::default();
    memory.0.insert(PathBuf::from(MAIN), text.as_bytes().to_vec());
    for file in ["/etc/nginx/a.pem", "/etc/nginx/a.key"] {
        memory.0.insert(PathBuf::from(file), Vec::new());
    }
    let configuration = load(&memory, Path::new(MAIN), "");
    assert_eq!(check(&configuration, &memory).error, None, "{text}");
    let translation = translate(&configuration, &plugin_check);
    let notes: Vec<_> = translation.notes.iter().map(|note| format!("{note}\n")).collect();
    let notes = notes.concat().replace("/etc/nginx/", "");
    format!("{text}{SEPARATOR}{}{SEPARATOR}{notes}", translation.manifest)
}

#[test]
fn golden_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/translations");
    let mut seen = 0;
    let mut different = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let golden = fs::read_to_string(&path).unwrap();
        let text = golden.split(SEPARATOR).next().unwrap();
        let now = translated(text);
        if now != golden {
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                fs::write(&path, &now).unwrap();
            }
            different.push(now);
        }
        seen += 1;
    }
    assert!(seen >= 5);
    assert!(
        different.is_empty() || std::env::var_os("UPDATE_GOLDEN").is_some(),
        "other than the golden files say (UPDATE_GOLDEN=1 rewrites them):\n{}",
        different.join("\n")
    );
}

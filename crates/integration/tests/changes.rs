//! `hythe up -d` on a file that is as before, different, and broken.

use hythe_model::view::{ChangeView, HistoryView};
use serde_json::Value;

use crate::world::{example, home_with, is_ready, up};

const TWO: &str = "\
services:
  first:
    command: node echo.js
    port: 3000
    environment: {VERSION: one}
    healthcheck: {http: /health, interval: 1s}
  second:
    command: node echo.js
    port: 3001
    healthcheck: {tcp: true, interval: 1s}
routes:
  - {name: first, service: first, paths: [/first]}
  - {name: second, service: second, paths: [/second]}
";

#[test]
fn an_unchanged_file_changes_nothing() {
    let home = example();
    home.ok(&["up", "-d"]);
    let pids = || ["users", "phones", "web"].map(|service| home.pids(service));
    let (before, generations) = (pids(), home.status().generations);
    let said = home.ok(&["up", "-d"]);
    assert!(said.contains("nothing to change"), "{said}");
    assert_eq!(pids(), before);
    assert_eq!(home.status().generations, generations);
}

#[test]
fn a_changed_file_touches_only_what_changed() {
    let home = up(TWO);
    let (first, second) = (home.pids("first"), home.pids("second"));
    home.write("hythe.yaml", &TWO.replace("VERSION: one", "VERSION: two"));
    let plan = home.ok(&["up", "-d"]);
    assert!(plan.contains("~ ") && plan.contains("first"), "{plan}");
    assert_eq!(home.get("/first").header("x-version"), Some("two"));
    assert_ne!(home.pids("first"), first);
    assert_eq!(home.pids("second"), second);

    // Only traffic changes: no process does.
    let first = home.pids("first");
    home.write(
        "hythe.yaml",
        &TWO.replace("VERSION: one", "VERSION: two")
            .replace("paths: [/second]", "paths: [/other]"),
    );
    home.ok(&["up", "-d"]);
    assert_eq!(home.get("/second").status, 404);
    assert_eq!(home.get("/other").status, 200);
    assert_eq!((home.pids("first"), home.pids("second")), (first.clone(), second));

    // What is gone from the file goes.
    let first_only = "\
services:
  first:
    command: node echo.js
    port: 3000
    environment: {VERSION: two}
    healthcheck: {http: /health, interval: 1s}
routes:
  - {name: first, service: first, paths: [/first]}
";
    home.write("hythe.yaml", first_only);
    let plan = home.ok(&["up", "-d"]);
    assert!(plan.contains("- ") && plan.contains("second"), "{plan}");
    let left: Vec<String> = home.services().into_iter().map(|service| service.name).collect();
    assert_eq!(left, ["first"]);
    assert_eq!(home.pids("first"), first);
}

#[test]
fn a_broken_file_names_every_mistake_and_changes_nothing() {
    let home = up(TWO);
    let before = (home.pids("first"), home.pids("second"), home.status().generations);
    let broken = TWO
        .replace("port: 3000", "prot: 3000")
        .replace("interval: 1s}\nroutes", "interval: soon}\nroutes")
        .replace("service: second, paths", "service: secnd, paths");
    home.write("hythe.yaml", &broken);
    for verb in [&["up", "-d"][..], &["check"]] {
        let ran = home.run(verb);
        assert_eq!(ran.code, Some(2), "{ran:#?}");
        let said = format!("{}{}", ran.stdout, ran.stderr);
        for (mistake, position) in [("prot", "4:5"), ("soon", "10:"), ("secnd", "13:")] {
            assert!(said.contains(mistake), "{mistake} in {said}");
            assert!(
                said.contains(&format!("hythe.yaml:{position}")),
                "{position} in {said}"
            );
        }
    }
    assert_eq!(
        (home.pids("first"), home.pids("second"), home.status().generations),
        before
    );
    assert_eq!(home.get("/first").status, 200);

    home.write("hythe.yaml", "services: [\n");
    assert_eq!(home.run(&["up", "-d"]).code, Some(2));
    assert!(is_ready(&home.service("first")));
}

#[test]
fn a_mistake_in_a_plugin_is_found_before_anything_changes() {
    let home = home_with(&format!("{TWO}plugins:\n  - name: correlation-di\n"));
    let ran = home.run(&["check"]);
    assert_eq!(ran.code, Some(2), "{ran:#?}");
    assert!(
        format!("{}{}", ran.stdout, ran.stderr).contains("correlation-di"),
        "{ran:#?}"
    );
    home.write("hythe.yaml", TWO);
    assert_eq!(home.run(&["check"]).code, Some(0));
    assert!(home.processes().is_empty(), "a check needs no server");
}

#[test]
fn a_file_without_a_manifest_is_said() {
    let home = home_with(TWO);
    let ran = home.run(&["up", "-d", "elsewhere"]);
    assert_ne!(ran.code, Some(0));
    assert!(ran.stderr.contains("elsewhere"), "{ran:#?}");
    assert!(home.processes().is_empty());
}

#[test]
fn history_tells_who_changed_what() {
    let home = up(TWO);
    home.ok(&["scale", "first=2"]);
    home.ok(&["restart", "second"]);
    let history: Vec<HistoryView> = home.json(&["history"]);
    assert!(history.len() >= 3, "{history:#?}");
    let generations: Vec<u64> = history.iter().map(|entry| entry.generation).collect();
    assert!(
        generations.is_sorted_by(|newer, older| newer > older),
        "newest first: {generations:?}"
    );
    let of = |service: &str| {
        let touches = |entry: &&HistoryView| entry.changes.iter().any(|change| change.contains(service));
        history
            .iter()
            .find(touches)
            .unwrap_or_else(|| panic!("{service} in {history:#?}"))
    };
    assert!(of("first").generation < of("second").generation);
    assert!(
        history
            .iter()
            .all(|entry| !entry.actor.is_empty() && entry.at > 0)
    );
    assert!(home.ok(&["history"]).contains("second"));
}

#[test]
fn a_scale_by_hand_stays_until_the_file_has_another_number() {
    let scaled = TWO.replace("port: 3001", "port: 3001\n    deploy: {replicas: 1}");
    let home = up(&scaled);
    let change: Value = home.json(&["scale", "second=2"]);
    let change: ChangeView = serde_json::from_value(change).unwrap();
    assert_eq!(change.changes.len(), 1, "{change:#?}");
    assert_eq!(home.pids("second").len(), 2);
    home.ok(&["up", "-d"]);
    assert_eq!(home.pids("second").len(), 2, "the file did not change");
    home.write("hythe.yaml", &scaled.replace("replicas: 1", "replicas: 3"));
    home.ok(&["up", "-d"]);
    assert_eq!(home.pids("second").len(), 3);
}

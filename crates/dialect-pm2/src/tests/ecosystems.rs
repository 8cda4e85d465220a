//! The top level of files, in JSON and YAML.

use super::told;
use crate::file::{load, parse_json, parse_yaml};
use crate::{Evaluator, LoadError, Severity, StaticSite};

fn names(parsed: &crate::Parsed) -> Vec<&str> {
    let apps = parsed.ecosystem.iter().flat_map(|ecosystem| &ecosystem.apps);
    apps.map(|app| app.name.as_str()).collect()
}

#[test]
fn apps_stand_in_many_places() {
    let rows: [(&str, &[&str]); 8] = [
        ("{apps: [{script: 'a.js'}, {script: 'b.js'}]}", &["a", "b"]),
        ("{apps: {script: 'a.js'}}", &["a"]),
        ("[{script: 'a.js'}]", &["a"]),
        ("{script: 'a.js'}", &["a"]),
        ("{pm2: [{script: 'a.js'}]}", &["a"]),
        ("{pm2: {apps: [{script: 'a.js'}]}}", &["a"]),
        ("{deploy: {}}", &[]),
        ("[]", &[]),
    ];
    for (text, expected) in rows {
        let parsed = parse_json(text);
        assert_eq!(names(&parsed), expected, "{text}: {:?}", parsed.problems);
        assert!(parsed.ecosystem.is_some(), "{text}");
    }
}

#[test]
fn targets_and_sites_are_read() {
    let text = "
apps:
  - &base
    script: a.js
    env: {PORT: 3000, DEBUG: yes}
  - <<: *base
    name: b
deploy:
  production:
    host: [a, b]
    env: {NODE_ENV: production, N: 1}
static:
  - {path: public, port: 9000, spa: true, name: site}
  - {host: 127.0.0.1, sap: true}
";
    let parsed = parse_yaml(text);
    assert_eq!(
        told(&parsed.problems),
        ["line 14, column 23: `static[1].sap` is no key of a static site and has no effect"]
    );
    assert_eq!(names(&parsed), ["a", "b"]);
    let ecosystem = parsed.ecosystem.expect("no error");
    assert_eq!(ecosystem.apps[1].env["DEBUG"], "yes");
    assert!(ecosystem.deploy.contains_key("production"));
    assert_eq!(ecosystem.deploy_env["production"]["N"], "1");
    let site = StaticSite {
        path: "public".into(),
        port: 9000,
        spa: true,
        name: Some("site".into()),
        ..StaticSite::default()
    };
    assert_eq!(ecosystem.sites[0], site);
    assert_eq!(ecosystem.sites[1].host.as_deref(), Some("127.0.0.1"));
}

#[test]
fn mistakes_of_the_top_level_are_told() {
    let rows = [
        ("3", "line 1, column 1: apps must be a list of maps, not 3"),
        (
            "{apps: 'a.js'}",
            "line 1, column 8: apps must be a list of maps, not `a.js`",
        ),
        (
            "{apps: [], apsp: []}",
            "line 1, column 12: `apsp` is no key of an ecosystem file and has no effect",
        ),
        (
            "{apps: [], deploy: []}",
            "line 1, column 20: `deploy` must be a map of environments, not a list",
        ),
        (
            "{apps: [], static: [1]}",
            "line 1, column 21: `static` must be a list of maps, and 1 is in it",
        ),
        (
            "{apps: [], apps: []}",
            "line 1, column 12: `apps` is given twice; the last one counts",
        ),
        (
            "{apps: require('x')}",
            "line 1, column 8: code in a JSON file is not evaluated",
        ),
        ("", "the file is empty"),
    ];
    for (text, expected) in rows {
        let parsed = parse_json(text);
        assert_eq!(told(&parsed.problems), [expected], "{text}");
        let failed = parsed.problems[0].severity == Severity::Error;
        assert_eq!(parsed.ecosystem.is_none(), failed, "{text}");
    }
}

#[test]
fn files_are_loaded_by_their_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let rows = [
        (
            "package.json",
            r#"{"name": "x", "scripts": {}, "pm2": [{"script": "a.js"}]}"#,
            "[]",
        ),
        (
            "none/package.json",
            r#"{"name": "x"}"#,
            r#"["`pm2` is missing: package.json names no apps"]"#,
        ),
        ("x.json5", "{script: 'a.js', // here\n}", "[]"),
        ("x.yml", "script: a.js", "[]"),
    ];
    std::fs::create_dir(folder.path().join("none")).expect("a folder");
    for (name, text, problems) in rows {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("a file");
        let parsed = load(&path, &Evaluator::default()).expect(name);
        assert_eq!(format!("{:?}", told(&parsed.problems)), problems, "{name}");
        assert_eq!(
            names(&parsed),
            if problems == "[]" { vec!["a"] } else { vec![] },
            "{name}"
        );
    }
    let error = |name: &str| load(&folder.path().join(name), &Evaluator::default()).expect_err(name);
    assert!(matches!(error("ecosystem.js"), LoadError::NotRecognised(_)));
    assert!(matches!(error("absent.json"), LoadError::Io { .. }));
    assert!(matches!(error("absent.config.js"), LoadError::Io { .. }));
}

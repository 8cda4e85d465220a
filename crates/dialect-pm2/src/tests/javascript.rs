//! Evaluation by a real `node`, which must be on `PATH`.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::told;
use crate::file::load;
use crate::{App, EvaluateError, Evaluator, LoadError, Parsed, Pattern};

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn write(folder: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).expect("a file");
    path
}

fn loaded(path: &Path) -> Parsed {
    load(path, &Evaluator::default()).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn only_app(path: &Path) -> App {
    let Parsed { ecosystem, problems } = loaded(path);
    let mut apps = ecosystem.unwrap_or_else(|| panic!("{problems:?}")).apps;
    assert_eq!(apps.len(), 1);
    apps.remove(0)
}

fn failure(path: &Path, evaluator: &Evaluator) -> EvaluateError {
    match load(path, evaluator) {
        Err(LoadError::Evaluate(error)) => error,
        other => panic!("{}: {other:?}", path.display()),
    }
}

#[test]
fn every_kind_of_module_is_evaluated() {
    let rows = [
        (
            "cjs.config.js",
            "module.exports = {apps: [{script: 'a.js', name: String('x')}]}",
        ),
        (
            "cjs.config.cjs",
            "module.exports = [{script: 'a.js', name: String('x')}]",
        ),
        (
            "esm.config.mjs",
            "export default {apps: [{script: 'a.js', name: String('x')}]}",
        ),
        (
            "named.config.mjs",
            "export const apps = [{script: 'a.js', name: 'x'}]",
        ),
        (
            "call.config.js",
            "module.exports = () => ({script: 'a.js', name: 'x'})",
        ),
        (
            "wait.config.js",
            "module.exports = async () => ({script: 'a.js', name: 'x'})",
        ),
        (
            "wait.config.mjs",
            "export default await Promise.resolve({script: 'a.js', name: 'x'})",
        ),
        (
            "babel.config.js",
            "exports.__esModule = true; exports.default = {apps: [{script: 'a.js', name: 'x'}]}",
        ),
        (
            "noise.config.js",
            "console.log('noise'); process.stdout.write('noise'); setInterval(() => {}, 1000);\n\
             require('child_process').execSync('echo noise', {stdio: 'inherit'});\n\
             module.exports = {script: 'a.js', name: 'x'}",
        ),
        (
            "stdin.config.js",
            "module.exports = {script: 'a.js', name: 'x' + require('fs').readFileSync(0)}",
        ),
    ];
    let folder = folder();
    for (name, text) in rows {
        assert_eq!(only_app(&write(&folder, name, text)).name, "x", "{name}");
    }
}

#[test]
fn a_module_knows_its_place_and_environment() {
    let folder = folder();
    write(&folder, "names.js", "exports.name = 'from ' + process.cwd()");
    let text = "const os = require('os'); module.exports = {script: 'a.js', name: require('./names').name,
        env: {HAS_PATH: !!process.env.PATH, CORES: os.cpus().length > 0, O: {b: 1, a: 2}}}";
    let app = only_app(&write(&folder, "a b'$(x).config.js", text));
    let here = folder.path().canonicalize().expect("a folder");
    assert_eq!(app.name, format!("from {}", here.display()));
    let env = |name: &str| app.env[name].as_str();
    assert_eq!(
        (env("HAS_PATH"), env("CORES"), env("O")),
        ("true", "true", r#"{"b":1,"a":2}"#)
    );
}

#[test]
fn what_json_would_lose_is_kept() {
    let text = "module.exports = {script: 'a.js', ignore_watch: [/\\.log$/i, 'tmp'], max_restarts: Infinity,
        env: {BIG: 10n, WHEN: new Date(0), NONE: undefined, F: () => 1}}";
    let folder = folder();
    let app = only_app(&write(&folder, "x.config.js", text));
    let regex = Pattern::Regex {
        source: "\\.log$".into(),
        flags: "i".into(),
    };
    assert_eq!(app.ignore_watch, Some(vec![regex, Pattern::Glob("tmp".into())]));
    assert_eq!(app.max_restarts, (1 << 53) - 1);
    let env: Vec<(&str, &str)> = app
        .env
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(env, [("BIG", "10"), ("WHEN", "1970-01-01T00:00:00.000Z")]);
}

#[test]
fn problems_have_places_in_data_and_none_in_code() {
    let folder = folder();
    let path = write(
        &folder,
        "x.config.js",
        "module.exports = {name: 'web', watch: +true}",
    );
    let expected = [
        "app `web`: `watch` must be true, false, a path or a list of paths, not 1",
        "app `web`: `script` is missing: every app needs the path of what to run",
    ];
    assert_eq!(told(&loaded(&path).problems), expected);
    let path = write(&folder, "x.config.js", "module.exports = {name: 'web', watch: 1}");
    let expected = [
        "line 1, column 18: app `web`: `script` is missing: every app needs the path of what to run",
        "line 1, column 39: app `web`: `watch` must be true, false, a path or a list of paths, not 1",
    ];
    assert_eq!(told(&loaded(&path).problems), expected);
}

#[test]
fn what_is_no_text_is_left_to_the_interpreter() {
    let folder = folder();
    let path = folder.path().join("x.config.js");
    std::fs::write(&path, b"// f\xfcr\nmodule.exports = {script: 'a.js', name: 'x'}").expect("a file");
    assert_eq!(only_app(&path).name, "x");
}

#[test]
fn failures_are_told() {
    let folder = folder();
    let small = Evaluator {
        largest: 1_000,
        ..Evaluator::default()
    };
    let rows = [
        ("throws", "throw new Error('no such luck')", "no such luck"),
        (
            "rejects",
            "module.exports = async () => { throw 'a text' }",
            "a text",
        ),
        (
            "syntax",
            "module.exports = {\n  a: 1\n  b: 2 }",
            "syntax.config.js:3",
        ),
        (
            "missing",
            "require('not-there')",
            "Cannot find module 'not-there'",
        ),
        ("circle", "const a = {}; a.a = a; module.exports = a", "circular"),
        ("nothing", "module.exports = () => undefined", "exports nothing"),
        (
            "large",
            "module.exports = {script: 'a'.repeat(2000)}",
            "more than 1000 bytes",
        ),
        (
            "exits",
            "process.exit(3)",
            "ended the process that evaluates it (exit status: 3)",
        ),
        ("killed", "process.kill(process.pid, 'SIGKILL')", "signal: 9"),
        (
            "never",
            "module.exports = new Promise(() => {})",
            "before it exported anything",
        ),
    ];
    for (name, text, expected) in rows {
        let path = write(&folder, &format!("{name}.config.js"), text);
        let error = failure(&path, &small).to_string();
        assert!(error.contains(expected), "{name}: {error}");
        assert!(
            error.contains(path.to_str().expect("a plain path")),
            "{name}: {error}"
        );
    }
}

#[test]
fn what_takes_too_long_is_killed_with_its_children() {
    let folder = folder();
    let text = "const child = require('child_process').spawn('sleep', ['600']);
        require('fs').writeFileSync('child', String(child.pid)); while (true);";
    let path = write(&folder, "x.config.js", text);
    let evaluator = Evaluator {
        timeout: Duration::from_secs(2),
        ..Evaluator::default()
    };
    let before = Instant::now();
    let error = failure(&path, &evaluator);
    assert!(matches!(error, EvaluateError::TimedOut { .. }), "{error}");
    assert!(
        before.elapsed() < Duration::from_secs(8),
        "{:?}",
        before.elapsed()
    );
    let child = std::fs::read_to_string(folder.path().join("child")).expect("the child was started");
    wait_for_end(&child);
}

/// Killed is not yet gone: the child is an orphan that init reaps.
fn wait_for_end(pid: &str) {
    let deadline = Instant::now() + Duration::from_secs(5);
    let is_running = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = status.rsplit(") ").next().unwrap_or_default();
        !(state.is_empty() || state.starts_with(['Z', 'X']))
    };
    while is_running() {
        assert!(Instant::now() < deadline, "{pid} still runs");
        std::thread::yield_now();
    }
}

#[test]
fn interpreters_are_looked_for_in_their_order() {
    let folder = folder();
    let path = write(
        &folder,
        "x.config.js",
        "module.exports = {script: String('a.js')}",
    );
    let evaluator = Evaluator {
        path: OsString::from(folder.path()),
        ..Evaluator::default()
    };
    let error = failure(&path, &evaluator).to_string();
    assert!(error.contains("neither node, bun nor deno is on PATH"), "{error}");
    // Not a program, so it is passed over.
    write(&folder, "node", "");
    let answer = r#"#!/bin/sh
echo "{\"value\": {\"script\": \"$1 $3\"}}" >&0
"#;
    for (name, said) in [("deno", "eval 16777216"), ("bun", "-e 16777216")] {
        let program = write(&folder, name, answer);
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("a program");
        let ecosystem = load(&path, &evaluator).expect(name).ecosystem.expect("no error");
        assert_eq!(ecosystem.apps[0].script, said, "{name}");
    }
}

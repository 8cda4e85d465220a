//! Golden files: a manifest, a line of dashes, then its problems as they are shown and, if it can be used,
//! the project. `testdata/files` stands for the manifest's folder.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::*;

const SEPARATOR: &str = "----------\n";

/// `/project` is `testdata/files`.
struct TestFiles;

impl Files for TestFiles {
    fn read(&self, path: &Path) -> io::Result<String> {
        let inside = path
            .strip_prefix("/project")
            .map_err(|_| io::ErrorKind::NotFound)?;
        fs::read_to_string(testdata().join("files").join(inside))
    }
}

struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _: &Path) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }
}

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

/// Knows some plugins; one of them wants a number, and one names a service.
fn check_plugin(name: &str, config: &Map<String, Value>) -> Vec<PluginFinding> {
    let problem = |path: &[&str], message: &str, suggestion: Option<&str>| {
        PluginFinding::Problem(PluginProblem {
            path: path.iter().map(ToString::to_string).collect(),
            message: message.to_owned(),
            suggestion: suggestion.map(str::to_owned),
        })
    };
    match name {
        "key-auth" | "files" => Vec::new(),
        "mirror" => vec![PluginFinding::Service {
            path: vec!["service".to_owned()],
            name: config["service"].as_str().unwrap().parse().unwrap(),
        }],
        "rate-limiting" => match config.get("minute") {
            Some(Value::Number(_)) => Vec::new(),
            Some(_) => vec![problem(&["minute"], "expected a number", None)],
            None => vec![problem(
                &["policy"],
                "one of `second`, `minute`, `hour` is required",
                None,
            )],
        },
        _ => vec![problem(
            &[],
            &format!("plugin '{name}' not enabled"),
            Some("known are `key-auth`, `rate-limiting`"),
        )],
    }
}

/// Certificates are words here: one is too old, and a key may be that of another.
fn check_certificate(certificate: &str, key: Option<&str>) -> Vec<CertificateProblem> {
    let problem = |of_key, fatal, message: &str| CertificateProblem {
        of_key,
        fatal,
        message: message.to_owned(),
    };
    let mut problems = Vec::new();
    if certificate.contains("old") {
        problems.push(problem(false, false, "the certificate expired 3 days ago"));
    }
    if key.is_some_and(|key| key.contains("other")) {
        problems.push(problem(true, true, "the key is not that of the certificate"));
    }
    problems
}

fn parse_test(text: &str, files: &dyn Files) -> (Source, Parsed) {
    let source = Source {
        path: "/project/hythe.yaml".into(),
        text: text.to_owned(),
    };
    let shell = [("SHELL_PORT", "4000"), ("TAG", "from the shell"), ("EMPTY", "")];
    let environment = shell
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let profiles = vec!["debug".to_owned()];
    let inputs = Inputs {
        environment,
        profiles,
        plugin_check: &check_plugin,
        certificate_check: &check_certificate,
        files,
    };
    let parsed = parse(&source, &inputs);
    (source, parsed)
}

fn outcome(text: &str) -> String {
    let (source, parsed) = parse_test(text, &TestFiles);
    let mut outcome = render(&parsed.problems, &source, false);
    if let Some(project) = parsed.project {
        let json = serde_json::to_value(&project).unwrap();
        outcome.push_str(&serde_json::to_string_pretty(&without_empty(json)).unwrap());
        outcome.push('\n');
    }
    outcome
}

/// Without what is null or empty, so that a golden file shows what matters.
fn without_empty(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().map(|(key, value)| (key, without_empty(value)));
            kept.filter(|(_, value)| !matches!(value, Value::Null) && *value != Value::Array(vec![]))
                .collect()
        }
        other => other,
    }
}

#[test]
fn golden_files() {
    let mut different = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(testdata()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let golden = fs::read_to_string(&path).unwrap();
        let (manifest, expected) = golden.split_once(SEPARATOR).unwrap_or((&golden, ""));
        let actual = outcome(manifest);
        count += 1;
        if actual != expected {
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                fs::write(&path, format!("{manifest}{SEPARATOR}{actual}")).unwrap();
            }
            different.push(format!("{}:\n{actual}", path.display()));
        }
    }
    assert!(count > 20, "the golden files are gone");
    assert!(
        different.is_empty() || std::env::var_os("UPDATE_GOLDEN").is_some(),
        "other than the golden files say (UPDATE_GOLDEN=1 rewrites them):\n{}",
        different.join("\n")
    );
}

#[test]
fn the_example_is_clean() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/directory/hythe.yaml");
    let Ok(text) = fs::read_to_string(path) else {
        return;
    };
    let (source, parsed) = parse_test(&text, &NoFiles);
    assert_eq!(render(&parsed.problems, &source, false), "");
    assert!(parsed.project.is_some());
}

#[test]
fn limits_hold() {
    let services = |count: usize| {
        let list: String = (0..count)
            .map(|number| format!("  s{number}: {{command: a}}\n"))
            .collect();
        format!("services:\n{list}")
    };
    let laughs: String = (1..12)
        .map(|level| {
            format!(
                "x-{level}: &l{level} [{}]\n",
                format!("*l{}, ", level - 1).repeat(9)
            )
        })
        .collect();
    let rows = [
        (services(1_000), None),
        (
            services(1_001),
            Some("1001 services are more than the 1000 of one manifest"),
        ),
        (
            format!("x-a: {}{}", "[".repeat(70), "]".repeat(70)),
            Some("nested deeper than 64 levels"),
        ),
        (
            format!("x-0: &l0 [a]\n{laughs}"),
            Some("the aliases stand for more than 100000 values"),
        ),
        (
            format!("# {}", "a".repeat(LARGEST_FILE)),
            Some("the manifest is larger than 4 MiB"),
        ),
        ("name: a\0b".to_owned(), Some("the manifest holds a zero byte")),
    ];
    for (text, expected) in rows {
        let (_, parsed) = parse_test(&text, &NoFiles);
        let messages: Vec<_> = parsed
            .problems
            .iter()
            .map(|problem| problem.message.as_str())
            .collect();
        assert_eq!(messages, Vec::from_iter(expected));
    }
}

#[test]
fn long_lines_and_long_values_are_not_repeated() {
    let text = format!(
        "services: {{a: {{command: b, restart: {}}}}}",
        "x".repeat(100_000)
    );
    let (source, parsed) = parse_test(&text, &NoFiles);
    let shown = render(&parsed.problems, &source, false);
    assert!(
        shown.starts_with("  × /project/hythe.yaml:1:37: expected `no`"),
        "{shown}"
    );
    assert!(shown.len() < 1_000, "{shown}");
}

#[test]
fn names_do_not_depend_on_the_order() {
    let names = |text: &str| {
        let (source, parsed) = parse_test(text, &NoFiles);
        let project = parsed
            .project
            .unwrap_or_else(|| panic!("{}", render(&parsed.problems, &source, false)));
        (
            project.routes.into_keys().collect::<Vec<_>>(),
            project.targets.into_keys().collect::<Vec<_>>(),
        )
    };
    let one = "
        services:
          a:
            targets: [{target: 'h:1'}, {target: 'h:2'}]
            routes: [{paths: [/a, /b]}, {hosts: [a.com], methods: [GET, PUT]}]";
    let other = "
        services:
          a:
            routes: [{methods: [PUT, GET], hosts: [a.com]}, {paths: [/b, /a], strip_path: false}]
            targets: [{target: 'h:2'}, {target: 'h:1', weight: 5}]";
    assert_eq!(names(one), names(other));
}

#[test]
fn environment_files_follow_composes_rules() {
    let text = "\u{feff}# comment\r\nPLAIN=a b # comment\nexport EXPORTED=x#y\n\nSINGLE='$TAG \\n # kept'\n\
                DOUBLE=\"a\\tb $TAG \\$TAG\" # comment\nNESTED=${PLAIN}-${UNSET:-none}\nLINES=\"one\ntwo\"\nEMPTY=\nTAG\nGONE\n";
    let (lookup, path) = (
        |name: &str| (name == "TAG").then(|| "t".to_owned()),
        Path::new("/project/.env"),
    );
    let source = Source {
        path: path.to_owned(),
        text: String::new(),
    };
    let inputs = Inputs {
        environment: BTreeMap::new(),
        profiles: Vec::new(),
        plugin_check: &check_plugin,
        certificate_check: &check_certificate,
        files: &NoFiles,
    };
    let cx = context::Context::new(&source, &inputs);
    let found = dotenv::read(&cx, path, text, &lookup);
    let expected = [
        ("PLAIN", "a b"),
        ("EXPORTED", "x#y"),
        ("SINGLE", "$TAG \\n # kept"),
        ("DOUBLE", "a\tb t $TAG"),
        ("NESTED", "a b-none"),
        ("LINES", "one\ntwo"),
        ("EMPTY", ""),
        ("TAG", "t"),
    ];
    let expected: BTreeMap<_, _> = expected
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    assert_eq!(found, expected);
    assert_eq!(cx.finish().0, vec![]);
}

/// Pieces of YAML that meet more of the reader than random characters do.
fn yaml_like() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "services:",
        "routes:",
        "plugins:",
        "upstreams:",
        "targets:",
        "consumers:",
        "name:",
        "command:",
        "environment:",
        "healthcheck:",
        "depends_on:",
        "deploy:",
        "replicas:",
        "env_file: service.env",
        "url: http://h:1/a",
        "port: 80",
        "paths: [/a]",
        "a",
        "b: ",
        "\n",
        "\n  ",
        "\n    ",
        "\n      ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ",",
        ": ",
        "&a ",
        "*a",
        "<<: *a",
        "'",
        "\"",
        "${A:-",
        "${A}",
        "$",
        "}",
        "|\n",
        ">-\n",
        "# c",
        "ü",
        "\u{feff}",
        "\t",
        "\r",
        "\r\n",
        "!t ",
        "!!str ",
        "? ",
        "---\n",
        "...",
        "%YAML 1.2\n",
        "~",
        "true",
        "0x1",
        "\u{2028}",
        "\u{85}",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

fn stays_inside(text: &str) {
    let (source, parsed) = parse_test(text, &NoFiles);
    let failed = parsed
        .problems
        .iter()
        .any(|problem| problem.severity == Severity::Error);
    assert_eq!(parsed.project.is_none(), failed);
    for problem in &parsed.problems {
        assert!(text.get(problem.span.clone()).is_some(), "{problem:?}");
        assert!(problem.line >= 1 && problem.column >= 1, "{problem:?}");
    }
    render(&parsed.problems, &source, true);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_text_is_survived(text in "\\PC{0,200}") {
        stays_inside(&text);
    }

    #[test]
    fn anything_like_yaml_is_survived(text in yaml_like()) {
        stays_inside(&text);
    }

    #[test]
    fn any_environment_file_is_survived(text in "[A-Z =\"'$\\{\\}:\\-#\\\\\n\r\u{e4}]{0,80}") {
        let source = Source { path: "/project/hythe.yaml".into(), text: String::new() };
        let inputs = Inputs { environment: BTreeMap::new(), profiles: Vec::new(), plugin_check: &check_plugin, certificate_check: &check_certificate, files: &NoFiles };
        let cx = context::Context::new(&source, &inputs);
        dotenv::read(&cx, Path::new("/project/.env"), &text, &|_| None);
        for problem in cx.finish().0 {
            prop_assert!(text.get(problem.span.clone()).is_some(), "{problem:?}");
        }
    }
}

#[test]
fn the_name_can_be_read_alone() {
    let read = |text: &str| {
        let source = Source {
            path: "/project/hythe.yaml".into(),
            text: text.to_owned(),
        };
        project_name(&source).map(|name| name.map(|name| name.to_string()))
    };
    let named = |name: &str| Ok(Some(name.to_owned()));
    assert_eq!(read("name: shop # ours\nservices: {a: {prot: 1}}"), named("shop"));
    assert_eq!(
        read("services:\n  a:\n    name: no\n'name' : \"shop\""),
        named("shop")
    );
    assert_eq!(read("{services: 7, name: &n shop}"), named("shop"));
    assert_eq!(read("services: {}"), Ok(None));
    assert_eq!(read("name:\nservices: {}"), Ok(None));
    for broken in [
        "",
        "name: [",
        "name: {a: b}",
        "name: No Name",
        "- name: shop",
        "name: a\nname: b",
    ] {
        assert!(!read(broken).unwrap_err().is_empty(), "{broken:?}");
    }
}

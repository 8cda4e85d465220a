//! The form of the tables.
//!
//! ```text
//! # a comment
//! limits line=32 fields=3        bounds for the cases that follow, others as by default
//! case what it shows
//! to HEAD                        the method answered, for responses
//! | GET / HTTP/1.1\r\n           bytes, line ends left out; \r \n \t \0 \\ \xHH are escapes
//! = accepted GET / ...           one line of the expected verdict
//! ```

use std::path::Path;

use crate::Limits;

#[derive(Clone, Debug, Default)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) limits: Limits,
    pub(super) request: String,
    pub(super) bytes: Vec<u8>,
    pub(super) expected: Vec<String>,
}

/// All cases of the tables in a folder of `testdata`.
pub(super) fn read(folder: &str) -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(folder);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let cases: Vec<Case> = files
        .iter()
        .flat_map(|file| parse(&std::fs::read_to_string(file).unwrap()))
        .collect();
    assert!(!cases.is_empty(), "no cases in {}", folder.display());
    cases
}

/// Compares verdicts, all cases at once so that a change shows in full.
pub(super) fn check(cases: &[Case], verdict: impl Fn(&Case) -> Vec<String>) {
    let mut wrong = String::new();
    for case in cases {
        let verdict = verdict(case);
        if verdict != case.expected {
            wrong += &format!("\ncase {}\n= {}\n", case.name, verdict.join("\n= "));
        }
    }
    assert!(wrong.is_empty(), "verdicts that differ:\n{wrong}");
}

/// Asserts that each of `rules` is the verdict of some case.
pub(super) fn check_covered(cases: &[Case], rules: impl Iterator<Item = String>) {
    for rule in rules {
        let is_covered = cases
            .iter()
            .flat_map(|case| &case.expected)
            .any(|line| line.ends_with(&rule));
        assert!(is_covered, "no case for {rule}");
    }
}

fn parse(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut limits = Limits::default();
    for line in text.lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match (word, cases.last_mut()) {
            ("" | "#", _) => {}
            ("limits", _) => limits = parse_limits(rest),
            ("case", _) => cases.push(Case {
                name: rest.to_owned(),
                limits,
                ..Case::default()
            }),
            ("to", Some(case)) => case.request = rest.to_owned(),
            ("|", Some(case)) => case.bytes.extend(unescape(rest)),
            ("=", Some(case)) => case.expected.push(rest.to_owned()),
            _ => panic!("unexpected line {line:?}"),
        }
    }
    cases
}

fn parse_limits(text: &str) -> Limits {
    let mut limits = Limits::default();
    for setting in text.split_whitespace() {
        let (name, value) = setting.split_once('=').unwrap();
        let limit = match name {
            "line" => &mut limits.line,
            "head" => &mut limits.head,
            "fields" => &mut limits.fields,
            "chunk_line" => &mut limits.chunk_line,
            "trailers" => &mut limits.trailers,
            _ => panic!("unknown limit {name}"),
        };
        *limit = value.parse().unwrap();
    }
    limits
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first != b'\\' {
            bytes.push(first);
            rest = after;
            continue;
        }
        let (byte, length) = match after[0] {
            b'r' => (b'\r', 1),
            b'n' => (b'\n', 1),
            b't' => (b'\t', 1),
            b'0' => (0, 1),
            b'\\' => (b'\\', 1),
            b'x' => {
                let digits = std::str::from_utf8(&after[1..3]).unwrap();
                (u8::from_str_radix(digits, 16).unwrap(), 3)
            }
            other => panic!("unknown escape \\{}", char::from(other)),
        };
        bytes.push(byte);
        rest = &after[length..];
    }
    bytes
}

/// Bytes as they stand in a verdict.
pub(super) fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

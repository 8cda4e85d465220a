//! Manifests: any text is read to an end, twice to the same, and every problem stands somewhere in the text.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use hythe_manifest::{Files, Inputs, Severity, Source, parse, render};

/// No files beside the manifest: what is tested is the text.
struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _: &Path) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }
}

pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let source = Source {
        path: "/project/hythe.yaml".into(),
        text: text.to_owned(),
    };
    let inputs = Inputs {
        environment: BTreeMap::new(),
        profiles: Vec::new(),
        plugin_check: &|_, _| Vec::new(),
        certificate_check: &|_, _| Vec::new(),
        files: &NoFiles,
    };
    let parsed = parse(&source, &inputs);
    let again = parse(&source, &inputs);
    assert_eq!(format!("{parsed:?}"), format!("{again:?}"));
    let failed = parsed
        .problems
        .iter()
        .any(|problem| problem.severity == Severity::Error);
    assert_eq!(parsed.project.is_none(), failed, "{:?}", parsed.problems);
    for problem in &parsed.problems {
        assert!(text.get(problem.span.clone()).is_some(), "{problem:?}");
        assert!(problem.line >= 1 && problem.column >= 1, "{problem:?}");
    }
    let report = render(&parsed.problems, &source, false);
    assert_eq!(report.is_empty(), parsed.problems.is_empty());
}

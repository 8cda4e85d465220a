//! Ecosystem files: which names they have, where they are, and reading them.
//!
//! PM2 takes a file for one if its name contains one of a few endings, wherever it does (`apps.json5` is
//! JSON). `ecosystem.js` is therefore a script and not an ecosystem file.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::ecosystem::{self, Ecosystem};
use crate::javascript::{EvaluateError, Evaluator};
use crate::node::Node;
use crate::problem::{Problem, Severity};
use crate::{json5, literal, yaml};

/// The largest file that is read, in bytes.
pub const LARGEST: u64 = 16 << 20;

const ENDINGS: [(&str, Format); 6] = [
    (".json", Format::Json),
    (".yml", Format::Yaml),
    (".yaml", Format::Yaml),
    (".config.js", Format::JavaScript),
    (".config.cjs", Format::JavaScript),
    (".config.mjs", Format::JavaScript),
];

/// What an ecosystem file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JSON5: comments, trailing commas and bare keys, but no code.
    Json,
    /// YAML.
    Yaml,
    /// A module that exports the object, or a function that gives it.
    JavaScript,
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// What it says; `None` if any problem is an error.
    pub ecosystem: Option<Ecosystem>,
    /// All problems, in the order of the file.
    pub problems: Vec<Problem>,
}

/// Why a file could not be read at all.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Its name is not that of an ecosystem file.
    #[error(
        "{0} is no ecosystem file by its name: use .json, .yml, .yaml, .config.js, .config.cjs or .config.mjs"
    )]
    NotRecognised(PathBuf),
    /// The system does not give it.
    #[error("cannot read {file}")]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is larger than [`LARGEST`].
    #[error("{0} is larger than 16 MiB, which no ecosystem file is read up to")]
    TooLarge(PathBuf),
    /// It is JavaScript that gives no value.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
}

/// The format that a path's file name stands for; `None`: PM2 would run it as a script.
pub fn format_of(path: &Path) -> Option<Format> {
    let name = path.file_name()?.to_string_lossy();
    ENDINGS
        .iter()
        .find(|(ending, _)| name.contains(ending))
        .map(|(_, format)| *format)
}

/// What `start` without arguments reads: `ecosystem.config.js` of `folder`, if it is there.
pub fn find_for_start(folder: &Path) -> Option<PathBuf> {
    first_of(folder, ["ecosystem.config.js".to_owned()])
}

/// What `deploy` without a file reads: the first of the default names that is in `folder`.
pub fn find_for_deploy(folder: &Path) -> Option<PathBuf> {
    let named = ENDINGS.iter().map(|(ending, _)| format!("ecosystem{ending}"));
    let others = ["ecosystem.json5", "package.json"].map(str::to_owned);
    first_of(folder, named.chain(others))
}

fn first_of(folder: &Path, names: impl IntoIterator<Item = String>) -> Option<PathBuf> {
    names
        .into_iter()
        .map(|name| folder.join(name))
        .find(|path| path.is_file())
}

/// Reads a file by its name. Blocks; JavaScript is evaluated by `evaluator`.
///
/// # Errors
/// The file cannot be read, or is JavaScript that gives no value. What is wrong with its content is in the
/// result.
pub fn load(path: &Path, evaluator: &Evaluator) -> Result<Parsed, LoadError> {
    let format = format_of(path).ok_or_else(|| LoadError::NotRecognised(path.into()))?;
    let io_error = |source| LoadError::Io {
        file: path.into(),
        source,
    };
    if format == Format::JavaScript {
        let absolute = std::path::absolute(path).map_err(io_error)?;
        if let Some((root, problems)) = data_of(path)? {
            return Ok(understand(&root, false, problems));
        }
        let root = evaluator.evaluate(&absolute)?;
        return Ok(understand(&root, false, Vec::new()));
    }
    let text = read(path)?;
    Ok(match format {
        Format::Yaml => parse_yaml(&text),
        _ => read_json(&text, path.file_name().is_some_and(|name| name == "package.json")),
    })
}

/// What a module exports that is only data. One that cannot be read as text may be understood by an interpreter.
fn data_of(path: &Path) -> Result<Option<(Node, Vec<Problem>)>, LoadError> {
    match read(path) {
        Ok(text) => Ok(literal::parse(&text)),
        Err(LoadError::TooLarge(_)) => Ok(None),
        Err(LoadError::Io { source, .. }) if source.kind() == io::ErrorKind::InvalidData => Ok(None),
        Err(error) => Err(error),
    }
}

fn read(path: &Path) -> Result<String, LoadError> {
    let io_error = |source| LoadError::Io {
        file: path.into(),
        source,
    };
    let mut text = String::new();
    let file = File::open(path).map_err(io_error)?;
    file.take(LARGEST + 1)
        .read_to_string(&mut text)
        .map_err(io_error)?;
    if text.len() as u64 > LARGEST {
        return Err(LoadError::TooLarge(path.into()));
    }
    Ok(text)
}

/// Reads JSON5, which is also what comes through stdin (`-`).
pub fn parse_json(text: &str) -> Parsed {
    read_json(text, false)
}

/// Reads YAML.
pub fn parse_yaml(text: &str) -> Parsed {
    match yaml::parse(text) {
        Ok(root) => understand(&root, false, Vec::new()),
        Err(problem) => unreadable(*problem),
    }
}

fn read_json(text: &str, package: bool) -> Parsed {
    match json5::parse(text) {
        Ok((root, problems)) => understand(&root, package, problems),
        Err(problem) => unreadable(*problem),
    }
}

fn unreadable(problem: Problem) -> Parsed {
    Parsed {
        ecosystem: None,
        problems: vec![problem],
    }
}

fn understand(root: &Node, package: bool, mut problems: Vec<Problem>) -> Parsed {
    let ecosystem = ecosystem::read(root, package, &mut problems);
    problems.sort_by_key(|problem| problem.place.as_ref().map(|place| place.span.start));
    let failed = problems.iter().any(|problem| problem.severity == Severity::Error);
    Parsed {
        ecosystem: (!failed).then_some(ecosystem),
        problems,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_formats() {
        let rows = [
            ("ecosystem.config.js", Some(Format::JavaScript)),
            ("a.config.cjs", Some(Format::JavaScript)),
            ("a.config.mjs", Some(Format::JavaScript)),
            ("apps.json", Some(Format::Json)),
            ("x.json5", Some(Format::Json)),
            ("x.json.bak", Some(Format::Json)),
            ("package.json", Some(Format::Json)),
            ("p.yml", Some(Format::Yaml)),
            ("p.yaml", Some(Format::Yaml)),
            ("ecosystem.js", None),
            ("a.json/server.js", None),
            ("app.ts", None),
            ("", None),
        ];
        for (name, expected) in rows {
            assert_eq!(format_of(Path::new(name)), expected, "{name}");
        }
    }

    #[test]
    fn default_files_are_found_in_their_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let rows = [
            ("package.json", None, "package.json"),
            ("ecosystem.json5", None, "ecosystem.json5"),
            ("ecosystem.config.mjs", None, "ecosystem.config.mjs"),
            (
                "ecosystem.config.js",
                Some("ecosystem.config.js"),
                "ecosystem.config.js",
            ),
            ("ecosystem.yaml", Some("ecosystem.config.js"), "ecosystem.yaml"),
            ("ecosystem.json", Some("ecosystem.config.js"), "ecosystem.json"),
        ];
        assert_eq!(find_for_deploy(folder.path()), None);
        for (made, start, deploy) in rows {
            std::fs::write(at(made), "{}").expect("a file");
            assert_eq!(find_for_start(folder.path()), start.map(at), "{made}");
            assert_eq!(find_for_deploy(folder.path()), Some(at(deploy)), "{made}");
        }
    }
}

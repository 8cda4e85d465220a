//! What every reader has at hand: the inputs, and where problems go.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::position::{Lines, Span};
use crate::problem::{Finding, Problem, Severity};
use crate::{Inputs, Source, dotenv};

/// Bounds what a hostile file can make of the report.
const MOST_PROBLEMS: usize = 1_000;
const LONGEST_MESSAGE: usize = 400;

pub(crate) struct Context<'a> {
    pub(crate) inputs: &'a Inputs<'a>,
    pub(crate) lines: Lines<'a>,
    /// The manifest's folder, absolute.
    pub(crate) folder: PathBuf,
    path: &'a Path,
    dotenv: OnceCell<BTreeMap<String, String>>,
    problems: RefCell<Vec<Problem>>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(source: &'a Source, inputs: &'a Inputs<'a>) -> Self {
        let path = std::path::absolute(&source.path).unwrap_or_else(|_| source.path.clone());
        Self {
            inputs,
            lines: Lines::of(&source.text),
            folder: path.parent().unwrap_or(Path::new("/")).to_owned(),
            path: &source.path,
            dotenv: OnceCell::new(),
            problems: RefCell::default(),
        }
    }

    pub(crate) fn report(&self, finding: Finding) {
        self.keep(self.path, &self.lines, finding);
    }

    /// Reports a problem in an environment file.
    pub(crate) fn report_in(&self, file: &Path, lines: &Lines<'_>, finding: Finding) {
        self.keep(file, lines, finding);
    }

    /// The line on which `span` starts.
    pub(crate) fn line(&self, span: Span) -> u32 {
        self.lines.position(span.start).0
    }

    /// A variable: the shell's, otherwise that of the project's `.env`.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        let shell = self.inputs.environment.get(name);
        shell.or_else(|| self.dotenv().get(name)).map(String::as_str)
    }

    /// All problems in the order of the file, and whether one is an error.
    pub(crate) fn finish(self) -> (Vec<Problem>, bool) {
        let mut problems = self.problems.into_inner();
        let order = |problem: &Problem| {
            (
                problem.file != self.path,
                problem.file.clone(),
                problem.span.start,
            )
        };
        problems.sort_by_cached_key(order);
        // What an anchor shares is read once for each alias.
        let mut kept: Vec<Problem> = Vec::with_capacity(problems.len());
        for problem in problems {
            let same_place = kept
                .iter()
                .rev()
                .take_while(|other| other.span.start == problem.span.start);
            if !same_place.into_iter().any(|other| *other == problem) {
                kept.push(problem);
            }
        }
        let failed = kept.iter().any(|problem| problem.severity == Severity::Error);
        (kept, failed)
    }

    fn dotenv(&self) -> &BTreeMap<String, String> {
        self.dotenv.get_or_init(|| {
            let path = self.folder.join(".env");
            match self.inputs.files.read(&path) {
                Ok(text) => dotenv::read(self, &path, &text, &|name| {
                    self.inputs.environment.get(name).cloned()
                }),
                Err(error) => {
                    if error.kind() != io::ErrorKind::NotFound {
                        let message = format!("`{}` cannot be read: {error}", path.display());
                        self.report(Finding::warning(Span::new(0, 0), message));
                    }
                    BTreeMap::new()
                }
            }
        })
    }

    /// Keeps an excerpt of one line: what is wrong with a block shows at its start.
    fn keep(&self, file: &Path, lines: &Lines<'_>, finding: Finding) {
        let mut problems = self.problems.borrow_mut();
        let is_first_error = finding.severity == Severity::Error
            && problems.len() >= MOST_PROBLEMS
            && problems
                .iter()
                .all(|problem| problem.severity == Severity::Warning);
        if problems.len() >= MOST_PROBLEMS && !is_first_error {
            return;
        }
        let span = finding.span.first_line(lines.text());
        let (line, column) = lines.position(span.start);
        problems.push(Problem {
            severity: finding.severity,
            message: shortened(finding.message),
            help: finding.help,
            label: finding.label,
            line,
            column,
            span: span.range(),
            file: file.to_owned(),
        });
    }
}

fn shortened(message: String) -> String {
    match message.char_indices().nth(LONGEST_MESSAGE) {
        Some((end, _)) => format!("{}...", &message[..end]),
        None => message,
    }
}

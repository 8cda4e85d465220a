//! Problems as people read them: the place, an excerpt with a mark under it, and what to do.
//!
//! Problems in environment files come without an excerpt: those files often hold secrets.

use std::fmt::{self, Write as _};

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};

use crate::Source;
use crate::position::Lines;
use crate::problem::{Problem, Severity};

const WIDTH: usize = 100;
/// Bytes of a line that is still shown: longer ones are no help, and the renderer cannot place its mark.
const LONGEST_LINE: usize = 1_000;

/// All problems, in their order, and a line that counts them; empty if there are none.
pub fn render(problems: &[Problem], source: &Source, color: bool) -> String {
    if problems.is_empty() {
        return String::new();
    }
    let theme = if color {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(WIDTH)
        .without_syntax_highlighting();
    let lines = Lines::of(&source.text);
    let text = NamedSource::new(source.path.display().to_string(), source.text.clone());
    let mut report = String::new();
    for problem in problems {
        let excerpt = problem.file == source.path && lines.longest_near(problem.span.start) <= LONGEST_LINE;
        let shown = Shown {
            problem,
            text: excerpt.then_some(&text),
        };
        if handler.render_report(&mut report, &shown).is_err() {
            let _ = writeln!(report, "{shown}");
        }
        report.push('\n');
    }
    report.push_str(&summary(problems, source));
    report.push('\n');
    report
}

/// `2 errors, 1 warning in hythe.yaml`.
fn summary(problems: &[Problem], source: &Source) -> String {
    let count = |severity| {
        problems
            .iter()
            .filter(|problem| problem.severity == severity)
            .count()
    };
    let counted = [
        (count(Severity::Error), "error"),
        (count(Severity::Warning), "warning"),
    ];
    let counts: Vec<String> = counted
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, word)| format!("{number} {word}{}", if number == 1 { "" } else { "s" }))
        .collect();
    format!("{} in {}", counts.join(", "), source.path.display())
}

/// A problem in the form that the renderer wants.
#[derive(Debug)]
struct Shown<'a> {
    problem: &'a Problem,
    text: Option<&'a NamedSource<String>>,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem {
            message,
            file,
            line,
            column,
            ..
        } = self.problem;
        match self.text {
            Some(_) => f.write_str(message),
            None => write!(f, "{}:{line}:{column}: {message}", file.display()),
        }
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.problem.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.problem
            .help
            .as_ref()
            .map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.text.map(|text| text as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.text?;
        let Problem { label, span, .. } = self.problem;
        Some(Box::new(std::iter::once(LabeledSpan::new(
            label.clone(),
            span.start,
            span.len(),
        ))))
    }
}

//! `check` for PM2's files, and how their mistakes are told.

use std::path::Path;

use hythe_dialect_pm2::file::{Format, format_of, load};
use hythe_dialect_pm2::{App, Evaluator, ExecMode, Parsed, Problem, Severity};

use crate::Context;
use crate::arguments::CheckOptions;
use crate::check::ProblemView;
use crate::failure::{Exit, Failure, Outcome};
use crate::terminal::{Tone, complain};

/// Whether a file is PM2's by its name: its JavaScript, or an `ecosystem` in another form.
pub(crate) fn is_ecosystem(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match format_of(path) {
        Some(Format::JavaScript) => true,
        Some(_) => name.starts_with("ecosystem"),
        None => false,
    }
}

/// `hythe check ecosystem.config.js`: every mistake, and what the file starts.
pub(crate) fn check(context: &mut Context, options: &CheckOptions) -> Outcome {
    let path = std::path::absolute(&options.path)?;
    let mut parsed = load(&path, &Evaluator::default())
        .map_err(|error| Failure::new(Exit::Usage, hythe_stdx::chain(&error)))?;
    look_at_targets(&mut parsed);
    if options.json {
        let problems: Vec<_> = parsed
            .problems
            .iter()
            .map(|problem| view(problem, &path))
            .collect();
        context.out.json(&problems)?;
    } else {
        show(context, &path, &parsed)?;
    }
    match parsed.ecosystem {
        Some(_) => Ok(()),
        None => Err(Failure::told(Exit::Usage)),
    }
}

/// Tells what is wrong in a file, or with flags if it is none.
pub(crate) fn tell(problems: &[Problem], path: Option<&Path>) {
    for problem in problems {
        let (word, tone) = word(problem.severity);
        let word = tone.paint(&format!("{word}:"));
        match path {
            Some(path) => complain(format_args!("{word} {}: {problem}", path.display())),
            None => complain(format_args!("{word} {problem}")),
        }
        if let Some(help) = &problem.help {
            complain(format_args!("  {help}"));
        }
    }
}

/// Targets of `deploy` are read when they are deployed to; who checks a file wants to know before.
fn look_at_targets(parsed: &mut Parsed) {
    let targets = parsed.ecosystem.iter().flat_map(|ecosystem| &ecosystem.deploy);
    let problems: Vec<Problem> = targets.flat_map(|(name, written)| written.read(name).1).collect();
    if problems.iter().any(|problem| problem.severity == Severity::Error) {
        parsed.ecosystem = None;
    }
    parsed.problems.extend(problems);
}

fn show(context: &mut Context, path: &Path, parsed: &Parsed) -> Outcome {
    tell(&parsed.problems, Some(path));
    let Some(ecosystem) = &parsed.ecosystem else {
        return Ok(());
    };
    context.out.line(format!("{} is fine", path.display()))?;
    ecosystem
        .apps
        .iter()
        .try_for_each(|app| context.out.line(in_words(app)))
}

/// `web: 2 instances of app.js, cluster mode`.
pub(crate) fn in_words(app: &App) -> String {
    let mode = match app.exec_mode() {
        ExecMode::Cluster => "cluster",
        ExecMode::Fork => "fork",
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (name, count) = (app.process_name(None), app.instances_on(cores));
    let s = if count == 1 { "" } else { "s" };
    format!("  {name}: {count} instance{s} of {}, {mode} mode", app.script)
}

fn word(severity: Severity) -> (&'static str, Tone) {
    match severity {
        Severity::Error => ("error", Tone::Bad),
        Severity::Warning => ("warning", Tone::Busy),
        Severity::Note => ("note", Tone::Faint),
    }
}

fn view<'a>(problem: &'a Problem, path: &Path) -> ProblemView<'a> {
    ProblemView {
        severity: word(problem.severity).0,
        app: problem.app.as_deref(),
        field: problem.field.as_deref(),
        message: &problem.message,
        help: problem.help.as_deref(),
        file: path.display().to_string(),
        line: problem.place.as_ref().map(|place| place.line),
        column: problem.place.as_ref().map(|place| place.column),
    }
}

//! `check` and `schema`: nothing but the manifest; no server is asked.

use hythe_manifest::{Problem, Severity};
use serde::Serialize;

use crate::Context;
use crate::arguments::CheckOptions;
use crate::failure::{Exit, Failure, Outcome};
use crate::manifest_file::Manifest;
use crate::nginx;

/// A problem, as `check --json` shows it.
#[derive(Serialize)]
pub(crate) struct ProblemView<'a> {
    pub(crate) severity: &'static str,
    pub(crate) message: &'a str,
    pub(crate) help: Option<&'a str>,
    pub(crate) file: String,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

pub(crate) fn run(context: &mut Context, options: &CheckOptions) -> Outcome {
    if options
        .path
        .extension()
        .is_some_and(|extension| extension == "conf")
    {
        return nginx::check(context, options);
    }
    let manifest = Manifest::read(context, &options.path, &options.profiles)?;
    if options.json {
        let problems: Vec<_> = manifest.problems.iter().map(view).collect();
        context.out.json(&problems)?;
    } else {
        manifest.show();
        if !manifest.has_errors() {
            context
                .out
                .line(format!("{} is fine", manifest.source.path.display()))?;
        }
    }
    if manifest.has_errors() {
        Err(Failure::told(Exit::Usage))
    } else {
        Ok(())
    }
}

pub(crate) fn schema(context: &mut Context) -> Outcome {
    context.out.json(&hythe_manifest::schema())
}

fn view(problem: &Problem) -> ProblemView<'_> {
    ProblemView {
        severity: match problem.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        message: &problem.message,
        help: problem.help.as_deref(),
        file: problem.file.display().to_string(),
        line: problem.line,
        column: problem.column,
    }
}

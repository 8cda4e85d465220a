//! `check` and `schema`: nothing but the manifest; no server is asked.

use hythe_manifest::{Problem, Severity};
use serde::Serialize;

use crate::Context;
use crate::arguments::CheckOptions;
use crate::failure::{Exit, Failure, Outcome};
use crate::manifest_file::Manifest;
use crate::{nginx, pm2};

/// A problem, as `check --json` shows it.
#[derive(Serialize)]
pub(crate) struct ProblemView<'a> {
    pub(crate) severity: &'static str,
    /// Of PM2's files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) app: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) field: Option<&'a str>,
    pub(crate) message: &'a str,
    pub(crate) help: Option<&'a str>,
    pub(crate) file: String,
    /// Nothing for what JavaScript has computed.
    pub(crate) line: Option<u32>,
    pub(crate) column: Option<u32>,
}

pub(crate) fn run(context: &mut Context, options: &CheckOptions) -> Outcome {
    if options
        .path
        .extension()
        .is_some_and(|extension| extension == "conf")
    {
        return nginx::check(context, options);
    }
    if pm2::is_ecosystem(&options.path) {
        return pm2::check(context, options);
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
        app: None,
        field: None,
        message: &problem.message,
        help: problem.help.as_deref(),
        file: problem.file.display().to_string(),
        line: Some(problem.line),
        column: Some(problem.column),
    }
}

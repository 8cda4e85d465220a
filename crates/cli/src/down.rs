//! `down`: removes projects.

use hythe_api::wire::ProjectView;
use hythe_model::ProjectName;
use hythe_model::view::ChangeView;

use crate::Context;
use crate::arguments::{DownOptions, WaitOptions};
use crate::change;
use crate::client::encode;
use crate::failure::Outcome;
use crate::interrupt::Interrupt;
use crate::manifest_file;
use crate::scope::Scope;
use crate::wait::{self, Subject};

pub(crate) fn run(context: &mut Context, options: &DownOptions) -> Outcome {
    for project in projects(context, options)? {
        remove(context, &project, &options.wait, &Interrupt::never())?;
    }
    Ok(())
}

fn projects(context: &Context, options: &DownOptions) -> Outcome<Vec<ProjectName>> {
    if options.all {
        let projects: Vec<ProjectView> = context.client.get("/v1/projects")?;
        return projects.into_iter().map(|project| named(&project.name)).collect();
    }
    let project = match &options.path {
        // Who names a place means what is there, and nothing else if nothing is.
        Some(path) => manifest_file::project_of(&manifest_file::source(path)?, context.project.as_deref())?,
        None => context.scope()?.project,
    };
    Ok(vec![project])
}

fn named(name: &str) -> Outcome<ProjectName> {
    Ok(Scope::named(name)?.project)
}

/// Removes a project and waits until nothing of it runs.
pub(crate) fn remove(
    context: &mut Context,
    project: &ProjectName,
    options: &WaitOptions,
    interrupt: &Interrupt,
) -> Outcome {
    let path = format!("/v1/projects/{project}?actor={}", encode(&Context::actor()));
    let change: ChangeView = context.client.send("DELETE", &path, &())?;
    if !options.json {
        change::show(&mut context.out, &change)?;
    }
    if !options.no_wait {
        wait::until_live(context, &Subject::Project(project), &change, options, interrupt)?;
    }
    if options.json {
        context.out.json(&change)
    } else {
        Ok(())
    }
}

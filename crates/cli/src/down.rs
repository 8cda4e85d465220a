//! `down`: removes projects.

use std::path::Path;

use hythe_api::wire::ProjectView;
use hythe_model::ProjectName;
use hythe_model::view::ChangeView;

use crate::Context;
use crate::arguments::{DownOptions, WaitOptions};
use crate::change;
use crate::client::encode;
use crate::failure::Outcome;
use crate::interrupt::Interrupt;
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
    let folder = options.path.as_deref().unwrap_or(Path::new("."));
    Ok(vec![Scope::resolve(context.project.as_deref(), folder)?.project])
}

fn named(name: &str) -> Outcome<ProjectName> {
    Ok(Scope::resolve(Some(name), Path::new("."))?.project)
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

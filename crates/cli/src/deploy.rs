//! `deploy`: an ecosystem file's targets, and releases on their hosts.

mod report;
mod words;

use std::path::{Path, PathBuf};

use hythe_deploy::{Failed, History, Job, Operation, Release, Trouble};
use hythe_dialect_pm2::deploy::{Host, Source, Target};
use hythe_dialect_pm2::file::{find_for_deploy, load};
use hythe_dialect_pm2::{Ecosystem, Evaluator, Problem, Severity};
use serde::Serialize;

use crate::Context;
use crate::arguments::DeployOptions;
use crate::failure::{Exit, Failure, Outcome};
use crate::pm2;
use crate::terminal::{Cell, Tone, complain};

use self::report::Screen;
use self::words::{Act, Request};

pub(crate) fn run(context: &mut Context, options: &DeployOptions) -> Outcome {
    let request = Request::read(&options.words)?;
    fits(&request.act, options)?;
    let file = ecosystem_file(&request)?;
    let job = job(&file, &request, options)?;
    match &request.act {
        Act::Do(operation) => change(context, &job, *operation, options),
        Act::Execute(command) if options.dry_run => tell_command(context, &job, command),
        Act::Execute(command) => execute(context, &job, command),
        Act::Current => show_one(context, &job, options, History::current),
        Act::Previous => show_one(context, &job, options, |history| history.back(1)),
        Act::List => list(context, &job, options),
    }
}

/// An option that would have no effect is a misunderstanding.
fn fits(act: &Act, options: &DeployOptions) -> Outcome {
    let reads = matches!(act, Act::Current | Act::Previous | Act::List);
    let deploys = *act == Act::Do(Operation::Deploy);
    let rows = [
        (options.json && !reads, "--json is for `curr`, `prev` and `list`"),
        (
            options.dry_run && reads,
            "--dry-run is for what changes something",
        ),
        (options.force && !deploys, "--force is for a deployment"),
        (
            options.reference.is_some() && !deploys,
            "--ref is for a deployment",
        ),
    ];
    match rows.into_iter().find(|(is_unfit, _)| *is_unfit) {
        Some((_, message)) => Err(Failure::new(Exit::Usage, message)),
        None => Ok(()),
    }
}

fn ecosystem_file(request: &Request) -> Outcome<PathBuf> {
    let found = request.file.clone().or_else(|| find_for_deploy(Path::new("")));
    found.ok_or_else(|| {
        Failure::new(Exit::Usage, "there is no ecosystem file in this folder")
            .hint("name one: `hythe deploy ecosystem.config.js production`")
    })
}

fn job(file: &Path, request: &Request, options: &DeployOptions) -> Outcome<Job> {
    let environment = request.environment.as_str();
    let mut target = target(file, environment)?;
    if let Some(wanted) = request.reference.as_ref().or(options.reference.as_ref()) {
        refer(&mut target, wanted)?;
    }
    if let Some(hook) = &mut target.hooks.pre_setup
        && Path::new(hook.as_str()).is_file()
    {
        *hook = std::fs::read_to_string(hook.as_str())?;
    }
    let host = rustix::system::uname();
    let holder = format!("{}@{}", Context::actor(), host.nodename().to_string_lossy());
    let now = jiff::Timestamp::now();
    Ok(Job {
        target,
        environment: environment.to_owned(),
        file: on_hosts(file),
        folder: std::env::current_dir()?,
        time: now.strftime("%Y%m%dT%H%M%S%.3fZ").to_string(),
        holder: format!("{holder} since {}", now.strftime("%Y-%m-%d %H:%M:%SZ")),
    })
}

/// The target, after every problem was told.
fn target(file: &Path, environment: &str) -> Outcome<Target> {
    let parsed = load(file, &Evaluator::default())
        .map_err(|error| Failure::new(Exit::Usage, hythe_stdx::chain(&error)))?;
    // What apps may have meant is for `hythe check`.
    let is_error = |problem: &&Problem| problem.severity == Severity::Error;
    let errors: Vec<Problem> = parsed.problems.iter().filter(is_error).cloned().collect();
    pm2::tell(&errors, Some(file));
    let ecosystem = parsed.ecosystem.ok_or_else(|| Failure::told(Exit::Usage))?;
    let Some(written) = ecosystem.deploy.get(environment) else {
        let message = format!("{} has no `deploy.{environment}`", file.display());
        return Err(Failure::new(Exit::Usage, message).hint(known(&ecosystem)));
    };
    let (target, problems) = written.read(environment);
    pm2::tell(&problems, Some(file));
    target.ok_or_else(|| Failure::told(Exit::Usage))
}

fn known(ecosystem: &Ecosystem) -> String {
    let names: Vec<_> = ecosystem.deploy.keys().map(String::as_str).collect();
    match names.is_empty() {
        true => "add `deploy: { production: { host, repo, ref, path } }` to it".to_owned(),
        false => format!("it has {}", names.join(", ")),
    }
}

/// Has the target deploy another branch, tag or commit than the file says.
fn refer(target: &mut Target, wanted: &str) -> Outcome {
    let Source::Git { reference, .. } = &mut target.source else {
        return Err(Failure::new(
            Exit::Usage,
            "a target without `repo` has nothing to choose from",
        ));
    };
    if wanted.is_empty() || wanted.starts_with('-') || wanted.contains(char::is_control) {
        let message = format!("`{wanted}` is no branch, tag or commit");
        return Err(Failure::new(Exit::Usage, message));
    }
    wanted.clone_into(reference);
    Ok(())
}

/// Where the file is in a release: as it was written, if that is below this folder.
fn on_hosts(file: &Path) -> String {
    let inside = file.strip_prefix(".").unwrap_or(file);
    let is_below = inside.is_relative() && !inside.components().any(|part| part.as_os_str() == "..");
    let name = Path::new(file.file_name().unwrap_or_default());
    let path = if is_below { inside } else { name };
    path.to_string_lossy().into_owned()
}

fn change(context: &mut Context, job: &Job, operation: Operation, options: &DeployOptions) -> Outcome {
    let is_git = matches!(job.target.source, Source::Git { .. });
    let looks = operation == Operation::Deploy && is_git && !options.force;
    if options.dry_run {
        return tell_plan(context, job, operation, looks);
    }
    if looks {
        hythe_deploy::clean(&job.folder).map_err(|unclean| {
            Failure::new(Exit::Failed, unclean.to_string())
                .hint("hosts fetch what is pushed: commit and push first, or add --force")
        })?;
    }
    let screen = Screen::for_changes(context, job)?;
    match hythe_deploy::run(job, operation, &screen) {
        Ok(()) => {
            let hosts = names(job.target.hosts.iter().map(Host::to_string));
            context.out.line(Tone::Good.paint(&format!("done on {hosts}")))
        }
        Err(failed) => {
            let told = tell_failure(&failed);
            screen.tell_log();
            Err(told)
        }
    }
}

fn tell_plan(context: &mut Context, job: &Job, operation: Operation, looks: bool) -> Outcome {
    let hook = job.target.hooks.pre_deploy_local.as_ref();
    let hook = hook.filter(|_| operation == Operation::Deploy);
    if looks || hook.is_some() {
        context.out.line("here:")?;
    }
    if looks {
        context
            .out
            .line("  see that everything is committed and pushed")?;
    }
    if let Some(text) = hook {
        context.out.line("  pre-deploy-local")?;
        text.lines()
            .try_for_each(|line| context.out.line(format!("    | {line}")))?;
    }
    let plan = hythe_deploy::plan(operation, &job.target).told(&job.target);
    context.out.line(plan.trim_end())
}

fn tell_command(context: &mut Context, job: &Job, command: &str) -> Outcome {
    let hosts = names(job.target.hosts.iter().map(Host::to_string));
    context.out.line(format!("on {hosts}, in `current`:"))?;
    command
        .lines()
        .try_for_each(|line| context.out.line(format!("    | {line}")))
}

/// Tells what failed, and what became of it.
fn tell_failure(failed: &Failed) -> Failure {
    for (host, trouble) in &failed.hosts {
        complain(format_args!(
            "{} {host}: {}",
            Tone::Bad.paint("error:"),
            hythe_stdx::chain(trouble)
        ));
        if let Trouble::Step { tail, .. } = trouble {
            tail.iter().for_each(|line| complain(format_args!("  | {line}")));
        }
        if let Some(hint) = trouble.hint() {
            complain(format_args!("  hint: {hint}"));
        }
    }
    for (host, trouble) in &failed.stuck {
        let error = Tone::Bad.paint("error:");
        complain(format_args!(
            "{error} {host} could not be put back: {}",
            hythe_stdx::chain(trouble)
        ));
        complain("  hint: log in and look at `current` and at what runs");
    }
    if !failed.undone.is_empty() {
        let hosts = names(failed.undone.iter().cloned());
        complain(format_args!("{hosts}: what was current before is current again"));
    } else if failed.is_live {
        complain("the release is live all the same");
    } else if failed.stuck.is_empty() {
        complain("what is current stays as it was");
    }
    let is_interrupted = |(_, trouble): &(String, Trouble)| matches!(trouble, Trouble::Interrupted);
    Failure::told(match failed.hosts.iter().any(is_interrupted) {
        true => Exit::Interrupted,
        false => Exit::Failed,
    })
}

fn execute(context: &mut Context, job: &Job, command: &str) -> Outcome {
    let screen = Screen::for_output(job.target.hosts.len() > 1);
    context.out.may_be_unheard();
    hythe_deploy::execute(job, command, &screen).map_err(|failed| {
        for (host, trouble) in &failed.hosts {
            complain(format_args!(
                "{} {host}: {}",
                Tone::Bad.paint("error:"),
                hythe_stdx::chain(trouble)
            ));
        }
        Failure::told(Exit::Failed)
    })
}

/// A release of a host, as `--json` shows it.
#[derive(Serialize)]
struct ReleaseView {
    release: String,
    /// Nothing for what was uploaded.
    commit: Option<String>,
    /// Whether it is the one that is live.
    current: bool,
    /// Whether its folder is still there; otherwise it would be made again.
    kept: bool,
    /// The number by which `revert` goes to it, if it is an earlier one.
    revert: Option<usize>,
}

/// What a host has, as `--json` shows it.
#[derive(Serialize)]
struct HostView<T> {
    host: String,
    path: String,
    #[serde(flatten)]
    releases: T,
}

#[derive(Serialize)]
struct Listed {
    releases: Vec<ReleaseView>,
}

#[derive(Serialize)]
struct One {
    release: Option<String>,
    commit: Option<String>,
}

fn look(job: &Job) -> Outcome<Vec<(Host, History)>> {
    hythe_deploy::look(job, &Screen::aside()).map_err(|failed| {
        tell_failure(&failed);
        Failure::told(Exit::Failed)
    })
}

fn show_one(
    context: &mut Context,
    job: &Job,
    options: &DeployOptions,
    choose: impl Fn(&History) -> Option<&Release>,
) -> Outcome {
    let found = look(job)?;
    if options.json {
        let view = |(host, history): &(Host, History)| HostView {
            host: host.to_string(),
            path: history.root.clone(),
            releases: One {
                release: choose(history).map(Release::to_string),
                commit: choose(history).and_then(Release::commit).map(str::to_owned),
            },
        };
        return context.out.json(&found.iter().map(view).collect::<Vec<_>>());
    }
    let rows: Vec<Vec<Cell>> = found
        .iter()
        .map(|(host, history)| {
            let release = choose(history);
            let name = release.map_or_else(|| "none".to_owned(), Release::to_string);
            vec![host.to_string().into(), short(release).into(), name.into()]
        })
        .collect();
    context.out.table(&["HOST", "COMMIT", "RELEASE"], &rows)
}

fn list(context: &mut Context, job: &Job, options: &DeployOptions) -> Outcome {
    let found = look(job)?;
    let hosts: Vec<_> = found
        .iter()
        .map(|(host, history)| HostView {
            host: host.to_string(),
            path: history.root.clone(),
            releases: Listed {
                releases: releases(history),
            },
        })
        .collect();
    if options.json {
        return context.out.json(&hosts);
    }
    let rows: Vec<Vec<Cell>> = hosts
        .iter()
        .flat_map(|host| {
            host.releases
                .releases
                .iter()
                .map(|release| row(&host.host, release))
        })
        .collect();
    context.out.table(&["HOST", "REVERT", "RELEASE", "STATE"], &rows)
}

fn row(host: &str, release: &ReleaseView) -> Vec<Cell> {
    let steps = release
        .revert
        .map_or_else(|| "-".to_owned(), |steps| steps.to_string());
    let remark = match (release.current, release.kept) {
        (true, _) => Cell::new("current", Tone::Good),
        (false, true) => "".into(),
        (false, false) => Cell::new("made again if needed", Tone::Faint),
    };
    vec![host.into(), steps.into(), release.release.as_str().into(), remark]
}

/// The last one first.
fn releases(history: &History) -> Vec<ReleaseView> {
    let current = history.current();
    let place = history.log.iter().rposition(|release| Some(release) == current);
    let from = place.unwrap_or(history.log.len());
    let view = |(index, release): (usize, &Release)| ReleaseView {
        release: release.to_string(),
        commit: release.commit().map(str::to_owned),
        current: Some(index) == place,
        kept: history.folders.contains(release),
        revert: from.checked_sub(index).filter(|steps| *steps > 0),
    };
    history.log.iter().enumerate().rev().map(view).collect()
}

fn short(release: Option<&Release>) -> String {
    let commit = release.and_then(Release::commit);
    commit.map_or_else(|| "-".to_owned(), |commit| commit.chars().take(7).collect())
}

fn names(hosts: impl Iterator<Item = String>) -> String {
    hosts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_know_the_file_from_the_top_of_a_release() {
        for (file, expected) in [
            ("ecosystem.json", "ecosystem.json"),
            ("./ecosystem.json", "ecosystem.json"),
            ("deploy/my apps.json", "deploy/my apps.json"),
            ("../other/apps.json", "apps.json"),
            ("/etc/apps.json", "apps.json"),
        ] {
            assert_eq!(on_hosts(Path::new(file)), expected);
        }
    }
}

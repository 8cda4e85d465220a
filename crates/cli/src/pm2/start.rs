//! `start`: scripts, commands and files become services; what is known already is restarted.
//!
//! A word is tried as PM2 tries it: a file with apps, then a name, a namespace or an id of what is known, then a script.
//! An app of a file that runs becomes what the file says now, its environment too (PM2 never takes a variable away;
//! `--keep-env` does not either). Two apps of one name would be one service here, so a script whose name is taken by
//! another one is refused; `-f` puts it in the other's place.

use std::io::Read;
use std::path::{Path, PathBuf};

use hythe_api::wire::AddRequest;
use hythe_dialect_pm2::workload::label;
use hythe_dialect_pm2::{Parsed, file};
use hythe_model::view::ChangeView;
use hythe_model::{Name, Workload};

use super::change;
use super::ids::Ids;
use super::processes::{Processes, Service, Status};
use super::restart::{self, Request, Way};
use super::words::StartWords;
use super::{PROJECT, Pm2, follow, list, serve};
use crate::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::start::Apps;

/// What a configuration on stdin is called.
const STDIN: &str = "-";

pub(crate) fn start(pm2: &mut Pm2, words: &StartWords) -> Outcome {
    pm2.ensure_server()?;
    let begun = hythe_stdx::unix_ms();
    let default = vec!["ecosystem.config.js".to_owned()];
    let what = if words.what.is_empty() {
        &default
    } else {
        &words.what
    };
    let mut started = Vec::new();
    for word in what {
        started.extend(start_one(pm2, word, words)?);
    }
    end(pm2, words, &started, begun)
}

/// `startOrRestart` and its relatives: what a restart is, nothing is lost by.
pub(crate) fn start_or_restart(pm2: &mut Pm2, words: &StartWords) -> Outcome {
    pm2.ensure_server()?;
    let begun = hythe_stdx::unix_ms();
    let mut started = Vec::new();
    for word in &words.what {
        let apps = apps_of(word, words)?.ok_or_else(|| {
            Failure::new(Exit::Usage, format!("{word} is no ecosystem file by its name"))
                .hint("use .json, .yml, .yaml, .config.js, .config.cjs or .config.mjs")
        })?;
        started.extend(launch(pm2, apps, words.environment.keep_env)?);
    }
    if words.what.is_empty() {
        return Err(Failure::new(Exit::Usage, "which file? Name an ecosystem file"));
    }
    end(pm2, words, &started, begun)
}

fn end(pm2: &mut Pm2, words: &StartWords, started: &[String], begun: u64) -> Outcome {
    list::show(pm2)?;
    if words.no_daemon {
        return follow::until_interrupted(pm2, started, begun);
    }
    if words.attach {
        return follow::attach(pm2, started, begun);
    }
    Ok(())
}

fn start_one(pm2: &mut Pm2, word: &str, words: &StartWords) -> Outcome<Vec<String>> {
    if let Some(apps) = apps_of(word, words)? {
        return launch(pm2, apps, words.environment.keep_env);
    }
    if pm2.processes()?.select(word).is_ok() {
        let request = Request {
            options: &words.app,
            environment: words.environment,
            way: Way::Restart,
        };
        return restart::replace(pm2, word, &request);
    }
    if word == "all" {
        return Err(Failure::new(Exit::NotFound, "No process found"));
    }
    let mut apps = Apps::default();
    apps.read(Path::new(word), &words.app, &std::env::current_dir()?)?;
    refuse_taken(pm2, &apps, words.app.force)?;
    launch(pm2, apps, words.environment.keep_env)
}

/// The apps of a file, or of stdin; `None` for another word.
pub(crate) fn apps_of(word: &str, words: &StartWords) -> Outcome<Option<Apps>> {
    let folder = std::env::current_dir()?;
    let Some((parsed, path)) = parse(word, &folder)? else {
        return Ok(None);
    };
    let mut apps = Apps::default();
    apps.take(&parsed, &path, &words.app, &folder)?;
    Ok(Some(apps))
}

/// What a file says, or stdin; `None` for another word.
pub(crate) fn parse(word: &str, folder: &Path) -> Outcome<Option<(Parsed, PathBuf)>> {
    if word == STDIN {
        let mut text = String::new();
        std::io::stdin().take(file::LARGEST).read_to_string(&mut text)?;
        return Ok(Some((file::parse_json(&text), PathBuf::from("stdin"))));
    }
    if file::format_of(Path::new(word)).is_none() {
        return Ok(None);
    }
    let path = folder.join(word);
    if !path.is_file() {
        return Err(Failure::new(Exit::NotFound, format!("File {word} not found")));
    }
    let parsed = file::load(&path, &hythe_dialect_pm2::Evaluator::default())
        .map_err(|error| Failure::new(Exit::Usage, hythe_stdx::chain(&error)))?;
    Ok(Some((parsed, path)))
}

/// A script is not started twice under one name, and no other one in its place.
fn refuse_taken(pm2: &Pm2, apps: &Apps, force: bool) -> Outcome {
    if force {
        return Ok(());
    }
    let processes = pm2.processes()?;
    for (name, workload) in &apps.workloads {
        let Some(known) = processes.services.get(name.as_str()) else {
            continue;
        };
        let is_over = |status| matches!(status, Status::Stopped | Status::Errored);
        if workload.labels.get(label::SCRIPT).map(String::as_str) != Some(known.script()) {
            let message = format!("`{name}` runs another script, {}", known.script());
            return Err(Failure::new(Exit::Usage, message)
                .hint("give this one another name with --name, or put it in the other's place with -f"));
        }
        if !processes
            .of_service(name.as_str())
            .all(|process| is_over(process.status))
        {
            let message = "Script already launched, add -f option to force re-execution";
            return Err(Failure::new(Exit::Usage, message));
        }
    }
    Ok(())
}

/// Has apps run as they are described; those that run are replaced without losing a request.
pub(crate) fn launch(pm2: &mut Pm2, mut apps: Apps, keep_env: bool) -> Outcome<Vec<String>> {
    let sites = std::mem::take(&mut apps.sites);
    let started = match apps.workloads.is_empty() {
        true => Ok(Vec::new()),
        false => launch_apps(pm2, apps, keep_env),
    };
    let answered = serve::all(&mut pm2.context, &sites, false);
    started.and_then(|names| answered.map(|()| names))
}

fn launch_apps(pm2: &mut Pm2, mut apps: Apps, keep_env: bool) -> Outcome<Vec<String>> {
    let mut ids = Ids::open(&pm2.context.home)?;
    let processes = Processes::read(&pm2.context.client, &mut ids)?;
    for name in &apps.order {
        let Some(workload) = apps.workloads.get_mut(name) else {
            continue;
        };
        let known = processes.services.get(name.as_str());
        let count = workload.replicas.on(crate::start::cores());
        let asked = known.map_or(0, |known| known.workload.restarts_asked);
        let first = ids.book.reserve(name.as_str(), count, asked);
        complete(workload, known.filter(|_| keep_env), first, &pm2.folder);
        created(workload, known, hythe_stdx::unix_ms());
        announce(pm2, &processes, name, workload)?;
    }
    let names: Vec<String> = apps.order.iter().map(ToString::to_string).collect();
    let change = put(pm2, apps.workloads.into_iter().collect())?;
    ids.save()?;
    drop(ids);
    change::await_live(pm2, &names, &change)?;
    pm2.say("Done.")?;
    Ok(names)
}

/// Asks for services as they are given, with new instances in any case.
pub(crate) fn put(pm2: &Pm2, workloads: Vec<(Name, Workload)>) -> Outcome<ChangeView> {
    let request = AddRequest {
        workloads: workloads.into_iter().collect(),
        restart: true,
        actor: Some(Context::actor()),
        ..AddRequest::default()
    };
    let project = PROJECT
        .parse()
        .map_err(|error: hythe_model::NameError| Failure::new(Exit::Failed, error.to_string()))?;
    pm2.context
        .client
        .send("PUT", &crate::start::path(&project), &request)
}

/// What PM2 tells each of its processes. The number is right as long as instances were started together; one that is added
/// later, when its number is taken, finds the number here that it would have had.
fn complete(workload: &mut Workload, kept: Option<&Service>, first: u32, folder: &Path) {
    let own = [
        (
            "name",
            workload.labels.get(label::NAME).cloned().unwrap_or_default(),
        ),
        ("PM2_HOME", folder.display().to_string()),
    ];
    let own = own.map(|(name, value)| (name.to_owned(), value));
    let kept = kept
        .into_iter()
        .flat_map(|service| service.workload.environment.clone());
    for (name, value) in own.into_iter().chain(kept) {
        workload.environment.entry(name).or_insert(value);
    }
    workload.numbered.insert("pm_id".to_owned(), u64::from(first));
}

fn created(workload: &mut Workload, known: Option<&Service>, now: u64) {
    let before = known.map(|service| service.label(label::CREATED_AT).to_owned());
    let at = before
        .filter(|at| !at.is_empty())
        .unwrap_or_else(|| now.to_string());
    workload.labels.insert(label::CREATED_AT.to_owned(), at);
}

fn announce(pm2: &mut Pm2, processes: &Processes, name: &Name, workload: &Workload) -> Outcome {
    let ids: Vec<u32> = processes
        .of_service(name.as_str())
        .map(|process| process.id)
        .collect();
    let label = |name: &str| workload.labels.get(name).map_or("", String::as_str);
    if !ids.is_empty() {
        return pm2.say(&change::applying("restartProcessId", label(label::NAME), &ids));
    }
    let text = match workload.replicas.on(crate::start::cores()) {
        1 => "1 instance".to_owned(),
        count => format!("{count} instances"),
    };
    pm2.say(&format!(
        "Starting {} in {} ({text})",
        label(label::SCRIPT),
        label(label::EXEC_MODE)
    ))
}

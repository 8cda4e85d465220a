//! Changes of what is known: `stop`, `restart`, `reload`, `delete`, `scale`, `reset`, `kill`.
//!
//! Words are taken one after the other, and the first that means nothing ends it. What is stopped or removed is so as a
//! whole service: of several instances that share a port no single one can be picked out, so a number that means one of
//! them is refused with what to say instead. A restart of one replaces all, which costs nobody anything.

use hythe_api::wire::{ActionRequest, ReplicasText, ScaleRequest};
use hythe_dialect_pm2::environment::{Variables, restarted_by_name};
use hythe_dialect_pm2::workload::{self, Surroundings, label};
use hythe_dialect_pm2::{FilterEnv, Options};
use hythe_model::view::{ChangeView, ServiceView};
use hythe_model::{Name, Workload};

use super::ids::Ids;
use super::processes::{Process, Processes, Service};
use super::words::{EnvironmentWords, RestartWords, ScaleWords, StartWords};
use super::{Pm2, list, start};
use crate::arguments::WaitOptions;
use crate::client::{Presence, encode};
use crate::failure::{Exit, Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::start::{cores, refused, shell};
use crate::wait::{self, Subject};
use crate::{Context, server};

/// How long a change may take to be live.
const LIVE: &str = "2m";

/// Which of PM2's two words for the same thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Restart,
    Reload,
}

/// A restart, and what is to be different after it.
pub(crate) struct Request<'a> {
    pub(crate) options: &'a Options,
    pub(crate) environment: EnvironmentWords,
    pub(crate) way: Way,
}

pub(crate) fn restart(pm2: &mut Pm2, words: &RestartWords, way: Way) -> Outcome {
    pm2.ensure_server()?;
    let of_file = StartWords {
        what: Vec::new(),
        app: words.app.clone(),
        attach: false,
        no_daemon: false,
        environment: words.environment,
    };
    let request = Request {
        options: &words.app,
        environment: words.environment,
        way,
    };
    for which in &words.which {
        match start::apps_of(which, &of_file)? {
            Some(apps) => start::launch(pm2, apps, words.environment.keep_env)?,
            None => replace(pm2, which, &request)?,
        };
    }
    match way {
        Way::Restart => list::show(pm2),
        Way::Reload => Ok(()),
    }
}

/// Replaces the instances of what a word means; the services.
pub(crate) fn replace(pm2: &mut Pm2, which: &str, request: &Request<'_>) -> Outcome<Vec<String>> {
    let processes = pm2.processes()?;
    let meant = processes.select(which)?;
    let services = Processes::services_of(&meant);
    if let Some(environment) = &request.options.env {
        let message =
            format!("--env {environment} chooses among the environments of a file, and {which} is none");
        return Err(Failure::new(Exit::Usage, message).hint("name the ecosystem file instead"));
    }
    let action = match request.way {
        Way::Restart => "restartProcessId",
        Way::Reload => "reloadProcessId",
    };
    let changes = request.environment.update_env || *request.options != Options::default();
    if !changes {
        pm2.say("Use --update-env to update environment variables")?;
    }
    pm2.say(&applying(action, which, &ids(&meant)))?;
    for (service, _) in in_part(&processes, &meant) {
        pm2.say(&format!(
            "[{service}] is replaced as a whole, one instance after the other"
        ))?;
    }
    let change = if changes {
        start::put(pm2, changed(&processes, &services, request)?)?
    } else {
        // What is stopped starts, which is no restart to count.
        let is_stopped = |service: &&String| {
            let known = processes.services.get(service.as_str());
            known.is_some_and(|known| known.workload.stopped)
        };
        let (stopped, running): (Vec<&String>, Vec<_>) = services.iter().partition(is_stopped);
        let stopped = stopped.into_iter().map(|service| (service, "start"));
        ask(
            pm2,
            stopped.chain(running.into_iter().map(|service| (service, "restart"))),
        )?
    };
    await_live(pm2, &services, &change)?;
    tick(pm2, &processes, &meant)?;
    Ok(services)
}

/// The services with what flags and shell say now over what was said before.
fn changed(
    processes: &Processes,
    services: &[String],
    request: &Request<'_>,
) -> Outcome<Vec<(Name, Workload)>> {
    let shell = request.environment.update_env.then(shell);
    let mut workloads = Vec::new();
    for service in services {
        let Some(known) = processes.services.get(service) else {
            continue;
        };
        let name = service.parse::<Name>();
        let name = name.map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        workloads.push((name, changed_one(known, request.options, shell.as_ref())?));
    }
    Ok(workloads)
}

fn changed_one(service: &Service, options: &Options, shell: Option<&Variables>) -> Outcome<Workload> {
    let live = &service.workload;
    if let Some(name) = options.name.as_ref().filter(|name| **name != service.name) {
        let message = format!("[{}] cannot be called {name} while it runs", service.name);
        return Err(Failure::new(Exit::Usage, message).hint("delete it, and start it under the other name"));
    }
    let mut app = service.app.clone();
    app.cwd = Some(live.working_dir.clone());
    super::tell(
        &options
            .override_app(&mut app)
            .map_err(|problems| refused(&problems, None))?,
        None,
    );
    let variables = restarted_by_name(&live.environment, shell, &app.filter_env);
    // What was left out of the shell's environment once is not to be left out of the app's.
    app.filter_env = FilterEnv::Nothing;
    let around = Surroundings {
        folder: &live.working_dir,
        shell: &variables,
        file: None,
        chosen: None,
        cores: cores(),
    };
    let planned = workload::plan(&app, &around).map_err(|problem| refused(&[*problem], None))?;
    let mut workload = planned.workload;
    if options.instances.is_none() {
        workload.replicas = live.replicas;
    }
    for label in [label::NAME, label::CREATED_AT] {
        if let Some(value) = live.labels.get(label) {
            workload.labels.insert(label.to_owned(), value.clone());
        }
    }
    let first = live.numbered.get("pm_id");
    workload
        .numbered
        .extend(first.map(|first| ("pm_id".to_owned(), *first)));
    workload.stopped = false;
    Ok(workload)
}

pub(crate) fn stop(pm2: &mut Pm2, which: &[String]) -> Outcome {
    for word in which {
        each(pm2, word, "stopProcessId", stop_all)?;
    }
    list::show(pm2)
}

pub(crate) fn delete(pm2: &mut Pm2, which: &[String]) -> Outcome {
    for word in which {
        each(pm2, word, "deleteProcessId", remove)?;
    }
    list::show(pm2)
}

/// Stops or removes what a word means.
fn each(
    pm2: &mut Pm2,
    word: &str,
    action: &str,
    change: impl Fn(&Pm2, &[String]) -> Outcome<ChangeView>,
) -> Outcome {
    let processes = pm2.processes()?;
    let meant = match start::parse(word, &std::env::current_dir()?)? {
        Some((parsed, path)) => of_file(&processes, &parsed, &path)?,
        None => processes.select(word)?,
    };
    if let Some((service, count)) = in_part(&processes, &meant).first() {
        let message = format!("[{service}] is one service: its {count} instances end together");
        return Err(Failure::new(Exit::Usage, message).hint(format!(
            "`pm2 scale {service} -1` takes one away, the name `{service}` means all"
        )));
    }
    pm2.say(&applying(action, word, &ids(&meant)))?;
    let services = Processes::services_of(&meant);
    let change = change(pm2, &services)?;
    await_live(pm2, &services, &change)?;
    tick(pm2, &processes, &meant)
}

/// The processes of the apps that a file names.
fn of_file<'p>(
    processes: &'p Processes,
    parsed: &hythe_dialect_pm2::Parsed,
    path: &std::path::Path,
) -> Outcome<Vec<&'p Process>> {
    let Some(ecosystem) = &parsed.ecosystem else {
        return Err(refused(&parsed.problems, Some(path)));
    };
    let mut meant = Vec::new();
    for app in &ecosystem.apps {
        meant.extend(processes.select(&app.process_name(None))?);
    }
    Ok(meant)
}

/// Services that some of the processes are of, but not all, with how many they have.
fn in_part(processes: &Processes, meant: &[&Process]) -> Vec<(String, usize)> {
    let of = |service: &String| {
        let all = processes.of_service(service).count();
        let some = meant.iter().filter(|process| process.service == *service).count();
        (some < all).then(|| (service.clone(), all))
    };
    Processes::services_of(meant).iter().filter_map(of).collect()
}

pub(crate) fn scale(pm2: &mut Pm2, words: &ScaleWords) -> Outcome {
    let processes = pm2.processes()?;
    let found = processes
        .services
        .iter()
        .find(|(_, service)| service.name == words.app);
    let Some((name, service)) = found else {
        return Err(Failure::new(
            Exit::NotFound,
            format!("Application {} not found", words.app),
        ));
    };
    let name = name.clone();
    let wanted = wanted(service.count(), &words.number)?;
    if wanted == 0 {
        return delete(pm2, &[words.app.clone()]);
    }
    pm2.say(if wanted > service.count() {
        "Scaling up application"
    } else {
        "Scaling down application"
    })?;
    let request = ScaleRequest {
        replicas: ReplicasText::Count(wanted),
        actor: Some(Context::actor()),
    };
    let path = format!("/v1/services/{}/scale", encode(&name));
    let change: ChangeView = pm2.context.client.send("POST", &path, &request)?;
    await_live(pm2, &[name], &change)?;
    list::show(pm2)
}

/// `4`, `+2`, `-1`.
fn wanted(now: u32, number: &str) -> Outcome<u32> {
    let unreadable = || {
        Failure::new(Exit::Usage, format!("`{number}` is not a number of instances"))
            .hint("write 4, +2 for two more, or -1 for one less")
    };
    let digits = number.trim_start_matches(['+', '-']);
    let count: u32 = digits.parse().map_err(|_| unreadable())?;
    let wanted = match number.strip_suffix(digits) {
        Some("") => count,
        Some("+") => now.saturating_add(count),
        Some("-") => now.saturating_sub(count),
        _ => return Err(unreadable()),
    };
    if wanted == now {
        return Err(Failure::new(Exit::Usage, "Nothing to do"));
    }
    Ok(wanted)
}

pub(crate) fn reset(pm2: &mut Pm2, which: &str) -> Outcome {
    pm2.ensure_server()?;
    let mut ids = Ids::open(&pm2.context.home)?;
    let processes = Processes::read(&pm2.context.client, &mut ids)?;
    let meant = processes.select(which)?;
    for process in &meant {
        ids.book
            .forgive(&process.service, process.place, process.counted.clone());
    }
    ids.save()?;
    drop(ids);
    for process in &meant {
        pm2.say(&format!("Resetting meta for process id {}", process.id))?;
    }
    list::show(pm2)
}

/// Forgets all apps, and ends the server unless it has other services than these.
pub(crate) fn kill(pm2: &mut Pm2) -> Outcome {
    if pm2.context.client.presence() == Presence::Absent {
        return pm2.say("No server is running");
    }
    if !pm2.processes()?.list.is_empty() {
        each(pm2, "all", "deleteProcessId", remove)?;
    }
    pm2.say("[v] All Applications Stopped")?;
    let left: Vec<ServiceView> = pm2.context.client.get("/v1/services")?;
    let others: Vec<&str> = left
        .iter()
        .filter(|service| service.kind == "process")
        .map(|service| service.name.as_str())
        .collect();
    if !others.is_empty() {
        return pm2.say(&format!("The server goes on: it also runs {}", others.join(", ")));
    }
    server::end(&pm2.context, false, None)?;
    pm2.say("[v] PM2 Daemon Stopped")
}

fn stop_all(pm2: &Pm2, services: &[String]) -> Outcome<ChangeView> {
    ask(pm2, services.iter().map(|service| (service, "stop")))
}

/// Asks for something to be done to each service.
fn ask<'a>(pm2: &Pm2, services: impl Iterator<Item = (&'a String, &'static str)>) -> Outcome<ChangeView> {
    let request = ActionRequest {
        actor: Some(Context::actor()),
    };
    last(services.map(|(service, verb)| {
        let path = format!("/v1/services/{}/{verb}", encode(service));
        pm2.context.client.send("POST", &path, &request)
    }))
}

fn remove(pm2: &Pm2, services: &[String]) -> Outcome<ChangeView> {
    let actor = encode(&Context::actor());
    let ask = |service: &String| {
        let path = format!("/v1/services/{}?actor={actor}", encode(service));
        pm2.context.client.send("DELETE", &path, &())
    };
    last(services.iter().map(ask))
}

/// The last of several changes: when it is live, all are.
fn last(changes: impl Iterator<Item = Outcome<ChangeView>>) -> Outcome<ChangeView> {
    changes
        .reduce(|before, change| before.and(change))
        .unwrap_or_else(|| Ok(ChangeView::default()))
}

/// Waits until a change is live; fails with the last words of what did not come up.
pub(crate) fn await_live(pm2: &mut Pm2, services: &[String], change: &ChangeView) -> Outcome {
    let options = WaitOptions {
        no_wait: false,
        timeout: LIVE.to_owned(),
        json: true,
    };
    wait::until_live(
        &mut pm2.context,
        &Subject::Services(services),
        change,
        &options,
        &Interrupt::never(),
    )
    .map(drop)
}

/// `Applying action stopProcessId on app [api](ids: [ 0, 1 ])`.
pub(crate) fn applying(action: &str, which: &str, ids: &[u32]) -> String {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    format!(
        "Applying action {action} on app [{which}](ids: [ {} ])",
        ids.join(", ")
    )
}

fn ids(processes: &[&Process]) -> Vec<u32> {
    processes.iter().map(|process| process.id).collect()
}

fn tick(pm2: &mut Pm2, processes: &Processes, done: &[&Process]) -> Outcome {
    for process in done {
        let name = processes
            .service(process)
            .map_or("", |service| service.name.as_str());
        pm2.say(&format!("[{name}]({}) ✓", process.id))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use hythe_model::InstanceState;
    use hythe_model::workload::Replicas;

    use super::*;
    use crate::pm2::processes::tests::{processes, service};

    #[test]
    fn numbers_of_instances_are_absolute_or_relative() {
        for (number, expected) in [
            ("3", Ok(3)),
            ("+1", Ok(3)),
            ("-1", Ok(1)),
            ("-9", Ok(0)),
            ("2", Err("Nothing to do")),
            ("+0", Err("Nothing to do")),
            ("many", Err("`many` is not a number of instances")),
            ("+-1", Err("`+-1` is not a number of instances")),
            ("", Err("`` is not a number of instances")),
        ] {
            let got = wanted(2, number).map_err(|failure| failure.message);
            assert_eq!(got, expected.map_err(str::to_owned), "{number}");
        }
    }

    #[test]
    fn a_part_of_a_service_is_known_as_one() {
        let listed = processes(vec![
            service("api", &[InstanceState::Ready, InstanceState::Ready], false),
            service("web", &[InstanceState::Ready], false),
        ]);
        let part = |which: &str| in_part(&listed, &listed.select(which).unwrap());
        assert_eq!(part("1"), [("api".to_owned(), 2)]);
        assert_eq!(part("2"), []);
        assert_eq!(part("api"), []);
    }

    #[test]
    fn flags_change_what_was_said_before_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("app.js");
        std::fs::write(&script, "").unwrap();
        let path = script.display().to_string();
        let (_, mut live) = service("api", &[InstanceState::Ready, InstanceState::Ready], false);
        let mut app = hythe_dialect_pm2::App::new(path.clone());
        app.interpreter = Some(hythe_dialect_pm2::Interpreter::Direct);
        app.kill_timeout_ms = 7_000;
        live.labels.insert(label::APP.to_owned(), app.remembered());
        live.labels.insert(label::SCRIPT.to_owned(), path);
        live.numbered.insert("pm_id".to_owned(), 4);
        let mut services = processes(vec![(service("api", &[], false).0, live)]).services;
        let known = services.remove("api").unwrap();

        let options = Options {
            namespace: Some("shop".to_owned()),
            ..Options::default()
        };
        let after = changed_one(&known, &options, None).unwrap();
        assert_eq!(
            (after.replicas, after.stop_grace_period_ms),
            (Replicas::Count(2), 7_000)
        );
        assert_eq!(after.environment, known.workload.environment);
        assert_eq!(
            (after.labels[label::NAMESPACE].as_str(), after.numbered["pm_id"]),
            ("shop", 4)
        );
        assert_eq!(after.labels[label::CREATED_AT], "1000");

        let options = Options {
            instances: Some("3".to_owned()),
            kill_timeout: Some("1600".to_owned()),
            ..Options::default()
        };
        let shell = [("SECRET".to_owned(), "new".to_owned())].into();
        let after = changed_one(&known, &options, Some(&shell)).unwrap();
        assert_eq!(
            (after.replicas, after.stop_grace_period_ms),
            (Replicas::Count(3), 1_600)
        );
        assert_eq!(after.environment["SECRET"], "new");
        assert_eq!(after.environment["USER"], "web");

        let options = Options {
            name: Some("other".to_owned()),
            ..Options::default()
        };
        assert!(changed_one(&known, &options, None).is_err());
    }
}

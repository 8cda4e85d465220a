//! Changes of what is known: `stop`, `delete`, `scale`, `reset`, `kill`.
//!
//! Words are taken one after the other, and the first that means nothing ends it. What is stopped or removed is so as a
//! whole service: of several instances that share a port no single one can be picked out, so a number that means one of
//! them is refused with what to say instead. A restart of one replaces all, which costs nobody anything.

use hythe_api::wire::{ActionRequest, ReplicasText, ScaleRequest};
use hythe_model::view::{ChangeView, ServiceView};

use super::ids::Ids;
use super::processes::{Process, Processes};
use super::words::ScaleWords;
use super::{Pm2, list, start};
use crate::arguments::WaitOptions;
use crate::client::{Presence, encode};
use crate::failure::{Exit, Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::start::refused;
use crate::wait::{self, Subject};
use crate::{Context, server};

/// How long a change may take to be live.
const LIVE: &str = "2m";

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
pub(crate) fn in_part(processes: &Processes, meant: &[&Process]) -> Vec<(String, usize)> {
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
        return delete(pm2, std::slice::from_ref(&words.app));
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
pub(crate) fn ask<'a>(
    pm2: &Pm2,
    services: impl Iterator<Item = (&'a String, &'static str)>,
) -> Outcome<ChangeView> {
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

/// Asks for one change after the other, up to the first that is refused; the last of them: when it is live, all are.
fn last(changes: impl Iterator<Item = Outcome<ChangeView>>) -> Outcome<ChangeView> {
    let mut last = ChangeView::default();
    for change in changes {
        last = change?;
    }
    Ok(last)
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

pub(crate) fn ids(processes: &[&Process]) -> Vec<u32> {
    processes.iter().map(|process| process.id).collect()
}

pub(crate) fn tick(pm2: &mut Pm2, processes: &Processes, done: &[&Process]) -> Outcome {
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
}

//! `restart` and `reload`: new instances for what is known, with what flags and shell say now over what was said before.
//!
//! Both replace instances one by one. An app remembers its flags ([`App::remembered`](hythe_dialect_pm2::App::remembered)),
//! so that one flag more changes one thing: the app is planned anew from what it remembers, with the environment that it
//! has in place of the shell's.

use hythe_dialect_pm2::environment::{Variables, restarted_by_name};
use hythe_dialect_pm2::workload::{self, Surroundings, label};
use hythe_dialect_pm2::{FilterEnv, Options};
use hythe_model::{Name, Workload};

use super::change::{applying, ask, await_live, ids, in_part, tick};
use super::processes::{Processes, Service};
use super::words::{EnvironmentWords, RestartWords, StartWords};
use super::{Pm2, list, start};
use crate::failure::{Exit, Failure, Outcome};
use crate::start::{cores, refused, shell};

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

#[cfg(test)]
mod tests {
    use hythe_model::InstanceState;
    use hythe_model::workload::Replicas;

    use super::*;
    use crate::pm2::processes::tests::{processes, service};

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

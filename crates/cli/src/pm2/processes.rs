//! What runs, as PM2 lists it: a process for each place among the instances of a service.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use hythe_dialect_pm2::selector::{self, SelectError};
use hythe_dialect_pm2::workload::label;
use hythe_dialect_pm2::{App, Interpreter};
use hythe_model::view::{InstanceView, ServiceView};
use hythe_model::{Exit, InstanceState, Name, Workload};

use super::PROJECT;
use super::ids::{Book, Ids, Restarts};
use crate::client::Client;
use crate::failure::{Exit as Code, Failure, Outcome};
use crate::start::cores;

/// Everything that runs, or is stopped.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    /// The apps, by the name of their service.
    pub(crate) services: BTreeMap<String, Service>,
    /// Their processes, by id.
    pub(crate) list: Vec<Process>,
}

/// An app.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) workload: Workload,
    pub(crate) app: App,
    /// As PM2 calls it; its service may be called otherwise.
    pub(crate) name: String,
    pub(crate) namespace: String,
}

/// One process of an app.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) id: u32,
    /// The name of its service.
    pub(crate) service: String,
    /// Its place among the instances (`NODE_APP_INSTANCE`).
    pub(crate) place: u32,
    pub(crate) status: Status,
    pub(crate) restarts: u64,
    /// The same, as it is counted.
    pub(crate) counted: Restarts,
    /// What runs there.
    pub(crate) pid: Option<u32>,
    /// Unix milliseconds, while it runs.
    pub(crate) started_at: Option<u64>,
    pub(crate) last_exit: Option<Exit>,
    pub(crate) cpu_millis: u32,
    pub(crate) memory_bytes: u64,
}

/// PM2's words for the states of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Online,
    Launching,
    Stopping,
    Stopped,
    Errored,
    Waiting,
}

impl Processes {
    /// Asks the server.
    pub(crate) fn read(client: &Client, ids: &mut Ids) -> Outcome<Self> {
        let services: Vec<ServiceView> = client.get(&format!("/v1/services?project={PROJECT}"))?;
        let workloads: BTreeMap<Name, Workload> = client.get(&format!("/v1/projects/{PROJECT}/workloads"))?;
        Ok(Self::of(&services, workloads, &mut ids.book))
    }

    /// Puts together what is known; gives numbers to those that have none.
    pub(crate) fn of(views: &[ServiceView], workloads: BTreeMap<Name, Workload>, book: &mut Book) -> Self {
        let services: BTreeMap<String, Service> = workloads
            .into_iter()
            .filter_map(|(name, workload)| Some((name.to_string(), Service::of(workload)?)))
            .collect();
        book.keep(
            &services
                .iter()
                .map(|(name, service)| (name.clone(), (service.count(), service.workload.restarts_asked)))
                .collect(),
        );
        let mut list = Vec::new();
        for (name, service) in &services {
            let view = views.iter().find(|view| view.name == *name);
            for place in 0..service.count() {
                list.extend(service.process(name, place, view, book));
            }
        }
        list.sort_by_key(|process| process.id);
        Self { services, list }
    }

    /// The app that a process is of.
    pub(crate) fn service(&self, process: &Process) -> Option<&Service> {
        self.services.get(&process.service)
    }

    /// The processes that a word means, by id.
    ///
    /// # Errors
    /// It means none.
    pub(crate) fn select(&self, which: &str) -> Outcome<Vec<&Process>> {
        let named: Vec<_> = self
            .list
            .iter()
            .filter_map(|process| {
                let service = self.service(process)?;
                Some(selector::Process {
                    id: process.id,
                    name: &service.name,
                    namespace: &service.namespace,
                })
            })
            .collect();
        let ids = selector::select(which, &named).map_err(|error| refused(&error))?;
        Ok(self
            .list
            .iter()
            .filter(|process| ids.contains(&process.id))
            .collect())
    }

    /// The processes of a service.
    pub(crate) fn of_service(&self, service: &str) -> impl Iterator<Item = &Process> {
        self.list.iter().filter(move |process| process.service == service)
    }

    /// The services of some processes, in the order of their numbers.
    pub(crate) fn services_of(processes: &[&Process]) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let services = processes.iter().map(|process| process.service.clone());
        services.filter(|service| seen.insert(service.clone())).collect()
    }
}

fn refused(error: &SelectError) -> Failure {
    let message = match error {
        SelectError::Unknown(which) => format!("Process or Namespace {which} not found"),
        SelectError::Nothing => "No process found".to_owned(),
        SelectError::Regex { .. } => error.to_string(),
    };
    Failure::new(Code::NotFound, message)
}

impl Service {
    /// `None` for what was not started as an app.
    fn of(workload: Workload) -> Option<Self> {
        let label = |name: &str| workload.labels.get(name).cloned();
        let name = label(label::NAME)?;
        let namespace = label(label::NAMESPACE).unwrap_or_else(|| "default".to_owned());
        let app = label(label::APP).and_then(|text| App::recalled(&text));
        let app = app.unwrap_or_else(|| App::new(label(label::SCRIPT).unwrap_or_else(|| name.clone())));
        Some(Self {
            workload,
            app,
            name,
            namespace,
        })
    }

    /// How many processes it has, or would have if it were not stopped.
    pub(crate) fn count(&self) -> u32 {
        self.workload.replicas.on(cores())
    }

    /// A label's value; empty if it has none.
    pub(crate) fn label(&self, name: &str) -> &str {
        self.workload.labels.get(name).map_or("", String::as_str)
    }

    /// `cluster` or `fork`.
    pub(crate) fn mode(&self) -> &str {
        let mode = self.label(label::EXEC_MODE);
        mode.strip_suffix("_mode").unwrap_or(mode)
    }

    /// The script with what follows it, if it is a command.
    pub(crate) fn script(&self) -> &str {
        self.label(label::SCRIPT)
    }

    /// Whether the script is a command of a shell.
    pub(crate) fn is_command(&self) -> bool {
        self.app.interpreter == Some(Interpreter::Shell)
    }

    fn process(&self, name: &str, place: u32, view: Option<&ServiceView>, book: &Book) -> Option<Process> {
        let instance = view.and_then(|view| current(&view.instances, place));
        let is_asleep = view.is_some_and(|view| view.asleep);
        let counted = Restarts {
            asked: self.workload.restarts_asked,
            instance: instance.map(|instance| instance.id.clone()).unwrap_or_default(),
            exits: instance.map_or(0, |instance| instance.restarts),
        };
        Some(Process {
            id: book.id(name, place)?,
            service: name.to_owned(),
            place,
            status: Status::of(instance, self.workload.stopped || is_asleep),
            restarts: book.counted(name, place, &counted),
            counted,
            pid: instance.and_then(|instance| instance.pid),
            started_at: instance
                .filter(|instance| instance.pid.is_some())
                .and_then(|instance| instance.started_at),
            last_exit: instance.and_then(|instance| instance.last_exit),
            cpu_millis: instance.map_or(0, |instance| instance.cpu_millis),
            memory_bytes: instance.map_or(0, memory),
        })
    }
}

/// What an instance uses; one that was just started is looked at here, before the server has.
fn memory(instance: &InstanceView) -> u64 {
    match (instance.memory_bytes, instance.pid) {
        (0, Some(pid)) => resident(pid).unwrap_or(0),
        (known, _) => known,
    }
}

/// Resident memory of a process, bytes.
fn resident(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    kibibytes.checked_mul(1_024)
}

/// What fills a place: one that is replaced gives way to the one that replaces it, as soon as that serves.
fn current(instances: &[InstanceView], place: u32) -> Option<&InstanceView> {
    let rank = |instance: &&InstanceView| match instance.state {
        InstanceState::Ready | InstanceState::Unhealthy => 3,
        InstanceState::Draining | InstanceState::Stopping => 1,
        _ => 2,
    };
    instances
        .iter()
        .filter(|instance| instance.slot == place)
        .max_by_key(rank)
}

impl Status {
    fn of(instance: Option<&InstanceView>, stopped: bool) -> Self {
        let Some(instance) = instance else {
            return if stopped { Self::Stopped } else { Self::Launching };
        };
        match instance.state {
            InstanceState::Ready | InstanceState::Unhealthy => Self::Online,
            InstanceState::Waiting | InstanceState::Starting => Self::Launching,
            InstanceState::Draining | InstanceState::Stopping => Self::Stopping,
            InstanceState::Backoff => Self::Waiting,
            InstanceState::Failed => Self::Errored,
            InstanceState::Completed => Self::Stopped,
        }
    }

    /// As PM2 writes it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Launching => "launching",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Errored => "errored",
            Self::Waiting => "waiting restart",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A service as the API shows it, with the states of its places, and its workload.
    pub(crate) fn service(name: &str, states: &[InstanceState], stopped: bool) -> (ServiceView, Workload) {
        let mut workload = Workload::new(
            vec!["node".to_owned(), "/srv/app.js".to_owned()],
            PathBuf::from("/srv"),
        );
        let app = App::new("/srv/app.js");
        workload.labels = [
            (label::NAME, name),
            (label::NAMESPACE, "default"),
            (label::EXEC_MODE, "cluster_mode"),
            (label::SCRIPT, "/srv/app.js"),
            (label::INTERPRETER, "node"),
            (label::ARGS, "[]"),
            (label::NODE_ARGS, "[]"),
            (label::APP, &app.remembered()),
            (label::CREATED_AT, "1000"),
        ]
        .map(|(label, value)| (label.to_owned(), value.to_owned()))
        .into();
        workload.environment = [("USER", "web"), ("SECRET", "it's")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        workload.stopped = stopped;
        workload.replicas =
            hythe_model::workload::Replicas::Count(u32::try_from(states.len()).unwrap().max(1));
        let instances = states.iter().zip(0..).map(|(state, slot)| InstanceView {
            id: format!("{name}-{}", slot + 1),
            slot,
            pid: state.is_alive().then_some(100 + slot),
            address: None,
            listening: None,
            state: *state,
            restarts: slot,
            revision: String::new(),
            started_at: Some(1_000),
            last_exit: None,
            cause: None,
            message: None,
            cpu_millis: 123,
            memory_bytes: 54_128_640,
            in_flight: 0,
        });
        let view = ServiceView {
            name: name.to_owned(),
            project: "default".to_owned(),
            kind: "process".to_owned(),
            ready: 0,
            desired: 0,
            settled: true,
            stopped,
            asleep: false,
            failure: None,
            warnings: Vec::new(),
            instances: instances.collect(),
            routes: Vec::new(),
            published: Vec::new(),
            labels: workload.labels.clone(),
            endpoints: Vec::new(),
        };
        (view, workload)
    }

    /// What is listed of these services.
    pub(crate) fn processes(services: Vec<(ServiceView, Workload)>) -> Processes {
        let views: Vec<ServiceView> = services.iter().map(|(view, _)| view.clone()).collect();
        let workloads = services
            .into_iter()
            .map(|(view, workload)| (view.name.parse().unwrap(), workload));
        Processes::of(&views, workloads.collect(), &mut Book::default())
    }

    #[test]
    fn states_have_pm2s_words() {
        use InstanceState::*;
        let states = [
            Ready, Unhealthy, Starting, Waiting, Draining, Stopping, Backoff, Failed, Completed,
        ];
        let listed = processes(vec![service("api", &states, false), service("web", &[], true)]);
        let said: Vec<String> = listed
            .list
            .iter()
            .map(|process| format!("{} {} {}", process.id, process.service, process.status))
            .collect();
        assert_eq!(
            said,
            [
                "0 api online",
                "1 api online",
                "2 api launching",
                "3 api launching",
                "4 api stopping",
                "5 api stopping",
                "6 api waiting restart",
                "7 api errored",
                "8 api stopped",
                "9 web stopped",
            ]
        );
    }

    #[test]
    fn who_is_replaced_gives_way() {
        let (mut view, workload) = service("api", &[InstanceState::Draining, InstanceState::Ready], false);
        view.instances[1].slot = 0;
        let workload = Workload {
            replicas: hythe_model::workload::Replicas::Count(1),
            ..workload
        };
        let listed = processes(vec![(view, workload)]);
        assert_eq!(listed.list.len(), 1);
        assert_eq!(listed.list[0].pid, Some(101));
    }

    #[test]
    fn words_mean_processes_or_are_refused() {
        let listed = processes(vec![
            service("api", &[InstanceState::Ready, InstanceState::Ready], false),
            service("web", &[], true),
        ]);
        let ids = |which: &str| match listed.select(which) {
            Ok(processes) => format!(
                "{:?}",
                processes.iter().map(|process| process.id).collect::<Vec<_>>()
            ),
            Err(failure) => failure.message,
        };
        assert_eq!(ids("api"), "[0, 1]");
        assert_eq!(ids("2"), "[2]");
        assert_eq!(ids("all"), "[0, 1, 2]");
        assert_eq!(ids("/^w/"), "[2]");
        assert_eq!(ids("nope"), "Process or Namespace nope not found");
        let none = Processes::default().select("all").unwrap_err();
        assert_eq!(none.message, "No process found");
    }

    #[test]
    fn what_was_not_started_as_an_app_is_not_listed() {
        let (view, mut workload) = service("api", &[InstanceState::Ready], false);
        workload.labels.clear();
        assert!(processes(vec![(view, workload)]).list.is_empty());
    }
}

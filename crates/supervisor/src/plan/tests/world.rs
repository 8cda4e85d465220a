//! A world without processes: scripts say what is desired and what happens, the world answers requests at
//! once and writes down every action.
//!
//! ```text
//! > want users x2 a             desire 2 copies of revision `a`; options behind it, see [`World::want`]
//! > users-1 ready               what its probes say: ready, unhealthy, refused
//! > users-1 exit 1              its process ends with this code
//! > users-1 drained             its requests have ended
//! > find users-3 slot 0 a ready the runtime has this one (before the first turn, or after `> lost`)
//! > users-1 uses 301M           what its processes use, measured once
//! > users-1 hangs               its liveness check fails
//! > changed users a.js          files that it watches change
//! > cron users 5s               its cron expression comes due in 5 s
//! > +100ms                      time passes
//! > show                        what is published
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hythe_model::workload::{Condition, Dependency, Replicas, RestartPolicy, UpdateOrder};
use hythe_model::{Desired, Entry, Exit, FullName, InstanceId, Instances, Workload};
use hythe_stdx::{parse_duration, parse_size};

use crate::backoff::millis;
use crate::observed::{Due, Heard, Observed, Renewal, StopAll, Sync};
use crate::plan::{Action, plan};
use crate::runtime::{Found, Record, StopBy, Usage};
use crate::unit::{Health, Phase};
use crate::view::view;
use crate::{Backoff, Rules};

pub(super) const START: u64 = 1_000_000;

pub(super) struct World {
    pub(super) desired: Desired,
    pub(super) observed: Observed,
    pub(super) rules: Rules,
    pub(super) now: u64,
    pub(super) wake_at: Option<u64>,
    /// Requests that were not answered yet.
    pub(super) asked: Vec<Action>,
    found: Vec<Found>,
    next_pid: u32,
}

impl World {
    pub(super) fn new() -> Self {
        let rules = Rules {
            cores: 4,
            drain_timeout: Duration::from_secs(30),
            backoff: Backoff::default(),
        };
        Self {
            desired: Desired::default(),
            observed: Observed::default(),
            rules,
            now: START,
            wake_at: None,
            asked: Vec::new(),
            found: Vec::new(),
            next_pid: 100,
        }
    }

    /// One turn of the supervisor: everything it wants now.
    pub(super) fn turn(&mut self) -> Vec<Action> {
        let mut all = Vec::new();
        for _round in 0..16 {
            self.observed.refresh(&self.desired, &self.rules, self.now);
            let plan = plan(&self.desired, &self.observed, &self.rules, self.now);
            self.wake_at = plan.wake_at;
            if plan.actions.is_empty() {
                return all;
            }
            for action in plan.actions {
                self.observed.begin(&action, self.now);
                if !matches!(
                    action,
                    Action::Create { .. }
                        | Action::Drain { .. }
                        | Action::FailUpdate { .. }
                        | Action::Renew { .. }
                ) {
                    self.asked.push(action.clone());
                }
                all.push(action);
            }
        }
        panic!("the plan does not come to an end: {all:?}");
    }

    /// The runtime does what it was asked.
    pub(super) fn answer(&mut self, action: Action) {
        let (backoff, now) = (self.rules.backoff, self.now);
        match action {
            Action::List => self
                .observed
                .listed(&std::mem::take(&mut self.found), &backoff, now),
            Action::Start { id, .. } => {
                self.next_pid += 1;
                let unit = &self.observed.units[&id];
                let listens = unit
                    .workload
                    .as_ref()
                    .is_some_and(|entry| entry.spec.port.is_some());
                let address = listens.then(|| ([127, 0, 0, 1], 20_000).into());
                self.observed.started(&id, self.next_pid, address, &backoff, now);
            }
            Action::Forget { id } => self.observed.forgotten(&id, now),
            Action::Kill { id } => {
                self.observed.answered(&id, Heard::Done, now);
                self.exit(
                    &id,
                    Exit {
                        code: None,
                        signal: Some(9),
                        at: now,
                        out_of_memory: None,
                    },
                );
            }
            Action::Record { id } | Action::Stop { id } | Action::Restart { id } | Action::Sweep { id } => {
                self.observed.answered(&id, Heard::Done, now);
            }
            Action::Create { .. }
            | Action::Drain { .. }
            | Action::FailUpdate { .. }
            | Action::Renew { .. } => {}
        }
    }

    /// The runtime refuses a request or does not answer it; in either case it did nothing.
    pub(super) fn refuse(&mut self, which: usize, said: bool) {
        let reason = "no such program".to_owned();
        match self.asked.remove(which) {
            Action::Start { id, .. } if said => {
                self.observed.refused(&id, reason, &self.rules.backoff, self.now);
            }
            Action::Start { id, .. } => self.observed.start_unanswered(&id, self.now),
            Action::Record { id }
            | Action::Stop { id }
            | Action::Restart { id }
            | Action::Kill { id }
            | Action::Forget { id } => {
                self.observed.answered(&id, Heard::Nothing, self.now);
            }
            Action::List => self.observed.list_failed(self.now),
            other => self.answer(other),
        }
    }

    /// The runtime has what is believed to be alive.
    pub(super) fn find_everything_alive(&mut self) {
        let alive = self.observed.units.values().filter(|unit| unit.is_alive());
        let found = alive.filter_map(|unit| {
            Some(Found {
                record: unit.record(),
                pid: unit.pid?,
                exit: None,
                bound: None,
                said_ready: false,
            })
        });
        self.found = found.collect();
    }

    pub(super) fn exit(&mut self, id: &InstanceId, exit: Exit) {
        if let Some(pid) = self.observed.units.get(id).and_then(|unit| unit.pid) {
            self.observed.exited(id, pid, exit, &self.rules.backoff, self.now);
        }
    }

    pub(super) fn probe(&mut self, id: &InstanceId, health: Health, message: Option<&str>) {
        if let Some(pid) = self.observed.units.get(id).and_then(|unit| unit.pid) {
            self.observed
                .probed(id, pid, health, message.map(str::to_owned), self.now);
        }
    }

    pub(super) fn drained(&mut self, id: &InstanceId) {
        if let Some(pid) = self.observed.units.get(id).and_then(|unit| unit.pid) {
            self.observed.drained(id, pid);
        }
    }

    pub(super) fn hang(&mut self, id: &InstanceId) {
        if let Some(pid) = self.observed.units.get(id).and_then(|unit| unit.pid) {
            self.observed.hung(id, pid, "no answer");
        }
    }

    pub(super) fn measure(&mut self, id: &InstanceId, memory_bytes: u64) {
        if let Some(pid) = self.observed.units.get(id).and_then(|unit| unit.pid) {
            let usage = Usage {
                cpu_us: 0,
                waited_us: 0,
                memory_bytes,
            };
            let backoff = self.rules.backoff;
            self.observed.measured(id, pid, usage, &backoff, self.now);
        }
    }

    pub(super) fn published(&self) -> Instances {
        view(
            &self.desired,
            &self.observed,
            &self.rules,
            &Instances::default(),
            self.now,
        )
    }

    pub(super) fn desire(&mut self, service: &str, workload: Option<Workload>) {
        self.desired.generation += 1;
        let name: FullName = service.parse().unwrap();
        let generation = self.desired.generation;
        let workloads = Arc::make_mut(&mut self.desired.workloads);
        match workload {
            Some(spec) => {
                let entry = Entry {
                    uid: String::new(),
                    generation,
                    created_at: 0,
                    spec,
                };
                workloads.insert(name, Arc::new(entry));
            }
            None => drop(workloads.remove(&name)),
        }
    }

    /// Turns and answers until nothing is asked any more; the actions, one a line.
    fn settle(&mut self) -> String {
        let mut text = String::new();
        loop {
            for action in self.turn() {
                writeln!(text, "  {action}").unwrap();
            }
            if self.asked.is_empty() {
                return text;
            }
            for action in std::mem::take(&mut self.asked) {
                self.answer(action);
            }
        }
    }

    fn command(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["want", service, copies, revision, ref options @ ..] => {
                self.desire(service, Some(workload(copies, revision, options)));
            }
            ["drop", ref services @ ..] => services.iter().for_each(|service| self.desire(service, None)),
            ["find", id, "slot", slot, revision, ref flags @ ..] => {
                self.found.push(found(id, slot.parse().unwrap(), revision, flags));
                return String::new();
            }
            ["changed", service, file] => {
                let reason = format!("{file} changed");
                self.observed
                    .renew(&service.parse().unwrap(), Renewal::Files, &reason);
            }
            ["cron", service, after] => {
                let due = Due {
                    expression: "@daily".to_owned(),
                    at: Some(self.now + millis(parse_duration(after).unwrap())),
                    wall_at: None,
                    used: 0,
                    outdated: false,
                };
                let memories = &mut self.observed.memories;
                memories.get_mut(&service.parse().unwrap()).unwrap().due = Some(due);
            }
            ["lost"] => {
                self.observed.lost(self.now);
                return String::new();
            }
            ["turn"] => {}
            ["show"] => return self.show(),
            ["stop-all", deadline] => {
                let deadline = millis(parse_duration(deadline).unwrap());
                let (drain_until, kill_at) = (self.now + deadline / 2, self.now + deadline);
                self.observed.stop_all = Some(StopAll { drain_until, kill_at });
            }
            [id, "ready"] => self.probe(&instance(id), Health::Ready, None),
            [id, "unhealthy"] => self.probe(&instance(id), Health::Unhealthy, Some("no answer")),
            [id, "refused"] => self.probe(&instance(id), Health::Pending, Some("refused")),
            [id, "hangs"] => self.hang(&instance(id)),
            [id, "uses", size] => self.measure(&instance(id), parse_size(size).unwrap()),
            [id, "drained"] => self.drained(&instance(id)),
            [id, "exit", code] => {
                let code = code.parse().unwrap();
                self.exit(
                    &instance(id),
                    Exit {
                        code: Some(code),
                        signal: None,
                        at: self.now,
                        out_of_memory: None,
                    },
                );
            }
            [wait] if wait.starts_with('+') => self.now += millis(parse_duration(&wait[1..]).unwrap()),
            _ => panic!("not a command: {line}"),
        }
        self.settle()
    }

    fn show(&self) -> String {
        let mut text = String::new();
        for (name, service) in &self.published().services {
            let settled = if service.settled { "settled" } else { "not settled" };
            let failure = service
                .failure
                .as_ref()
                .map(|why| format!(", {why}"))
                .unwrap_or_default();
            writeln!(text, "  {name}: {} wanted, {settled}{failure}", service.desired).unwrap();
            for instance in &service.instances {
                let message = instance
                    .message
                    .as_ref()
                    .map(|why| format!(", {why}"))
                    .unwrap_or_default();
                let restarts = match instance.restarts {
                    0 => String::new(),
                    restarts => format!(", {restarts} restarts"),
                };
                let cause = instance
                    .cause
                    .as_ref()
                    .map(|why| format!(", because {why}"))
                    .unwrap_or_default();
                writeln!(
                    text,
                    "    {} {}{restarts}{message}{cause}",
                    instance.id, instance.state
                )
                .unwrap();
            }
        }
        text
    }
}

/// Runs the commands of `script` (lines that start with `>`) and compares what happens with the rest of it.
pub(super) fn check(script: &str) {
    let mut world = World::new();
    let indent = script
        .lines()
        .find(|line| line.trim().starts_with('>'))
        .map_or(0, indentation);
    let wanted: Vec<&str> = script
        .lines()
        .map(|line| line.get(indent..).unwrap_or(""))
        .collect();
    let mut happened = String::new();
    for line in wanted.iter().filter(|line| line.starts_with('>')) {
        happened += &format!("{line}\n{}", world.command(&line[1..]));
    }
    let wanted = wanted.join("\n");
    assert!(wanted.trim() == happened.trim(), "what happened:\n{happened}");
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn instance(id: &str) -> InstanceId {
    InstanceId(id.into())
}

/// `copies` is `x3`, or `stopped`. Options: `port`, `restart=always|no|at-most-2`, `stop-first`,
/// `surge=2`, `delay=1s`, `grace=1s`, `timeout=5s`, `needs=db[:healthy|completed][:optional][:restart]`; of its rules
/// `final=3`, `uptime=5s`, `quick=2`, `wait=1s`, `growing=1s`, `memory=300M`.
pub(super) fn workload(copies: &str, revision: &str, options: &[&str]) -> Workload {
    let mut workload = Workload::new(vec!["/bin/app".to_owned()], PathBuf::from("/"));
    workload
        .environment
        .insert("REVISION".to_owned(), revision.to_owned());
    match copies.strip_prefix('x') {
        Some(count) => workload.replicas = Replicas::Count(count.parse().unwrap()),
        None => workload.stopped = true,
    }
    let ms = |text: &str| millis(parse_duration(text).unwrap());
    for option in options {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        match name {
            "port" => workload.port = Some(3000),
            "restart" => workload.restart = policy(value),
            "stop-first" => workload.update.order = UpdateOrder::StopFirst,
            "surge" => workload.update.max_surge = value.parse().unwrap(),
            "delay" => workload.update.delay_ms = ms(value),
            "timeout" => workload.update.ready_timeout_ms = ms(value),
            "grace" => workload.stop_grace_period_ms = ms(value),
            "final" => workload
                .restart_rules
                .stop_exit_codes
                .push(value.parse().unwrap()),
            "uptime" => workload.restart_rules.min_uptime_ms = Some(ms(value)),
            "quick" => workload.restart_rules.max_quick_exits = Some(value.parse().unwrap()),
            "wait" => workload.restart_rules.delay_ms = Some(ms(value)),
            "growing" => workload.restart_rules.backoff_ms = Some(ms(value)),
            "memory" => workload.memory_restart_bytes = Some(parse_size(value).unwrap()),
            "needs" => {
                let (name, dependency) = dependency(value);
                workload.depends_on.insert(name.parse().unwrap(), dependency);
            }
            _ => panic!("not an option: {option}"),
        }
    }
    workload
}

fn policy(text: &str) -> RestartPolicy {
    match text {
        "no" => RestartPolicy::No,
        "always" => RestartPolicy::Always,
        _ => RestartPolicy::OnFailureAtMost(text.strip_prefix("at-most-").unwrap().parse().unwrap()),
    }
}

fn dependency(text: &str) -> (&str, Dependency) {
    let mut words = text.split(':');
    let name = words.next().unwrap();
    let mut dependency = Dependency {
        condition: Condition::ServiceStarted,
        restart: false,
        required: true,
    };
    for word in words {
        match word {
            "healthy" => dependency.condition = Condition::ServiceHealthy,
            "completed" => dependency.condition = Condition::ServiceCompletedSuccessfully,
            "optional" => dependency.required = false,
            "restart" => dependency.restart = true,
            _ => panic!("not of a dependency: {word}"),
        }
    }
    (name, dependency)
}

/// What the runtime has; the flags are `ready`, `stopping` and `exited`.
fn found(id: &str, slot: u32, revision: &str, flags: &[&str]) -> Found {
    let service = id.rsplit_once('-').unwrap().0.parse().unwrap();
    let record = Record {
        id: instance(id),
        service,
        slot,
        revision: workload("x1", revision, &["port"]).revision(),
        address: Some(([127, 0, 0, 1], 20_000).into()),
        publish: false,
        restarts: 0,
        started_at: START - 60_000,
        ready: flags.contains(&"ready"),
        stopping: flags.contains(&"stopping"),
        stop_signal: 15,
        stop_grace_period_ms: 10_000,
        stop_by: StopBy::Signal,
    };
    let exit = Exit {
        code: Some(1),
        signal: None,
        at: START - 1000,
        out_of_memory: None,
    };
    Found {
        record,
        pid: 50 + slot,
        exit: flags.contains(&"exited").then_some(exit),
        bound: None,
        said_ready: false,
    }
}

/// How many units of each service take a place.
pub(super) fn places(observed: &Observed) -> BTreeMap<FullName, usize> {
    let mut places = BTreeMap::new();
    for unit in observed.units.values().filter(|unit| unit.takes_a_place()) {
        *places.entry(unit.service.clone()).or_default() += 1;
    }
    places
}

/// Whether the runtime was asked for everything and nothing is under way.
pub(super) fn is_quiet(world: &World) -> bool {
    let launching = |phase: &Phase| matches!(phase, Phase::Launching { .. });
    world.observed.sync == Sync::Done
        && world.asked.is_empty()
        && !world.observed.units.values().any(|unit| launching(&unit.phase))
}

//! The supervisor's task: owns the observed state and is the only one to change it.

mod notes;
mod schedule;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use hythe_model::{Desired, FullName, InstanceId, Instances};
use hythe_spine::{Latest, Publisher, Shutdown, Spine, until};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Interval, MissedTickBehavior};

use crate::backoff::millis;
use crate::clock::Clock;
use crate::execute::{Answer, Request, StartAnswer, execute};
use crate::files::FileWatches;
use crate::handle::Command;
use crate::launch::Launch;
use crate::observed::{Heard, Observed, Renewal, StopAll, Sync};
use crate::plan::{Action, plan};
use crate::probe::Verdict;
use crate::runtime::{RuntimeEvent, Usage};
use crate::scaling::Scales;
use crate::view::{is_same, view};
use crate::watch::Watches;
use crate::{Inputs, Rules};
use schedule::Wall;

/// What the supervisor's own tasks report.
#[derive(Debug)]
pub(crate) enum Event {
    Answered(Answer),
    Probed {
        id: InstanceId,
        pid: u32,
        verdict: Verdict,
    },
    Drained {
        id: InstanceId,
        pid: u32,
    },
    Hung {
        id: InstanceId,
        pid: u32,
        reason: String,
    },
    /// Files that `service` watches have changed.
    FilesChanged {
        service: FullName,
        what: String,
    },
    /// They cannot be watched, at least not now.
    NotWatched {
        service: FullName,
        why: String,
    },
    Measured(Vec<(InstanceId, u32, Usage)>),
}

/// The state and what is needed to act on it.
pub(crate) struct Owner {
    rules: Rules,
    gateway_url: String,
    inputs: Inputs,
    scales: Latest<Scales>,
    clock: Clock,
    observed: Observed,
    publisher: Publisher<Instances>,
    watches: Watches,
    file_watches: FileWatches,
    wall: Wall,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Receiver<Event>,
    report: mpsc::Sender<Event>,
    runtime_events: Option<mpsc::Receiver<RuntimeEvent>>,
    wake_at: Option<u64>,
    measuring: bool,
    /// Whether the last measurement was one of everybody.
    measured_all: bool,
    stopped: Vec<oneshot::Sender<()>>,
    spine: Spine,
}

/// What can wake the supervisor.
enum Wake {
    Desired,
    Event(Event),
    Runtime(Option<RuntimeEvent>),
    Command(Command),
    Timer,
    Measure,
}

const EVENT_QUEUE: usize = 1024;
/// Those that may be starting; of the others each second time.
const MEASURE_EVERY: Duration = Duration::from_millis(500);

impl Owner {
    pub(crate) fn new(
        rules: Rules,
        gateway_url: String,
        inputs: Inputs,
        scales: Latest<Scales>,
        publisher: Publisher<Instances>,
        commands: mpsc::Receiver<Command>,
        spine: Spine,
    ) -> Self {
        let (report, events) = mpsc::channel(EVENT_QUEUE);
        let (runtime, traffic) = (Arc::clone(&inputs.runtime), Arc::clone(&inputs.traffic));
        let watches = Watches::new(runtime, traffic, report.clone(), gateway_url.clone());
        Self {
            rules,
            gateway_url,
            inputs,
            scales,
            clock: Clock::start(),
            observed: Observed::default(),
            publisher,
            watches,
            file_watches: FileWatches::new(report.clone()),
            wall: Wall::read(),
            commands,
            events,
            report,
            runtime_events: None,
            wake_at: None,
            measuring: false,
            measured_all: false,
            stopped: Vec::new(),
            spine,
        }
    }

    /// Supervises until shutdown; instances run on.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        let mut measure = tokio::time::interval(MEASURE_EVERY);
        measure.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.turn();
        while let Some(wake) = shutdown.unless_requested(self.next(&mut measure)).await {
            if matches!(wake, Wake::Measure) {
                self.measure();
                if !self.look_at_the_wall() {
                    continue;
                }
            }
            self.take_in(wake);
            self.take_in_what_is_queued();
            self.turn();
        }
    }

    async fn next(&mut self, measure: &mut Interval) -> Wake {
        let timer = self.wake_at.map(|at| self.clock.instant(at));
        let runtime_event = async {
            match &mut self.runtime_events {
                Some(events) => events.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = runtime_event => Wake::Runtime(event),
            Some(event) = self.events.recv() => Wake::Event(event),
            () = self.inputs.desired.changed() => Wake::Desired,
            () = self.scales.changed() => Wake::Desired,
            Some(command) = self.commands.recv() => Wake::Command(command),
            () = until(timer) => Wake::Timer,
            _ = measure.tick() => Wake::Measure,
        }
    }

    fn take_in(&mut self, wake: Wake) {
        match wake {
            Wake::Desired | Wake::Timer | Wake::Measure => {}
            Wake::Event(event) => self.take_in_event(event),
            Wake::Runtime(event) => self.take_in_runtime_event(event),
            Wake::Command(Command::StopAll { deadline, done }) => {
                let (now, deadline) = (self.clock.now_ms(), millis(deadline));
                self.observed.stop_all = Some(StopAll {
                    drain_until: now + deadline / 2,
                    kill_at: now.saturating_add(deadline),
                });
                self.stopped.push(done);
            }
        }
    }

    /// A storm of exits is one turn, not one turn each.
    fn take_in_what_is_queued(&mut self) {
        for _ in 0..EVENT_QUEUE {
            let Ok(event) = self.events.try_recv() else {
                break;
            };
            self.take_in_event(event);
        }
        for _ in 0..EVENT_QUEUE {
            match self.runtime_events.as_mut().map(mpsc::Receiver::try_recv) {
                Some(Ok(event)) => self.take_in_runtime_event(Some(event)),
                _ => break,
            }
        }
    }

    fn take_in_runtime_event(&mut self, event: Option<RuntimeEvent>) {
        let now = self.clock.now_ms();
        match event {
            Some(RuntimeEvent::Exited { id, pid, exit }) => {
                if self.observed.exited(&id, pid, exit, &self.rules.backoff, now) {
                    self.note_end(&id);
                }
            }
            Some(RuntimeEvent::Bound { id, pid, bound }) => {
                if self.observed.bound(&id, pid, bound) {
                    self.note(&id, &format!("listens on {}, as {}", bound.asked, bound.address));
                }
            }
            Some(RuntimeEvent::SaidReady { id, pid }) => self.observed.said_ready(&id, pid),
            Some(RuntimeEvent::Lost) | None => {
                self.runtime_events = None;
                self.observed.lost(now);
            }
        }
    }

    fn take_in_event(&mut self, event: Event) {
        let now = self.clock.now_ms();
        match event {
            Event::Answered(answer) => self.take_in_answer(answer, now),
            Event::Probed { id, pid, verdict } => {
                let Verdict { health, message } = verdict;
                if self.observed.probed(&id, pid, health, message, now) {
                    self.note_health(&id, now);
                }
            }
            Event::Drained { id, pid } => self.observed.drained(&id, pid),
            Event::Hung { id, pid, reason } => {
                if self.observed.hung(&id, pid, &reason) {
                    self.note_hung(&id);
                }
            }
            Event::FilesChanged { service, what } => {
                self.note_renewal(&service, Renewal::Files, &what);
                self.observed.renew(&service, Renewal::Files, &what);
            }
            Event::NotWatched { service, why } => self.note_all(&service, &why),
            Event::Measured(measured) => {
                self.measuring = false;
                let backoff = self.rules.backoff;
                for (id, pid, usage) in measured {
                    if self.observed.measured(&id, pid, usage, &backoff, now) {
                        self.note_replaced(&id);
                    }
                }
            }
        }
    }

    fn take_in_answer(&mut self, answer: Answer, now: u64) {
        let backoff = self.rules.backoff;
        match answer {
            Answer::List(Some(found)) => {
                self.observed.listed(&found, &backoff, now);
                if self.runtime_events.is_none() {
                    self.observed.lost(now);
                }
            }
            Answer::List(None) => self.observed.list_failed(now),
            Answer::Start(id, StartAnswer::Started { pid, address }) => {
                self.note(&id, &format!("started, process {pid}"));
                if !self.observed.started(&id, pid, address, &backoff, now) {
                    self.note_end(&id);
                }
            }
            Answer::Start(id, StartAnswer::Refused(reason)) => {
                self.observed.refused(&id, reason, &backoff, now);
                self.note_end(&id);
            }
            Answer::Start(id, StartAnswer::Unanswered) => self.observed.start_unanswered(&id, now),
            Answer::Forget(id, Heard::Done | Heard::Unknown) => self.observed.forgotten(&id, now),
            Answer::Forget(id, heard) | Answer::Other(id, heard) => self.observed.answered(&id, heard, now),
        }
    }

    /// Plans and performs until there is nothing to do, then shows what there is.
    fn turn(&mut self) {
        let desired = self.inputs.desired.get_and_mark();
        let now = self.clock.now_ms();
        self.observed.scales = self.scales.get_and_mark();
        self.learn_numbers(&desired);
        loop {
            self.schedule(&desired, now);
            self.observed.refresh(&desired, &self.rules, now);
            let plan = plan(&desired, &self.observed, &self.rules, now);
            self.wake_at = plan.wake_at;
            if plan.actions.is_empty() {
                break;
            }
            self.remember_numbers(&plan.actions);
            for action in plan.actions {
                self.perform(&action, now);
            }
        }
        self.publish(&desired, now);
        self.watches.keep(&self.observed.units);
        self.file_watches.keep(&desired);
        if self.observed.sync == Sync::Done && !self.observed.anything_alive() {
            for done in self.stopped.drain(..) {
                let _ = done.send(());
            }
        }
    }

    fn learn_numbers(&mut self, desired: &Desired) {
        for service in desired.workloads.keys() {
            if !self.observed.memories.contains_key(service) {
                self.observed
                    .remember_number(service, self.inputs.ids.last(service));
            }
        }
    }

    fn remember_numbers(&self, actions: &[Action]) {
        let number = |action: &Action| match action {
            Action::Create { service, number, .. } => Some((service.clone(), *number)),
            _ => None,
        };
        let numbers: Vec<(FullName, u64)> = actions.iter().filter_map(number).collect();
        if !numbers.is_empty()
            && let Err(error) = self.inputs.ids.used(&numbers)
        {
            tracing::warn!(%error, ?numbers, "cannot remember the numbers of instances");
        }
    }

    fn perform(&mut self, action: &Action, now: u64) {
        self.note_action(action);
        self.observed.begin(action, now);
        if matches!(action, Action::List) {
            self.runtime_events = Some(self.inputs.runtime.events());
        }
        if let Some(request) = self.request(action) {
            let (runtime, report) = (Arc::clone(&self.inputs.runtime), self.report.clone());
            self.spine.spawn("supervisor action", |shutdown| async move {
                let answer = shutdown.unless_requested(execute(runtime, request)).await;
                if let Some(answer) = answer {
                    let _ = report.send(Event::Answered(answer)).await;
                }
            });
        }
    }

    /// What the runtime is asked for an action that was begun.
    fn request(&self, action: &Action) -> Option<Request> {
        let unit = |id| self.observed.units.get(id);
        match action {
            Action::List => Some(Request::List),
            Action::Start { id, .. } => Launch::new(unit(id)?, &self.gateway_url).map(Request::Start),
            Action::Record { id } => unit(id).map(|unit| Request::Record(unit.record())),
            Action::Stop { id } | Action::Restart { id } => unit(id).map(|unit| Request::Stop(unit.record())),
            Action::Kill { id } | Action::Sweep { id } => Some(Request::Kill(id.clone())),
            Action::Forget { id } => Some(Request::Forget(id.clone())),
            Action::Create { .. }
            | Action::Drain { .. }
            | Action::FailUpdate { .. }
            | Action::Renew { .. } => None,
        }
    }

    fn publish(&self, desired: &Desired, now: u64) {
        if self.observed.synced_at.is_none() {
            return;
        }
        let last = self.publisher.get();
        let mut next = view(desired, &self.observed, &self.rules, &last, now);
        self.warn(desired, &mut next);
        if !is_same(&last, &next) {
            self.publisher.publish(next);
        }
    }

    /// Adds what the runtime cannot do of what is desired.
    fn warn(&self, desired: &Desired, instances: &mut Instances) {
        for (service, running) in &mut instances.services {
            if let Some(workload) = desired.workloads.get(service) {
                running.warnings = self.inputs.runtime.unenforced(&workload.spec.limits);
            }
        }
    }

    /// Asks how much everything alive uses, every second time only what may be starting; reading it takes a while, so not
    /// on this task.
    fn measure(&mut self) {
        if self.measuring {
            return;
        }
        self.measured_all = !self.measured_all;
        let units = self.observed.units.values();
        let alive: Vec<_> = units
            .filter(|unit| self.measured_all || unit.may_bind())
            .filter_map(|unit| Some((unit.id.clone(), unit.pid?)))
            .collect();
        if alive.is_empty() {
            return;
        }
        self.measuring = true;
        let (runtime, report) = (Arc::clone(&self.inputs.runtime), self.report.clone());
        self.spine.spawn("supervisor usage", |_| async move {
            let usage = move |(id, pid)| runtime.usage(&id).map(|usage| (id, pid, usage));
            let measured =
                tokio::task::spawn_blocking(move || alive.into_iter().filter_map(usage).collect()).await;
            let _ = report.send(Event::Measured(measured.unwrap_or_default())).await;
        });
    }
}

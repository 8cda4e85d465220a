//! One instance as the supervisor knows it: what was decided about it and what became of it.
//!
//! ```text
//! Waiting --start--> Launching --pid--> Up(pending -> ready <-> unhealthy)
//!                      ^  |              |            |
//!                      |  +--refused--+  | exit       | drain
//!                      |              v  v            v
//!                      +--restart--- Ended       Draining --stop--> Stopping
//!                                     |               |               |
//!                                     |               +------exit-----+
//!                                     v                               v
//!                                  forgotten <--------------- Ended (asked)
//! ```
//!
//! Draining and everything right of it is a decision that is not taken back: such a unit only moves on
//! towards being forgotten, and whatever takes its place is a unit of its own. There is one way of stopping
//! that leads back to a start: that of a unit which failed its liveness check.
//!
//! A unit whose revision is the wished one is replaced all the same once something gave it a reason
//! ([`Unit::replace`]): it counts as one of an older revision from then on.

use std::net::SocketAddr;
use std::sync::Arc;

use hythe_model::workload::{HealthCheck, ListensBy, NodeChannel, Probe, RestartPolicy};
use hythe_model::{Entry, Exit, FullName, InstanceId, Revision, Workload};

use crate::backoff::{Backoff, millis};
use crate::prospect::Prospect;
use crate::runtime::{Bound, Found, Record, StopBy, Usage};

/// An instance and its history. Times are Unix milliseconds of the supervisor's clock.
#[derive(Debug, Clone)]
pub(crate) struct Unit {
    pub(crate) id: InstanceId,
    pub(crate) service: FullName,
    /// The number in its id; later units of a service have higher ones.
    pub(crate) number: u64,
    pub(crate) slot: u32,
    pub(crate) revision: Revision,
    /// What it is (re)started from. `None`: an earlier server started it from something that is no longer
    /// desired, so it can run on and be stopped, but not be started again.
    pub(crate) workload: Option<Arc<Entry<Workload>>>,
    pub(crate) stop_signal: i32,
    pub(crate) stop_grace_ms: u64,
    pub(crate) stop_by: StopBy,
    pub(crate) phase: Phase,
    /// First of a new revision while an old one could go on: if it fails, the update has failed.
    pub(crate) trial: bool,
    /// A request to the runtime is on its way; nothing else is asked until it is answered.
    pub(crate) busy: bool,
    pub(crate) pid: Option<u32>,
    /// Where it listens, as far as that is known.
    pub(crate) address: Option<SocketAddr>,
    /// What a process of it has bound, told by the runtime.
    pub(crate) bound: Option<(u32, Bound)>,
    /// The process that has said that it is ready.
    pub(crate) said_ready: Option<u32>,
    /// Whether the gateway listens where it means to.
    pub(crate) publish: bool,
    /// Whether its process will listen, where nobody knows the port before.
    pub(crate) prospect: Prospect,
    pub(crate) restarts: u32,
    pub(crate) started_at: Option<u64>,
    /// Since when it has not been ready; a service that takes too long reports a failure.
    pub(crate) unready_since: u64,
    pub(crate) last_exit: Option<Exit>,
    pub(crate) message: Option<String>,
    /// Why another should take its place although it is of the wished revision.
    pub(crate) replace: Option<String>,
    /// How it failed its liveness check; it is stopped and started again.
    pub(crate) hung: Option<String>,
    /// Why it was started, if by a rule: what made the one before it be replaced, or its own last process hang.
    pub(crate) cause: Option<String>,
    /// When it took its place by a rule, or an attempt to replace it failed: its memory is no reason for a while.
    pub(crate) spared_since: Option<u64>,
    /// Exits in a row, none of them after a long run.
    pub(crate) failures: u32,
    /// How many of the last of them came within moments of the start.
    pub(crate) quick_failures: u32,
    /// Whether the runtime's record says that it was ready.
    pub(crate) recorded_ready: bool,
    pub(crate) usage: Measured,
}

/// Where a unit is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Phase {
    /// Not started; something it needs is missing.
    Waiting,
    /// The runtime was asked to start it. An exit can be heard of before the answer.
    Launching { early_exit: Option<(u32, Exit)> },
    /// A process runs.
    Up { since: u64, health: Health },
    /// A process runs and should get no new requests. `drained`: those in flight have ended.
    Draining { since: u64, drained: bool },
    /// The stop signal was sent, or has to be sent again, since the runtime did not answer. `again`: it is started
    /// again after its end.
    Stopping {
        since: u64,
        sent: bool,
        killed: bool,
        again: bool,
    },
    /// No process. `asked`: as was wanted, so it is only there to be forgotten. `swept`: what the main
    /// process left behind was killed.
    Ended { at: u64, asked: bool, swept: bool },
}

/// What the probes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    Pending,
    Ready,
    Unhealthy,
}

/// The last two measurements, as one rate and one level.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Measured {
    pub(crate) last: Option<(Usage, u64)>,
    pub(crate) cpu_millis: u32,
    pub(crate) memory_bytes: u64,
    /// Whether it was seen that it does not work, or not any more, as a program does that starts.
    pub(crate) calm: bool,
    /// Measurements in a row with more memory than its workload allows.
    pub(crate) over: u32,
}

/// What becomes of a unit that ended by itself.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    RestartAt(u64),
    Completed,
    Failed(String),
}

impl Unit {
    /// A unit of `entry` that was not started yet.
    pub(crate) fn new(
        service: FullName,
        number: u64,
        slot: u32,
        revision: Revision,
        entry: Arc<Entry<Workload>>,
        now: u64,
    ) -> Self {
        Self {
            id: instance_id(&service, number),
            service,
            number,
            slot,
            revision,
            stop_signal: entry.spec.stop_signal,
            stop_grace_ms: entry.spec.stop_grace_period_ms,
            stop_by: stop_by(&entry.spec),
            publish: entry.spec.publish,
            workload: Some(entry),
            phase: Phase::Waiting,
            trial: false,
            busy: false,
            pid: None,
            address: None,
            bound: None,
            said_ready: None,
            prospect: Prospect::default(),
            restarts: 0,
            started_at: None,
            unready_since: now,
            last_exit: None,
            message: None,
            replace: None,
            hung: None,
            cause: None,
            spared_since: None,
            failures: 0,
            quick_failures: 0,
            recorded_ready: false,
            usage: Measured::default(),
        }
    }

    /// A unit that an earlier server started. `None` if its id is not one of ours.
    pub(crate) fn adopted(found: &Found, now: u64) -> Option<Self> {
        let record = &found.record;
        let number = record.id.0.rsplit_once('-')?.1.parse().ok()?;
        let phase = match (found.exit, record.stopping) {
            (Some(_), asked) => Phase::Ended {
                at: now,
                asked,
                swept: false,
            },
            // The signal may not have been sent any more, so it is sent (again).
            (None, true) => Phase::Draining {
                since: now,
                drained: true,
            },
            (None, false) => Phase::Up {
                since: record.started_at,
                health: adopted_health(record),
            },
        };
        Some(Self {
            id: record.id.clone(),
            service: record.service.clone(),
            number,
            slot: record.slot,
            revision: record.revision,
            workload: None,
            stop_signal: record.stop_signal,
            stop_grace_ms: record.stop_grace_period_ms,
            stop_by: record.stop_by.clone(),
            phase,
            trial: false,
            busy: false,
            pid: found.exit.is_none().then_some(found.pid),
            address: known(record, found.bound),
            bound: found.bound.map(|bound| (found.pid, bound)),
            said_ready: found.said_ready.then_some(found.pid),
            publish: record.publish,
            prospect: Prospect::default(),
            restarts: record.restarts,
            started_at: Some(record.started_at),
            unready_since: now,
            last_exit: found.exit,
            message: None,
            replace: None,
            hung: None,
            cause: None,
            spared_since: None,
            failures: u32::from(found.exit.is_some()),
            quick_failures: 0,
            recorded_ready: record.ready,
            usage: Measured::default(),
        })
    }

    /// Takes what its service says now, if that is what it was started from.
    pub(crate) fn attach(&mut self, entry: &Arc<Entry<Workload>>) {
        self.stop_signal = entry.spec.stop_signal;
        self.stop_grace_ms = entry.spec.stop_grace_period_ms;
        self.stop_by = stop_by(&entry.spec);
        self.workload = Some(Arc::clone(entry));
    }

    /// What the runtime should remember.
    pub(crate) fn record(&self) -> Record {
        Record {
            id: self.id.clone(),
            service: self.service.clone(),
            slot: self.slot,
            revision: self.revision,
            address: self.address,
            publish: self.publish,
            restarts: self.restarts,
            started_at: self.started_at.unwrap_or_default(),
            ready: self.recorded_ready || self.is_serving(),
            stopping: matches!(self.phase, Phase::Stopping { .. }),
            stop_signal: self.stop_signal,
            stop_grace_period_ms: self.stop_grace_ms,
            stop_by: self.stop_by.clone(),
        }
    }

    /// Where the gateway is to listen for it.
    pub(crate) fn published(&self) -> Option<SocketAddr> {
        let (pid, bound) = self.bound.filter(|_| self.publish)?;
        (self.pid == Some(pid)).then_some(bound.asked)
    }

    /// Takes in what its process has bound, if that is news of where it listens: it is ready when it answers there.
    pub(crate) fn take_bound(&mut self) {
        let Some((pid, bound)) = self.bound.filter(|_| self.address.is_none()) else {
            return;
        };
        if self.pid != Some(pid) {
            return;
        }
        // A check that goes on has its own mind of it, and tells only when it changes.
        let is_checked = self.check() == Some(Check::Health);
        self.address = Some(bound.address);
        if let Phase::Up { health, .. } = &mut self.phase
            && !is_checked
        {
            *health = Health::Pending;
        }
    }

    /// Whether it is of `revision` and nothing gave a reason to replace it.
    pub(crate) fn is_of(&self, revision: Revision) -> bool {
        self.revision == revision && self.replace.is_none()
    }

    /// Whether it only moves towards being forgotten.
    pub(crate) fn is_retiring(&self) -> bool {
        matches!(
            self.phase,
            Phase::Draining { .. } | Phase::Stopping { again: false, .. } | Phase::Ended { asked: true, .. }
        )
    }

    /// Whether a process is there or about to be.
    pub(crate) fn is_alive(&self) -> bool {
        !matches!(self.phase, Phase::Waiting | Phase::Ended { .. })
    }

    /// Whether it counts against the number that may run at once: everything but what ended as asked.
    pub(crate) fn takes_a_place(&self) -> bool {
        !matches!(self.phase, Phase::Ended { asked: true, .. })
    }

    /// Whether it may receive traffic.
    pub(crate) fn is_ready(&self) -> bool {
        self.health() == Health::Ready && self.hung.is_none()
    }

    /// Whether it has been ready in this run and may have requests in flight.
    pub(crate) fn is_serving(&self) -> bool {
        matches!(
            self.phase,
            Phase::Up {
                health: Health::Ready | Health::Unhealthy,
                ..
            }
        )
    }

    /// What its probes said last.
    pub(crate) fn health(&self) -> Health {
        match self.phase {
            Phase::Up { health, .. } => health,
            _ => Health::Pending,
        }
    }

    /// Whether its work is done.
    pub(crate) fn is_completed(&self, backoff: &Backoff) -> bool {
        matches!(self.outcome(backoff), Some(Outcome::Completed))
    }

    /// What is next for a unit that ended by itself; `None` for any other.
    pub(crate) fn outcome(&self, backoff: &Backoff) -> Option<Outcome> {
        let Phase::Ended { at, asked: false, .. } = self.phase else {
            return None;
        };
        let Some(workload) = &self.workload else {
            return Some(Outcome::Failed(
                "what it was started from is no longer known".to_owned(),
            ));
        };
        let rules = &workload.spec.restart_rules;
        let ended = self.last_exit.filter(|_| self.hung.is_none());
        let success = ended.is_some_and(Exit::is_success);
        let code = ended.and_then(|exit| exit.code);
        let given_up = |why: &str| Some(Outcome::Failed(format!("{}{why}", self.end())));
        match workload.spec.restart {
            _ if code.is_some_and(|code| rules.stop_exit_codes.contains(&code)) => {
                return Some(Outcome::Completed);
            }
            RestartPolicy::No | RestartPolicy::OnFailure | RestartPolicy::OnFailureAtMost(_) if success => {
                return Some(Outcome::Completed);
            }
            RestartPolicy::No => return given_up(""),
            RestartPolicy::OnFailureAtMost(most) if self.failures > most => {
                return given_up(&format!(", restart limit of {most} reached"));
            }
            _ => {}
        }
        if backoff
            .most_quick_exits(rules)
            .is_some_and(|most| self.quick_failures >= most)
        {
            return given_up(&format!(
                ", {} times in a row right after its start",
                self.quick_failures
            ));
        }
        Some(Outcome::RestartAt(
            at + backoff.delay_ms(rules, self.failures, &self.id),
        ))
    }

    /// How it ended, for people.
    pub(crate) fn end(&self) -> String {
        match (&self.hung, &self.last_exit, &self.message) {
            (Some(hung), _, _) => hung.clone(),
            (None, Some(exit), _) => exit.to_string(),
            (None, None, Some(message)) => message.clone(),
            (None, None, None) => "an unknown end".to_owned(),
        }
    }

    /// Why it is not to be expected to become ready soon: it ends again and again.
    pub(crate) fn keeps_ending(&self, backoff: &Backoff) -> Option<String> {
        let ends = self.failures >= backoff.looping && !self.is_ready() && !self.is_retiring();
        ends.then(|| format!("keeps ending: {}", self.end()))
    }

    /// When a unit that nothing can be asked of is ready: once it has run for longer than programs do that
    /// end right after their start.
    pub(crate) fn ready_at(&self, backoff: &Backoff) -> Option<u64> {
        let Phase::Up {
            since,
            health: Health::Pending,
        } = self.phase
        else {
            return None;
        };
        let workload = &self.workload.as_ref()?.spec;
        let wait = match self.check()? {
            Check::Running if self.has_said_ready() => 0,
            Check::Running if self.may_bind() && !self.usage.calm => u64::MAX,
            Check::Running => workload.ready_after_ms.unwrap_or(millis(backoff.quick)),
            // As in PM2: one that never says it is taken for ready all the same.
            Check::Says => workload.ready_after_ms.unwrap_or(SAYS_WITHIN_MS),
            Check::Listens | Check::Accepts(_) | Check::Takes(_) | Check::Health => return None,
        };
        Some(since + wait.min(workload.update.ready_timeout_ms / 2))
    }

    /// Whether it is not ready and may yet bind a port that nobody knows.
    pub(crate) fn may_bind(&self) -> bool {
        let workload = self.workload.as_ref().map(|entry| &entry.spec);
        let is_watched = workload.is_some_and(|workload| {
            workload.publish && workload.listens == ListensBy::Auto && workload.port.is_none()
        });
        let is_pending = matches!(
            self.phase,
            Phase::Up {
                health: Health::Pending,
                ..
            }
        );
        is_watched && is_pending && self.address.is_none() && self.prospect == Prospect::Unknown
    }

    /// Whether it listened, if it has come as far as that or has served without.
    pub(crate) fn has_listened(&self) -> Option<bool> {
        let has_served = self.recorded_ready || self.is_serving();
        (self.bound.is_some() || has_served).then_some(self.bound.is_some())
    }

    fn has_said_ready(&self) -> bool {
        self.said_ready.is_some() && self.said_ready == self.pid
    }

    /// What a process that has been ready must go on passing, if it can be tried at all.
    pub(crate) fn liveness(&self) -> Option<&HealthCheck> {
        let check = self.workload.as_ref()?.spec.liveness.as_ref()?;
        let can_be_tried = self.address.is_some() || matches!(check.probe, Probe::Command(_));
        (self.is_serving() && self.hung.is_none() && can_be_tried).then_some(check)
    }

    /// What tells whether it is ready.
    pub(crate) fn check(&self) -> Option<Check> {
        let workload = &self.workload.as_ref()?.spec;
        match (&workload.healthcheck, self.address) {
            _ if workload.says_ready && !self.has_said_ready() => Some(Check::Says),
            (_, None) if self.prospect == Prospect::Listens => Some(Check::Listens),
            (None, None) => Some(Check::Running),
            (None, Some(address)) if workload.listens == ListensBy::Socket => Some(Check::Takes(address)),
            (None, Some(address)) => Some(Check::Accepts(address)),
            (Some(health), None) if !matches!(health.probe, Probe::Command(_)) => Some(Check::Running),
            (Some(_), _) => Some(Check::Health),
        }
    }
}

/// How long a program that is to say that it is ready may take (PM2: `listen_timeout`).
const SAYS_WITHIN_MS: u64 = 3_000;

/// What tells whether a unit is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    /// That it runs, and goes on running.
    Running,
    /// That it says so.
    Says,
    /// That it listens, wherever that is.
    Listens,
    /// That its address accepts a connection, once.
    Accepts(SocketAddr),
    /// That it accepts a connection from the socket that it was given, once.
    Takes(SocketAddr),
    /// Its workload's health check, for as long as it runs.
    Health,
}

/// `<service>-<number>`.
pub(crate) fn instance_id(service: &FullName, number: u64) -> InstanceId {
    InstanceId(format!("{service}-{number}").into())
}

/// Where a process listens that an earlier server started.
fn known(record: &Record, bound: Option<Bound>) -> Option<SocketAddr> {
    let told = record.address.filter(|address| address.port() != 0);
    told.or(bound.map(|bound| bound.address))
}

fn stop_by(workload: &Workload) -> StopBy {
    match (&workload.stop_message, workload.channel) {
        (Some(message), Some(_)) => StopBy::Message(message.clone()),
        (None, Some(NodeChannel::Cluster)) => StopBy::Disconnect,
        _ => StopBy::Signal,
    }
}

fn adopted_health(record: &Record) -> Health {
    if record.ready {
        Health::Ready
    } else {
        Health::Pending
    }
}

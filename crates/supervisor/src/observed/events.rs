//! What happens to units.
//!
//! Answers and exits come by different ways and so in any order: an exit names its process, and one that
//! overtakes the answer to its start is kept until then. Everything else that does not fit the unit it
//! names (an old process, a unit that is gone) is news of the past and changes nothing.

use std::net::SocketAddr;

use hythe_model::workload::RestartRules;
use hythe_model::{Exit, InstanceId};

use super::{Observed, Sync};
use crate::backoff::{Backoff, millis};
use crate::prospect::Work;
use crate::runtime::{Bound, Found, Usage};
use crate::unit::{Health, Measured, Phase, Unit};

/// How the runtime answered a request other than a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It was done.
    Done,
    /// It does not know the instance.
    Unknown,
    /// It did not answer.
    Nothing,
}

/// Between two listings that were asked for because events were lost, milliseconds.
const BETWEEN_LISTS_MS: u64 = 250;

impl Observed {
    /// A process runs. `true` if the unit is up; it may have ended before.
    pub(crate) fn started(
        &mut self,
        id: &InstanceId,
        pid: u32,
        address: Option<SocketAddr>,
        backoff: &Backoff,
        now: u64,
    ) -> bool {
        let Some(unit) = self.units.get_mut(id) else {
            return false;
        };
        let Phase::Launching { early_exit } = unit.phase else {
            return false;
        };
        unit.busy = false;
        unit.pid = Some(pid);
        unit.address = address;
        unit.message = None;
        unit.usage.last = Some((Usage::default(), now));
        // Where many start at once, it was asked for some time before.
        unit.phase = Phase::Up {
            since: now,
            health: Health::Pending,
        };
        unit.take_bound();
        match early_exit {
            Some((ended, exit)) if ended == pid => {
                end(unit, Some(exit), backoff, now);
                false
            }
            _ => true,
        }
    }

    /// It could not be started.
    pub(crate) fn refused(&mut self, id: &InstanceId, reason: String, backoff: &Backoff, now: u64) {
        if let Some(unit) = self.units.get_mut(id)
            && matches!(unit.phase, Phase::Launching { .. })
        {
            unit.busy = false;
            unit.message = Some(reason);
            end(unit, None, backoff, now);
        }
    }

    /// The runtime did not say whether it started.
    pub(crate) fn start_unanswered(&mut self, id: &InstanceId, now: u64) {
        if let Some(unit) = self.units.get_mut(id)
            && matches!(unit.phase, Phase::Launching { .. })
        {
            unit.busy = false;
            unit.phase = Phase::Waiting;
        }
        self.lost(now);
    }

    /// A process ended. `true` if it was a unit's.
    pub(crate) fn exited(
        &mut self,
        id: &InstanceId,
        pid: u32,
        exit: Exit,
        backoff: &Backoff,
        now: u64,
    ) -> bool {
        let Some(unit) = self.units.get_mut(id) else {
            return false;
        };
        if let Phase::Launching { early_exit } = &mut unit.phase {
            *early_exit = Some((pid, exit));
            return false;
        }
        if unit.pid != Some(pid) {
            return false;
        }
        end(unit, Some(exit), backoff, now);
        true
    }

    /// A process has bound the port that it meant to listen on. `true` if its unit is known to run.
    pub(crate) fn bound(&mut self, id: &InstanceId, pid: u32, bound: Bound) -> bool {
        let Some(unit) = self.units.get_mut(id) else {
            return false;
        };
        unit.bound = Some((pid, bound));
        unit.take_bound();
        self.units.get(id).is_some_and(|unit| unit.pid == Some(pid))
    }

    /// A process has said that it is ready.
    pub(crate) fn said_ready(&mut self, id: &InstanceId, pid: u32) {
        if let Some(unit) = self.units.get_mut(id) {
            unit.said_ready = Some(pid);
        }
    }

    /// The probes of a unit's process changed their mind. `true` if that is news.
    pub(crate) fn probed(
        &mut self,
        id: &InstanceId,
        pid: u32,
        health: Health,
        message: Option<String>,
        now: u64,
    ) -> bool {
        let Some(unit) = self.units.get_mut(id).filter(|unit| unit.pid == Some(pid)) else {
            return false;
        };
        let Phase::Up { health: current, .. } = &mut unit.phase else {
            return false;
        };
        let changed = *current != health;
        if *current == Health::Ready && changed {
            unit.unready_since = now;
        }
        *current = health;
        unit.message = message;
        unit.trial &= health != Health::Ready;
        changed
    }

    /// A draining unit has no request in flight any more.
    pub(crate) fn drained(&mut self, id: &InstanceId, pid: u32) {
        if let Some(unit) = self.units.get_mut(id).filter(|unit| unit.pid == Some(pid))
            && let Phase::Draining { drained, .. } = &mut unit.phase
        {
            *drained = true;
        }
    }

    /// The runtime answered a request about a unit.
    pub(crate) fn answered(&mut self, id: &InstanceId, heard: Heard, now: u64) {
        let Some(unit) = self.units.get_mut(id) else {
            return;
        };
        unit.busy = false;
        let forgetting = matches!(unit.phase, Phase::Ended { asked: true, .. });
        match heard {
            Heard::Done => {}
            Heard::Unknown if forgetting => {}
            // An unknown instance that should be alive: the listing tells what became of it.
            Heard::Unknown if !unit.is_alive() => {}
            Heard::Unknown | Heard::Nothing => {
                take_back(unit);
                self.lost(now);
            }
        }
    }

    /// The runtime has forgotten a unit, or never knew it.
    pub(crate) fn forgotten(&mut self, id: &InstanceId, now: u64) {
        if let Some(unit) = self.units.remove(id) {
            let memory = self.memories.entry(unit.service.clone()).or_default();
            memory.batch_ended_at = Some(now);
            let mut mates = self.units.values().filter(|other| other.service == unit.service);
            if let Some(cause) = unit.replace
                && !mates.any(|other| other.slot == unit.slot)
            {
                memory.causes.insert(unit.slot, cause);
            }
        }
    }

    /// A unit's process fails its liveness check. `true` if that is news.
    pub(crate) fn hung(&mut self, id: &InstanceId, pid: u32, reason: &str) -> bool {
        let unit = self.units.get_mut(id).filter(|unit| unit.pid == Some(pid));
        match unit.filter(|unit| unit.is_serving() && unit.hung.is_none()) {
            Some(unit) => {
                unit.hung = Some(format!("hangs: {reason}"));
                true
            }
            None => false,
        }
    }

    /// Resources used by a unit's processes since their start. `true` if it is to be replaced for them.
    pub(crate) fn measured(
        &mut self,
        id: &InstanceId,
        pid: u32,
        usage: Usage,
        backoff: &Backoff,
        now: u64,
    ) -> bool {
        let Some(unit) = self.units.get_mut(id).filter(|unit| unit.pid == Some(pid)) else {
            return false;
        };
        if let Some((last, at)) = unit.usage.last {
            let used_us = usage.cpu_us.saturating_sub(last.cpu_us);
            // Microseconds per millisecond are thousandths.
            let cpu_millis = used_us / now.saturating_sub(at).max(1);
            unit.usage.cpu_millis = u32::try_from(cpu_millis).unwrap_or(u32::MAX);
            let work = Work {
                wanted_us: usage.wanted_us().saturating_sub(last.wanted_us()),
                during_ms: now.saturating_sub(at),
                in_all_us: usage.cpu_us,
            };
            unit.usage.calm = work.is_of_a_start().map_or(unit.usage.calm, |starts| !starts);
        }
        unit.usage.memory_bytes = usage.memory_bytes;
        unit.usage.last = Some((usage, now));
        self.judge_memory(id, backoff, now)
    }

    /// Events may have been missed: everything has to be looked at again.
    pub(crate) fn lost(&mut self, now: u64) {
        if self.sync == Sync::Done {
            let at = self
                .synced_at
                .map_or(now, |last| now.max(last + BETWEEN_LISTS_MS));
            self.sync = Sync::Needed { at, tries: 0 };
        }
    }

    /// The runtime could not say what it has.
    pub(crate) fn list_failed(&mut self, now: u64) {
        if let Sync::Asked { tries } = self.sync {
            let delay = 50_u64.saturating_mul(2_u64.saturating_pow(tries)).min(5_000);
            self.sync = Sync::Needed {
                at: now + delay,
                tries: tries.saturating_add(1),
            };
        }
    }

    /// Everything the runtime has. Units it does not have any more ended unseen; instances that are not
    /// units were started by an earlier server and are adopted.
    pub(crate) fn listed(&mut self, found: &[Found], backoff: &Backoff, now: u64) {
        self.sync = Sync::Done;
        self.synced_at = Some(now);
        for unit in self.units.values_mut() {
            if unit.is_alive() && !found.iter().any(|found| found.record.id == unit.id) {
                end(
                    unit,
                    Some(Exit {
                        code: None,
                        signal: None,
                        at: now,
                        out_of_memory: None,
                    }),
                    backoff,
                    now,
                );
            }
        }
        for found in found {
            match self.units.get_mut(&found.record.id) {
                Some(unit) => meet_again(unit, found, backoff, now),
                None => self.adopt(found, now),
            }
        }
        self.judge_adopted();
    }

    fn adopt(&mut self, found: &Found, now: u64) {
        let Some(unit) = Unit::adopted(found, now) else {
            tracing::warn!(instance = %found.record.id, "an instance has an id that is not ours and is left alone");
            return;
        };
        self.remember_number(&unit.service, unit.number);
        self.units.insert(unit.id.clone(), unit);
    }

    /// An update that an earlier server left half done is still on trial.
    fn judge_adopted(&mut self) {
        let serving: Vec<_> = self
            .units
            .values()
            .filter(|unit| unit.is_serving())
            .map(|unit| (unit.service.clone(), unit.revision))
            .collect();
        for unit in self
            .units
            .values_mut()
            .filter(|unit| unit.workload.is_none() && !unit.recorded_ready)
        {
            let others = |(service, revision): &_| *service == unit.service && *revision != unit.revision;
            unit.trial = serving.iter().any(others);
        }
    }
}

/// What a listing says of a unit that is known.
fn meet_again(unit: &mut Unit, found: &Found, backoff: &Backoff, now: u64) {
    match (found.exit, unit.is_alive()) {
        (Some(exit), true) => end(unit, Some(exit), backoff, now),
        (Some(exit), false) if unit.phase == Phase::Waiting => end(unit, Some(exit), backoff, now),
        (None, true) if unit.pid == Some(found.pid) => {}
        // Its start was not answered, and yet it runs.
        (None, _) if !unit.is_retiring() => {
            unit.pid = Some(found.pid);
            unit.address = found.record.address.filter(|address| address.port() != 0);
            unit.started_at = Some(found.record.started_at);
            unit.recorded_ready = found.record.ready;
            let health = if found.record.ready {
                Health::Ready
            } else {
                Health::Pending
            };
            unit.phase = Phase::Up {
                since: found.record.started_at,
                health,
            };
        }
        (None | Some(_), _) => {}
    }
    // What events would have told.
    if found.said_ready {
        unit.said_ready = Some(found.pid);
    }
    if let Some(bound) = found.bound {
        unit.bound = Some((found.pid, bound));
        unit.take_bound();
    }
}

/// Its process is gone (`exit`), or there never was one. Ends that were asked for are no failures, but
/// nobody counts those. A request on its way stays so: whatever comes next waits for its answer, or it
/// could hit the next process.
fn end(unit: &mut Unit, exit: Option<Exit>, backoff: &Backoff, now: u64) {
    let up_ms = match (&unit.phase, exit) {
        (Phase::Up { .. } | Phase::Stopping { again: true, .. }, Some(_)) => {
            now.saturating_sub(unit.started_at.unwrap_or(now))
        }
        _ => 0,
    };
    if up_ms >= millis(backoff.reset_after) {
        unit.failures = 0;
    }
    unit.failures = unit.failures.saturating_add(1);
    let own = RestartRules::default();
    let rules = unit
        .workload
        .as_ref()
        .map_or(&own, |entry| &entry.spec.restart_rules);
    let quick = up_ms < backoff.quick_ms(rules);
    unit.quick_failures = if quick {
        unit.quick_failures.saturating_add(1)
    } else {
        0
    };
    if unit.is_ready() {
        unit.unready_since = now;
    }
    if exit.is_some() {
        unit.message = None;
    }
    unit.phase = Phase::Ended {
        at: now,
        asked: unit.is_retiring(),
        swept: false,
    };
    unit.pid = None;
    unit.last_exit = exit;
    unit.usage = Measured::default();
}

/// What was not done has to be wanted again.
fn take_back(unit: &mut Unit) {
    match &mut unit.phase {
        Phase::Stopping { sent, killed, .. } => (*sent, *killed) = (false, false),
        Phase::Ended { swept, .. } => *swept = false,
        Phase::Up { .. } => unit.recorded_ready = false,
        Phase::Waiting | Phase::Launching { .. } | Phase::Draining { .. } => {}
    }
}

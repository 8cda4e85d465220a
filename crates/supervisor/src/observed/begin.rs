//! Marks actions as under way, so that they are not wanted again.

use std::sync::Arc;

use hythe_model::{FullName, Revision};

use super::{FailedUpdate, Observed, Renewal, Sync};
use crate::plan::Action;
use crate::prospect::Prospect;
use crate::unit::{Health, Measured, Phase, Unit};

impl Observed {
    /// Marks `action`, of a plan for this very state, as begun.
    pub(crate) fn begin(&mut self, action: &Action, now: u64) {
        match action {
            Action::List => {
                if let Sync::Needed { tries, .. } = self.sync {
                    self.sync = Sync::Asked { tries };
                }
            }
            Action::Create {
                service,
                number,
                slot,
                revision,
                entry,
                trial,
            } => {
                let entry = Arc::clone(entry);
                let mut unit = Unit::new(service.clone(), *number, *slot, *revision, entry, now);
                unit.trial = *trial;
                unit.cause = self.cause(service, *slot);
                unit.spared_since = unit.cause.as_ref().map(|_| now);
                self.remember_number(service, *number);
                self.units.insert(unit.id.clone(), unit);
            }
            Action::FailUpdate {
                service,
                revision,
                reason,
            } => self.fail_update(service, *revision, reason, now),
            Action::Renew { service, reason } => {
                self.renew(service, Renewal::Cron, reason);
                if let Some(due) = self
                    .memories
                    .get_mut(service)
                    .and_then(|memory| memory.due.as_mut())
                {
                    due.used = due.wall_at.unwrap_or_default();
                    due.outdated = true;
                }
            }
            Action::Start { id, .. }
            | Action::Record { id }
            | Action::Drain { id }
            | Action::Restart { id }
            | Action::Stop { id }
            | Action::Kill { id }
            | Action::Sweep { id }
            | Action::Forget { id } => {
                let starts = matches!(action, Action::Start { .. });
                let unit = self.units.get(id).filter(|_| starts);
                let prospect = unit.map(|unit| self.prospect(unit));
                if let Some(unit) = self.units.get_mut(id) {
                    unit.prospect = prospect.unwrap_or(unit.prospect);
                    begin_on(unit, action, now);
                }
            }
        }
    }

    /// Whether the next process of `unit` will listen.
    fn prospect(&self, unit: &Unit) -> Prospect {
        let mates = || self.units.values().filter(|other| other.service == unit.service);
        let in_place = mates().filter(|other| other.slot == unit.slot);
        let before = in_place.filter_map(Unit::has_listened).max();
        let memory = self.memories.get(&unit.service);
        let some_listen = memory.is_some_and(|memory| !memory.published.is_empty());
        let some_do_not = mates().any(|other| other.has_listened() == Some(false));
        Prospect::new(before, some_listen, some_do_not)
    }

    /// Why a new unit takes `slot`, if by a rule.
    fn cause(&mut self, service: &FullName, slot: u32) -> Option<String> {
        let gone = self
            .memories
            .entry(service.clone())
            .or_default()
            .causes
            .remove(&slot);
        let mut there = self
            .units
            .values()
            .filter(|unit| unit.service == *service && unit.slot == slot);
        there.find_map(|unit| unit.replace.clone()).or(gone)
    }

    /// What runs is kept, also what was to be replaced by its like.
    fn fail_update(&mut self, service: &FullName, revision: Revision, reason: &str, now: u64) {
        let memory = self.memories.entry(service.clone()).or_default();
        memory.failed = Some(FailedUpdate {
            revision,
            reason: reason.to_owned(),
        });
        for unit in self.units.values_mut().filter(|unit| unit.service == *service) {
            if unit.replace.take().is_some() {
                unit.spared_since = Some(now);
            }
            if unit.revision == revision && unit.is_serving() && memory.good.is_none() {
                memory.good = unit.workload.clone().map(|entry| (revision, entry));
            }
        }
    }
}

fn begin_on(unit: &mut Unit, action: &Action, now: u64) {
    // Draining is watched, not asked for: it must not keep a kill from being sent.
    unit.busy = !matches!(action, Action::Drain { .. });
    match action {
        Action::Start { .. } => {
            match unit.phase {
                Phase::Ended { .. } => unit.restarts += 1,
                _ => unit.unready_since = now,
            }
            if let Some(hung) = unit.hung.take() {
                unit.cause = Some(hung);
            }
            unit.replace = None;
            unit.phase = Phase::Launching { early_exit: None };
            unit.started_at = Some(now);
            unit.address = None;
            unit.bound = None;
            unit.said_ready = None;
            unit.recorded_ready = false;
            unit.usage = Measured::default();
        }
        Action::Record { .. } => unit.recorded_ready = true,
        Action::Drain { .. } => {
            unit.phase = Phase::Draining {
                since: now,
                drained: false,
            }
        }
        Action::Restart { .. } => {
            if unit.health() == Health::Ready {
                unit.unready_since = now;
            }
            stop(unit, now, false, true);
        }
        Action::Stop { .. } => stop(unit, now, false, false),
        Action::Kill { .. } => {
            let again = matches!(unit.phase, Phase::Stopping { again: true, .. });
            stop(unit, now, true, again);
        }
        Action::Sweep { .. } => {
            if let Phase::Ended { swept, .. } = &mut unit.phase {
                *swept = true;
            }
        }
        Action::Forget { .. } => {
            unit.phase = Phase::Ended {
                at: now,
                asked: true,
                swept: true,
            }
        }
        Action::List | Action::Create { .. } | Action::FailUpdate { .. } | Action::Renew { .. } => {}
    }
}

/// The grace counts from the first time it was asked.
fn stop(unit: &mut Unit, now: u64, killed: bool, again: bool) {
    let since = match unit.phase {
        Phase::Stopping { since, .. } => since,
        _ => now,
    };
    unit.phase = Phase::Stopping {
        since,
        sent: true,
        killed,
        again,
    };
}

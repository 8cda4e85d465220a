//! Marks actions as under way, so that they are not wanted again.

use std::sync::Arc;

use super::{FailedUpdate, Observed, Sync};
use crate::plan::Action;
use crate::unit::{Measured, Phase, Unit};

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
                self.remember_number(service, *number);
                self.units.insert(unit.id.clone(), unit);
            }
            Action::FailUpdate {
                service,
                revision,
                reason,
            } => {
                let failed = FailedUpdate {
                    revision: *revision,
                    reason: reason.clone(),
                };
                self.memories.entry(service.clone()).or_default().failed = Some(failed);
            }
            Action::Start { id, .. }
            | Action::Record { id }
            | Action::Drain { id }
            | Action::Stop { id }
            | Action::Kill { id }
            | Action::Sweep { id }
            | Action::Forget { id } => {
                if let Some(unit) = self.units.get_mut(id) {
                    let memory = self.memories.get(&unit.service);
                    unit.has_to_listen = memory.is_some_and(|memory| !memory.published.is_empty());
                    begin_on(unit, action, now);
                }
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
            unit.phase = Phase::Launching { early_exit: None };
            unit.started_at = Some(now);
            unit.address = None;
            unit.bound = None;
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
        Action::Stop { .. } => stop(unit, now, false),
        Action::Kill { .. } => stop(unit, now, true),
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
        Action::List | Action::Create { .. } | Action::FailUpdate { .. } => {}
    }
}

/// The grace counts from the first time it was asked.
fn stop(unit: &mut Unit, now: u64, killed: bool) {
    let since = match unit.phase {
        Phase::Stopping { since, .. } => since,
        _ => now,
    };
    unit.phase = Phase::Stopping {
        since,
        sent: true,
        killed,
    };
}

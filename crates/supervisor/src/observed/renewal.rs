//! Reasons to replace units whose revision is the wished one.
//!
//! A reason is a mark on the unit. The plan treats a marked unit like one of an older revision, so it goes the way of
//! every rollout: one at a time, the new one ready before the old one is drained, the old one kept if the new one
//! fails. Marks are not remembered beyond the server: what it had not replaced yet stays.

use hythe_model::{FullName, InstanceId};
use hythe_stdx::format_size;

use super::Observed;
use crate::backoff::{Backoff, millis};
use crate::unit::{Phase, Unit};

/// What renews a whole service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// Files changed: also a process that is just starting may have read the old ones.
    Files,
    /// A time came: what is just starting is new enough, or a start that takes longer than the time between would
    /// never come to its end.
    Cron,
}

/// A spike is no reason.
const MEASUREMENTS_IN_A_ROW: u32 = 2;

impl Renewal {
    /// Whether it is a reason to replace `unit`. What has ended is tried anew.
    pub(crate) fn concerns(self, unit: &Unit) -> bool {
        let in_time = match unit.phase {
            Phase::Waiting => false,
            Phase::Ended { .. } => true,
            _ => unit.is_serving() || self == Self::Files,
        };
        in_time && unit.replace.is_none() && !unit.is_retiring()
    }
}

impl Observed {
    /// Every unit of `service` that `renewal` concerns is to be replaced. As after a restart by hand, an update that
    /// failed is tried once more.
    pub(crate) fn renew(&mut self, service: &FullName, renewal: Renewal, reason: &str) {
        let units = self.units.values_mut().filter(|unit| unit.service == *service);
        for unit in units.filter(|unit| renewal.concerns(unit)) {
            unit.replace = Some(reason.to_owned());
        }
        if let Some(memory) = self.memories.get_mut(service) {
            memory.failed = None;
        }
    }

    /// Takes in what was measured of `id`. `true` if it is to be replaced from now on for the memory it uses.
    pub(super) fn judge_memory(&mut self, id: &InstanceId, backoff: &Backoff, now: u64) -> bool {
        let Some(unit) = self.units.get_mut(id) else {
            return false;
        };
        let Some(most) = unit
            .workload
            .as_ref()
            .and_then(|entry| entry.spec.memory_restart_bytes)
        else {
            return false;
        };
        let used = unit.usage.memory_bytes;
        unit.usage.over = if used > most {
            unit.usage.over.saturating_add(1)
        } else {
            0
        };
        let spared = unit
            .spared_since
            .is_some_and(|since| now.saturating_sub(since) < millis(backoff.reset_after));
        let is_reason = unit.usage.over >= MEASUREMENTS_IN_A_ROW && !spared;
        if !is_reason || !unit.is_serving() || unit.replace.is_some() {
            return false;
        }
        unit.replace = Some(format!(
            "uses {}, more than {}",
            format_size(used),
            format_size(most)
        ));
        // A replacement that failed is tried again, an update is not.
        if let Some(memory) = self.memories.get_mut(&unit.service)
            && memory
                .failed
                .as_ref()
                .is_some_and(|failed| failed.revision == unit.revision)
        {
            memory.failed = None;
        }
        true
    }
}

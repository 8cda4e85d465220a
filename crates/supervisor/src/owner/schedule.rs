//! When cron expressions come due.
//!
//! They speak of the time on the wall and of its zone, which the plan knows nothing of: here they become times of the
//! supervisor's clock. They are looked up again when the wall's clock was set or the machine slept. A time that passed
//! unseen is not made up for, and none is used twice.

use std::time::Instant;

use hythe_model::{Desired, Schedule};
use jiff::tz::TimeZone;

use super::Owner;
use crate::backoff::millis;
use crate::observed::Due;

/// The clock on the wall, as it was read last.
pub(super) struct Wall {
    read_at: Instant,
    ms: u64,
}

/// It may be corrected so far before it counts.
const MOST_DRIFT_MS: u64 = 1_000;

impl Owner {
    /// Has every running service with a cron expression know when that comes due.
    pub(super) fn schedule(&mut self, desired: &Desired, now: u64) {
        for (service, entry) in desired.workloads.iter() {
            let wanted = entry.spec.cron_restart.as_ref();
            let wanted = wanted.filter(|_| !entry.spec.stopped);
            let memory = self.observed.memories.entry(service.clone()).or_default();
            let Some(expression) = wanted else {
                memory.due = None;
                continue;
            };
            let known = memory.due.as_ref().filter(|due| due.expression == *expression);
            if known.is_none_or(|due| due.outdated) {
                let used = known.map_or(0, |due| due.used);
                memory.due = Some(next(expression, used, now));
            }
        }
    }

    /// Whether the wall's clock was set, or the machine slept: cron expressions are looked up again then.
    pub(super) fn look_at_the_wall(&mut self) -> bool {
        let moved = self.wall.has_moved();
        if moved {
            self.wall = Wall::read();
            let dues = self.observed.memories.values_mut();
            for due in dues.filter_map(|memory| memory.due.as_mut()) {
                due.outdated = true;
            }
        }
        moved
    }
}

impl Wall {
    pub(super) fn read() -> Self {
        Self {
            read_at: Instant::now(),
            ms: hythe_stdx::unix_ms(),
        }
    }

    /// Whether it went another way than time did.
    fn has_moved(&self) -> bool {
        let expected = self.ms + millis(self.read_at.elapsed());
        hythe_stdx::unix_ms().abs_diff(expected) > MOST_DRIFT_MS
    }
}

/// The first time of `expression` that is neither past nor `used`.
fn next(expression: &str, used: u64, now: u64) -> Due {
    let wall = hythe_stdx::unix_ms();
    let schedule: Result<Schedule, _> = expression.parse();
    let wall_at = schedule
        .ok()
        .and_then(|schedule| schedule.next_after(wall.max(used), &TimeZone::system()));
    Due {
        expression: expression.to_owned(),
        at: wall_at.map(|at| now + at.saturating_sub(wall)),
        wall_at,
        used,
        outdated: false,
    }
}

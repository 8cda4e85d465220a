//! What to do next: a pure function of what is desired, what is observed and what time it is.
//!
//! [`plan`] has no clock, no IO and no randomness, and its actions leave nothing to choose. It is asked
//! again whenever anything changes, at the latest at [`Plan::wake_at`], and everything it wants is marked
//! in the observed state before it is asked again, so that nothing is wanted twice while it is under way.
//!
//! Nothing is planned but to ask the runtime for everything it has until that was answered: an instance
//! that runs unseen must not be started a second time.
//!
//! What happens to one unit, see [`crate::unit`] for the phases:
//!
//! ```text
//!                     wished, needs met                exit, back-off over
//!            Waiting ------- Start ------> Up <------------ Start ------------ Ended
//!                                          |                                     |
//!                                          +--- hangs: Restart ----> Stopping ---+
//!                                          |                                     |
//!  superseded, too many, service gone:     |                                     |
//!     has served: Drain ----> Draining ----+--- drained or late: Stop            |
//!     has not: --------------------------------------------------- Stop          |
//!                                              Stopping -- late: Kill            |
//!                                                  |                             |
//!                                                exit ---- Forget ----> gone <---+ Forget
//! ```
//!
//! What happens to a service, start-first:
//!
//! ```text
//!            new wish                   new ready                all new
//!   settled ---------> old + new trial ----------> old drained ---------> settled, new is `good`
//!                          |      ^                     |
//!            exit, too late|      +-- next place -------+
//!                          v
//!                      FailUpdate: new is stopped, old is kept, empty places get `good`,
//!                      nothing is replaced until another revision is wished
//! ```
//!
//! A unit that was given a reason to be replaced (memory, cron, changed files; see `observed::renewal`) is `old` in
//! this picture although its revision is the wished one; if its replacement fails, it stays.
//!
//! Deliberately left out: restarts of instances that fail the health check which only takes them out of traffic,
//! and any memory of a failed update across the server's own restart (it is tried once more then).

mod fleet;
mod single;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use hythe_model::{Desired, Entry, FullName, InstanceId, Revision, Workload};

use crate::Rules;
use crate::dependency::Dependencies;
use crate::goal::Goals;
use crate::observed::{Observed, Sync, by_service};
use crate::unit::Phase;

pub(crate) use single::{late, late_at};

/// What to do now, and when to ask again if nothing happens before.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) actions: Vec<Action>,
    pub(crate) wake_at: Option<u64>,
}

/// One thing to do. Safe to repeat.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// Ask the runtime for everything it has.
    List,
    /// Have a unit; it is started by an action of its own once what it needs is there.
    Create {
        service: FullName,
        number: u64,
        slot: u32,
        revision: Revision,
        entry: Arc<Entry<Workload>>,
        trial: bool,
    },
    /// Start it, for the first time or again. `warning`: what it will miss.
    Start { id: InstanceId, warning: Option<String> },
    /// Tell the runtime to remember that it is ready.
    Record { id: InstanceId },
    /// Take it out of traffic and wait until its requests have ended.
    Drain { id: InstanceId },
    /// Send its stop signal.
    Stop { id: InstanceId },
    /// Send its stop signal; it is started again after its end.
    Restart { id: InstanceId },
    /// Kill it with everything it started.
    Kill { id: InstanceId },
    /// Kill what it left behind.
    Sweep { id: InstanceId },
    /// Have it no more.
    Forget { id: InstanceId },
    /// Its cron expression comes due: have every unit replaced.
    Renew { service: FullName, reason: String },
    /// Do not try this revision again.
    FailUpdate {
        service: FullName,
        revision: Revision,
        reason: String,
    },
}

/// What is to be done.
pub(crate) fn plan(desired: &Desired, observed: &Observed, rules: &Rules, now: u64) -> Plan {
    let mut plan = Plan::default();
    if observed.sync != Sync::Done {
        plan_sync(&mut plan, observed, now);
        return plan;
    }
    let goals = Goals::new(desired, observed, rules);
    let groups = by_service(&observed.units);
    let dependencies = Dependencies {
        goals: &goals,
        groups: &groups,
        rules,
    };
    let mut services: Vec<&FullName> = goals.into_iter().map(|(service, _)| service).collect();
    services.extend(
        groups
            .keys()
            .filter(|service| goals.get(service).is_none())
            .copied(),
    );
    for service in services {
        fleet::plan_service(&mut plan, observed, &dependencies, service, now);
    }
    plan
}

/// A start whose answer is missing would be seen as an instance that is gone, so answers come first.
fn plan_sync(plan: &mut Plan, observed: &Observed, now: u64) {
    let launching = observed
        .units
        .values()
        .any(|unit| matches!(unit.phase, Phase::Launching { .. }));
    match observed.sync {
        Sync::Needed { at, .. } if !launching && plan.due(at, now) => plan.actions.push(Action::List),
        _ => {}
    }
}

impl Plan {
    /// Whether `at` has come; remembers to ask again then if not.
    fn due(&mut self, at: u64, now: u64) -> bool {
        let due = now >= at;
        if !due {
            self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
        }
        due
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List => f.write_str("list"),
            Self::Create {
                service,
                number,
                slot,
                trial,
                ..
            } => {
                write!(
                    f,
                    "create {service}-{number} in slot {slot}{}",
                    if *trial { ", on trial" } else { "" }
                )
            }
            Self::Start { id, warning: None } => write!(f, "start {id}"),
            Self::Start {
                id,
                warning: Some(warning),
            } => write!(f, "start {id}, {warning}"),
            Self::Record { id } => write!(f, "record {id}"),
            Self::Drain { id } => write!(f, "drain {id}"),
            Self::Stop { id } => write!(f, "stop {id}"),
            Self::Restart { id } => write!(f, "stop {id} to start it again"),
            Self::Kill { id } => write!(f, "kill {id}"),
            Self::Sweep { id } => write!(f, "sweep {id}"),
            Self::Forget { id } => write!(f, "forget {id}"),
            Self::Renew { service, reason } => write!(f, "renew {service}: {reason}"),
            Self::FailUpdate { service, reason, .. } => write!(f, "fail the update of {service}: {reason}"),
        }
    }
}

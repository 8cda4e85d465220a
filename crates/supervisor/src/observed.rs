//! The observed state: every unit, and what is remembered about each service.
//!
//! One task owns it. It changes in three ways only: [`Observed::refresh`] takes in what is desired,
//! [`Observed::begin`] marks an action as under way, and the methods of [`events`] take in what happened.

mod begin;
mod events;
mod renewal;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use hythe_model::{Desired, Entry, FullName, InstanceId, Revision, Workload};

use crate::Rules;
use crate::goal::{Goal, Goals};
use crate::scaling::Scales;
use crate::unit::{Health, Phase, Unit};

pub(crate) use events::Heard;
pub(crate) use renewal::Renewal;

/// What is there.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    pub(crate) units: BTreeMap<InstanceId, Unit>,
    pub(crate) memories: BTreeMap<FullName, Memory>,
    pub(crate) sync: Sync,
    /// When the runtime was last asked for everything it has, successfully.
    pub(crate) synced_at: Option<u64>,
    /// How many there should be of services whose load decides.
    pub(crate) scales: Arc<Scales>,
    /// Everything is to stop, whatever is desired.
    pub(crate) stop_all: Option<StopAll>,
}

/// Whether the units are what the runtime has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sync {
    /// The runtime has to be asked, not before `at`; `tries` in a row have failed.
    Needed { at: u64, tries: u32 },
    /// It was asked.
    Asked { tries: u32 },
    /// They are, and events keep them so.
    Done,
}

/// Until when draining, and until when stopping, may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StopAll {
    pub(crate) drain_until: u64,
    pub(crate) kill_at: u64,
}

/// What is remembered about a service beyond its units.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory {
    /// The workload last seen with its own revision, so that it is hashed once.
    pub(crate) hashed: Option<(Arc<Entry<Workload>>, Revision)>,
    /// The highest number given to a unit.
    pub(crate) last_number: u64,
    /// The update that failed; forgotten when something else is desired.
    pub(crate) failed: Option<FailedUpdate>,
    /// The last revision with which everything was as it should be: what a failed update leaves empty is
    /// filled with it.
    pub(crate) good: Option<(Revision, Arc<Entry<Workload>>)>,
    /// Where its units mean to listen, if the gateway is to listen there.
    pub(crate) published: BTreeSet<SocketAddr>,
    /// When the last replaced unit was gone.
    pub(crate) batch_ended_at: Option<u64>,
    /// Why units that are gone were replaced, by place, until another takes it.
    pub(crate) causes: BTreeMap<u32, String>,
    /// When its cron expression comes due.
    pub(crate) due: Option<Due>,
}

/// The next time of a cron expression.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Due {
    pub(crate) expression: String,
    /// On the supervisor's clock; `None`: never again.
    pub(crate) at: Option<u64>,
    /// The same on the wall.
    pub(crate) wall_at: Option<u64>,
    /// The last time on the wall that was acted upon.
    pub(crate) used: u64,
    /// It has to be looked up again.
    pub(crate) outdated: bool,
}

/// An update, or a replacement of what was there, that is not tried again.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FailedUpdate {
    pub(crate) revision: Revision,
    pub(crate) reason: String,
}

impl Default for Sync {
    fn default() -> Self {
        Self::Needed { at: 0, tries: 0 }
    }
}

impl Observed {
    /// Takes in what is desired. After it units know what they are, those that need no check and have run
    /// for a while are ready, and what was remembered about an older wish is forgotten.
    pub(crate) fn refresh(&mut self, desired: &Desired, rules: &Rules, now: u64) {
        self.hash_workloads(desired);
        self.remember_published();
        for (service, memory) in &mut self.memories {
            if !desired.workloads.contains_key(service) {
                memory.published.clear();
            }
        }
        let goals = Goals::new(desired, self, rules);
        for (service, goal) in &goals {
            let memory = self.memories.entry(service.clone()).or_default();
            let outdated = memory
                .failed
                .as_ref()
                .is_some_and(|failed| failed.revision != goal.revision);
            if outdated || goal.want == 0 {
                memory.failed = None;
            }
            if goal.want == 0 && !goal.asleep {
                memory.good = None;
            }
            if (goal.want == 0 && !goal.asleep) || !goal.entry.spec.publish {
                memory.published.clear();
            }
            memory.causes.retain(|slot, _| *slot < goal.want);
        }
        for unit in self.units.values_mut() {
            if let Some(goal) = goals
                .get(&unit.service)
                .filter(|goal| goal.revision == unit.revision)
            {
                unit.attach(&goal.entry);
            }
            let ready_by_running = unit.ready_at(&rules.backoff).is_some_and(|at| now >= at);
            if let Phase::Up { health, .. } = &mut unit.phase
                && ready_by_running
            {
                *health = Health::Ready;
                unit.trial = false;
            }
        }
        let groups = by_service(&self.units);
        for (service, goal) in &goals {
            let units = groups.get(service).map_or(&[][..], Vec::as_slice);
            if goal.want > 0
                && is_filled(units, goal, rules)
                && let Some(memory) = self.memories.get_mut(service)
            {
                memory.good = Some((goal.revision, Arc::clone(&goal.entry)));
            }
        }
    }

    /// Whether a process of any unit may be there.
    pub(crate) fn anything_alive(&self) -> bool {
        self.units.values().any(Unit::is_alive)
    }

    /// Makes `number` the lowest that is not given to a new unit of `service`.
    pub(crate) fn remember_number(&mut self, service: &FullName, number: u64) {
        let memory = self.memories.entry(service.clone()).or_default();
        memory.last_number = memory.last_number.max(number);
    }

    /// Where units mean to listen, as those that run say; while none does, as the last ones said.
    fn remember_published(&mut self) {
        let mut published: BTreeMap<&FullName, BTreeSet<SocketAddr>> = BTreeMap::new();
        for unit in self.units.values() {
            if let Some(asked) = unit.published() {
                published.entry(&unit.service).or_default().insert(asked);
            }
        }
        for (service, asked) in published {
            self.memories.entry(service.clone()).or_default().published = asked;
        }
    }

    fn hash_workloads(&mut self, desired: &Desired) {
        for (service, entry) in desired.workloads.iter() {
            let memory = self.memories.entry(service.clone()).or_default();
            if !memory
                .hashed
                .as_ref()
                .is_some_and(|(seen, _)| Arc::ptr_eq(seen, entry))
            {
                memory.hashed = Some((Arc::clone(entry), entry.spec.revision()));
            }
        }
    }
}

/// The units of each service, by slot and age.
pub(crate) fn by_service(units: &BTreeMap<InstanceId, Unit>) -> BTreeMap<&FullName, Vec<&Unit>> {
    let mut groups: BTreeMap<&FullName, Vec<&Unit>> = BTreeMap::new();
    for unit in units.values() {
        groups.entry(&unit.service).or_default().push(unit);
    }
    for units in groups.values_mut() {
        units.sort_by_key(|unit| (unit.slot, unit.number));
    }
    groups
}

/// Whether every place is taken by a unit of the wished revision that does, or did, its work.
fn is_filled(units: &[&Unit], goal: &Goal, rules: &Rules) -> bool {
    let fits = |unit: &Unit, slot| {
        unit.slot == slot
            && unit.is_of(goal.revision)
            && (unit.is_ready() || unit.is_completed(&rules.backoff))
    };
    (0..goal.want).all(|slot| units.iter().any(|unit| fits(unit, slot)))
}

//! What is next for the units of one service.

use std::sync::Arc;

use hythe_model::workload::{UpdateOrder, UpdatePolicy};
use hythe_model::{FullName, Revision};

use super::{Action, Plan, single};
use crate::Rules;
use crate::dependency::{Dependencies, Readiness};
use crate::goal::Goal;
use crate::observed::{Memory, Observed};
use crate::unit::{Phase, Unit};

/// One service while it is planned.
struct Fleet<'a> {
    plan: &'a mut Plan,
    observed: &'a Observed,
    dependencies: &'a Dependencies<'a>,
    rules: &'a Rules,
    service: &'a FullName,
    units: &'a [&'a Unit],
    memory: &'a Memory,
    now: u64,
}

pub(super) fn plan_service(
    plan: &mut Plan,
    observed: &Observed,
    dependencies: &Dependencies<'_>,
    service: &FullName,
    now: u64,
) {
    let nothing = Memory::default();
    let units = dependencies.groups.get(service).map_or(&[][..], Vec::as_slice);
    let memory = observed.memories.get(service).unwrap_or(&nothing);
    let rules = dependencies.rules;
    let mut fleet = Fleet {
        plan,
        observed,
        dependencies,
        rules,
        service,
        units,
        memory,
        now,
    };
    for unit in units.iter().filter(|unit| unit.is_retiring()) {
        fleet.retire(unit);
    }
    match dependencies.goals.get(service) {
        Some(goal) if goal.want > 0 => fleet.run(goal),
        _ => fleet.end(),
    }
}

impl<'a> Fleet<'a> {
    /// The service goes away; those that depend on it and go away too go first.
    fn end(&mut self) {
        let needed = self.is_needed_by_others_that_end() && !self.is_out_of_time();
        for unit in self.active() {
            let runs = unit.is_alive();
            if !(runs && needed) {
                self.retire(unit);
            }
        }
    }

    fn run(&mut self, goal: &Goal) {
        self.renew_when_due();
        for unit in self.active().filter(|unit| unit.slot >= goal.want) {
            self.retire(unit);
        }
        let mut readiness = None;
        for unit in self.active().filter(|unit| unit.slot < goal.want) {
            if self.is_superseded(goal, unit) {
                self.retire(unit);
            } else if unit.phase == Phase::Waiting {
                let readiness = readiness.get_or_insert_with(|| self.dependencies.readiness(self.service));
                single::start_waiting(self.plan, unit, readiness.clone());
            } else {
                self.keep(goal, unit);
            }
        }
        if goal.entry.spec.update.order == UpdateOrder::StopFirst {
            self.stop_first(goal);
        }
        self.create_missing(goal);
    }

    fn renew_when_due(&mut self) {
        if let Some(due) = &self.memory.due
            && !due.outdated
            && due.at.is_some_and(|at| self.plan.due(at, self.now))
        {
            self.plan.actions.push(Action::Renew {
                service: self.service.clone(),
                reason: format!("cron `{}`", due.expression),
            });
        }
    }

    /// Whether `unit` has no reason to run any more.
    fn is_superseded(&self, goal: &Goal, unit: &Unit) -> bool {
        let mut others = self.slot_mates(unit);
        let does_its_work = |other: &Unit| other.is_ready() || other.is_completed(&self.rules.backoff);
        if unit.revision == goal.revision && goal.failed && !unit.is_serving() && unit.trial {
            return true;
        }
        if unit.is_of(goal.revision) {
            return others.any(|other| other.is_of(goal.revision) && other.number < unit.number);
        }
        if others.any(|other| other.is_of(goal.revision) && does_its_work(other)) {
            return true;
        }
        let better = self
            .slot_mates(unit)
            .any(|other| self.is_better(goal, other, unit));
        better || (!goal.failed && !unit.is_serving())
    }

    /// One unit that is not as wished stays in each place: one that serves, then the newest. What is to be replaced
    /// does not stand in the way of what replaces it.
    fn is_better(&self, goal: &Goal, other: &Unit, unit: &Unit) -> bool {
        let stands_back = other.replace.is_some() && unit.replace.is_none() && goal.failed;
        let key = |unit: &Unit| (unit.is_ready(), unit.is_serving(), unit.number);
        !other.is_of(goal.revision) && !stands_back && key(other) > key(unit)
    }

    fn keep(&mut self, goal: &Goal, unit: &Unit) {
        let update = &goal.entry.spec.update;
        if unit.trial && unit.revision == goal.revision && !goal.failed {
            if let Some(reason) = single::trial_failure(self.plan, unit, update, self.rules, self.now) {
                let (service, revision) = (self.service.clone(), goal.revision);
                self.plan.actions.push(Action::FailUpdate {
                    service,
                    revision,
                    reason,
                });
                return;
            }
        } else if let Some(late_at) = single::late_at(unit, update) {
            self.plan.due(late_at, self.now);
        }
        single::keep(self.plan, unit, self.rules, self.now);
    }

    /// Stops old units whose place may be empty for a while.
    fn stop_first(&mut self, goal: &Goal) {
        let done = |unit: &Unit| unit.revision == goal.revision && unit.is_completed(&self.rules.backoff);
        let up = |slot| {
            self.active()
                .any(|unit| unit.slot == slot && (unit.is_serving() || done(unit)))
        };
        let down = (0..goal.want).filter(|slot| !up(*slot)).count();
        let budget = surge(&goal.entry.spec.update).saturating_sub(down);
        let old: Vec<&Unit> = self
            .active()
            .filter(|unit| unit.slot < goal.want && is_to_be_replaced(goal, unit) && unit.is_serving())
            .take(budget)
            .collect();
        if old.is_empty() || !self.may_start() || !self.pause_is_over(goal) {
            return;
        }
        for unit in old {
            self.retire(unit);
        }
    }

    /// Has units for the places that lack one: empty places first, then those whose unit is replaced.
    fn create_missing(&mut self, goal: &Goal) {
        let Some((revision, entry)) = &goal.fill else {
            return;
        };
        let update = &goal.entry.spec.update;
        let start_first = update.order == UpdateOrder::StartFirst;
        let above = if start_first { surge(update) } else { 0 };
        let most = (goal.want as usize).saturating_add(above);
        let free = most.saturating_sub(self.units.iter().filter(|unit| unit.takes_a_place()).count());
        let missing = |slot: &u32| {
            !self
                .active()
                .any(|unit| unit.slot == *slot && unit.is_of(*revision))
        };
        let taken = |slot: &u32| self.active().any(|unit| unit.slot == *slot);
        let clear = |slot: &u32| {
            let mut there = self.units.iter().filter(|unit| unit.slot == *slot);
            if start_first {
                !there.any(|unit| unit.is_of(*revision))
            } else {
                there.next().is_none()
            }
        };
        let (mut replaced, empty): (Vec<u32>, Vec<u32>) =
            (0..goal.want).filter(missing).filter(clear).partition(taken);
        let due = |slot: u32| {
            self.active()
                .any(|unit| unit.slot == slot && is_to_be_replaced(goal, unit))
        };
        replaced.retain(|slot| due(*slot));
        let mut slots = empty;
        if start_first && !replaced.is_empty() && self.pause_is_over(goal) {
            slots.extend(replaced);
        }
        let trial = !goal.failed && self.has_something_to_lose(*revision);
        for (slot, number) in slots.into_iter().take(free).zip(self.memory.last_number + 1..) {
            let (service, revision, entry) = (self.service.clone(), *revision, Arc::clone(entry));
            self.plan.actions.push(Action::Create {
                service,
                number,
                slot,
                revision,
                entry,
                trial,
            });
        }
    }

    /// Whether a failure of `revision` leaves something to go on with.
    fn has_something_to_lose(&self, revision: Revision) -> bool {
        let serves = self
            .active()
            .any(|unit| !unit.is_of(revision) && unit.is_serving());
        serves
            || self
                .memory
                .good
                .as_ref()
                .is_some_and(|(good, _)| *good != revision)
    }

    /// Whether the pause between two batches of an update has passed, and no batch is under way.
    fn pause_is_over(&mut self, goal: &Goal) -> bool {
        let delay = goal.entry.spec.update.delay_ms;
        if delay == 0 {
            return true;
        }
        let done = |unit: &Unit| unit.is_ready() || unit.is_completed(&self.rules.backoff);
        let on_trial = |unit: &Unit| unit.trial && unit.revision == goal.revision && !done(unit);
        let under_way = self.units.iter().any(|unit| unit.is_retiring() || on_trial(unit));
        let since = self.memory.batch_ended_at;
        !under_way && since.is_none_or(|since| self.plan.due(since + delay, self.now))
    }

    fn may_start(&self) -> bool {
        matches!(
            self.dependencies.readiness(self.service),
            Readiness::Free | Readiness::Without(_)
        )
    }

    fn is_needed_by_others_that_end(&self) -> bool {
        let goals = self.dependencies.goals;
        goals.dependents(self.service).any(|other| {
            let units = self.dependencies.groups.get(other);
            goals.want(other) == 0 && units.is_some_and(|units| units.iter().any(|unit| unit.is_alive()))
        })
    }

    fn is_out_of_time(&self) -> bool {
        self.observed.stop_all.is_some_and(|all| self.now >= all.kill_at)
    }

    fn retire(&mut self, unit: &Unit) {
        single::retire(self.plan, unit, self.rules, self.observed.stop_all, self.now);
    }

    /// Units that were not decided against.
    fn active(&self) -> impl Iterator<Item = &'a Unit> + use<'a> {
        self.units.iter().copied().filter(|unit| !unit.is_retiring())
    }

    fn slot_mates<'u>(&self, unit: &'u Unit) -> impl Iterator<Item = &'a Unit> + use<'a, 'u> {
        self.active()
            .filter(|other| other.slot == unit.slot && other.id != unit.id)
    }
}

/// Whether another should take the place of `unit`: after a failed update only if something else is a reason.
fn is_to_be_replaced(goal: &Goal, unit: &Unit) -> bool {
    if goal.failed {
        unit.replace.is_some() && goal.fill.is_some()
    } else {
        !unit.is_of(goal.revision)
    }
}

/// How many places may be in replacement at a time.
fn surge(update: &UpdatePolicy) -> usize {
    update.max_surge.max(1) as usize
}

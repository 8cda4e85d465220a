//! Whether what a service needs is there.

use std::collections::BTreeMap;

use hythe_model::FullName;
use hythe_model::workload::{Condition, Dependency};

use crate::Rules;
use crate::goal::{Goal, Goals};
use crate::unit::{Outcome, Phase, Unit};

/// What stands between a service and its start.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Readiness {
    /// Nothing.
    Free,
    /// Something optional is not there and will not come: start, and say so.
    Without(String),
    /// Something is not there yet.
    Waits(String),
    /// Something is not there and will not come by itself, or not soon.
    Broken(String),
}

/// Answers for one state of things.
pub(crate) struct Dependencies<'a> {
    pub(crate) goals: &'a Goals,
    pub(crate) groups: &'a BTreeMap<&'a FullName, Vec<&'a Unit>>,
    pub(crate) rules: &'a Rules,
}

/// How one dependency stands.
enum Standing {
    Met,
    Pending(&'static str),
    Broken(String),
}

impl Dependencies<'_> {
    /// Whether a new unit of `service` may start.
    pub(crate) fn readiness(&self, service: &FullName) -> Readiness {
        let mut readiness = Readiness::Free;
        for (other, dependency) in self.goals.dependencies(service) {
            let next = match self.standing(other, dependency) {
                Standing::Met => continue,
                Standing::Pending(until) => Readiness::Waits(format!("waits for `{other}` {until}")),
                Standing::Broken(why) if dependency.required => {
                    Readiness::Broken(format!("waits for `{other}`, which {why}"))
                }
                Standing::Broken(why) => Readiness::Without(format!("starts without `{other}`, which {why}")),
            };
            match (&readiness, &next) {
                (_, Readiness::Broken(_)) => return next,
                (Readiness::Waits(_), _) => {}
                _ => readiness = next,
            }
        }
        readiness
    }

    fn standing(&self, other: &FullName, dependency: &Dependency) -> Standing {
        let Some(goal) = self.goals.get(other) else {
            return Standing::Broken("does not exist".to_owned());
        };
        if goal.want == 0 {
            // Whoever asks something of one that sleeps wakes it.
            return match goal.asleep {
                true => Standing::Met,
                false => Standing::Broken("is stopped".to_owned()),
            };
        }
        let units = self.groups.get(other).map_or(&[][..], Vec::as_slice);
        let rolling = dependency.restart && !goal.failed && is_rolling(units, goal);
        match dependency.condition {
            _ if rolling => match self.readiness(other) {
                Readiness::Broken(why) => Standing::Broken(why),
                _ => Standing::Pending("to be replaced"),
            },
            Condition::ServiceStarted => self.started(other, units, goal),
            Condition::ServiceHealthy => self.healthy(other, units, goal),
            Condition::ServiceCompletedSuccessfully => self.completed(other, units, goal),
        }
    }

    fn started(&self, other: &FullName, units: &[&Unit], goal: &Goal) -> Standing {
        let started = |unit: &&Unit| unit.started_at.is_some() && !unit.is_retiring();
        if units.iter().any(started) {
            Standing::Met
        } else {
            self.unmet(other, units, goal, "to start")
        }
    }

    fn healthy(&self, other: &FullName, units: &[&Unit], goal: &Goal) -> Standing {
        if units.iter().any(|unit| unit.is_ready()) {
            Standing::Met
        } else if !units.is_empty() && units.iter().all(|unit| unit.is_completed(&self.rules.backoff)) {
            Standing::Broken("has ended".to_owned())
        } else {
            self.unmet(other, units, goal, "to be ready")
        }
    }

    fn completed(&self, other: &FullName, units: &[&Unit], goal: &Goal) -> Standing {
        let revision = goal.fill.as_ref().map(|(revision, _)| *revision);
        let done = |unit: &&Unit| Some(unit.revision) == revision && unit.is_completed(&self.rules.backoff);
        if units.iter().any(done) {
            Standing::Met
        } else {
            self.unmet(other, units, goal, "to complete")
        }
    }

    fn unmet(&self, other: &FullName, units: &[&Unit], goal: &Goal, until: &'static str) -> Standing {
        let failed = units
            .iter()
            .find_map(|unit| match unit.outcome(&self.rules.backoff) {
                Some(Outcome::Failed(reason)) => Some(reason),
                _ => None,
            });
        if let Some(reason) = failed {
            return Standing::Broken(format!("failed: {reason}"));
        }
        if goal.failed {
            return Standing::Broken("could not be updated".to_owned());
        }
        if let Some(why) = units
            .iter()
            .find_map(|unit| unit.keeps_ending(&self.rules.backoff))
        {
            return Standing::Broken(why);
        }
        let waiting = units.iter().all(|unit| unit.phase == Phase::Waiting);
        match self.readiness(other) {
            Readiness::Broken(why) if waiting => Standing::Broken(why),
            _ => Standing::Pending(until),
        }
    }
}

/// Whether a unit of another revision is still there.
fn is_rolling(units: &[&Unit], goal: &Goal) -> bool {
    units
        .iter()
        .any(|unit| unit.revision != goal.revision && !unit.is_retiring())
}

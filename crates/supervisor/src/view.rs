//! What the supervisor publishes: the observed state in the words of the model.

use std::collections::BTreeMap;
use std::sync::Arc;

use hythe_model::instance::{Listening, ServiceInstances};
use hythe_model::workload::{ListensBy, NodeChannel, UpdateOrder};
use hythe_model::{Desired, FullName, Instance, InstanceState, Instances};

use crate::Rules;
use crate::dependency::{Dependencies, Readiness};
use crate::goal::{Goal, Goals};
use crate::observed::{Observed, by_service};
use crate::plan::{late, late_at};
use crate::unit::{Health, Outcome, Phase, Unit};

/// The instances at the end of a turn in which everything that `desired` asks for was planned. Instances
/// that did not change since `last` are shared with it.
pub(crate) fn view(
    desired: &Desired,
    observed: &Observed,
    rules: &Rules,
    last: &Instances,
    now: u64,
) -> Instances {
    let goals = Goals::new(desired, observed, rules);
    let groups = by_service(&observed.units);
    let viewer = Viewer {
        observed,
        dependencies: Dependencies {
            goals: &goals,
            groups: &groups,
            rules,
        },
        now,
    };
    let mut services: BTreeMap<FullName, ServiceInstances> = BTreeMap::new();
    for (service, goal) in &goals {
        services.insert(service.clone(), viewer.service(service, Some(goal), last));
    }
    for service in groups.keys().filter(|service| goals.get(service).is_none()) {
        services.insert((*service).clone(), viewer.service(service, None, last));
    }
    // A plan that waits for the runtime has not looked at what is desired.
    let planned = observed.sync == crate::observed::Sync::Done;
    let generation = if planned {
        desired.generation
    } else {
        last.generation
    };
    Instances {
        generation,
        synced: observed.synced_at.is_some(),
        services,
    }
}

/// Whether two publications say the same.
pub(crate) fn is_same(a: &Instances, b: &Instances) -> bool {
    a.generation == b.generation && a.synced == b.synced && a.services == b.services
}

struct Viewer<'a> {
    observed: &'a Observed,
    dependencies: Dependencies<'a>,
    now: u64,
}

impl Viewer<'_> {
    fn service(&self, service: &FullName, goal: Option<&Goal>, last: &Instances) -> ServiceInstances {
        let units = self
            .dependencies
            .groups
            .get(service)
            .map_or(&[][..], Vec::as_slice);
        let readiness = self.dependencies.readiness(service);
        let failure = goal.and_then(|goal| self.failure(service, goal, units, &readiness));
        let known = last
            .services
            .get(service)
            .map_or(&[][..], |service| service.instances.as_slice());
        let shared = |instance: Instance| {
            let same = known.iter().find(|known| ***known == instance);
            same.map_or_else(|| Arc::new(instance), Arc::clone)
        };
        ServiceInstances {
            desired: goal.map_or(0, |goal| goal.want),
            revision: goal.map(|goal| goal.revision),
            settled: failure.is_some() || self.is_settled(goal, units),
            failure,
            asleep: goal.is_some_and(|goal| goal.asleep),
            published: self
                .observed
                .memories
                .get(service)
                .into_iter()
                .flat_map(|memory| memory.published.iter().copied())
                .collect(),
            warnings: Vec::new(),
            instances: units
                .iter()
                .map(|unit| shared(self.instance(unit, &readiness)))
                .collect(),
        }
    }

    fn is_settled(&self, goal: Option<&Goal>, units: &[&Unit]) -> bool {
        let Some(goal) = goal else {
            return units.is_empty();
        };
        let fits = |unit: &&Unit| {
            unit.is_of(goal.revision)
                && (unit.is_ready() || unit.is_completed(&self.dependencies.rules.backoff))
        };
        units.len() == goal.want as usize && units.iter().all(fits)
    }

    /// Why the service is not, and will not soon be, as it should be.
    fn failure(
        &self,
        service: &FullName,
        goal: &Goal,
        units: &[&Unit],
        readiness: &Readiness,
    ) -> Option<String> {
        let memory = self.observed.memories.get(service);
        if goal.failed {
            return memory
                .and_then(|memory| memory.failed.as_ref())
                .map(|failed| failed.reason.clone());
        }
        if let Readiness::Broken(why) = readiness
            && goal.entry.spec.update.order == UpdateOrder::StopFirst
            && units.iter().any(|unit| !unit.is_of(goal.revision))
        {
            return Some(format!("the update {why}"));
        }
        let current = |unit: &&&Unit| unit.revision == goal.revision && !unit.is_retiring();
        units.iter().filter(current).find_map(|unit| {
            let update = &goal.entry.spec.update;
            match (unit.outcome(&self.dependencies.rules.backoff), readiness) {
                (Some(Outcome::Failed(reason)), _) => Some(format!("{} failed: {reason}", unit.id)),
                (_, Readiness::Broken(why)) if unit.phase == Phase::Waiting => {
                    Some(format!("{} {why}", unit.id))
                }
                _ if unit.is_completed(&self.dependencies.rules.backoff) => None,
                _ if let Some(why) = unit.keeps_ending(&self.dependencies.rules.backoff) => {
                    Some(format!("{} {why}", unit.id))
                }
                _ if late_at(unit, update).is_some_and(|at| self.now >= at) => Some(late(unit, update)),
                _ => None,
            }
        })
    }

    fn instance(&self, unit: &Unit, readiness: &Readiness) -> Instance {
        let (state, reason) = self.state(unit, readiness);
        Instance {
            id: unit.id.clone(),
            service: unit.service.clone(),
            slot: unit.slot,
            revision: unit.revision,
            pid: unit.pid,
            address: unit.address,
            listening: listening(unit),
            state,
            restarts: unit.restarts,
            started_at: unit.started_at,
            last_exit: unit.last_exit,
            cause: unit.cause.clone(),
            message: reason
                .or_else(|| unit.hung.clone())
                .or_else(|| unit.replace.clone())
                .or_else(|| unit.message.clone()),
            cpu_millis: unit.usage.cpu_millis,
            memory_bytes: unit.usage.memory_bytes,
        }
    }

    fn state(&self, unit: &Unit, readiness: &Readiness) -> (InstanceState, Option<String>) {
        let state = match unit.phase {
            Phase::Waiting => match readiness {
                Readiness::Waits(why) | Readiness::Broken(why) => {
                    return (InstanceState::Waiting, Some(why.clone()));
                }
                Readiness::Free | Readiness::Without(_) => InstanceState::Waiting,
            },
            Phase::Launching { .. }
            | Phase::Up {
                health: Health::Pending,
                ..
            } => InstanceState::Starting,
            Phase::Up {
                health: Health::Ready,
                ..
            } => InstanceState::Ready,
            Phase::Up {
                health: Health::Unhealthy,
                ..
            } => InstanceState::Unhealthy,
            Phase::Draining { .. } => InstanceState::Draining,
            Phase::Stopping { .. } | Phase::Ended { asked: true, .. } => InstanceState::Stopping,
            Phase::Ended { .. } => match unit.outcome(&self.dependencies.rules.backoff) {
                Some(Outcome::Completed) => InstanceState::Completed,
                Some(Outcome::Failed(reason)) => return (InstanceState::Failed, Some(reason)),
                Some(Outcome::RestartAt(_)) => return (InstanceState::Backoff, Some(unit.end())),
                None => InstanceState::Backoff,
            },
        };
        (state, None)
    }
}

/// How the process of a unit came to listen where it does, as far as that is known.
fn listening(unit: &Unit) -> Option<Listening> {
    let workload = &unit.workload.as_ref()?.spec;
    let (pid, _) = unit.pid.zip(unit.address)?;
    let bound = unit.bound.filter(|(of, _)| *of == pid);
    match bound.map(|(_, bound)| bound.asked) {
        Some(asked) if workload.channel == Some(NodeChannel::Cluster) => Some(Listening::Cluster { asked }),
        Some(asked) => Some(Listening::Bind { asked }),
        None if workload.listens == ListensBy::Socket => Some(Listening::Socket),
        None if unit.recorded_ready || unit.is_serving() => Some(Listening::Port),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::path::PathBuf;

    use hythe_model::{Entry, Workload};

    use super::*;
    use crate::runtime::Bound;

    fn unit(listens: ListensBy, channel: Option<NodeChannel>) -> Unit {
        let mut spec = Workload::new(vec!["/bin/app".to_owned()], PathBuf::from("/srv"));
        (spec.listens, spec.channel) = (listens, channel);
        let revision = spec.revision();
        let entry = Entry {
            uid: String::new(),
            generation: 1,
            created_at: 0,
            spec,
        };
        let mut unit = Unit::new("web".parse().unwrap(), 1, 0, revision, Arc::new(entry), 0);
        unit.pid = Some(7);
        unit
    }

    #[test]
    fn how_a_process_listens_is_told_as_far_as_it_is_known() {
        let (asked, address): (SocketAddr, SocketAddr) =
            (([0; 4], 3000).into(), ([127, 64, 0, 1], 3000).into());
        let bound = |pid| Some((pid, Bound { asked, address }));
        let rows = [
            (
                ListensBy::Auto,
                None,
                bound(7),
                false,
                Some(Listening::Bind { asked }),
            ),
            (
                ListensBy::Auto,
                Some(NodeChannel::Cluster),
                bound(7),
                false,
                Some(Listening::Cluster { asked }),
            ),
            (ListensBy::Auto, None, bound(6), false, None),
            (ListensBy::Auto, None, None, true, Some(Listening::Port)),
            (ListensBy::Port, None, None, false, None),
            (ListensBy::Port, None, None, true, Some(Listening::Port)),
            (ListensBy::Socket, None, None, false, Some(Listening::Socket)),
        ];
        for (listens, channel, bound, was_ready, expected) in rows {
            let mut unit = unit(listens, channel);
            (unit.bound, unit.recorded_ready) = (bound, was_ready);
            assert_eq!(listening(&unit), None, "it has no address");
            unit.address = Some(address);
            assert_eq!(listening(&unit), expected, "{listens:?} {bound:?} {was_ready}");
        }
    }
}

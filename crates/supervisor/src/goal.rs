//! What is wanted of each service, and in which order services depend on one another.
//!
//! The revision wanted is the workload's own, unless it depends on another service with `restart: true`:
//! then that service's revision is part of it, so that an update of the one rolls the other with no
//! further rule. A dependency whose update failed counts with the revision it fell back to.
//!
//! A service's *rank* is one more than the highest of those it depends on. Dependencies that do not go
//! from a higher to a lower rank stand in a circle and are ignored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hythe_model::workload::Dependency;
use hythe_model::{Desired, Entry, FullName, Revision, Workload};
use hythe_stdx::StableHash;

use crate::Rules;
use crate::observed::Observed;
use crate::scaling::Bounds;

/// What is wanted of one service.
#[derive(Debug, Clone)]
pub(crate) struct Goal {
    pub(crate) entry: Arc<Entry<Workload>>,
    pub(crate) revision: Revision,
    /// How many; 0 also for a service that was stopped by hand, or sleeps.
    pub(crate) want: u32,
    /// Nobody needs it at the moment.
    pub(crate) asleep: bool,
    /// The revision was tried and failed: what runs is kept and `fill` takes the empty places.
    pub(crate) failed: bool,
    /// What a new unit is made of. `None` after a failed update of which only the new side is known.
    pub(crate) fill: Option<(Revision, Arc<Entry<Workload>>)>,
}

/// What is wanted of every desired service.
#[derive(Debug)]
pub(crate) struct Goals {
    goals: BTreeMap<FullName, Goal>,
    graph: BTreeMap<FullName, Vec<(FullName, Dependency)>>,
    ranks: BTreeMap<FullName, u32>,
}

/// More copies than this are not started, whatever is asked.
const MOST_REPLICAS: u32 = 1000;

impl Goals {
    pub(crate) fn new(desired: &Desired, observed: &Observed, rules: &Rules) -> Self {
        let graph = graph(desired, observed);
        let mut ranks = BTreeMap::new();
        for service in graph.keys() {
            rank(service, &graph, &mut ranks, &mut BTreeSet::new());
        }
        let mut goals = Self {
            goals: BTreeMap::new(),
            graph,
            ranks,
        };
        let mut order: Vec<_> = desired.workloads.iter().collect();
        order.sort_by_key(|(service, _)| goals.rank(service));
        for (service, entry) in order {
            let goal = goals.goal(service, entry, observed, rules);
            goals.goals.insert(service.clone(), goal);
        }
        goals
    }

    pub(crate) fn get(&self, service: &FullName) -> Option<&Goal> {
        self.goals.get(service)
    }

    /// How many copies of `service` there should be.
    pub(crate) fn want(&self, service: &FullName) -> u32 {
        self.get(service).map_or(0, |goal| goal.want)
    }

    /// What `service` depends on, circles cut.
    pub(crate) fn dependencies<'a>(
        &'a self,
        service: &FullName,
    ) -> impl Iterator<Item = (&'a FullName, &'a Dependency)> + use<'a> {
        let rank = self.rank(service);
        self.graph
            .get(service)
            .into_iter()
            .flatten()
            .filter(move |(other, _)| self.rank(other) < rank)
            .map(|(other, dependency)| (other, dependency))
    }

    /// Who depends on `service`, circles cut.
    pub(crate) fn dependents<'a>(&'a self, service: &'a FullName) -> impl Iterator<Item = &'a FullName> {
        self.graph.keys().filter(move |other| {
            self.dependencies(other)
                .any(|(dependency, _)| dependency == service)
        })
    }

    fn rank(&self, service: &FullName) -> u32 {
        self.ranks.get(service).copied().unwrap_or_default()
    }

    fn goal(
        &self,
        service: &FullName,
        entry: &Arc<Entry<Workload>>,
        observed: &Observed,
        rules: &Rules,
    ) -> Goal {
        let workload = &entry.spec;
        let stopped = workload.stopped || observed.stop_all.is_some();
        let scale = observed.scales.get(service).copied();
        let scale = scale.or_else(|| there_are(service, workload, observed, rules));
        let want = if stopped {
            0
        } else {
            scale
                .unwrap_or_else(|| workload.replicas.on(rules.cores))
                .min(MOST_REPLICAS)
        };
        let memory = observed.memories.get(service);
        let own = memory
            .and_then(|memory| memory.hashed.as_ref())
            .filter(|(seen, _)| Arc::ptr_eq(seen, entry))
            .map_or_else(|| workload.revision(), |(_, revision)| *revision);
        let revision = self.with_restarting_dependencies(service, own);
        let failed = memory
            .and_then(|memory| memory.failed.as_ref())
            .is_some_and(|failed| failed.revision == revision);
        let fill = if failed {
            memory.and_then(|memory| memory.good.clone())
        } else {
            Some((revision, Arc::clone(entry)))
        };
        Goal {
            entry: Arc::clone(entry),
            revision,
            want,
            asleep: !stopped && scale == Some(0),
            failed,
            fill,
        }
    }

    fn with_restarting_dependencies(&self, service: &FullName, own: Revision) -> Revision {
        let revisions = self
            .dependencies(service)
            .filter(|(_, dependency)| dependency.restart)
            .filter_map(|(other, _)| self.get(other))
            .map(|goal| {
                goal.fill
                    .as_ref()
                    .map_or(goal.revision, |(revision, _)| *revision)
            });
        let mut hash = None;
        for revision in revisions {
            let start = hash.unwrap_or_else(|| StableHash::default().with(&own.0.to_le_bytes()));
            hash = Some(start.with(&revision.0.to_le_bytes()));
        }
        hash.map_or(own, |hash| Revision(hash.finish()))
    }
}

impl<'a> IntoIterator for &'a Goals {
    type Item = (&'a FullName, &'a Goal);
    type IntoIter = std::collections::btree_map::Iter<'a, FullName, Goal>;
    fn into_iter(self) -> Self::IntoIter {
        self.goals.iter()
    }
}

/// How many there are of a service whose load decides, while nobody has looked at that: after a start of the server.
fn there_are(service: &FullName, workload: &Workload, observed: &Observed, rules: &Rules) -> Option<u32> {
    let bounds = Bounds::of(workload, rules.cores)?;
    let units = observed.units.values();
    let there = units
        .filter(|unit| unit.service == *service && !unit.is_retiring())
        .count();
    Some(
        u32::try_from(there)
            .unwrap_or(u32::MAX)
            .clamp(bounds.min, bounds.max),
    )
}

/// Who depends on what: as desired, and for services that are no longer desired as their units know.
fn graph(desired: &Desired, observed: &Observed) -> BTreeMap<FullName, Vec<(FullName, Dependency)>> {
    let gone = observed
        .units
        .values()
        .filter(|unit| !desired.workloads.contains_key(&unit.service));
    let gone = gone.filter_map(|unit| Some((&unit.service, unit.workload.as_ref()?)));
    let mut graph = BTreeMap::new();
    for (service, entry) in gone.chain(desired.workloads.iter()) {
        if entry.spec.depends_on.is_empty() {
            continue;
        }
        let dependencies = entry.spec.depends_on.iter().map(|(name, dependency)| {
            (
                FullName::new(service.project.clone(), name.clone()),
                dependency.clone(),
            )
        });
        graph.insert(service.clone(), dependencies.collect());
    }
    graph
}

fn rank(
    service: &FullName,
    graph: &BTreeMap<FullName, Vec<(FullName, Dependency)>>,
    ranks: &mut BTreeMap<FullName, u32>,
    above: &mut BTreeSet<FullName>,
) -> u32 {
    if let Some(rank) = ranks.get(service) {
        return *rank;
    }
    let Some(dependencies) = graph.get(service) else {
        return 0;
    };
    if !above.insert(service.clone()) {
        return 0;
    }
    let highest = dependencies
        .iter()
        .map(|(other, _)| rank(other, graph, ranks, above))
        .max();
    above.remove(service);
    let own = highest.map_or(0, |highest| highest + 1);
    ranks.insert(service.clone(), own);
    own
}

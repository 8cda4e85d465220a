//! One version of a pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hythe_model::traffic::Algorithm;
use hythe_model::{Endpoint, FullName};

use crate::endpoint_table::{EndpointStats, EndpointTable};
use crate::lease::{Lease, Tried};
use crate::rotation::{Rotation, Turn};

/// The endpoints of a pool as they are now, and whose turn it is. Never changes but in its counters.
///
/// Lists its healthy members until [`PoolCell::replace`](crate::PoolCell::replace) puts another pool in its place,
/// or until it is dropped.
#[derive(Debug)]
pub struct Pool {
    name: FullName,
    algorithm: Algorithm,
    members: Box<[Arc<Member>]>,
    /// Indexes of the members that may be picked.
    healthy: Box<[usize]>,
    rotation: Rotation,
    lists: AtomicBool,
}

/// One endpoint of a pool.
#[derive(Debug)]
pub struct Member {
    /// Where it is and what it weighs.
    pub endpoint: Endpoint,
    /// What is counted for its address.
    pub stats: Arc<EndpointStats>,
}

impl Pool {
    /// A pool of `endpoints`, which take turns in the order given. Lists the healthy ones in `table` at once.
    pub fn new(
        name: FullName,
        algorithm: Algorithm,
        endpoints: impl IntoIterator<Item = Endpoint>,
        table: &EndpointTable,
    ) -> Self {
        let member = |endpoint: Endpoint| {
            Arc::new(Member {
                stats: table.get(endpoint.address),
                endpoint,
            })
        };
        let members: Box<[Arc<Member>]> = endpoints.into_iter().map(member).collect();
        let healthy: Box<[usize]> = (0..members.len())
            .filter(|index| members[*index].endpoint.healthy)
            .collect();
        let weights = healthy
            .iter()
            .map(|index| (*index, members[*index].endpoint.weight));
        let rotation = Rotation::new(weights);
        let pool = Self {
            name,
            algorithm,
            healthy,
            rotation,
            members,
            lists: AtomicBool::new(true),
        };
        pool.healthy_members().for_each(|member| member.stats.list());
        pool
    }

    /// Its name.
    pub fn name(&self) -> &FullName {
        &self.name
    }

    /// How it picks.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// All members, also those that may not be picked.
    pub fn members(&self) -> &[Arc<Member>] {
        &self.members
    }

    /// The members that may be picked.
    pub fn healthy_members(&self) -> impl ExactSizeIterator<Item = &Arc<Member>> {
        self.healthy.iter().map(|index| &self.members[*index])
    }

    /// Picks a healthy member that was not tried. `None` if there is none, or if this pool was replaced and no current
    /// pool has its members; [`PoolCell::pick`](crate::PoolCell::pick) looks again in the new one.
    pub fn pick(&self, tried: &Tried) -> Option<Lease> {
        loop {
            let index = self.choose(tried)?;
            // A member that was taken off in this moment is not chosen again.
            if let Some(lease) = Lease::take(&self.members[index]) {
                return Some(lease);
            }
        }
    }

    /// Who the next request would get, without taking its turn.
    pub fn peek(&self) -> Option<&Arc<Member>> {
        let nobody = Tried::new();
        let index = match self.algorithm {
            Algorithm::RoundRobin => self.rotation.peek(|index| self.may_take(index, &nobody)),
            Algorithm::LeastConnections => {
                let least = self.least_loaded(&nobody)?;
                self.rotation
                    .peek(|index| self.is_level_with(index, &least, &nobody))
                    .or(Some(least.index))
            }
        };
        index.map(|index| &self.members[index])
    }

    pub(crate) fn continue_from(&mut self, turn: Arc<Turn>) {
        self.rotation.continue_from(turn);
    }

    pub(crate) fn turn(&self) -> Arc<Turn> {
        self.rotation.turn()
    }

    /// Takes the members off. Once is enough and more does no harm.
    pub(crate) fn unlist(&self) {
        if self.lists.swap(false, Ordering::SeqCst) {
            self.healthy_members().for_each(|member| member.stats.unlist());
        }
    }

    fn choose(&self, tried: &Tried) -> Option<usize> {
        match self.algorithm {
            Algorithm::RoundRobin => self.rotation.next(|index| self.may_take(index, tried)),
            Algorithm::LeastConnections => self.choose_least_loaded(tried),
        }
    }

    fn choose_least_loaded(&self, tried: &Tried) -> Option<usize> {
        let least = self.least_loaded(tried)?;
        if !least.has_equals {
            return Some(least.index);
        }
        // Others may have become busier since they were compared; then the first found is as good.
        self.rotation
            .next(|index| self.is_level_with(index, &least, tried))
            .or(Some(least.index))
    }

    fn least_loaded(&self, tried: &Tried) -> Option<Least> {
        let mut least: Option<Least> = None;
        for index in self
            .healthy
            .iter()
            .copied()
            .filter(|index| self.may_take(*index, tried))
        {
            let load = self.load(index);
            match &mut least {
                Some(least) if load.is_level_with(&least.load) => least.has_equals = true,
                Some(least) if !load.is_below(&least.load) => {}
                _ => {
                    least = Some(Least {
                        index,
                        load,
                        has_equals: false,
                    });
                }
            }
        }
        least
    }

    fn is_level_with(&self, index: usize, least: &Least, tried: &Tried) -> bool {
        self.may_take(index, tried) && self.load(index).is_level_with(&least.load)
    }

    fn load(&self, index: usize) -> Load {
        let member = &self.members[index];
        Load {
            in_flight: member.stats.in_flight(),
            weight: u64::from(member.endpoint.weight.max(1)),
        }
    }

    fn may_take(&self, index: usize, tried: &Tried) -> bool {
        let member = &self.members[index];
        !tried.contains(member) && member.stats.is_listed()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.unlist();
    }
}

/// The least loaded member of one comparison.
struct Least {
    index: usize,
    load: Load,
    has_equals: bool,
}

/// Requests in flight by weight, compared as fractions.
#[derive(Clone, Copy)]
struct Load {
    in_flight: u64,
    weight: u64,
}

impl Load {
    fn is_below(&self, other: &Self) -> bool {
        self.in_flight * other.weight < other.in_flight * self.weight
    }

    fn is_level_with(&self, other: &Self) -> bool {
        self.in_flight * other.weight == other.in_flight * self.weight
    }
}

//! Observed state: which endpoints there are, and which of them may receive traffic.
//!
//! ```text
//! Latest<Desired>    pools there should be, targets by name ┐
//! Latest<Instances>  what runs here, and whether it is ready ├─► merge ─► judge ─► Latest<Endpoints>
//! names, dns         where host names lead, kept fresh      ┘              ▲
//!                            health: active checks, what requests show ┘
//! ```
//!
//! One task owns everything and rebuilds on any change; [`pools::merge`] is pure. A pool that comes out as
//! before keeps its `Arc`, so that who reads it sees at a glance what changed; a health check that changes its
//! mind replaces that one pool.
//!
//! Every source says for itself what is usable: instances by the supervisor's health checks, targets by
//! having an address. Checks of an upstream, active and passive, take away from that and never add. A name that cannot be resolved
//! keeps the addresses it had.

mod dns;
mod health;
mod names;
pub mod pools;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use hythe_model::endpoint::Observation;
use hythe_model::{Desired, Endpoints, FullName, Instances};
use hythe_spine::{Latest, Publisher, Shutdown, Spine, latest};
use tokio::sync::mpsc::Receiver;

use crate::dns::Dns;
use crate::health::Checks;
use crate::names::{LookUp, Names};

/// How the registry is set up.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The DNS servers to ask; empty: those of `/etc/resolv.conf`.
    pub resolvers: Vec<SocketAddr>,
}

/// What the registry reads.
pub struct Inputs {
    /// Pools and targets.
    pub desired: Latest<Desired>,
    /// What runs here.
    pub instances: Latest<Instances>,
    /// What clients' requests show of endpoints.
    pub observations: Receiver<Observation>,
}

/// Starts the registry. The endpoints that are known without asking anybody (instances, addresses) are
/// there when this returns.
pub fn build(config: &Config, inputs: Inputs, spine: &Spine) -> Latest<Endpoints> {
    let (publisher, endpoints) = latest(Endpoints::default());
    let mut registry = Registry {
        desired: inputs.desired,
        instances: inputs.instances,
        seen: Arc::default(),
        names: Names::new(Dns::new(&config.resolvers)),
        merged: Endpoints::default(),
        merged_instances: 0,
        checks: Checks::new(inputs.observations),
        publisher,
    };
    registry.rebuild();
    spine.spawn("registry", |shutdown| registry.run(shutdown));
    endpoints
}

struct Registry<L> {
    desired: Latest<Desired>,
    instances: Latest<Instances>,
    /// What the pools were made of.
    seen: Arc<Desired>,
    names: Names<L>,
    /// What the sources say, health checks apart.
    merged: Endpoints,
    /// The generation of the instances in it; newer ones may be there already.
    merged_instances: u64,
    checks: Checks,
    publisher: Publisher<Endpoints>,
}

impl<L: LookUp> Registry<L> {
    async fn run(mut self, shutdown: Shutdown) {
        let follow = async {
            loop {
                tokio::select! {
                    () = self.desired.changed() => self.follow_desired(),
                    () = self.instances.changed() => self.rebuild(),
                    () = self.names.changed() => self.rebuild(),
                    pool = self.checks.changed() => self.judge(&pool),
                }
            }
        };
        shutdown.unless_requested(follow).await;
    }

    /// Goes through the pools only if they may be others. That they are those of a newer generation is told at once.
    fn follow_desired(&mut self) {
        let desired = self.desired.get_and_mark();
        if concerns_pools(&self.seen, &desired) {
            self.rebuild();
            return;
        }
        self.merged.generation = desired.generation.min(self.merged_instances);
        let before = self.publisher.get();
        if before.generation != self.merged.generation {
            self.publisher.publish(Endpoints {
                generation: self.merged.generation,
                ..(*before).clone()
            });
        }
    }

    fn rebuild(&mut self) {
        let desired = self.desired.get_and_mark();
        self.seen = Arc::clone(&desired);
        let instances = self.instances.get_and_mark();
        self.merged_instances = instances.generation;
        self.names.want(pools::hosts(&desired));
        self.merged = pools::merge(&desired, &instances, |host| self.names.places(host), &self.merged);
        self.checks.want(&desired, &self.merged);
        let before = self.publisher.get();
        let judged = |(name, pool)| {
            let judged = self.checks.judge(name, pool);
            (name.clone(), pools::keep_equal(judged, before.pools.get(name)))
        };
        let endpoints = Endpoints {
            generation: self.merged.generation,
            pools: self.merged.pools.iter().map(judged).collect(),
        };
        if endpoints != *before {
            self.publisher.publish(endpoints);
        }
    }

    /// Swaps this one pool.
    fn judge(&mut self, name: &FullName) {
        let Some(pool) = self.merged.pools.get(name) else {
            return;
        };
        let mut endpoints = (*self.publisher.get()).clone();
        endpoints
            .pools
            .insert(name.clone(), self.checks.judge(name, pool));
        self.publisher.publish(endpoints);
    }
}

/// Whether anything that pools are made of is another than before.
fn concerns_pools(before: &Desired, now: &Desired) -> bool {
    !(Arc::ptr_eq(&before.workloads, &now.workloads)
        && Arc::ptr_eq(&before.services, &now.services)
        && Arc::ptr_eq(&before.upstreams, &now.upstreams)
        && Arc::ptr_eq(&before.targets, &now.targets))
}

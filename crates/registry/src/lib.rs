//! Observed state: which endpoints there are, and which of them may receive traffic.
//!
//! ```text
//! Latest<Desired>    pools there should be, targets by name ┐
//! Latest<Instances>  what runs here, and whether it is ready ├─► merge ─► Latest<Endpoints>
//! names              addresses of host names, kept fresh    ┘
//! ```
//!
//! One task owns everything and rebuilds on any change; [`pools::merge`] is pure. A pool that comes out as
//! before keeps its `Arc`, so that who reads it sees at a glance what changed.
//!
//! Every source says for itself what is usable: instances by the supervisor's health checks, targets by
//! having an address. A name that cannot be resolved keeps the addresses it had.

mod names;
pub mod pools;

use std::sync::Arc;

use hythe_model::{Desired, Endpoints, Instances};
use hythe_spine::{Latest, Publisher, Shutdown, Spine, latest};

use crate::names::{LookUp, Names};

/// What the registry reads.
pub struct Inputs {
    /// Pools and targets.
    pub desired: Latest<Desired>,
    /// What runs here.
    pub instances: Latest<Instances>,
}

/// Starts the registry. The endpoints that are known without asking anybody (instances, addresses) are
/// there when this returns.
pub fn build(inputs: Inputs, spine: &Spine) -> Latest<Endpoints> {
    let (publisher, endpoints) = latest(Endpoints::default());
    let mut registry = Registry {
        inputs,
        names: Names::new(names::system()),
        publisher,
    };
    registry.rebuild();
    spine.spawn("registry", |shutdown| registry.run(shutdown));
    endpoints
}

struct Registry<L> {
    inputs: Inputs,
    names: Names<L>,
    publisher: Publisher<Endpoints>,
}

impl<L: LookUp> Registry<L> {
    async fn run(mut self, shutdown: Shutdown) {
        let follow = async {
            loop {
                tokio::select! {
                    () = self.inputs.desired.changed() => {}
                    () = self.inputs.instances.changed() => {}
                    () = self.names.changed() => {}
                }
                self.rebuild();
            }
        };
        shutdown.unless_requested(follow).await;
    }

    fn rebuild(&mut self) {
        let desired = self.inputs.desired.get_and_mark();
        let instances = self.inputs.instances.get_and_mark();
        self.names.want(pools::hosts(&desired));
        let before = self.publisher.get();
        let merged = pools::merge(&desired, &instances, |host| self.names.addresses(host), &before);
        if merged != *before {
            self.publisher.publish(Arc::new(merged));
        }
    }
}

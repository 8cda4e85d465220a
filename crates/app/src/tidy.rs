//! Gives memory back once a burst of changes is over.
//!
//! Reading, planning and compiling a change takes more memory than knowing it, and starting a server most of all.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use hythe_model::{Instances, desired::Desired};
use hythe_spine::{Latest, Spine};

/// How long nothing must have changed.
const QUIET: Duration = Duration::from_secs(2);

/// Does so after each burst, and after the start.
pub(crate) fn follow(desired: Latest<Desired>, instances: Latest<Instances>, spine: &Spine) {
    let mut state = State { desired, instances };
    spine.spawn("memory", |shutdown| async move {
        let follow = async {
            loop {
                while tokio::time::timeout(QUIET, state.changes()).await.is_ok() {}
                hythe_memory::give_back();
                state.changes().await;
            }
        };
        shutdown.unless_requested(follow).await;
    });
}

struct State {
    desired: Latest<Desired>,
    instances: Latest<Instances>,
}

impl State {
    /// Waits for something else to be wanted or to run. What it takes is measured all the time.
    async fn changes(&mut self) {
        let generation = self.desired.get_and_mark().generation;
        let before = shape(&self.instances.get_and_mark());
        loop {
            tokio::select! {
                () = self.desired.changed() => {}
                () = self.instances.changed() => {}
            }
            if self.desired.get().generation != generation || shape(&self.instances.get()) != before {
                return;
            }
        }
    }
}

/// What runs, without what is measured of it.
fn shape(instances: &Instances) -> u64 {
    let mut shape = DefaultHasher::new();
    for running in instances.services.values().flat_map(|service| &service.instances) {
        (&running.id, running.pid, running.state as u8, running.address).hash(&mut shape);
    }
    shape.finish()
}

//! Gives memory back once a burst of changes is over.
//!
//! Reading, planning and compiling a change takes more memory than knowing it, and starting a server most of all.

use std::time::Duration;

use hythe_model::{Instances, desired::Desired};
use hythe_spine::{Latest, Spine};

/// How long nothing must have changed.
const QUIET: Duration = Duration::from_secs(2);

/// Does so after each burst, and after the start.
pub(crate) fn follow(mut desired: Latest<Desired>, mut instances: Latest<Instances>, spine: &Spine) {
    spine.spawn("memory", |shutdown| async move {
        let follow = async {
            loop {
                while changes(&mut desired, &mut instances, QUIET).await {}
                hythe_memory::give_back();
                changes(&mut desired, &mut instances, Duration::MAX).await;
            }
        };
        shutdown.unless_requested(follow).await;
    });
}

/// Whether anything changes within this time.
async fn changes(desired: &mut Latest<Desired>, instances: &mut Latest<Instances>, time: Duration) -> bool {
    desired.get_and_mark();
    instances.get_and_mark();
    let change = async {
        tokio::select! {
            () = desired.changed() => {}
            () = instances.changed() => {}
        }
    };
    tokio::time::timeout(time, change).await.is_ok()
}

//! The task tree and the values that flow between subsystems.
//!
//! [`Latest`] is how one subsystem shows its state to another: a single writer ([`Publisher`]) replaces an
//! `Arc<T>`, any number of readers take the current one without a lock and may wait for the next.
//! Readers see the latest value, not every value: what matters must be in the state, not in the edge.
//!
//! [`Spine`] owns the tasks of the server: each has a name, ends at shutdown, and a panic in one is logged
//! and counted instead of taking the process down.

mod latest;
mod tasks;
mod timer;

pub use latest::{Cached, Latest, Publisher, constant, latest};
pub use tasks::{Ending, Shutdown, Spine};
pub use timer::until;

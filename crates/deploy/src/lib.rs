//! Releases of an app on other machines, over the system's `ssh`.
//!
//! ```text
//! Target ─► plan ─► prepare ──────► activate ─────────► finish
//!            │      every host:     every host:         every host:
//!            │      lock, fetch,    switch `current`,   note the release,
//!            │      new folder      hook, health check  remove old ones
//!            ▼                          │ one host fails
//!          told (--dry-run)             └──► undo: all that have switched
//! ```
//!
//! A phase begins when every host is through with the one before, so that nothing that can go wrong while a release is
//! made concerns what runs. Within a phase, `max_parallel` hosts are worked on at once.
//!
//! Each host has one connection (`connection`). Its first session is a shell that stays: it holds the lock, and its
//! end frees it, whatever it was that ended. Each step is a session more on the same connection, a plain `sh` that
//! reads its script (`script`, `remote.sh`) from its standard input. Nothing that a user wrote is ever an
//! argument of a process, on either side, or is read as code other than by the hook that it is.
//!
//! What is to be done follows from the target alone ([`plan()`]), what it means on a host from what the host says of
//! itself ([`History`]); both are pure. Left out on purpose: asking for passwords (keys and agents only), hosts
//! without the tools of Linux (`sh`, `mv -T`, `flock`, `git`, `tar`), a time limit for hooks, submodules.

mod clean;
mod connection;
mod history;
mod plan;
mod process;
mod run;
mod script;
mod trouble;
mod upload;
mod worker;

pub use clean::{Unclean, clean};
pub use history::{History, Release};
pub use plan::{Operation, plan};
pub use run::{Failed, Job, Report, execute, look, run};
pub use trouble::Trouble;

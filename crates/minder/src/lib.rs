//! The tiny parent of every service: fork, exec, reap, move output, keep descriptors, answer binds, and start the
//! server again when it dies. Nothing else.
//!
//! ```text
//!   hythe server ──commands──► minder.sock ◄──events── hythe server (second connection)
//!                                  │
//!                               minder ── fork, exec, waitpid ──► child (own process group)
//!                                  │                                 │ stdout, stderr: pipes
//!                                  └── splice ── raw/<id>.<out|err>.<offset> ──► server reads the files
//! ```
//!
//! The server may be killed, crash or be replaced by a new binary at any time. The minder goes on: children
//! run, their output lands in segment files, exit codes wait in its table until they are forgotten, and
//! listening sockets kept with it go on queueing connections. The next server connects and asks.
//!
//! The crate has two halves. [`server`] is the minder's own single-threaded loop. [`client`] is what the
//! hythe server uses, blocking; an asynchronous caller takes the event connection's stream and a
//! [`protocol::Decoder`] and drives them itself. [`segments`] reads the output files and knows no minder.
//!
//! # What the minder's own death costs
//!
//! The pipes and the kept sockets go with it. Children get SIGTERM (their parent-death signal), so that they
//! may end decently instead of running on with broken pipes beside their replacements. The kernel delivers
//! it to the direct children only: grandchildren, set-user-id programs and whoever ignores SIGTERM run on as
//! orphans of init. The next start must find those by the pid and start time it has recorded, and end them.
//! Output that was in a pipe and not yet in a file is lost; segment files and their offsets go on.
//!
//! # What is deliberately left out
//!
//! Restarts of services, health, log lines and their rotation, who runs what and why: the server's. The minder
//! never reads a configuration, never parses output, never keeps anything on disk but the segments.

pub mod client;
pub mod home;
pub mod protocol;
pub mod segments;
pub mod server;

mod detach;

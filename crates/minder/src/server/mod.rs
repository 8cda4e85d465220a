//! The minder's own process: one thread, one epoll, no timer but its timeout.
//!
//! ```text
//!   SIGCHLD ──► waitpid until none ──► a child's exit, or an orphan nobody asks for
//!   pipe    ──► splice into the segment file; on a full disk leave it for a second
//!   client  ──► one request, one answer; subscribers get news when their socket takes them
//!   bind    ──► of a child, done in its place (`rebind`)
//!   pidfd   ──► the server has died: start it again (`guard`)
//!   a newer binary ──► executed in this process, with all there is (`handover`)
//! ```
//!
//! What is not here cannot fail: no configuration, no retry of anything but the disk and the server, no queue. Memory is
//! bounded by the constants of [`crate::protocol`]; in practice it is a few hundred bytes per child.

mod channel;
mod child;
mod confine;
mod connection;
mod given;
mod ground;
mod guard;
mod handover;
mod launch;
mod minder;
mod output;
mod rebind;
mod requests;
mod segment_writer;
mod signals;
mod slots;
mod strays;
mod turn;

use std::{
    fmt,
    io::{self, Write},
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

pub use handover::VERSION as HANDOVER_VERSION;

/// What a minder must know.
#[derive(Debug, Clone)]
pub struct Options {
    /// The home folder, created if it is missing: see [`crate::home`].
    pub home: PathBuf,
}

/// Turns this process into the minder and returns when it has been told to end.
///
/// Call it first thing in `main`, from the only thread: it closes every descriptor above standard error, starts
/// a session, changes to `/`, and once it can be reached makes standard input and output `/dev/null`, so
/// that whoever waits at the other end of standard output knows.
///
/// SIGTERM and SIGINT end the children (SIGTERM to their groups, SIGKILL after ten seconds) and then the minder.
///
/// # Errors
/// `AddrInUse` when a minder already runs for this home; else whatever the system refuses at the start, or a
/// failure of the event loop itself, which nothing but a broken kernel explains.
pub fn run(options: &Options) -> io::Result<()> {
    let minder = match handover::inherited()? {
        Some(estate) => {
            let (ground, launcher) = ground::take_over(&options.home, &estate)?;
            note(format_args!("goes on as another binary"));
            minder::Minder::new(ground, launcher)?.with_estate(estate)?
        }
        None => {
            let (ground, launcher) = ground::prepare(&options.home)?;
            note(format_args!("minding {}", ground.home.display()));
            minder::Minder::new(ground, launcher)?
        }
    };
    let outcome = minder.run();
    note(format_args!("ended"));
    outcome
}

/// One line for the log, which is standard error. That it cannot be written must not hurt.
fn note(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "minder {}: {line}", std::process::id());
}

fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

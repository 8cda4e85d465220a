//! The server process, started again when it dies.
//!
//! Connections wait in the kept sockets meanwhile, so it is started at once; one that dies again and again is waited
//! for, longer each time. Whether it serves, and why it died, is nothing a minder knows: its log tells.

use std::{
    fs::File,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    time::{Duration, Instant},
};

use rustix::{
    event::epoll::{self, EventFlags},
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};

use super::{
    handover::{self, GuardLeft},
    minder::{Minder, Token},
    note,
};
use crate::protocol::{Guarded, Refusal};

/// Who lived this long did not die of how it starts.
const STEADY: Duration = Duration::from_secs(10);

/// The pause before the second start in a row; doubled for each one after it.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The server and how it is started.
pub(super) struct Guard {
    server: Guarded,
    /// Started instead if the server ends before it has asked to be guarded.
    fallback: Option<Guarded>,
    state: State,
    /// Starts in a row that came to nothing.
    failures: u32,
}

enum State {
    Alive {
        pid: u64,
        /// Readable once it has ended.
        watched: OwnedFd,
        since: Instant,
    },
    Starts {
        at: Instant,
    },
}

impl Guard {
    /// For a later binary in this process.
    pub(super) fn to_leave(&self) -> GuardLeft {
        let (pid, watched) = match &self.state {
            State::Alive { pid, watched, .. } => (i32::try_from(*pid).ok(), Some(watched.as_raw_fd())),
            State::Starts { .. } => (None, None),
        };
        GuardLeft {
            server: self.server.clone(),
            fallback: self.fallback.clone(),
            pid,
            watched,
            failures: self.failures,
        }
    }

    /// When it is to be started.
    pub(super) fn starts_at(&self) -> Option<Instant> {
        match self.state {
            State::Starts { at } => Some(at),
            State::Alive { .. } => None,
        }
    }

    /// Whether it is over the process of this number.
    fn is_over(&self, process: u64) -> bool {
        matches!(self.state, State::Alive { pid, .. } if pid == process)
    }

    /// Notes that it is gone, or could not be started.
    fn failed(&mut self, now: Instant) {
        if let Some(fallback) = self.fallback.take() {
            note(format_args!(
                "the server that was asked for does not serve: the one before is started again"
            ));
            self.server = fallback;
        }
        if let State::Alive { since, .. } = self.state
            && now.duration_since(since) >= STEADY
        {
            self.failures = 0;
        }
        self.state = State::Starts {
            at: now + pause(self.failures),
        };
        self.failures = self.failures.saturating_add(1);
    }
}

fn cannot_watch(error: Errno) -> Refusal {
    Refusal::Failed {
        what: "watching the server".to_owned(),
        errno: error.raw_os_error(),
    }
}

fn number(pid: Pid) -> u64 {
    u64::from(pid.as_raw_nonzero().get().unsigned_abs())
}

/// Before a start that follows so many in a row that came to nothing.
fn pause(failures: u32) -> Duration {
    let Some(doublings) = failures.checked_sub(1) else {
        return Duration::ZERO;
    };
    FIRST_PAUSE
        .saturating_mul(2u32.saturating_pow(doublings))
        .min(LONGEST_PAUSE)
}

impl Minder {
    /// The guard over `process`, which has just asked for it.
    pub(super) fn guarded_by(&mut self, process: Pid, server: Guarded) -> Result<Guard, Refusal> {
        match self.guard.take() {
            // Started by this minder: how often that was in vain is not forgotten.
            Some(known) if known.is_over(number(process)) => Ok(Guard {
                server,
                fallback: None,
                ..known
            }),
            _ => Ok(Guard {
                server,
                fallback: None,
                state: self.watch(process)?,
                failures: 0,
            }),
        }
    }

    /// The guard that an earlier binary has left. A server that has died meanwhile is started at once: it is watched by what
    /// it was watched by before, as its number may be somebody else's by now. An older binary leaves only that.
    pub(super) fn guard_left(&self, left: GuardLeft) -> Guard {
        let watched = left.watched.map(handover::take);
        let alive = left.pid.and_then(Pid::from_raw).map(|pid| match watched {
            Some(watched) => self.watch_by(pid, watched),
            None => self.watch(pid),
        });
        let state = match alive {
            Some(Ok(state)) => state,
            _ => State::Starts { at: Instant::now() },
        };
        Guard {
            server: left.server,
            fallback: left.fallback,
            state,
            failures: left.failures,
        }
    }

    /// Starts another server and guards that one; the one before may go on, and is nobody's concern any more.
    pub(super) fn replace_server(
        &mut self,
        server: Guarded,
        fallback: Option<Guarded>,
    ) -> Result<(), Refusal> {
        if self.is_stopping() {
            return Err(Refusal::Stopping {});
        }
        let (pid, state) = self.start_server(&server)?;
        note(format_args!("another server was asked for: started as {pid}"));
        self.launched_server = Some(pid);
        self.guard = Some(Guard {
            server,
            fallback,
            state,
            failures: 0,
        });
        Ok(())
    }

    /// Watches a process whose number is certainly its own: it waits for the answer to its request, or is a child that was
    /// not waited for.
    fn watch(&self, process: Pid) -> Result<State, Refusal> {
        let watched = pidfd_open(process, PidfdFlags::empty()).map_err(cannot_watch)?;
        self.watch_by(process, watched)
    }

    fn watch_by(&self, process: Pid, watched: OwnedFd) -> Result<State, Refusal> {
        let pid = number(process);
        let token = Token::Server(pid).encode();
        epoll::add(&self.epoll, &watched, token, EventFlags::IN).map_err(cannot_watch)?;
        Ok(State::Alive {
            pid,
            watched,
            since: Instant::now(),
        })
    }

    /// A process that is or was the server has ended: news of an earlier one may come late.
    pub(super) fn server_ended(&mut self, pid: u64) {
        let ended = self.guard.as_mut().filter(|guard| guard.is_over(pid));
        ended.into_iter().for_each(|guard| guard.failed(Instant::now()));
    }

    /// Starts the server if it is time.
    pub(super) fn start_server_again(&mut self, now: Instant) {
        let Some(mut guard) = self.guard.take() else {
            return;
        };
        if guard.starts_at().is_some_and(|at| at <= now) {
            match self.start_server(&guard.server) {
                Ok((pid, state)) => {
                    note(format_args!("the server is gone: started again as {pid}"));
                    self.launched_server = Some(pid);
                    guard.state = state;
                }
                Err(error) => {
                    note(format_args!("the server cannot be started: {error}"));
                    guard.failed(now);
                }
            }
        }
        self.guard = Some(guard);
    }

    fn start_server(&self, server: &Guarded) -> Result<(Pid, State), Refusal> {
        let log = File::options()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&server.log)
            .map_err(|error| Refusal::Failed {
                what: "opening the server's log".to_owned(),
                errno: error.raw_os_error().unwrap_or(0),
            })?;
        let pid = self.launcher.launch_server(server, &log.into())?;
        Ok((pid, self.watch(pid)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_start_is_at_once_and_later_ones_wait_longer() {
        for (failures, milliseconds) in [(0, 0), (1, 100), (2, 200), (5, 1600), (7, 5000), (u32::MAX, 5000)] {
            assert_eq!(pause(failures), Duration::from_millis(milliseconds), "{failures}");
        }
    }
}

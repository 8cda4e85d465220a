//! `server run` as process 1 of a container: a small parent for the server.
//!
//! ```text
//! init (1) ── server        SIGTERM, SIGINT ──► the services end, then the server and the minder
//!          ├─ minder        again           ──► the server at once
//!          └─ orphans       SIGCHLD         ──► whoever ended is reaped
//! ```
//!
//! When process 1 ends, the kernel kills everybody else. So here a signal also ends the services, by their own rules, and
//! this process is the last to go. It is not the server itself: a server that crashes would take its services along. One
//! that dies of a signal is started again, as the minder does elsewhere; one that ends by itself is the end.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use hythe_api::wire::StopServerRequest;
use hythe_minder::client::Client as Minder;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, wait};
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::Context;
use crate::client::Client;
use crate::failure::{Exit, Failure, Outcome};
use crate::server::{await_minder_end, pause};
use crate::terminal::complain;

/// A server that lived so long did not die of how it starts.
const STEADY: Duration = Duration::from_secs(10);
/// Before the next start of one that did.
const PAUSE: Duration = Duration::from_secs(1);

/// Whether this process has to be one.
pub(crate) fn is_needed() -> bool {
    getpid().is_init()
}

/// Runs this command as a child until it has ended, and ends everything else then.
pub(crate) fn run(context: &Context) -> Outcome {
    let mut init = Init {
        signals: Signals::new([SIGCHLD, SIGINT, SIGTERM])?,
        server: start()?,
        started: Instant::now(),
        asked: 0,
    };
    let status = init.mind(context)?;
    end_minder(context);
    match status.code() {
        Some(0) => Ok(()),
        Some(code) => Err(Failure {
            exit: Exit::Failed,
            message: format!("the server ended with code {code}"),
            hint: None,
        }),
        None => Err(Failure::new(Exit::Failed, format!("the server ended: {status}"))),
    }
}

struct Init {
    signals: Signals,
    server: Child,
    started: Instant,
    /// Signals that ask for the end.
    asked: u32,
}

impl Init {
    /// Waits for the server's end, and reaps everybody meanwhile.
    fn mind(&mut self, context: &Context) -> Outcome<ExitStatus> {
        loop {
            let signals: Vec<i32> = self.signals.wait().collect();
            for signal in signals {
                if signal != SIGCHLD {
                    self.ask_to_end(context);
                }
            }
            let Some(status) = self.reap() else { continue };
            if self.asked > 0 || status.signal().is_none() {
                return Ok(status);
            }
            complain(format_args!("the server died ({status}) and is started again"));
            if self.started.elapsed() < STEADY && self.is_ended_while_it_rests() {
                return Ok(status);
            }
            self.started = Instant::now();
            self.server = start()?;
        }
    }

    /// The first time the services end in order; the server cannot be asked while it starts, and hears the signal then.
    fn ask_to_end(&mut self, context: &Context) {
        self.asked += 1;
        let first = self.asked == 1;
        if !(first && end_services(&context.client)) {
            self.signal(Signal::TERM);
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = pid_of(&self.server) {
            // It may have ended just now.
            let _ = kill_process(pid, signal);
        }
    }

    /// Takes every process that has ended; how, if the server is among them.
    fn reap(&self) -> Option<ExitStatus> {
        let mut ended = None;
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if Some(pid) == pid_of(&self.server) {
                ended = Some(exit_status(status));
            }
        }
        ended
    }

    /// Waits before the next start; whether the end was asked for meanwhile.
    fn is_ended_while_it_rests(&mut self) -> bool {
        let until = Instant::now() + PAUSE;
        while Instant::now() < until {
            if self.signals.pending().any(|signal| signal != SIGCHLD) {
                return true;
            }
            pause();
        }
        false
    }
}

/// The same command once more, which is not process 1.
fn start() -> Outcome<Child> {
    let program = std::env::current_exe()?;
    Command::new(&program)
        .args(std::env::args_os().skip(1))
        .spawn()
        .map_err(|error| Failure::new(Exit::Failed, format!("start {}: {error}", program.display())))
}

/// Whether the server has begun to end its services and then itself.
fn end_services(client: &Client) -> bool {
    let request = StopServerRequest { with_services: true };
    client
        .send::<serde_json::Value>("POST", "/v1/server/stop", &request)
        .is_ok()
}

/// Ends a minder that the server has left, with all services, before the kernel does it without asking.
fn end_minder(context: &Context) {
    let Ok(mut minder) = Minder::connect(&context.home) else {
        return;
    };
    let ended = minder.shutdown(true).map_err(|error| error.to_string());
    if let Err(error) = ended.and_then(|()| await_minder_end(minder).map_err(|failure| failure.message)) {
        complain(format_args!("services are cut off: {error}"));
    }
}

fn pid_of(child: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(child.id()).ok()?)
}

fn exit_status(status: WaitStatus) -> ExitStatus {
    ExitStatus::from_raw(status.as_raw())
}

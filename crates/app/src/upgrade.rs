//! `hythe upgrade`: this server goes on as another binary.
//!
//! ```text
//!   minder: executes the binary in its own process, with everything that runs
//!   server: waits until no request waits for an instance ──► ends its tasks and gives up the store
//!           ──► the minder starts the next server ──► finishes what is in flight
//! ```
//!
//! A request that the gateway holds, for a service that sleeps or is started again, needs the supervisor: once the tasks have
//! ended nobody tells the gateway that the instance is there. So the tasks go on for a while ([`HELD_WITHIN`]).
//!
//! What is in flight there the next server does not see, nor what comes on connections that clients keep. So it stops no
//! instance that it has taken out of traffic before the one before has ended ([`WithPredecessor`]).
//!
//! After the tasks have ended, and until the next server serves, nobody accepts; connections wait in sockets that the minder keeps. A next server
//! that does not come to serve is answered by the minder with this one again. A server in the foreground, which belongs to
//! somebody else than the minder (a terminal, systemd, a container), executes the binary in its own process, once what is
//! in flight has ended.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use hythe_model::FullName;
use hythe_ports::{BoxFuture, Traffic};
use hythe_runtime_process::Guarded;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::shutdown::Signals;

/// Names the process of the server before, in the environment of the next one.
pub(crate) const PREDECESSOR: &str = "HYTHE_PREDECESSOR";

/// How long a binary may take to tell what it is.
const TELLS_WITHIN: Duration = Duration::from_secs(10);

/// How long requests that wait for an instance may hold up the upgrade. One that still waits then gets its 503 from this
/// server when its time is over.
const HELD_WITHIN: Duration = Duration::from_secs(10);

/// Between two looks at how many there are.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Of its answer, which is a number, bytes.
const LONGEST_ANSWER: u64 = 64;

/// Whether the binary is one that takes over from this.
///
/// # Errors
/// When it cannot be run, or does not say so.
pub(crate) async fn check(binary: &Path) -> anyhow::Result<()> {
    let mut child = Command::new(binary)
        .args(["minder", "--handover"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("{} cannot be run", binary.display()))?;
    let output = child.stdout.take();
    let read = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        let read = output.map(|output| output.take(LONGEST_ANSWER).read_to_string(&mut text));
        read.transpose().map(|_| text)
    });
    let answer = tokio::time::timeout(TELLS_WITHIN, read).await;
    // It has answered, or will not; its end ends the reading as well.
    let _ = child.kill();
    let _ = child.wait();
    let told = answer
        .with_context(|| format!("{} does not answer", binary.display()))?
        .context("read its answer")?
        .unwrap_or_default();
    let Ok(version) = told.trim().parse::<u32>() else {
        bail!(
            "{} is no Hythe that takes over from a running one",
            binary.display()
        );
    };
    let needed = hythe_minder::server::HANDOVER_VERSION;
    ensure!(
        version >= needed,
        "{} is older: it understands version {version} of what is handed over, this is {needed}",
        binary.display()
    );
    Ok(())
}

/// Returns when the gateway holds no request, as counted by `held`; soon in any case, and at once after a signal.
pub(crate) async fn let_held_go(held: impl Fn() -> u64, signals: &Signals) {
    let none = async {
        while held() > 0 {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    tokio::select! {
        within = tokio::time::timeout(HELD_WITHIN, none) => {
            if within.is_err() {
                tracing::warn!(requests = held(), "requests still wait for instances: the upgrade goes on");
            }
        }
        () = signals.again() => {}
    }
}

/// Has the next server started and finishes what is in flight. `command`: how this one is started again, if the minder does
/// that. Tasks have ended, and the store is nobody's.
///
/// # Errors
/// When the next server could not be started; the minder then starts this one again.
pub(crate) async fn hand_over(
    home: &Path,
    binary: &Path,
    command: Option<Guarded>,
    workers: Vec<JoinHandle<()>>,
    signals: &Signals,
) -> anyhow::Result<()> {
    let Some(command) = command else {
        finish(workers, signals).await;
        return Err(execute(binary)).with_context(|| format!("go on as {}", binary.display()));
    };
    let next = successor(&command, binary);
    let (home, started) = (home.to_owned(), tokio::task::spawn_blocking);
    started(move || hythe_runtime_process::replace_server(&home, next, command))
        .await
        .context("ask the minder")?
        .context("have the next server started")?;
    finish(workers, signals).await;
    Ok(())
}

/// Waits for what is in flight, unless a signal cuts it off.
async fn finish(workers: Vec<JoinHandle<()>>, signals: &Signals) {
    let finished = tokio::task::spawn_blocking(move || {
        for worker in workers {
            let _ = worker.join();
        }
    });
    tokio::select! {
        _ = finished => {}
        () = signals.again() => tracing::warn!("a signal: open requests are cut off"),
    }
}

/// Returns only when it could not be executed.
fn execute(binary: &Path) -> std::io::Error {
    Command::new(binary).args(std::env::args_os().skip(1)).exec()
}

fn successor(command: &Guarded, binary: &Path) -> Guarded {
    let mut next = command.clone();
    if let (Some(program), Some(path)) = (next.argv.first_mut(), binary.to_str()) {
        path.clone_into(program);
    }
    next.env.retain(|(name, _)| name != PREDECESSOR);
    next.env
        .push((PREDECESSOR.to_owned(), std::process::id().to_string()));
    next
}

/// Traffic as this server sees it, and as little known as that of the one before it is while that still ends.
pub(crate) struct WithPredecessor {
    own: Arc<dyn Traffic>,
    before: Option<OwnedFd>,
}

impl WithPredecessor {
    /// With the one that the environment names, if it does and that one lives.
    pub(crate) fn of(own: Arc<dyn Traffic>) -> Self {
        let pid = std::env::var(PREDECESSOR).ok().and_then(|pid| pid.parse().ok());
        let before = pid
            .and_then(Pid::from_raw)
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        Self { own, before }
    }

    fn predecessor_lives(&self) -> bool {
        self.before.as_ref().is_some_and(|process| {
            let mut ended = [PollFd::new(process, PollFlags::IN)];
            poll(&mut ended, Some(&Timespec::default())) == Ok(0)
        })
    }
}

impl Traffic for WithPredecessor {
    fn in_flight(&self, endpoint: SocketAddr) -> u64 {
        self.own.in_flight(endpoint)
    }

    fn requests(&self, endpoint: SocketAddr) -> u64 {
        self.own.requests(endpoint)
    }

    fn is_listed(&self, endpoint: SocketAddr) -> bool {
        self.own.is_listed(endpoint) || self.predecessor_lives()
    }

    fn awaited(&self) -> BoxFuture<'_, BTreeSet<FullName>> {
        self.own.awaited()
    }
}

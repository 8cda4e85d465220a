//! Finds out whether an instance is ready, in a task of its own.
//!
//! Until it was ready once it is tried at short intervals; failures then only tell why it is not ready
//! yet. After that it is tried at the interval of its health check: `retries` failures in a row make it
//! unhealthy, one success makes it ready again. An unhealthy instance gets no traffic; it is not
//! restarted. Without a health check the first connection that its address accepts is all there is to it.
//!
//! A socket that an instance was given accepts connections before its program has looked at it. So there a connection
//! counts when the program has taken it: when none waits in the kernel's queue any more.
//!
//! Whether an instance that has been ready still lives is a check of its own, beside the other: `retries` failures in
//! a row are told once, as [`Event::Hung`].

mod http;
mod judge;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hythe_model::workload::{HealthCheck, Probe, RunAs};
use hythe_model::{InstanceId, is_own_address};
use hythe_stdx::Listener;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::owner::Event;
use crate::runtime::{ProbeSpec, Runtime};
use crate::unit::Health;
use judge::Judge;

/// What is tried, and on what.
pub(crate) enum Subject {
    /// A connection, until one is accepted.
    Accepts(SocketAddr),
    /// The same, where the instance was given the socket.
    Takes(SocketAddr),
    /// A health check, for as long as the instance lives.
    Health(HealthSubject),
    /// A health check, until it has failed.
    Liveness(HealthSubject),
}

/// A health check with what its tries need; a command runs with this folder, environment and user.
pub(crate) struct HealthSubject {
    pub(crate) check: HealthCheck,
    pub(crate) address: Option<SocketAddr>,
    /// Whether it was given the socket that listens there.
    pub(crate) is_given: bool,
    pub(crate) working_dir: PathBuf,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) user: Option<RunAs>,
    pub(crate) runtime: Arc<dyn Runtime>,
}

/// What a probe task says. `message`: the last failure, while that matters.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) health: Health,
    pub(crate) message: Option<String>,
}

const ACCEPT_TIMEOUT: Duration = Duration::from_secs(1);
const ACCEPT_FIRST_WAIT: Duration = Duration::from_millis(10);
const ACCEPT_LONGEST_WAIT: Duration = Duration::from_millis(250);
/// Between two looks whether a connection was taken.
const TAKE_POLL: Duration = Duration::from_millis(10);
const NOT_TAKEN: &str = "the program has not taken the socket that it was given, descriptor 3 (LISTEN_FDS): \
    the command has to be the program itself, or a shell that ends with `exec`; \
    with `listens: auto` it listens for itself";
/// Between two tries of a health check that does not say.
const DEFAULT_START_INTERVAL: Duration = Duration::from_millis(100);

/// Where the verdicts on one process go.
pub(crate) struct Teller {
    pub(crate) id: InstanceId,
    pub(crate) pid: u32,
    pub(crate) events: mpsc::Sender<Event>,
}

/// Tries `subject`, whose health is known so far, and tells every change of mind, until there is nothing
/// more to learn or nobody listens.
pub(crate) async fn run(subject: Subject, health: Health, teller: Teller) {
    match subject {
        Subject::Accepts(address) => wait_for_accept(address, false, &teller).await,
        Subject::Takes(address) => wait_for_accept(address, true, &teller).await,
        Subject::Health(subject) => watch_health(&subject, health, &teller).await,
        Subject::Liveness(subject) => watch_liveness(&subject, teller).await,
    }
}

impl Teller {
    /// `false` if nobody listens.
    async fn tell(&self, verdict: Verdict) -> bool {
        self.events
            .send(Event::Probed {
                id: self.id.clone(),
                pid: self.pid,
                verdict,
            })
            .await
            .is_ok()
    }

    async fn tell_hung(self, reason: String) {
        let Self { id, pid, events } = self;
        let _ = events.send(Event::Hung { id, pid, reason }).await;
    }
}

async fn wait_for_accept(address: SocketAddr, is_given: bool, teller: &Teller) {
    let mut wait = ACCEPT_FIRST_WAIT;
    let mut said = None;
    // One connection for all tries: a program that takes long finds no more than that in its queue.
    let mut connection = None;
    loop {
        let result = if is_given {
            takes(address, &mut connection).await
        } else {
            within(ACCEPT_TIMEOUT, accepts(address)).await
        };
        let verdict = match result {
            Ok(()) => Verdict {
                health: Health::Ready,
                message: None,
            },
            Err(reason) => Verdict {
                health: Health::Pending,
                message: Some(reason),
            },
        };
        let ready = verdict.health == Health::Ready;
        if said.as_ref() != Some(&verdict) {
            said = Some(verdict.clone());
            if !teller.tell(verdict).await || ready {
                return;
            }
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 9 / 8).min(ACCEPT_LONGEST_WAIT);
    }
}

async fn watch_health(subject: &HealthSubject, health: Health, teller: &Teller) {
    let check = &subject.check;
    let started = Instant::now();
    let start_period = Duration::from_millis(check.start_period_ms);
    let mut judge = Judge::new(check.retries, health);
    loop {
        let result = subject.attempt_in_time(judge.was_ready()).await;
        let excused = started.elapsed() < start_period;
        if let Some(verdict) = judge.judge(result, excused)
            && !teller.tell(verdict).await
        {
            return;
        }
        tokio::time::sleep(pause(check, judge.was_ready())).await;
    }
}

async fn watch_liveness(subject: &HealthSubject, teller: Teller) {
    let check = &subject.check;
    let started = Instant::now();
    let start_period = Duration::from_millis(check.start_period_ms);
    let mut judge = Judge::new(check.retries, Health::Ready);
    loop {
        tokio::time::sleep(pause(check, true)).await;
        let result = subject.attempt_in_time(true).await;
        let excused = started.elapsed() < start_period;
        if let Some(verdict) = judge.judge(result, excused)
            && verdict.health == Health::Unhealthy
        {
            return teller.tell_hung(verdict.message.unwrap_or_default()).await;
        }
    }
}

/// Time to the next try; spread by a tenth so that the checks of many copies do not beat together.
fn pause(check: &HealthCheck, was_ready: bool) -> Duration {
    if !was_ready {
        let interval = Duration::from_millis(check.start_interval_ms);
        return if interval.is_zero() {
            DEFAULT_START_INTERVAL
        } else {
            interval
        };
    }
    let interval = Duration::from_millis(check.interval_ms.max(1));
    interval.mul_f64(0.9 + 0.2 * fastrand::f64())
}

impl HealthSubject {
    async fn attempt_in_time(&self, was_ready: bool) -> Result<(), String> {
        let timeout = Duration::from_millis(self.check.timeout_ms.max(1));
        within(timeout, self.attempt(was_ready)).await
    }

    async fn attempt(&self, was_ready: bool) -> Result<(), String> {
        match (&self.check.probe, self.address) {
            (Probe::Http(path), Some(address)) => http::get(address, path).await,
            // Once it takes connections, some of others may always wait.
            (Probe::Tcp, Some(address)) if self.is_given && !was_ready => takes_in_the_end(address).await,
            (Probe::Tcp, Some(address)) => is_connected(address).await,
            (Probe::Command(command), _) => self.runs(command).await,
            (Probe::Http(_) | Probe::Tcp, None) => Err("there is no address to probe".to_owned()),
        }
    }

    async fn runs(&self, command: &[String]) -> Result<(), String> {
        let spec = ProbeSpec {
            command: command.to_vec(),
            working_dir: self.working_dir.clone(),
            environment: self.environment.clone(),
            user: self.user.clone(),
        };
        match self.runtime.probe(spec).await {
            Ok(result) if result.success => Ok(()),
            Ok(result) if result.output.trim().is_empty() => {
                Err("the health check command failed".to_owned())
            }
            Ok(result) => Err(format!(
                "the health check command failed: {}",
                result.output.trim()
            )),
            Err(error) => Err(hythe_stdx::chain(&error)),
        }
    }
}

async fn accepts(address: SocketAddr) -> Result<(), String> {
    // A connection would tell no more, and a program's first one costs it milliseconds: where many start, all have to wait.
    if is_own_address(address.ip()) {
        return listens(address).map(drop);
    }
    connect(address).await.map(drop)
}

/// As a check that is made again and again: the queue of one that hangs is full some time.
async fn is_connected(address: SocketAddr) -> Result<(), String> {
    if is_own_address(address.ip()) {
        listens(address)?;
    }
    connect(address).await.map(drop)
}

/// Whether a program has taken `connection`, which is made if there is none yet.
async fn takes(address: SocketAddr, connection: &mut Option<TcpStream>) -> Result<(), String> {
    if connection.is_none() {
        let made = within(ACCEPT_TIMEOUT, connect(address)).await?;
        *connection = Some(made);
        // The kernel may need a moment to put it into the queue. If it needs more, requests wait there a little.
        tokio::time::sleep(TAKE_POLL).await;
    }
    match listens(address)?.waiting {
        0 => Ok(()),
        _ => Err(NOT_TAKEN.to_owned()),
    }
}

/// For a try that has a bound of its own.
async fn takes_in_the_end(address: SocketAddr) -> Result<(), String> {
    let mut connection = None;
    while takes(address, &mut connection).await.is_err() {
        tokio::time::sleep(TAKE_POLL).await;
    }
    Ok(())
}

async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    let connection = TcpStream::connect(address).await;
    connection.map_err(|error| format!("connect to {address}: {error}"))
}

/// The gateway has the port at every address, and would accept in the place of an instance that does not listen yet.
fn listens(address: SocketAddr) -> Result<Listener, String> {
    let is_there = |other: &Listener| other.address.ip().to_canonical() == address.ip();
    let found = match hythe_stdx::listener_for(address) {
        Ok(closest) => Ok(closest.filter(is_there)),
        Err(_) => hythe_stdx::listeners(address.port()).map(|all| all.into_iter().find(is_there)),
    };
    match found {
        Ok(listener) => listener.ok_or_else(|| format!("connect to {address}: nobody listens")),
        Err(error) => Err(format!("cannot tell who listens at {address}: {error}")),
    }
}

async fn within<T>(timeout: Duration, attempt: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    tokio::time::timeout(timeout, attempt).await.unwrap_or_else(|_| {
        Err(format!(
            "no answer within {}",
            hythe_stdx::format_duration(timeout)
        ))
    })
}

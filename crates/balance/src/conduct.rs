//! What clients' requests show of a member: Kong's passive checks.
//!
//! Every outcome is a success, one of three kinds of failure, or neither. Successes and each kind of failure are
//! counted apart, and an outcome of the other side starts the counting anew, as with active checks. When a
//! threshold is reached, that is told to an observer, who decides: it takes the member out by a new version of the pool,
//! and knows when it comes back. Until it has acted every further outcome tells it again, so a report that was
//! lost does no harm.
//!
//! The counters of one member are the four bytes of one atomic. A success of a member that has no failures, which is
//! nearly every request, costs two loads.
//!
//! # What is left out
//! Taking the member out at once: what is sent in the moment until the next version stands is sent as before.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use hythe_model::FullName;
use hythe_model::endpoint::Observation;
use hythe_ports::traffic::Observer;

use crate::lease::{Fault, Outcome};
use crate::statuses::Statuses;

/// What counts, and how many of it in a row are enough; 0: no number is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassiveRules {
    /// Answers that are a success. `None`: every answer is, whatever its status.
    pub success: Option<Statuses>,
    /// Answers that are a failure.
    pub failure: Statuses,
    /// Successes that make a member healthy. It only gets those that were under way when it was taken out.
    pub successes: u8,
    /// Answers that make it unhealthy.
    pub http_failures: u8,
    /// Connections refused or broken that do.
    pub tcp_failures: u8,
    /// Waits that do.
    pub timeouts: u8,
}

/// See the module. Belongs to one address in one pool and outlives the pool's versions.
pub(crate) struct Conduct {
    rules: Arc<PassiveRules>,
    /// A byte for each of [`Kind`].
    runs: AtomicU32,
    /// Whether the member is out, as far as the pool's newest version knows.
    is_out: AtomicBool,
    pool: FullName,
    address: SocketAddr,
    observer: Observer,
}

/// What an outcome counts as, and the place of its counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Success = 0,
    Http = 1,
    Tcp = 2,
    Timeout = 3,
}

impl Conduct {
    pub(crate) fn new(
        rules: Arc<PassiveRules>,
        pool: FullName,
        address: SocketAddr,
        observer: Observer,
    ) -> Self {
        Self {
            rules,
            runs: AtomicU32::new(0),
            is_out: AtomicBool::new(false),
            pool,
            address,
            observer,
        }
    }

    pub(crate) fn is_by(&self, rules: &PassiveRules) -> bool {
        *self.rules == *rules
    }

    /// The pool's next version has it so. One that comes back begins without failures.
    pub(crate) fn stands(&self, healthy: bool) {
        if self.is_out.swap(!healthy, Relaxed) && healthy {
            self.runs.store(0, Relaxed);
        }
    }

    /// Takes an outcome in.
    pub(crate) fn take(&self, outcome: &Outcome) {
        let Some(kind) = self.rules.kind(outcome) else {
            return;
        };
        let is_out = self.is_out.load(Relaxed);
        if kind == Kind::Success && !is_out && self.runs.load(Relaxed) == 0 {
            return;
        }
        let add = |runs| Some(after(runs, kind, is_out));
        let before = self.runs.fetch_update(Relaxed, Relaxed, add);
        let runs = after(before.unwrap_or_else(|runs| runs), kind, is_out);
        let count = runs.to_le_bytes()[kind as usize];
        let enough = self.rules.threshold(kind);
        if enough > 0 && count >= enough && is_out == (kind == Kind::Success) {
            self.report(outcome, kind, count);
        }
    }

    fn report(&self, outcome: &Outcome, kind: Kind, count: u8) {
        let what = match (kind, outcome) {
            (Kind::Http, Outcome::Answered(Some(status), _) | Outcome::Failed(Fault::Status(status), _)) => {
                format!("status {status}, ")
            }
            (Kind::Tcp, _) => "no connection or a broken one, ".to_owned(),
            (Kind::Timeout, _) => "no answer in time, ".to_owned(),
            _ => String::new(),
        };
        let times = match (kind, count) {
            (Kind::Success, 1) => "success",
            (Kind::Success, _) => "successes",
            (_, 1) => "failure",
            (_, _) => "failures",
        };
        // If there is no room, the next outcome is told instead.
        let _ = self.observer.try_send(Observation {
            pool: self.pool.clone(),
            address: self.address,
            healthy: kind == Kind::Success,
            reason: format!("passive check: {what}{count} {times}"),
        });
    }
}

/// The counters after one more of `kind`. Successes of a member that is not out only end the failures.
fn after(runs: u32, kind: Kind, is_out: bool) -> u32 {
    let mut counts = runs.to_le_bytes();
    match kind {
        Kind::Success => {
            let successes = counts[0].saturating_add(u8::from(is_out));
            counts = [successes, 0, 0, 0];
        }
        Kind::Http | Kind::Tcp | Kind::Timeout => {
            counts[0] = 0;
            counts[kind as usize] = counts[kind as usize].saturating_add(1);
        }
    }
    u32::from_le_bytes(counts)
}

impl PassiveRules {
    fn kind(&self, outcome: &Outcome) -> Option<Kind> {
        match *outcome {
            Outcome::Unknown => None,
            Outcome::Answered(status, _) => self.kind_of_answer(status),
            Outcome::Failed(Fault::Status(status), _) => self.kind_of_answer(Some(status)),
            Outcome::Failed(Fault::Connection, _) => Some(Kind::Tcp),
            Outcome::Failed(Fault::Timeout, _) => Some(Kind::Timeout),
        }
    }

    /// One without a status is a connection that came about.
    fn kind_of_answer(&self, status: Option<u16>) -> Option<Kind> {
        let (Some(status), Some(success)) = (status, &self.success) else {
            return Some(Kind::Success);
        };
        if success.contains(status) {
            Some(Kind::Success)
        } else {
            self.failure.contains(status).then_some(Kind::Http)
        }
    }

    fn threshold(&self, kind: Kind) -> u8 {
        match kind {
            Kind::Success => self.successes,
            Kind::Http => self.http_failures,
            Kind::Tcp => self.tcp_failures,
            Kind::Timeout => self.timeouts,
        }
    }
}

impl fmt::Debug for Conduct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conduct")
            .field("runs", &self.runs.load(Relaxed).to_le_bytes())
            .field("is_out", &self.is_out)
            .finish_non_exhaustive()
    }
}

//! A picked member while a request uses it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::member::Member;

/// The right to send one request to a member, and the count of it: in flight until dropped.
///
/// What became of the request is counted when it is dropped; if nobody has said, it says nothing about the member.
#[derive(Debug)]
#[must_use = "a dropped lease no longer counts"]
pub struct Lease {
    member: Arc<Member>,
    outcome: Outcome,
}

/// What a request tells about the member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Unknown,
    /// With this status, if it was an answer that has one; and when and how soon, if that matters.
    Answered(Option<u16>, Option<Timing>),
    Failed(Fault, Instant),
}

/// When a member answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    pub(crate) at: Instant,
    /// Microseconds; an hour is as good as more.
    pub(crate) took_us: u32,
}

/// How a member failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No connection, or it broke, or what came over it is no answer.
    Connection,
    /// No connection or no answer in time.
    Timeout,
    /// An answer of this status, which is passed over.
    Status(u16),
}

impl Timing {
    /// It answered `at` this time, so long after it was asked.
    pub fn new(at: Instant, took: Duration) -> Self {
        let took_us = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        Self { at, took_us }
    }
}

impl Lease {
    /// `None`: the member was taken off every pool, or has as many requests as it may have.
    pub(crate) fn take(member: &Arc<Member>) -> Option<Self> {
        member.stats.enter(member.rules().max_conns).then(|| Self {
            member: Arc::clone(member),
            outcome: Outcome::Unknown,
        })
    }

    /// Who was picked.
    pub fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// The request failed, now. Counted once.
    pub fn failed(&mut self, fault: Fault, now: Instant) {
        self.outcome = Outcome::Failed(fault, now);
    }

    /// The member answered, with this status if its protocol has them. `timing` is asked only for pools that care.
    pub fn answered(&mut self, status: Option<u16>, timing: impl FnOnce() -> Timing) {
        let timing = self.member.is_timed().then(timing);
        self.outcome = Outcome::Answered(status, timing);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        match self.outcome {
            Outcome::Unknown => {}
            Outcome::Answered(_, timing) => self.member.count_answer(timing),
            Outcome::Failed(_, at) => self.member.count_failure(at),
        }
        self.member.observe(&self.outcome);
        self.member
            .stats
            .leave(matches!(self.outcome, Outcome::Failed(..)));
    }
}

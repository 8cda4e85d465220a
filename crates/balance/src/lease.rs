//! A picked member while a request uses it.

use std::sync::Arc;
use std::time::Instant;

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
enum Outcome {
    Unknown,
    Answered,
    Failed(Instant),
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
    pub fn failed(&mut self, now: Instant) {
        self.outcome = Outcome::Failed(now);
    }

    /// The member answered.
    pub fn answered(&mut self) {
        self.outcome = Outcome::Answered;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        match self.outcome {
            Outcome::Unknown => {}
            Outcome::Answered => self.member.count_answer(),
            Outcome::Failed(at) => self.member.count_failure(at),
        }
        self.member
            .stats
            .leave(matches!(self.outcome, Outcome::Failed(_)));
    }
}

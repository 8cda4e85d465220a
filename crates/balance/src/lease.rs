//! A picked member while a request uses it.

use std::sync::Arc;

use crate::pool::Member;

/// The right to send one request to a member, and the count of it: in flight until dropped.
#[derive(Debug)]
#[must_use = "a dropped lease no longer counts"]
pub struct Lease {
    member: Arc<Member>,
    failed: bool,
}

/// The members that a request was already sent to in vain. Known by address, so that it stays true when the pool is
/// replaced meanwhile. Allocates with the first failure, not before.
#[derive(Debug, Clone, Default)]
pub struct Tried {
    ids: Vec<u64>,
}

impl Lease {
    /// `None`: the member was taken off every pool.
    pub(crate) fn take(member: &Arc<Member>) -> Option<Self> {
        member.stats.enter().then(|| Self {
            member: Arc::clone(member),
            failed: false,
        })
    }

    /// Who was picked.
    pub fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// The request failed; counted once, when the lease is dropped.
    pub fn failed(&mut self) {
        self.failed = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.member.stats.leave(self.failed);
    }
}

impl Tried {
    /// Nobody yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// This member is not to be picked again for this request.
    pub fn add(&mut self, member: &Member) {
        self.ids.push(member.stats.id());
    }

    /// How many members were added.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether nobody was tried.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub(crate) fn contains(&self, member: &Member) -> bool {
        self.ids.contains(&member.stats.id())
    }
}

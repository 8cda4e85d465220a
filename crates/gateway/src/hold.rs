//! Requests that wait for a pool to have somebody.
//!
//! A pool without a member that may be picked may be about to get one: an instance is starting or gets well, a name is
//! being resolved. A pool that says `hold` keeps its requests for that long. They sleep until the pool changes, all
//! look again, and go on as if they had just come; those that find nobody in time are told what they would have been
//! told at once. A client that leaves is noticed. How many wait is bounded, as each occupies the memory of a request.
//!
//! An instance that has just ended is in its pool for some milliseconds more, and refuses connections. Where all others do
//! so too, or there is no other, the pool has nobody as well: requests that were refused wait for it to change.
//!
//! # What is left out
//! Waiting for members that are full, or left alone for their failures, and for targets that refuse: no change tells when
//! they may be picked.
//! Datagrams of UDP, which end where they find nobody. A client of TCP that leaves while it waits is not noticed: what it
//! has sent already may be all that it wanted to send.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use hythe_balance::{Lease, Member, Query};
use tokio::time::Instant;

use crate::connection::Client;
use crate::pools::SharedPool;
use crate::trouble::Trouble;
use crate::worker::Worker;

/// Most requests that wait on one worker; those beyond are not held.
const HELD_MOST: u64 = 1_000;

/// How often it is said that somebody waits, and how long a member that refuses is left alone when nothing is heard of it:
/// whether it has ended and is back between two versions of its pool cannot be seen.
const AGAIN: Duration = Duration::from_secs(1);

/// A wait for somebody of `pool`, for `most` at most. `refused`: who was asked already, and made no connection.
pub(crate) struct Wait<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) pool: &'a SharedPool,
    pub(crate) refused: Option<Arc<Member>>,
    pub(crate) most: Duration,
}

/// The member, if it is one that a request may wait for after it has refused a connection: an instance, whose end is told.
pub(crate) fn awaitable(lease: &Lease) -> Option<Arc<Member>> {
    let member = lease.member();
    member.endpoint.revision.is_some().then(|| Arc::clone(member))
}

impl Wait<'_> {
    /// Picks as soon as there is somebody.
    ///
    /// # Errors
    /// The client has left.
    pub(crate) async fn pick(self, client: &mut Client, query: &mut Query) -> Result<Option<Lease>, Trouble> {
        let (client, _) = client.link.split();
        match select(pin!(self.pick_for_relay(query)), pin!(client.broken())).await {
            Either::Left((picked, _)) => Ok(picked),
            Either::Right(((), _)) => Err(Trouble::ClientGone),
        }
    }

    /// As [`Wait::pick`], for a connection that is passed on as it is.
    pub(crate) async fn pick_for_relay(self, query: &mut Query) -> Option<Lease> {
        let _held = self.worker.counters.hold(HELD_MOST)?;
        tokio::time::timeout(self.most, self.somebody(query)).await.ok()?
    }

    /// `None`: there are members, but none that may be picked.
    async fn somebody(&self, query: &mut Query) -> Option<Lease> {
        if let Some(refused) = &self.refused {
            self.news_of(refused).await;
            query.forget_tried();
        }
        loop {
            // Asked to be told before looking, so that no change falls between the two.
            let mut changed = pin!(self.pool.changed.notified());
            changed.as_mut().enable();
            let picked = self.pool.cell.pick(query, Instant::now().into_std());
            if picked.is_some() || self.pool.has_members() {
                return picked;
            }
            // Said again and again: whoever was told may have begun anew, or have put it to sleep once more.
            let endpoints = &self.worker.shared.endpoints;
            endpoints.awaits(self.pool.cell.load().name());
            let _ = tokio::time::timeout(AGAIN, changed).await;
        }
    }

    /// Waits until there may be news of a member: the pool is another than the one that had it.
    async fn news_of(&self, member: &Arc<Member>) {
        let mut changed = pin!(self.pool.changed.notified());
        changed.as_mut().enable();
        let pool = self.pool.cell.load();
        if pool.members().iter().any(|one| Arc::ptr_eq(one, member)) {
            let _ = tokio::time::timeout(AGAIN, changed).await;
        }
    }
}

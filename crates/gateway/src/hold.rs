//! Requests that wait for a pool to have somebody.
//!
//! A pool without a member that may be picked may be about to get one: an instance is starting or gets well, a name is
//! being resolved. A pool that says `hold` keeps its requests for that long. They sleep until the pool changes, all
//! look again, and go on as if they had just come; those that find nobody in time are told what they would have been
//! told at once. A client that leaves is noticed. How many wait is bounded, as each occupies the memory of a request.
//!
//! # What is left out
//! Waiting for members that are full, or left alone for their failures: no change tells when they may be picked.
//! Datagrams of UDP, which end where they find nobody. A client of TCP that leaves while it waits is not noticed: what it
//! has sent already may be all that it wanted to send.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use hythe_balance::{Lease, Query};
use tokio::time::Instant;

use crate::connection::Client;
use crate::pools::SharedPool;
use crate::trouble::Trouble;
use crate::worker::Worker;

/// Most requests that wait on one worker; those beyond are not held.
const HELD_MOST: u64 = 1_000;

/// How often it is said that somebody waits.
const SAID_AGAIN: Duration = Duration::from_secs(1);

/// Picks as soon as `pool` has somebody, within `most`.
///
/// # Errors
/// The client has left.
pub(crate) async fn pick(
    worker: &Worker,
    client: &mut Client,
    pool: &SharedPool,
    query: &mut Query,
    most: Duration,
) -> Result<Option<Lease>, Trouble> {
    let Some(_held) = worker.counters.hold(HELD_MOST) else {
        return Ok(None);
    };
    let (client, _) = client.link.split();
    let waiting = tokio::time::timeout(most, wait(worker, pool, query));
    match select(pin!(waiting), pin!(client.broken())).await {
        Either::Left((picked, _)) => Ok(picked.unwrap_or(None)),
        Either::Right(((), _)) => Err(Trouble::ClientGone),
    }
}

/// As [`pick`], for a connection that is passed on as it is.
pub(crate) async fn pick_for_relay(
    worker: &Worker,
    pool: &SharedPool,
    query: &mut Query,
    most: Duration,
) -> Option<Lease> {
    let _held = worker.counters.hold(HELD_MOST)?;
    tokio::time::timeout(most, wait(worker, pool, query)).await.ok()?
}

/// `None`: there are members, but none that may be picked.
async fn wait(worker: &Worker, pool: &SharedPool, query: &mut Query) -> Option<Lease> {
    loop {
        // Asked to be told before looking, so that no change falls between the two.
        let mut changed = pin!(pool.changed.notified());
        changed.as_mut().enable();
        let picked = pool.cell.pick(query, Instant::now().into_std());
        if picked.is_some() || pool.has_members() {
            return picked;
        }
        // Said again and again: whoever was told may have begun anew, or have put it to sleep once more.
        worker.shared.endpoints.awaits(pool.cell.load().name());
        let _ = tokio::time::timeout(SAID_AGAIN, changed).await;
    }
}

//! Asking a second member when the first is slow to answer, and taking whichever answers first.
//!
//! Off unless a service says `hedge_after`. Only for a request's first try, when it may be sent twice by its method, has no
//! body and asks for no other protocol, over connections of HTTP/1.1. The second member is one that the pool would pick
//! for a retry, and is taken out of the same budget. As soon as one of the two sends anything the other's connection is
//! closed, which tells it that nobody waits any more, and the rest of the exchange is like any other. One of the two that fails
//! leaves it to the other; when both fail, that is the try's end.
//!
//! All of it lives in one boxed future: requests that are not hedged pay a branch.
//!
//! # What is left out
//! Services with sticky clients, whose member is decided. More than two at a time.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::{Either, select};
use hythe_balance::{Lease, Query};
use hythe_http1::Framing;
use hythe_upstream::{Buffer, Reuse, WireError};
use tokio::time::Instant;

use crate::attempt::{self, Terms};
use crate::body::Body;
use crate::connection::Client;
use crate::door::Ends;
use crate::link::Link;
use crate::pools::Retry;
use crate::record::Record;
use crate::send::is_idempotent;
use crate::snapshot::ServicePlan;
use crate::trouble::Trouble;
use crate::worker::{CHUNK, Worker, Workspace};

/// A connection over which an answer has begun.
struct Heard {
    link: Link,
    asked_at: Instant,
    bytes: Buffer,
}

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    First,
    Second,
}

/// How a race ended.
struct Finish {
    heard: Result<Heard, Trouble>,
    /// Whose end it is.
    by: Which,
    /// Why the other one was out before.
    other: Option<Trouble>,
}

/// After how long another member is asked; `None`: this request is not hedged.
pub(crate) fn wanted(service: &ServicePlan, space: &Workspace) -> Option<Duration> {
    let after = service.hedge_after?;
    let is_plain = space.head.framing == Framing::None && space.head.upgrade.is_none();
    // Whatever `retry_on` says of others: nothing has failed yet.
    let is_idempotent = is_idempotent(space.method_sent());
    (is_idempotent && is_plain && !service.speaks_http2 && service.sticky.is_none()).then_some(after)
}

/// Sends the request to the member of `lease`, and `after` a while to another; afterwards `lease` is that of the member
/// whose answer was passed on, or who failed last.
#[expect(
    clippy::too_many_arguments,
    reason = "the parts of one exchange, borrowed apart"
)]
pub(crate) async fn run(
    worker: &Worker,
    client: &mut Client,
    space: &mut Workspace,
    service: &ServicePlan,
    terms: &Terms<'_>,
    after: Duration,
    lease: &mut Lease,
    query: &mut Query,
    body: &mut Body,
    record: &mut Record,
) -> Result<(), Trouble> {
    let heard = {
        let question = Question {
            worker,
            space,
            service,
            terms,
            ends: client.ends(),
        };
        let (client, _) = client.link.split();
        let racing = race(&question, after, lease, query, record);
        match select(pin!(racing), pin!(client.broken())).await {
            Either::Left((heard, _)) => heard?,
            Either::Right(((), _)) => return Err(Trouble::ClientGone),
        }
    };
    space.answer = heard.bytes;
    space.is_asked = true;
    let link = heard.link;
    attempt::run(
        worker,
        client,
        space,
        service,
        terms,
        Some(lease),
        link,
        heard.asked_at,
        body,
        record,
    )
    .await
}

/// What every member is asked.
struct Question<'a> {
    worker: &'a Worker,
    space: &'a Workspace,
    service: &'a ServicePlan,
    terms: &'a Terms<'a>,
    /// The client's connection.
    ends: Ends,
}

/// The connection over which an answer has begun first.
async fn race(
    question: &Question<'_>,
    after: Duration,
    lease: &mut Lease,
    query: &mut Query,
    record: &mut Record,
) -> Result<Heard, Trouble> {
    let mut second = None;
    let finish = {
        let first = pin!(ask(question, lease));
        match select(first, pin!(tokio::time::sleep(after))).await {
            Either::Left((heard, _)) => return heard,
            Either::Right(((), first)) => {
                query.add_tried(lease.member());
                let Some(other) = another(question, lease, query, record) else {
                    return first.await;
                };
                let other = second.insert(other);
                let other = pin!(ask(question, other));
                match select(first, other).await {
                    Either::Left((heard, other)) => finish(heard, other, Which::First).await,
                    Either::Right((heard, first)) => finish(heard, first, Which::Second).await,
                }
            }
        }
    };
    let Some(mut second) = second else {
        return finish.heard;
    };
    if finish.by == Which::Second {
        std::mem::swap(lease, &mut second);
        record.instance = Some(Arc::clone(&lease.member().endpoint.id));
    }
    // What is left in `second` is whoever is not heard.
    query.add_tried(second.member());
    if let Some(fault) = finish.other.and_then(|trouble| trouble.fault(0)) {
        second.failed(fault, Instant::now().into_std());
    }
    finish.heard
}

/// The end of a race in which the one that is `done` came first; if it failed, the other one's answer is waited for.
async fn finish(
    done: Result<Heard, Trouble>,
    other: impl Future<Output = Result<Heard, Trouble>>,
    by: Which,
) -> Finish {
    let last = match by {
        Which::First => Which::Second,
        Which::Second => Which::First,
    };
    match done {
        Ok(heard) => Finish {
            heard: Ok(heard),
            by,
            other: None,
        },
        Err(trouble) => Finish {
            heard: other.await,
            by: last,
            other: Some(trouble),
        },
    }
}

/// A second member, if there is one and the budget has a try for it.
fn another(question: &Question<'_>, first: &Lease, query: &mut Query, record: &mut Record) -> Option<Lease> {
    let (worker, service) = (question.worker, question.service);
    let now = Instant::now().into_std();
    let asked = [first.member().stats.id()];
    match service
        .pool
        .may_retry(service.retry_share, &asked, record.tries, now)
    {
        Retry::Granted => {}
        Retry::NobodyElse => return None,
        Retry::Refused => {
            let refused = &worker.metrics().retries_refused;
            refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
    }
    let lease = service.pool.cell.pick(query, now)?;
    record.tries += 1;
    worker.metrics().hedged.fetch_add(1, Ordering::Relaxed);
    Some(lease)
}

/// Sends the request and waits for the first bytes of an answer; over a new connection if a kept one turns out to be dead.
async fn ask(question: &Question<'_>, lease: &Lease) -> Result<Heard, Trouble> {
    let (worker, service, terms) = (question.worker, question.service, question.terms);
    let peer = question.space.peer.as_ref();
    let mut kept = attempt::kept(worker, service, peer, lease, Reuse::Likely, Instant::now());
    loop {
        let is_kept = kept.is_some();
        let link = match kept.take() {
            Some(link) => link,
            None => attempt::connect(worker, question.ends, service, peer, terms, lease).await?,
        };
        match ask_over(link, question).await {
            Err(Trouble::Broken) if is_kept => {}
            other => return other,
        }
    }
}

async fn ask_over(mut link: Link, question: &Question<'_>) -> Result<Heard, Trouble> {
    let (space, service, terms) = (question.space, question.service, question.terms);
    let in_words = |error: WireError| match error {
        WireError::TimedOut => Trouble::Slow,
        WireError::Broken(_) => Trouble::Broken,
    };
    let (asked_at, mut bytes) = (Instant::now(), Buffer::default());
    {
        let (mut reader, mut writer) = link.split();
        writer.set_deadline(terms.cap(asked_at + service.write_timeout));
        writer.write_all(&space.outbox).await.map_err(in_words)?;
        reader.set_deadline(terms.cap(asked_at + service.read_timeout));
        if reader.read(&mut bytes, CHUNK).await.map_err(in_words)? == 0 {
            return Err(Trouble::Broken);
        }
    }
    Ok(Heard {
        link,
        asked_at,
        bytes,
    })
}

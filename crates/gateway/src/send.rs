//! Sending a request: to whom, how often, and within which time.
//!
//! A request is sent again only when that is safe: it was never sent (no connection), or it may be sent
//! twice by its method and all of it is still here, and no byte of an answer was seen. What must not be
//! sent twice only goes over connections that are certainly open (`hythe-upstream`, pool rules).
//!
//! Within that, the service says after which failures there is another try (`retry_on`, nginx's
//! `proxy_next_upstream`), how many there are and how long all of them may take; no more are made than
//! there are members. While the pool has nobody, or nobody who does not refuse, it may hold the request ([`hold`]). The pool's budget keeps retries a
//! share of its requests, and its circuit breaker refuses at once what would only queue up. A service may have a second
//! member asked while the first is slow ([`hedge`]). An answer whose status is
//! to be passed over is passed over only if there will be another try, and otherwise sent on as it is.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hythe_balance::{Lease, Member, Query, Timing};
use hythe_routing::Match;
use hythe_upstream::Reuse;
use tokio::time::Instant;

use crate::attempt::{self, Terms};
use crate::body::Body;
use crate::connection::Client;
use crate::files::{FileLink, Files};
use crate::hash_key::Keyed;
use crate::hedge;
use crate::hold;
use crate::link::Link;
use crate::pools::Retry;
use crate::record::Record;
use crate::respond::Failure;
use crate::snapshot::{RoutePlan, ServicePlan};
use crate::trouble::Trouble;
use crate::worker::{Worker, Workspace};

/// Sends the request that stands in `space` and passes the answer on; `matched`: what made it a request to this service, if
/// it is no copy. What the client is to be told, if nothing of
/// an answer was passed on.
pub(crate) async fn send(
    worker: &Worker,
    client: &mut Client,
    space: &mut Workspace,
    service: &ServicePlan,
    matched: Option<&Match<'_, RoutePlan>>,
    body: &mut Body,
    record: &mut Record,
) -> Option<Failure> {
    let pass = match service.breaker {
        None => None,
        Some(breaker) => match service.pool.breaker.enter(breaker, record.started.into_std()) {
            Some(pass) => Some(pass),
            None => {
                worker.metrics().circuit_open.fetch_add(1, Ordering::Relaxed);
                return Some(Failure::Overloaded);
            }
        },
    };
    let sent = send_on(worker, client, space, service, matched, body, record).await;
    if let Some(pass) = pass {
        let failed = sent.as_ref().is_err_and(Unsent::is_of_pool);
        pass.ended(failed, Instant::now().into_std());
    }
    sent.err()?.tell(client, record)
}

/// Why a request ended without its whole answer.
enum Unsent {
    /// Nobody could be asked.
    Nobody(Failure),
    /// The last of those asked.
    Trouble(Trouble),
}

impl Unsent {
    fn is_of_pool(&self) -> bool {
        match self {
            Self::Nobody(_) => true,
            Self::Trouble(trouble) => trouble.fault(0).is_some(),
        }
    }

    /// What the client is told, if it can be told anything.
    fn tell(self, client: &mut Client, record: &Record) -> Option<Failure> {
        let trouble = match self {
            Self::Nobody(failure) => return Some(failure),
            Self::Trouble(trouble) => trouble,
        };
        let failure = trouble.failure().filter(|_| !record.answered);
        if failure.is_none() {
            client.keep = false;
            client.cut_off = record.answered && matches!(trouble, Trouble::CutOff);
        }
        failure
    }
}

/// The same to files of this machine, of which there is only one place.
pub(crate) async fn send_to_files(
    worker: &Worker,
    client: &mut Client,
    space: &mut Workspace,
    service: &ServicePlan,
    files: Arc<Files>,
    body: &mut Body,
    record: &mut Record,
) -> Option<Failure> {
    let terms = Terms {
        began: Instant::now(),
        until: None,
        passes_over: &|_, _| false,
    };
    let link = Link::Files(Box::new(FileLink::to(files)));
    let tried = attempt::run(
        worker,
        client,
        space,
        service,
        &terms,
        None,
        link,
        terms.began,
        body,
        record,
    )
    .await;
    Unsent::Trouble(tried.err()?).tell(client, record)
}

async fn send_on(
    worker: &Worker,
    client: &mut Client,
    space: &mut Workspace,
    service: &ServicePlan,
    matched: Option<&Match<'_, RoutePlan>>,
    body: &mut Body,
    record: &mut Record,
) -> Result<(), Unsent> {
    let tries = Tries::of(worker, service, space, body, record.started);
    let mut query = query(client, space, service, matched);
    let edited = space.answer_edits.len();
    let mut last = None;
    let mut now = time(matched, record);
    let held_until = service.hold.map(|most| tries.cap(now + most));
    let mut picked = service.pool.cell.pick(&mut query, now.into_std());
    if let (None, Some(until)) = (&picked, held_until) {
        picked = wait(
            worker,
            client,
            service,
            None,
            until.saturating_duration_since(now),
            &mut query,
        )
        .await?;
        now = Instant::now();
    }
    while let Some(mut lease) = picked {
        record.tries += 1;
        record.instance = Some(Arc::clone(&lease.member().endpoint.id));
        if let Some(sticky) = &service.sticky {
            space.answer_edits.truncate(edited);
            sticky.remember(lease.member(), &query, &mut space.answer_edits);
        }
        let asking = lease.member().stats.id();
        let terms = Terms {
            began: now,
            until: tries.until(now),
            passes_over: &|status, count| tries.passes_over(status, asking, count),
        };
        let hedge_after = hedge::wanted(service, space).filter(|_| record.tries == 1);
        let tried = match hedge_after {
            None => try_endpoint(worker, client, space, service, &terms, &lease, body, record).await,
            Some(after) => {
                let (lease, query) = (&mut lease, &mut query);
                let hedged = hedge::run(
                    worker, client, space, service, &terms, after, lease, query, body, record,
                );
                Box::pin(hedged).await
            }
        };
        let Err(trouble) = tried else {
            let status = Some(space.answer_head.status);
            let took = record.upstream_time.unwrap_or_default();
            lease.answered(status, || Timing::new(Instant::now().into_std(), took));
            return Ok(());
        };
        now = Instant::now();
        if let Some(fault) = trouble.fault(space.answer_head.status) {
            lease.failed(fault, now.into_std());
        }
        record.disagreement = trouble.disagreement();
        let asked = lease.member().stats.id();
        let again = !record.answered && tries.may_go_on(&trouble, asked, record.tries, now);
        let left = held_until.and_then(|until| until.checked_duration_since(now));
        let awaited = tries.awaited(&trouble, &lease);
        query.add_tried(lease.member());
        // Its failure counts before the next one is chosen.
        drop(lease);
        picked = match (awaited, left) {
            _ if again => {
                last = Some(trouble);
                service.pool.cell.pick(&mut query, now.into_std())
            }
            (Some(refused), Some(left)) => {
                last = None;
                let waited = wait(worker, client, service, Some(refused), left, &mut query).await?;
                now = Instant::now();
                waited
            }
            _ => {
                last = Some(trouble);
                break;
            }
        };
        if picked.is_some() {
            worker.metrics().retried.fetch_add(1, Ordering::Relaxed);
        }
    }
    // A client does not come back to a member that did not answer.
    space.answer_edits.truncate(edited);
    Err(last.map_or_else(|| Unsent::Nobody(service.pool.nobody()), Unsent::Trouble))
}

/// Somebody who comes within `most`, after one has `refused` or when there was nobody.
async fn wait(
    worker: &Worker,
    client: &mut Client,
    service: &ServicePlan,
    refused: Option<Arc<Member>>,
    most: Duration,
    query: &mut Query,
) -> Result<Option<Lease>, Unsent> {
    let wait = hold::Wait {
        worker,
        pool: &service.pool,
        refused,
        most,
    };
    wait.pick(client, query).await.map_err(Unsent::Trouble)
}

/// What time it is. Only plugins can have taken any since the request came.
fn time(matched: Option<&Match<'_, RoutePlan>>, record: &Record) -> Instant {
    match matched {
        Some(matched) if matched.entry.payload.chain.slots().is_empty() => record.started,
        _ => Instant::now(),
    }
}

/// What is asked of the pool. A cookie that the request should have had is set in the answer.
fn query(
    client: &Client,
    space: &mut Workspace,
    service: &ServicePlan,
    matched: Option<&Match<'_, RoutePlan>>,
) -> Query {
    let mut query = query_by_rule(client, space, service, matched);
    let sticky = service.sticky.as_ref();
    let had = sticky.and_then(|sticky| sticky.token(&space.head, space.inbox.bytes()));
    if let Some(token) = had {
        query.come_back_to(token);
    }
    query
}

/// What the pool's rule of picking goes by.
fn query_by_rule(
    client: &Client,
    space: &mut Workspace,
    service: &ServicePlan,
    matched: Option<&Match<'_, RoutePlan>>,
) -> Query {
    if service.by_client {
        return Query::from_client(client.peer);
    }
    let Some(hash_key) = &service.hash_key else {
        return Query::new();
    };
    let (head, bytes) = (&space.head, space.inbox.bytes());
    let capture = |name: &str| {
        let normal = space.normal_path.of(head.path.of(bytes));
        let mut captures = matched?.captures(normal).into_iter();
        captures.find_map(|(known, value)| (known == name).then(|| value.to_vec()))
    };
    let request = Keyed {
        head,
        bytes,
        client: client.peer,
        caller: attempt::caller(space.decisions.as_deref()),
        capture: &capture,
    };
    let found = hash_key.find(&request, || space.request_id.clone());
    if let Some(cookie) = found.new_cookie {
        space.answer_edits.append("Set-Cookie", cookie);
    }
    found.key.map_or_else(Query::new, Query::with_key)
}

/// How often a request may be sent, and until when.
struct Tries<'s> {
    worker: &'s Worker,
    service: &'s ServicePlan,
    /// Whether it may be sent twice, and all of it is here.
    repeatable: bool,
    /// Members that were asked and did not serve it.
    asked: RefCell<Vec<u64>>,
    /// No try lasts longer.
    until: Option<Instant>,
}

impl<'s> Tries<'s> {
    fn of(
        worker: &'s Worker,
        service: &'s ServicePlan,
        space: &Workspace,
        body: &Body,
        started: Instant,
    ) -> Self {
        let method = space.method_sent();
        Self {
            worker,
            service,
            // Only what came with the head is kept for another try; what is streamed is gone.
            repeatable: body.is_done() && (service.retry_on.non_idempotent || is_idempotent(method)),
            asked: RefCell::default(),
            until: service.total_timeout.map(|timeout| started + timeout),
        }
    }

    /// The earlier of a deadline and the one of all tries.
    fn cap(&self, deadline: Instant) -> Instant {
        self.until.map_or(deadline, |until| until.min(deadline))
    }

    /// When a try that begins now is given up.
    fn until(&self, now: Instant) -> Option<Instant> {
        let try_until = self.service.try_timeout.map(|timeout| now + timeout);
        [self.until, try_until].into_iter().flatten().min()
    }

    /// Whether an answer of this status is to be forgotten and another member asked.
    fn passes_over(&self, status: u16, asking: u64, count: u32) -> bool {
        let wanted = self.repeatable && self.service.retry_on.statuses.contains(&status);
        wanted && self.are_left(asking, count, Instant::now())
    }

    /// Whether another member is asked after `asked` has failed, the last of `count`.
    fn may_go_on(&self, trouble: &Trouble, asked: u64, count: u32, now: Instant) -> bool {
        let retry_on = &self.service.retry_on;
        let are_left = || self.are_left(asked, count, now);
        match trouble {
            // Already asked and taken out of the budget.
            Trouble::PassedOver => true,
            Trouble::Connect(error) if error.is_timeout() => retry_on.timeout && are_left(),
            Trouble::Connect(_) | Trouble::Unprocessed => retry_on.error && are_left(),
            Trouble::Broken => self.repeatable && retry_on.error && are_left(),
            Trouble::Slow => self.repeatable && retry_on.timeout && are_left(),
            Trouble::BadAnswer => self.repeatable && retry_on.invalid_header && are_left(),
            _ => false,
        }
    }

    /// Whose return is waited for when nobody else is asked: nothing was sent to it, so any request may be sent then.
    fn awaited(&self, trouble: &Trouble, lease: &Lease) -> Option<Arc<Member>> {
        let is_refused = trouble.is_refusal() && self.service.retry_on.error;
        is_refused.then(|| hold::awaitable(lease)).flatten()
    }

    /// Whether there is another try; takes it out of the budget.
    fn are_left(&self, asked: u64, count: u32, now: Instant) -> bool {
        if count > self.service.retries || self.until.is_some_and(|until| until <= now) {
            return false;
        }
        let share = self.service.retry_share;
        let mut all = self.asked.borrow_mut();
        if !all.contains(&asked) {
            all.push(asked);
        }
        match self.service.pool.may_retry(share, &all, count, now.into_std()) {
            Retry::Granted => true,
            Retry::NobodyElse => false,
            Retry::Refused => {
                self.worker
                    .metrics()
                    .retries_refused
                    .fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }
}

/// One endpoint: over a kept connection if there is one, and once more over a new one if the kept one
/// turns out to be dead.
#[expect(
    clippy::too_many_arguments,
    reason = "the parts of one exchange, borrowed apart"
)]
async fn try_endpoint(
    worker: &Worker,
    client: &mut Client,
    space: &mut Workspace,
    service: &ServicePlan,
    terms: &Terms<'_>,
    lease: &Lease,
    body: &mut Body,
    record: &mut Record,
) -> Result<(), Trouble> {
    let repeatable = body.is_done() && is_idempotent(space.method_sent());
    let reuse = if repeatable {
        Reuse::Likely
    } else {
        Reuse::OnlyCertain
    };
    let mut kept = attempt::kept(worker, service, space.peer.as_ref(), lease, reuse, terms.began);
    loop {
        let is_kept = kept.is_some();
        let (link, ready_at) = match kept.take() {
            Some(link) => (link, terms.began),
            None => {
                let (ends, peer) = (client.ends(), space.peer.as_ref());
                let link = attempt::connect(worker, ends, service, peer, terms, lease).await?;
                (link, Instant::now())
            }
        };
        let lease = Some(lease);
        let tried = attempt::run(
            worker, client, space, service, terms, lease, link, ready_at, body, record,
        )
        .await;
        match tried {
            Err(Trouble::Unprocessed) if is_kept => {}
            Err(Trouble::Broken) if is_kept && repeatable => {}
            other => return other,
        }
        worker.metrics().retried.fetch_add(1, Ordering::Relaxed);
    }
}

/// RFC 9110 9.2.2: sending these twice is the same as once.
pub(crate) fn is_idempotent(method: &[u8]) -> bool {
    matches!(
        method,
        b"GET" | b"HEAD" | b"OPTIONS" | b"PUT" | b"DELETE" | b"TRACE"
    )
}

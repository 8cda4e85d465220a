//! Copies of requests that are sent to another service, whose answers nobody waits for.
//!
//! A copy is what the request's own service is sent, to the byte: head and body as the route and its plugins made them.
//! What goes up is kept beside, up to a bound, and when all of the request has been here the copy is an exchange of
//! its own, without a client: it has the other service's pool, timeouts and retries, and its answer is read and
//! thrown away. The original never waits for it and does not know what became of it.
//!
//! A copy that cannot be made is dropped and counted: too large, too many at once, a request that was not sent to its
//! end, or nobody there. Requests that may become a tunnel and those answered by files are not copied.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use hythe_http1::RequestHead;
use tokio::sync::Notify;

use crate::body::Body;
use crate::connection::Client;
use crate::link::Link;
use crate::listener::LocalListening;
use crate::metrics::Metrics;
use crate::record::Record;
use crate::send;
use crate::snapshot::ServicePlan;
use crate::worker::{Worker, Workspace};

/// That a request is to be copied, as a plugin decides.
#[derive(Debug)]
pub(crate) struct Mirroring {
    /// Who gets the copy.
    pub(crate) service: Arc<ServicePlan>,
    /// Largest body, bytes as they are framed.
    pub(crate) max_body: usize,
    /// Time for the whole exchange of the copy.
    pub(crate) timeout: Duration,
    /// Held until the copy is through.
    pub(crate) place: Place,
}

/// How many copies there may be at once.
#[derive(Debug, Default)]
pub(crate) struct Places(AtomicUsize);

/// One copy's place, as long as this lives.
#[derive(Debug)]
pub(crate) struct Place(Arc<Places>);

/// A copy that is made while its request goes up.
pub(crate) struct Duplicate {
    mirroring: Mirroring,
    head: RequestHead,
    /// The client's bytes that `head` points into.
    inbox: Vec<u8>,
    /// What the upstream was sent so far; `None`: it was too much.
    sent: Option<Vec<u8>>,
    most: usize,
    request_id: String,
    peer: IpAddr,
    port: u16,
    local: SocketAddr,
    listening: LocalListening,
}

/// Copies of one worker that wait to be sent, each in a place.
#[derive(Default)]
pub(crate) struct Copies {
    waiting: RefCell<VecDeque<Duplicate>>,
    some: Notify,
}

impl Places {
    /// Takes a place, if fewer than `most` are taken.
    pub(crate) fn enter(self: &Arc<Self>, most: usize) -> Option<Place> {
        let entered = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                (count < most).then_some(count + 1)
            });
        entered.ok().map(|_| Place(Arc::clone(self)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Begins the copy of the request that stands in `space`, if a plugin wants one, and sends it if that was all. The head
/// and what has come of the body are in the outbox.
pub(crate) fn begin(worker: &Worker, client: &Client, space: &mut Workspace, body: &Body) {
    let decided = space.decisions.as_mut();
    let Some(mirroring) = decided.and_then(|decisions| decisions.mirroring.take()) else {
        return;
    };
    let copy = Duplicate {
        head: space.head.clone(),
        inbox: space
            .inbox
            .bytes()
            .get(..space.head.len)
            .unwrap_or_default()
            .to_vec(),
        most: space.outbox.len() + mirroring.max_body,
        sent: Some(space.outbox.clone()),
        request_id: space.request_id.clone(),
        peer: client.peer,
        port: client.port,
        local: client.local,
        listening: Rc::clone(&client.listening),
        mirroring,
    };
    if body.is_done() {
        worker.copies.send(copy);
    } else {
        space.copy = Some(Box::new(copy));
    }
}

/// Sends the copy whose request has been here to its end by now, and forgets any other.
pub(crate) fn end(worker: &Worker, space: &mut Workspace, body: &Body) {
    let Some(copy) = space.copy.take() else { return };
    if body.is_done() && copy.sent.is_some() {
        worker.copies.send(*copy);
    } else {
        count_dropped(worker.metrics());
    }
}

/// Counts a copy that is not sent.
pub(crate) fn count_dropped(metrics: &Metrics) {
    metrics.copies_dropped.fetch_add(1, Ordering::Relaxed);
}

impl Duplicate {
    /// Takes in what the upstream is sent next.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        if let Some(sent) = &mut self.sent {
            if sent.len() + bytes.len() > self.most {
                self.sent = None;
            } else {
                sent.extend_from_slice(bytes);
            }
        }
    }
}

impl Copies {
    fn send(&self, copy: Duplicate) {
        self.waiting.borrow_mut().push_back(copy);
        self.some.notify_one();
    }

    async fn next(&self) -> Duplicate {
        loop {
            let next = self.waiting.borrow_mut().pop_front();
            match next {
                Some(copy) => return copy,
                None => self.some.notified().await,
            }
        }
    }
}

/// Sends the copies of a worker, each in a task of its own.
pub(crate) async fn run(worker: Rc<Worker>) {
    loop {
        let copy = worker.copies.next().await;
        let worker = Rc::clone(&worker);
        tokio::task::spawn_local(async move {
            let timeout = copy.mirroring.timeout;
            let sent = AssertUnwindSafe(exchange(&worker, copy)).catch_unwind();
            match tokio::time::timeout(timeout, sent).await {
                Ok(Ok(true)) => {
                    worker.metrics().copies_sent.fetch_add(1, Ordering::Relaxed);
                }
                Ok(Ok(false)) | Err(_) => count_dropped(worker.metrics()),
                Ok(Err(_)) => worker.count_panic(),
            }
        });
    }
}

/// The exchange of a copy; whether there was a whole answer.
async fn exchange(worker: &Worker, copy: Duplicate) -> bool {
    let Duplicate { mirroring, sent, .. } = copy;
    let Mirroring { service, place, .. } = mirroring;
    let mut client = Client {
        link: Link::Nobody,
        peer: copy.peer,
        port: copy.port,
        proxy: None,
        told_https: None,
        local: copy.local,
        tls: None,
        certificate: None,
        listening: copy.listening,
        keep: false,
        cut_off: false,
    };
    let mut space = worker.take_space();
    space.inbox.extend(&copy.inbox);
    space.head = copy.head;
    space.request_id = copy.request_id;
    space.outbox = sent.unwrap_or_default();
    space.peer = service.tls.as_ref().map(|tls| tls.peer(service.host.as_bytes()));
    let mut record = Record::start();
    let failure = send::send(
        worker,
        &mut client,
        &mut space,
        &service,
        None,
        &mut Body::Done,
        &mut record,
    )
    .await;
    worker.give_back(space);
    drop(place);
    failure.is_none() && record.answered
}

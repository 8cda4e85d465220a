//! One core's share of the gateway: everything a request needs, on the thread that accepted it.
//!
//! A worker is a thread with a runtime of its own. What it uses for a request (snapshot pointer, upstream
//! connections, buffers, counters, log lines) belongs to it alone, so there is nothing to lock. If
//! anything outside a single request panics, the thread starts again on the same listening sockets.
//!
//! A client that there is no room for (connections, or descriptors of the process) is told so and closed.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use hythe_http1::{RequestHead, ResponseHead, path};
use hythe_http2::Upstreams;
use hythe_ports::Traffic;
use hythe_spine::{Cached, Latest, Shutdown};
use hythe_telemetry::LineSink;
use hythe_upstream::{Buffer, IdlePool, Peer, Pipes};
use tokio::net::TcpStream;
use tokio::runtime::LocalRuntime;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::accept;
use crate::access_log::{AccessLog, AccessLogFormat};
use crate::clock::Clock;
use crate::decisions::Decisions;
use crate::door;
use crate::edits::Edits;
use crate::heads::Way;
use crate::listener::{LocalListening, OpenListeners};
use crate::metrics::{Metrics, WorkerCounters};
use crate::mirror::{self, Copies};
use crate::plugin::chain::Chain;
use crate::respond::TOO_MANY_CONNECTIONS;
use crate::snapshot::Snapshot;
use crate::stream_tasks::StreamTasks;
use crate::streams::Job;
use crate::{Limits, Shared};

/// What a worker is made of; cloned for each start of its thread.
#[derive(Clone)]
pub(crate) struct WorkerSeed {
    pub(crate) index: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) snapshot: Latest<Snapshot>,
    pub(crate) listeners: Latest<OpenListeners>,
    pub(crate) access_log: Option<(AccessLogFormat, LineSink)>,
    pub(crate) shutdown: Shutdown,
}

/// A running worker.
pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) idle: RefCell<IdlePool>,
    /// Connections to upstreams that speak HTTP/2, by address and by who must be there.
    pub(crate) upstreams: Upstreams<(SocketAddr, Option<Arc<Peer>>)>,
    pub(crate) pipes: Pipes,
    pub(crate) stream_tasks: StreamTasks<Job>,
    /// Copies of requests that are to be sent to other services.
    pub(crate) copies: Copies,
    pub(crate) access_log: Option<AccessLog>,
    pub(crate) counters: Arc<WorkerCounters>,
    pub(crate) clock: RefCell<Clock>,
    pub(crate) shutdown: Shutdown,
    snapshot: RefCell<(Cached<Snapshot>, LocalSnapshot)>,
    #[expect(
        clippy::vec_box,
        reason = "they move between here and the connections that use them"
    )]
    spaces: RefCell<Vec<Box<Workspace>>>,
    ids: RefCell<fastrand::Rng>,
    connections: Cell<usize>,
    closed: Notify,
    chores: Notify,
    chores_wanted: Cell<bool>,
}

/// A snapshot as exchanges hold it: counted on this thread only, so that cores do not share the count.
pub(crate) type LocalSnapshot = Rc<Arc<Snapshot>>;

/// What one exchange works with. An idle connection has none, so 10,000 of them cost little.
pub(crate) struct Workspace {
    /// Bytes from the client: the head, and what came with it.
    pub(crate) inbox: Buffer,
    /// Bytes of a request body that is streamed.
    pub(crate) body: Buffer,
    /// Bytes from the upstream.
    pub(crate) answer: Buffer,
    /// Bytes about to be sent to the upstream.
    pub(crate) outbox: Vec<u8>,
    /// Bytes about to be sent to the client.
    pub(crate) reply: Vec<u8>,
    pub(crate) head: RequestHead,
    pub(crate) answer_head: ResponseHead,
    pub(crate) request_edits: Edits,
    pub(crate) answer_edits: Edits,
    pub(crate) decisions: Option<Box<Decisions>>,
    /// The copy that is made of the request for another service.
    pub(crate) copy: Option<Box<mirror::Duplicate>>,
    /// The route's plugins, if any of them looks at answers.
    pub(crate) answering: Option<Chain>,
    pub(crate) request_id: String,
    pub(crate) path: Vec<u8>,
    pub(crate) normal_path: NormalPath,
    pub(crate) way: Way,
    /// Who the upstream must be, if it speaks TLS.
    pub(crate) peer: Option<Arc<Peer>>,
    /// Whether the request was sent already, and `answer` is the beginning of what it got.
    pub(crate) is_asked: bool,
}

/// A request's path as routes see it, kept where that is not how it was sent.
#[derive(Debug, Default)]
pub(crate) struct NormalPath(Option<Vec<u8>>);

/// Size of a read, and of the buffers that are kept.
pub(crate) const CHUNK: usize = 16 * 1024;
/// Workspaces kept for the next exchange; more are freed.
const SPARE_SPACES: usize = 128;
/// How often log lines are handed over and idle connections looked at.
const CHORES_EVERY: Duration = Duration::from_millis(200);

impl WorkerSeed {
    /// Runs the worker on this thread until shutdown, again after a panic.
    pub(crate) fn run(self) {
        while let Some(runtime) = keep_trying(&self.shutdown, new_runtime) {
            let listeners = self.listeners.clone();
            let worker = Rc::new(self.clone().start());
            let served =
                std::panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(serve(worker, listeners))));
            if served.is_err() {
                self.shared.metrics.panics.fetch_add(1, Ordering::Relaxed);
                tracing::error!(
                    worker = self.index,
                    "a gateway worker panicked and is started again"
                );
            }
        }
    }

    fn start(self) -> Worker {
        let first = self.snapshot.get();
        let access_log = self
            .access_log
            .map(|(format, sink)| AccessLog::new(format, sink, Arc::clone(&self.shared.metrics)));
        Worker {
            index: self.index,
            idle: RefCell::new(IdlePool::new(self.shared.limits.upstream_keep_alive)),
            upstreams: Upstreams::new(self.shared.limits.of_upstreams()),
            pipes: Pipes::default(),
            stream_tasks: StreamTasks::default(),
            copies: Copies::default(),
            access_log,
            counters: self.shared.metrics.worker(self.index),
            clock: RefCell::default(),
            shutdown: self.shutdown,
            snapshot: RefCell::new((self.snapshot.cached(), Rc::new(first))),
            spaces: RefCell::default(),
            ids: RefCell::new(fastrand::Rng::new()),
            connections: Cell::new(0),
            closed: Notify::new(),
            chores: Notify::new(),
            chores_wanted: Cell::new(false),
            shared: self.shared,
        }
    }
}

fn new_runtime() -> io::Result<LocalRuntime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(61)
        .build_local(tokio::runtime::LocalOptions::default())
}

/// Makes what cannot be done without, again and again until it succeeds: the kernel goes on giving this
/// worker its share of the connections. `None` when the server stops.
#[expect(
    clippy::disallowed_methods,
    reason = "nothing else runs on this thread as long as it has no runtime"
)]
fn keep_trying<T>(shutdown: &Shutdown, mut make: impl FnMut() -> io::Result<T>) -> Option<T> {
    const LONGEST: Duration = Duration::from_millis(500);
    let mut pause = Duration::from_millis(5);
    while !shutdown.is_requested() {
        match make() {
            Ok(made) => return Some(made),
            Err(error) => tracing::error!(%error, "a gateway worker cannot start yet"),
        }
        std::thread::sleep(pause);
        pause = LONGEST.min(pause * 2);
    }
    None
}

/// Accepts until shutdown, then waits for the connections that are left, up to the drain limit.
async fn serve(worker: Rc<Worker>, listeners: Latest<OpenListeners>) {
    tokio::task::spawn_local(do_chores(Rc::clone(&worker)));
    tokio::task::spawn_local(mirror::run(Rc::clone(&worker)));
    accept::run(Rc::clone(&worker), listeners).await;
    let _ = tokio::time::timeout(worker.shared.limits.drain, worker.all_closed()).await;
    if let Some(log) = &worker.access_log {
        log.flush();
    }
}

impl Worker {
    /// Serves a connection, unless there are too many.
    pub(crate) fn admit(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr, listening: &LocalListening) {
        let metrics = &self.shared.metrics;
        metrics.accepted.fetch_add(1, Ordering::Relaxed);
        if self.connections.get() >= self.shared.limits.connections_per_worker {
            self.turn_away(&stream, listening);
            return;
        }
        self.connections.set(self.connections.get() + 1);
        metrics.open.fetch_add(1, Ordering::Relaxed);
        let open = OpenConnection(Rc::clone(self));
        let listening = Rc::clone(listening);
        tokio::task::spawn_local(async move {
            let served = AssertUnwindSafe(door::serve(&open.0, stream, peer, listening))
                .catch_unwind()
                .await;
            if served.is_err() {
                open.0.count_panic();
            }
        });
    }

    /// Tells a client that there is no room, as far as that can be done without waiting. What it has sent is
    /// taken in first: a socket closed with unread bytes is reset, which may overtake the answer.
    pub(crate) fn turn_away(&self, stream: &TcpStream, listening: &LocalListening) {
        self.metrics().turned_away.fetch_add(1, Ordering::Relaxed);
        if !listening.plan.protocol.is_http() {
            return;
        }
        let _ = stream.try_read(&mut [0; 4096]);
        let _ = stream.try_write(TOO_MANY_CONNECTIONS);
    }

    /// The snapshot to use for one exchange.
    pub(crate) fn snapshot(&self) -> LocalSnapshot {
        let mut held = self.snapshot.borrow_mut();
        let (cached, current) = &mut *held;
        let latest = cached.load();
        if !Arc::ptr_eq(latest, current) {
            *current = Rc::new(Arc::clone(latest));
        }
        Rc::clone(current)
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    pub(crate) fn take_space(&self) -> Box<Workspace> {
        self.spaces.borrow_mut().pop().unwrap_or_default()
    }

    pub(crate) fn give_back(&self, mut space: Box<Workspace>) {
        let mut spaces = self.spaces.borrow_mut();
        if spaces.len() < SPARE_SPACES {
            space.clear();
            spaces.push(space);
        }
    }

    /// 32 hex digits that have not been given out before.
    pub(crate) fn write_request_id(&self, out: &mut String) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let id = self.ids.borrow_mut().u128(..).to_be_bytes();
        let digits: [[u8; 2]; 16] =
            id.map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        out.clear();
        out.push_str(std::str::from_utf8(digits.as_flattened()).unwrap_or_default());
    }

    pub(crate) fn count_panic(&self) {
        self.metrics().panics.fetch_add(1, Ordering::Relaxed);
        tracing::error!(
            worker = self.index,
            "a request panicked; its connection was closed"
        );
    }

    /// Asks for [`do_chores`] to look soon.
    pub(crate) fn want_chores(&self) {
        if !self.chores_wanted.replace(true) {
            self.chores.notify_one();
        }
    }

    async fn all_closed(&self) {
        while self.connections.get() > 0 {
            self.closed.notified().await;
        }
    }
}

/// Hands log lines over and closes upstream connections nobody should use, as long as there are any: an
/// idle worker does not wake up.
async fn do_chores(worker: Rc<Worker>) {
    loop {
        worker.chores.notified().await;
        while worker.chores_wanted.get() {
            tokio::time::sleep(CHORES_EVERY).await;
            let logged = worker.access_log.as_ref().is_some_and(AccessLog::flush);
            let endpoints = &worker.shared.endpoints;
            let mut idle = worker.idle.borrow_mut();
            let now = Instant::now();
            idle.sweep(now, |address| endpoints.is_listed(address));
            worker
                .upstreams
                .sweep(now, |(address, _)| endpoints.is_listed(*address));
            let kept = !idle.is_empty() || !worker.upstreams.is_empty();
            worker.chores_wanted.set(logged || kept);
        }
    }
}

/// Counts a connection as open while it lives.
struct OpenConnection(Rc<Worker>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let worker = &self.0;
        worker.connections.set(worker.connections.get() - 1);
        worker.metrics().open.fetch_sub(1, Ordering::Relaxed);
        worker.closed.notify_one();
    }
}

impl Default for Workspace {
    fn default() -> Self {
        Self {
            inbox: Buffer::with_capacity(CHUNK),
            body: Buffer::default(),
            answer: Buffer::with_capacity(CHUNK),
            outbox: Vec::with_capacity(2048),
            reply: Vec::with_capacity(CHUNK),
            head: RequestHead::default(),
            answer_head: ResponseHead::default(),
            request_edits: Edits::default(),
            answer_edits: Edits::default(),
            decisions: None,
            copy: None,
            answering: None,
            request_id: String::with_capacity(32),
            path: Vec::new(),
            normal_path: NormalPath::default(),
            way: Way::default(),
            peer: None,
            is_asked: false,
        }
    }
}

impl NormalPath {
    /// Of a path that was `sent`.
    pub(crate) fn find(sent: &[u8]) -> Self {
        match path::normalize(sent) {
            Cow::Borrowed(_) => Self(None),
            Cow::Owned(normal) => Self(Some(normal)),
        }
    }

    /// It, of the path that it was found of.
    pub(crate) fn of<'a>(&'a self, sent: &'a [u8]) -> &'a [u8] {
        self.0.as_deref().unwrap_or(sent)
    }
}

impl Workspace {
    /// The request's method as the upstream gets it.
    pub(crate) fn method_sent(&self) -> &[u8] {
        let decided = self
            .decisions
            .as_ref()
            .and_then(|decisions| decisions.method.as_deref());
        decided.unwrap_or_else(|| self.head.method.of(self.inbox.bytes()))
    }

    fn clear(&mut self) {
        self.inbox.clear();
        self.inbox.shrink_to(CHUNK);
        self.body.clear();
        self.body.shrink_to(CHUNK);
        self.answer.clear();
        self.answer.shrink_to(CHUNK);
        self.outbox.clear();
        self.outbox.shrink_to(CHUNK);
        self.reply.clear();
        self.reply.shrink_to(2 * CHUNK);
    }
}

/// The address a peer is known by: IPv4 in IPv6 clothing is IPv4.
pub(crate) fn plain_ip(address: SocketAddr) -> IpAddr {
    address.ip().to_canonical()
}

#[cfg(test)]
mod tests {
    use hythe_spine::Spine;

    use super::*;

    #[test]
    fn a_worker_that_cannot_start_tries_again() {
        let mut failures = 3;
        let made = keep_trying(&Spine::default().shutdown(), || {
            failures -= 1;
            if failures < 0 {
                Ok("made")
            } else {
                Err(io::Error::from(rustix::io::Errno::MFILE))
            }
        });
        assert_eq!(made, Some("made"));
    }

    #[tokio::test]
    async fn it_does_not_try_for_ever() {
        let spine = Spine::default();
        assert!(spine.stop(Duration::from_secs(5)).await);
        assert_eq!(keep_trying(&spine.shutdown(), || Ok(())), None);
    }
}

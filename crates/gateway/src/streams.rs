//! One client's connection in HTTP/2: each stream is an exchange of its own, in a task that serves no other meanwhile.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use hythe_http2::{Server, ServerLimits, Stream};
use hythe_upstream::{Negotiated, Watchdog};
use tokio::time::Instant;

use crate::client_certificate::ClientCertificate;
use crate::connection::{Client, serve_request};
use crate::link::Link;
use crate::listener::LocalListening;
use crate::worker::Worker;

/// What the streams of a connection have in common.
struct Connection {
    worker: Rc<Worker>,
    peer: IpAddr,
    port: u16,
    local: SocketAddr,
    tls: Option<Rc<Negotiated>>,
    certificate: Option<Rc<ClientCertificate>>,
    listening: LocalListening,
    /// Streams that are being served.
    open: Cell<usize>,
    /// Whether a stream has begun or ended since that was looked at.
    has_stirred: Cell<bool>,
}

/// Why no more streams are taken.
enum Ended {
    /// The client has asked as often as it may.
    Enough,
    /// No stream has been open for too long.
    Silence,
    /// The connection is over.
    Over,
}

/// How far a connection is.
struct Course {
    server: Server,
    /// Streams that have not begun.
    waiting: VecDeque<Box<Stream>>,
    silence: Watchdog,
    /// Streams that it may still open; `None`: any number.
    left: Option<u32>,
}

/// A stream to be served.
pub(crate) struct Job {
    open: OpenStream,
    stream: Box<Stream>,
}

/// How long a client that was told to go may take to close, once its last stream is through.
const LAST: Duration = Duration::from_secs(5);

/// Streams that a connection may begin before all others that are ready have had their turn: who asks for a hundred
/// things at once does not make the others wait for all of them.
const AT_ONCE: usize = 4;

/// Serves the client's connection, from which `early` was read, to its end.
pub(crate) async fn serve(worker: &Rc<Worker>, client: Client, early: &[u8]) {
    let Link::Wire(wire) = client.link else { return };
    let limits = worker.limits();
    let server_limits = ServerLimits {
        streams: limits.streams_per_connection,
        header_list: u32::try_from(limits.wire.head).unwrap_or(u32::MAX),
        allowed: limits.head_timeout,
        write_timeout: limits.client_write_timeout,
    };
    let greeting = Server::greet(wire, early, server_limits);
    let Ok(Ok(server)) = tokio::time::timeout(limits.head_timeout, greeting).await else {
        return;
    };
    let connection = Rc::new(Connection {
        worker: Rc::clone(worker),
        peer: client.peer,
        port: client.port,
        local: client.local,
        tls: client.tls,
        certificate: client.certificate,
        listening: client.listening,
        open: Cell::new(0),
        has_stirred: Cell::new(false),
    });
    take_streams(server, &connection).await;
}

/// Takes streams until the client is done, is silent for too long, has asked often enough, or the worker
/// stops. Then it is told to go, and those on their way are still served.
async fn take_streams(server: Server, connection: &Rc<Connection>) {
    let worker = &connection.worker;
    let limits = worker.limits();
    let mut course = Course {
        server,
        waiting: VecDeque::new(),
        silence: Watchdog::new(limits.head_timeout),
        left: limits.requests_per_connection,
    };
    let taking = poll_fn(|context| course.poll_ended(context, limits.idle_timeout, connection));
    if let Some(Ended::Over) = connection.listening.shutdown.unless_requested(taking).await {
        let flooded = u64::from(course.server.is_flooded());
        worker.metrics().floods.fetch_add(flooded, Ordering::Relaxed);
        return;
    }
    course.server.shut_down();
    course.silence.set(Instant::now() + LAST);
    course.left = None;
    poll_fn(|context| course.poll_ended(context, LAST, connection)).await;
}

impl Course {
    /// Has streams served as they come, a few a turn.
    ///
    /// The connection itself is looked at again only when all that it brought have begun, so their answers are written
    /// together.
    fn poll_ended(
        &mut self,
        context: &mut Context<'_>,
        patience: Duration,
        connection: &Rc<Connection>,
    ) -> Poll<Ended> {
        let looks = self.waiting.is_empty();
        if looks && let Poll::Ready(ended) = self.poll_streams(context) {
            return Poll::Ready(ended);
        }
        let begun = self.waiting.len().min(AT_ONCE);
        self.waiting
            .drain(..begun)
            .for_each(|stream| start(connection, stream));
        if looks && self.waiting.is_empty() {
            return self.poll_silence(context, patience, connection);
        }
        // Also after the last: the connection may have called in a turn that did not look at it.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes the streams that are there.
    fn poll_streams(&mut self, context: &mut Context<'_>) -> Poll<Ended> {
        while self.left != Some(0) {
            match self.server.poll_next(context) {
                Poll::Ready(Some(stream)) => self.waiting.push_back(Box::new(stream)),
                Poll::Ready(None) => return Poll::Ready(Ended::Over),
                Poll::Pending => return Poll::Pending,
            }
            self.left = self.left.map(|left| left - 1);
        }
        Poll::Ready(Ended::Enough)
    }

    fn poll_silence(
        &mut self,
        context: &mut Context<'_>,
        patience: Duration,
        connection: &Connection,
    ) -> Poll<Ended> {
        if connection.has_stirred.take() || connection.open.get() > 0 {
            self.silence.allow(patience);
        }
        self.silence.poll_expired(context).map(|()| Ended::Silence)
    }
}

fn start(connection: &Rc<Connection>, stream: Box<Stream>) {
    connection.open.set(connection.open.get() + 1);
    connection.has_stirred.set(true);
    let open = OpenStream(Rc::clone(connection));
    let worker = &connection.worker;
    worker
        .stream_tasks
        .take(Job { open, stream }, |job| serve_streams(Rc::clone(worker), job));
}

/// Serves one stream after another, of whatever connections.
async fn serve_streams(worker: Rc<Worker>, first: Job) {
    let mut next = Some(first);
    while let Some(Job { open, stream }) = next {
        let served = AssertUnwindSafe(serve_stream(&open.0, stream))
            .catch_unwind()
            .await;
        if served.is_err() {
            worker.count_panic();
        }
        drop(open);
        next = worker.stream_tasks.another().await;
    }
}

/// A stream is a connection that carries one request.
async fn serve_stream(connection: &Connection, stream: Box<Stream>) {
    let mut client = Client {
        link: Link::Stream(stream),
        peer: connection.peer,
        port: connection.port,
        proxy: connection.worker.shared.trust.proxy(connection.peer),
        told_https: None,
        local: connection.local,
        tls: connection.tls.clone(),
        certificate: connection.certificate.clone(),
        listening: connection.listening.clone(),
        keep: true,
        cut_off: false,
    };
    let mut space = connection.worker.take_space();
    serve_request(&connection.worker, &mut client, &mut space, false).await;
    connection.worker.give_back(space);
}

/// Counts a stream as open while it lives.
struct OpenStream(Rc<Connection>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        self.0.has_stirred.set(true);
    }
}

//! Connections to upstreams, each shared by many requests of one worker.
//!
//! There is one for an upstream, and another only while every one has as many streams as its server allows.
//! Requests that come before it is there wait for the same attempt to connect. A connection that its server
//! gives up (GOAWAY), or that is not wanted any more, takes no further requests and ends with its last one.
//!
//! Left out on purpose: pings to find out whether a silent server is still there. The deadlines of requests
//! do, and a write that does not move ends the connection.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::Hash;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared};
use h2::client::SendRequest;
use http::uri::Scheme;
use hythe_upstream::{Wire, WireError};
use tokio::time::Instant;

use crate::error::broken;
use crate::guarded::Guarded;
use crate::stream::Stream;
use crate::{CONNECTION_WINDOW, SEND_BUFFER, STREAM_WINDOW};

/// The connections of one worker. `K` tells upstreams apart: the address, and who is expected there.
#[derive(Debug)]
pub struct Upstreams<K> {
    limits: UpstreamLimits,
    groups: Rc<RefCell<HashMap<K, Group>>>,
}

/// Limits of [`Upstreams`].
#[derive(Debug, Clone, Copy)]
pub struct UpstreamLimits {
    /// How long a connection without a stream is kept.
    pub idle: Duration,
    /// Time for a write to the socket to move at all.
    pub write_timeout: Duration,
    /// An answer's fields, with 32 bytes more for each, as HPACK counts.
    pub header_list: u32,
}

/// The connections to one upstream.
#[derive(Debug, Default)]
struct Group {
    connections: Vec<Connection>,
    connecting: Option<Attempt>,
}

type Attempt = Shared<LocalBoxFuture<'static, Result<Connection, Failed>>>;

#[derive(Debug, Clone)]
struct Connection {
    requests: SendRequest<Bytes>,
    use_of: Rc<Use>,
}

/// How much a connection is used.
#[derive(Debug)]
struct Use {
    streams: Cell<usize>,
    /// Since when there is no stream.
    idle_since: Cell<Instant>,
}

/// Counts a stream of a connection while it lives.
pub(crate) struct OpenStream(Rc<Use>);

/// A failure to connect, told to everybody who waited.
#[derive(Debug, Clone)]
enum Failed {
    TimedOut,
    Broken(Arc<io::Error>),
}

/// Connections to one upstream; when all are full, requests wait in the one that has fewest.
const MOST: usize = 16;

impl<K: Clone + Eq + Hash + 'static> Upstreams<K> {
    /// No connections.
    pub fn new(limits: UpstreamLimits) -> Self {
        Self {
            limits,
            groups: Rc::default(),
        }
    }

    /// A stream over a connection to the upstream `key` that is there. Its first deadlines are `allowed` from
    /// now.
    pub fn kept(&self, key: &K, scheme: Scheme, allowed: Duration) -> Option<Stream> {
        let connection = self.groups.borrow_mut().get_mut(key)?.choose()?;
        Some(connection.stream(scheme, allowed))
    }

    /// A stream as [`Upstreams::kept`] has it, or over a connection that `connect` makes.
    ///
    /// # Errors
    /// What `connect` says; nothing was sent then.
    pub async fn stream<F>(
        &self,
        key: &K,
        scheme: Scheme,
        allowed: Duration,
        connect: impl FnOnce() -> F,
    ) -> Result<Stream, WireError>
    where
        F: Future<Output = Result<Wire, WireError>> + 'static,
    {
        let found = self.groups.borrow_mut().entry(key.clone()).or_default().choose();
        let connection = match found {
            Some(connection) => connection,
            None => self.connect(key, connect).await?,
        };
        Ok(connection.stream(scheme, allowed))
    }

    async fn connect<F>(&self, key: &K, connect: impl FnOnce() -> F) -> Result<Connection, Failed>
    where
        F: Future<Output = Result<Wire, WireError>> + 'static,
    {
        let waiting = self
            .groups
            .borrow()
            .get(key)
            .and_then(|group| group.connecting.clone());
        let attempt = waiting.unwrap_or_else(|| self.attempt(key, connect()));
        attempt.await
    }

    /// Starts to connect, in a task of its own: whoever wanted it first may leave.
    fn attempt<F>(&self, key: &K, connecting: F) -> Attempt
    where
        F: Future<Output = Result<Wire, WireError>> + 'static,
    {
        let (limits, groups, key_of) = (self.limits, Rc::downgrade(&self.groups), key.clone());
        let attempt = async move {
            let opened = async { open(connecting.await?, limits).await }.await;
            if let Some(groups) = groups.upgrade() {
                let mut groups = groups.borrow_mut();
                let group = groups.entry(key_of).or_default();
                group.connecting = None;
                group.connections.extend(opened.as_ref().ok().cloned());
            }
            opened.map_err(Failed::from)
        };
        let attempt = attempt.boxed_local().shared();
        let mut groups = self.groups.borrow_mut();
        groups.entry(key.clone()).or_default().connecting = Some(attempt.clone());
        tokio::task::spawn_local(attempt.clone().map(drop));
        attempt
    }

    /// Lets go of connections that have ended or were idle for too long, and of all to whom `keep` says no.
    pub fn sweep(&self, now: Instant, mut keep: impl FnMut(&K) -> bool) {
        self.groups.borrow_mut().retain(|key, group| {
            let listed = keep(key);
            group.connections.retain_mut(|connection| {
                listed && !connection.is_idle(now, self.limits.idle) && connection.is_open()
            });
            !group.connections.is_empty() || group.connecting.is_some()
        });
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.groups.borrow().is_empty()
    }
}

/// Greets, and keeps the connection going in a task of its own.
async fn open(wire: Wire, limits: UpstreamLimits) -> Result<Connection, WireError> {
    let socket = Guarded::of_server(wire, limits.write_timeout);
    let (requests, connection) = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(limits.header_list)
        .max_send_buffer_size(SEND_BUFFER)
        .enable_push(false)
        .handshake(socket)
        .await
        .map_err(broken)?;
    // Its end is told by its streams, and by whoever asks for another.
    tokio::task::spawn_local(connection.map(drop));
    Ok(Connection {
        requests,
        use_of: Rc::new(Use {
            streams: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
        }),
    })
}

impl Group {
    /// The connection with the fewest streams, unless another should be made.
    fn choose(&mut self) -> Option<Connection> {
        self.connections.retain_mut(Connection::is_open);
        let chosen = self
            .connections
            .iter()
            .min_by_key(|connection| connection.use_of.streams.get())?;
        (chosen.has_room() || self.connections.len() >= MOST).then(|| chosen.clone())
    }
}

impl Connection {
    fn stream(self, scheme: Scheme, allowed: Duration) -> Stream {
        let open = OpenStream::of(&self.use_of);
        Stream::to_upstream(self.requests, scheme, open, allowed)
    }

    /// Whether its server takes requests, as far as is known.
    fn is_open(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        !matches!(self.requests.poll_ready(&mut context), Poll::Ready(Err(_)))
    }

    fn has_room(&self) -> bool {
        self.use_of.streams.get() < self.requests.current_max_send_streams()
    }

    fn is_idle(&self, now: Instant, limit: Duration) -> bool {
        self.use_of.streams.get() == 0 && now.saturating_duration_since(self.use_of.idle_since.get()) >= limit
    }
}

impl OpenStream {
    fn of(connection: &Rc<Use>) -> Self {
        connection.streams.set(connection.streams.get() + 1);
        Self(Rc::clone(connection))
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
        self.0.idle_since.set(Instant::now());
    }
}

impl From<WireError> for Failed {
    fn from(error: WireError) -> Self {
        match error {
            WireError::TimedOut => Self::TimedOut,
            WireError::Broken(error) => Self::Broken(Arc::new(error)),
        }
    }
}

impl From<Failed> for WireError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::TimedOut => Self::TimedOut,
            Failed::Broken(error) => Self::Broken(io::Error::new(error.kind(), error)),
        }
    }
}

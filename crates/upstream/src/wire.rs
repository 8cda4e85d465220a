//! A socket with a deadline on every step, plain or under TLS.
//!
//! Both directions of a TLS connection are one state. The two halves share it behind a lock that is held within a
//! poll only, by one task, so nobody ever waits for it. A plain connection has none, and costs a branch.

use std::hash::{Hash, Hasher};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::BufMut;
use rustix::net::RecvFlags;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};
use tokio::io::{AsyncWrite, Interest};
use tokio::net::TcpStream;
use tokio::task::coop;
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

use crate::session::{Negotiated, Session};
use crate::{Buffer, Watchdog, socket};

/// A TCP connection with a watchdog over each direction.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    tls: Option<Box<Tls>>,
    reading: Watchdog,
    writing: Watchdog,
}

/// Who an upstream must be, and how that is found out. Connections made for one are used for no other.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The name that is asked for and verified.
    pub name: ServerName<'static>,
    /// Whom we believe, and who we are. Two peers are the same only if they share it.
    pub config: Arc<ClientConfig>,
}

impl PartialEq for Peer {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.config, &other.config)
    }
}

impl Eq for Peer {}

impl Hash for Peer {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        Arc::as_ptr(&self.config).hash(state);
    }
}

/// TLS on a [`Wire`].
#[derive(Debug)]
struct Tls {
    session: Mutex<Session>,
    negotiated: Negotiated,
    /// Whom we connected to; `None` on the side that accepted.
    peer: Option<Arc<Peer>>,
}

/// The reading direction of a [`Wire`].
#[derive(Debug)]
pub struct ReadHalf<'a> {
    pub(crate) half: tokio::net::tcp::ReadHalf<'a>,
    tls: Option<&'a Tls>,
    pub(crate) watchdog: &'a mut Watchdog,
}

/// The writing direction of a [`Wire`].
#[derive(Debug)]
pub struct WriteHalf<'a> {
    pub(crate) half: tokio::net::tcp::WriteHalf<'a>,
    tls: Option<&'a Tls>,
    pub(crate) watchdog: &'a mut Watchdog,
}

/// Why a step on the wire failed.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The deadline passed.
    #[error("timed out")]
    TimedOut,
    /// The other side closed or reset the connection, or the network failed; or, as `InvalidData`, what it said
    /// is not TLS as it should be (the source is a [`rustls::Error`]).
    #[error("the connection broke")]
    Broken(#[source] io::Error),
}

/// What a client speaks where TLS is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Greeting {
    /// TLS; the handshake is done.
    Tls,
    /// HTTP without TLS. Nothing was read yet.
    PlainHttp,
}

impl WireError {
    /// Whether the deadline passed.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::TimedOut)
    }
}

/// Connects to `address` within `timeout`, with Nagle's delay off.
///
/// # Errors
/// [`WireError::TimedOut`] after `timeout`; otherwise what the kernel said (refused, unreachable...).
pub async fn connect(address: SocketAddr, timeout: Duration) -> Result<Wire, WireError> {
    let stream = match tokio::time::timeout(timeout, TcpStream::connect(address)).await {
        Err(_) => return Err(WireError::TimedOut),
        Ok(connected) => connected.map_err(WireError::Broken)?,
    };
    Ok(Wire::new(stream, timeout))
}

fn not_tls(error: rustls::Error) -> WireError {
    WireError::Broken(io::Error::new(io::ErrorKind::InvalidData, error))
}

impl Wire {
    /// Takes a connected socket; the first waits last as long as `allowed`.
    pub fn new(stream: TcpStream, allowed: Duration) -> Self {
        socket::prepare(&stream);
        Self {
            stream,
            tls: None,
            reading: Watchdog::new(allowed),
            writing: Watchdog::new(allowed),
        }
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// What was agreed on with the other side; `None` on a plain connection.
    pub fn negotiated(&self) -> Option<&Negotiated> {
        self.tls.as_deref().map(|tls| &tls.negotiated)
    }

    /// Whom this is a connection to, if they had to say who they are.
    pub fn peer(&self) -> Option<&Arc<Peer>> {
        self.tls.as_deref()?.peer.as_ref()
    }

    /// Begins TLS as the side that connected; whoever is there must be `peer`.
    ///
    /// # Errors
    /// Timeout or failure of the socket; [`WireError::Broken`] with `InvalidData` when the other side is not who it
    /// should be.
    pub async fn begin_tls(&mut self, peer: &Arc<Peer>, deadline: Instant) -> Result<(), WireError> {
        let connection =
            ClientConnection::new(Arc::clone(&peer.config), peer.name.clone()).map_err(not_tls)?;
        self.handshake(Session::new(connection), deadline).await?;
        if let Some(tls) = &mut self.tls {
            tls.peer = Some(Arc::clone(peer));
        }
        Ok(())
    }

    /// Lets the client begin with TLS, within `allowed`.
    ///
    /// # Errors
    /// Timeout or failure of the socket; [`WireError::Broken`] with `InvalidData` when there is nothing to agree on
    /// or the client breaks the protocol. It has been told so.
    pub async fn accept_tls(
        &mut self,
        config: Arc<ServerConfig>,
        allowed: Duration,
    ) -> Result<Greeting, WireError> {
        let deadline = Instant::now() + allowed;
        let first = self.peek(deadline).await?;
        // Every method begins with a letter, and no record does.
        if first.is_ascii_alphabetic() {
            return Ok(Greeting::PlainHttp);
        }
        let connection = ServerConnection::new(config).map_err(not_tls)?;
        self.handshake(Session::new(connection), deadline).await?;
        Ok(Greeting::Tls)
    }

    async fn peek(&mut self, deadline: Instant) -> Result<u8, WireError> {
        let mut first = [0];
        match tokio::time::timeout_at(deadline, self.stream.peek(&mut first)).await {
            Err(_) => Err(WireError::TimedOut),
            Ok(Ok(0)) => Err(WireError::Broken(io::ErrorKind::UnexpectedEof.into())),
            Ok(peeked) => peeked.map(|_| first[0]).map_err(WireError::Broken),
        }
    }

    async fn handshake(&mut self, mut session: Session, deadline: Instant) -> Result<(), WireError> {
        self.reading.set(deadline);
        let (mut reader, mut writer) = self.stream.split();
        std::future::poll_fn(|context| {
            let done = session.poll_handshake(&mut reader, &mut writer, context);
            or_timed_out(done, &mut self.reading, context)
        })
        .await?;
        self.tls = Some(Box::new(Tls {
            negotiated: session.negotiated(),
            session: Mutex::new(session),
            peer: None,
        }));
        Ok(())
    }

    /// Whether anything arrived while nothing was expected: an end, an error, or bytes that belong to no request.
    /// Asks what the reactor knows; stale readiness (cleared by a read that finds nothing) is told apart by asking
    /// the kernel. What TLS says to itself (session tickets) is taken in, and is no news.
    pub(crate) fn has_news(&mut self) -> bool {
        // The reactor tells nothing to a task whose turn is over.
        if !coop::has_budget_remaining() {
            return !self.is_open();
        }
        let mut context = Context::from_waker(Waker::noop());
        if self.tls.is_some() {
            let (mut reader, _) = self.split();
            return reader.poll_readable(&mut context).is_ready();
        }
        match self.stream.poll_read_ready(&mut context) {
            Poll::Pending => false,
            Poll::Ready(_) => !self.is_open(),
        }
    }

    /// Whether the kernel says that the other side has neither finished nor said anything.
    pub(crate) fn is_open(&self) -> bool {
        let mut byte = [0_u8; 1];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        matches!(
            rustix::net::recv(&self.stream, &mut byte, flags),
            Err(rustix::io::Errno::AGAIN)
        )
    }

    /// Both directions; splitting costs nothing.
    pub fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        let (reader, writer) = self.stream.split();
        let tls = self.tls.as_deref();
        (
            ReadHalf {
                half: reader,
                tls,
                watchdog: &mut self.reading,
            },
            WriteHalf {
                half: writer,
                tls,
                watchdog: &mut self.writing,
            },
        )
    }
}

impl Tls {
    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadHalf<'_> {
    /// Whether bytes go over the socket as they are, so that a [`Pipe`](crate::Pipe) can move them.
    pub fn is_plain(&self) -> bool {
        self.tls.is_none()
    }

    /// Moves the deadline of the following reads.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.watchdog.set(deadline);
    }

    /// Lets the following reads wait for `duration`, from when one of them first has to.
    pub fn allow(&mut self, duration: Duration) {
        self.watchdog.allow(duration);
    }

    /// Waits for the first of: bytes to read, the end of the stream, an error.
    ///
    /// # Errors
    /// Timeout or failure of the socket.
    pub async fn readable(&mut self) -> Result<(), WireError> {
        std::future::poll_fn(|context| {
            let ready = self.poll_readable(context);
            or_timed_out(ready, self.watchdog, context)
        })
        .await
    }

    /// Waits until the connection breaks (reset by the other side, or the network failed), whether or not
    /// bytes wait to be read. The other side's mere end does not count. Only asks what the reactor knows.
    pub async fn broken(&self) {
        // Nothing comes from a side that waits, and as long as that is so the reactor remembers one waker and no
        // list of them. Whatever comes is looked at closely from then on.
        let stream: &TcpStream = self.half.as_ref();
        let _ = std::future::poll_fn(|context| stream.poll_read_ready(context)).await;
        // An error means that the reactor is gone, and with it the connection.
        let _ = self.half.ready(Interest::ERROR).await;
    }

    /// Reads what is there: at least one byte, `most` bytes at most. 0: the other side has finished. Under TLS it
    /// has done so only when it said so; an end without that is a broken connection.
    ///
    /// # Errors
    /// Timeout or failure of the socket.
    pub async fn read(&mut self, buffer: &mut Buffer, most: usize) -> Result<usize, WireError> {
        std::future::poll_fn(|context| {
            let count = self.poll_read(context, buffer, most);
            or_timed_out(count, self.watchdog, context)
        })
        .await
    }

    /// [`ReadHalf::read`] without its deadline.
    ///
    /// # Errors
    /// Failure of the socket.
    pub fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut Buffer,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        if let Some(tls) = self.tls {
            return tls.session().poll_read(&mut self.half, context, buffer, most);
        }
        let room = buffer.room(most);
        if room.capacity() - room.len() == most {
            socket::poll_read(self.half.as_ref(), context, room)
        } else {
            poll_read_buf(Pin::new(&mut self.half), context, &mut room.limit(most))
        }
    }

    fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.tls {
            None => {
                let stream: &TcpStream = self.half.as_ref();
                stream.poll_read_ready(context)
            }
            Some(tls) => tls.session().poll_readable(&mut self.half, context),
        }
    }
}

impl WriteHalf<'_> {
    /// Whether bytes go over the socket as they are, so that a [`Pipe`](crate::Pipe) can move them.
    pub fn is_plain(&self) -> bool {
        self.tls.is_none()
    }

    /// Moves the deadline of the following writes.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.watchdog.set(deadline);
    }

    /// Lets the following writes wait for `duration`, from when one of them first has to.
    pub fn allow(&mut self, duration: Duration) {
        self.watchdog.allow(duration);
    }

    /// Whether anything since [`WriteHalf::allow`] had to wait.
    pub fn has_waited(&self) -> bool {
        self.watchdog.has_waited()
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// Timeout or failure of the socket; part of the bytes may be on their way.
    pub async fn write_all(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        let mut left = bytes;
        std::future::poll_fn(|context| {
            let written = self.poll_write_all(context, &mut left);
            or_timed_out(written, self.watchdog, context)
        })
        .await
    }

    /// Says that nothing more will be written.
    pub async fn finish(&mut self) {
        let _ = std::future::poll_fn(|context| {
            let finished = self.poll_finish(context);
            or_timed_out(finished, self.watchdog, context)
        })
        .await;
    }

    /// [`WriteHalf::write_all`] without its deadline. `left` is what is not taken yet, also when pending.
    ///
    /// # Errors
    /// Failure of the socket.
    pub fn poll_write_all(&mut self, context: &mut Context<'_>, left: &mut &[u8]) -> Poll<io::Result<()>> {
        if let Some(tls) = self.tls {
            return tls.session().poll_write_all(&mut self.half, context, left);
        }
        while !left.is_empty() {
            match ready!(socket::poll_write(self.half.as_ref(), context, left))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => *left = left.get(count..).unwrap_or_default(),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// [`WriteHalf::finish`], to be polled.
    ///
    /// # Errors
    /// Failure of the socket.
    pub fn poll_finish(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(tls) = self.tls {
            // Without it there is still the socket to be closed.
            let _ = ready!(tls.session().poll_finish(&mut self.half, context));
        }
        Pin::new(&mut self.half).poll_shutdown(context)
    }
}

/// What a step came to, or that it took too long.
pub(crate) fn or_timed_out<T>(
    step: Poll<io::Result<T>>,
    watchdog: &mut Watchdog,
    context: &mut Context<'_>,
) -> Poll<Result<T, WireError>> {
    match step {
        Poll::Ready(done) => Poll::Ready(done.map_err(WireError::Broken)),
        Poll::Pending => watchdog.poll_expired(context).map(|()| Err(WireError::TimedOut)),
    }
}

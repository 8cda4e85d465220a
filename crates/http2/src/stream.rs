//! One request and its answer, read and written as a connection of HTTP/1.1 would be.

use std::cell::RefCell;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::client::SendRequest;
use h2::server::SendResponse;
use http::uri::Scheme;
use hythe_upstream::{Buffer, Watchdog, WireError};
use tokio::time::Instant;

use crate::error::broken;
use crate::incoming::Incoming;
use crate::outgoing::{End, Outgoing, Piece};
use crate::upstreams::OpenStream;

/// A stream with a watchdog over each direction. Dropped before its answer is over, it is reset.
pub struct Stream {
    incoming: RefCell<Incoming>,
    outgoing: RefCell<Outgoing>,
    reading: Watchdog,
    writing: Watchdog,
    /// Of one to an upstream.
    open: Option<OpenStream>,
}

/// The reading direction of a [`Stream`].
pub struct Reader<'a> {
    incoming: &'a RefCell<Incoming>,
    outgoing: &'a RefCell<Outgoing>,
    watchdog: &'a mut Watchdog,
}

/// The writing direction of a [`Stream`].
pub struct Writer<'a> {
    incoming: &'a RefCell<Incoming>,
    outgoing: &'a RefCell<Outgoing>,
    watchdog: &'a mut Watchdog,
}

impl Stream {
    /// A request of a client. The first waits last as long as `allowed`.
    pub(crate) fn of_client(
        request: http::Request<RecvStream>,
        answer: SendResponse<Bytes>,
        allowed: Duration,
    ) -> Self {
        let bodiless = request.method() == http::Method::HEAD;
        Self {
            incoming: RefCell::new(Incoming::request(request)),
            outgoing: RefCell::new(Outgoing::Answer { to: answer, bodiless }),
            reading: Watchdog::new(allowed),
            writing: Watchdog::new(allowed),
            open: None,
        }
    }

    /// A request to be sent over a connection, of which it is an `open` stream.
    pub(crate) fn to_upstream(
        over: SendRequest<Bytes>,
        scheme: Scheme,
        open: OpenStream,
        allowed: Duration,
    ) -> Self {
        let over = Box::new(over);
        Self {
            incoming: RefCell::new(Incoming::unasked()),
            outgoing: RefCell::new(Outgoing::Request { over, scheme }),
            reading: Watchdog::new(allowed),
            writing: Watchdog::new(allowed),
            open: Some(open),
        }
    }

    /// Both directions; splitting costs nothing.
    pub fn split(&mut self) -> (Reader<'_>, Writer<'_>) {
        let (incoming, outgoing) = (&self.incoming, &self.outgoing);
        (
            Reader {
                incoming,
                outgoing,
                watchdog: &mut self.reading,
            },
            Writer {
                incoming,
                outgoing,
                watchdog: &mut self.writing,
            },
        )
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // What we answer must not look whole when it is not; what we ask is simply taken back.
        if self.open.is_none() {
            self.outgoing.borrow_mut().abandon();
        }
    }
}

impl Reader<'_> {
    /// Lets the following reads wait for `duration`, from when one of them first has to.
    pub fn allow(&mut self, duration: Duration) {
        self.watchdog.allow(duration);
    }

    /// Moves the deadline of the following reads.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.watchdog.set(deadline);
    }

    /// Reads what is there: a head, or at least one byte of a body and `most` of its payload. 0: the message
    /// is over. What was read before is taken to be used: the other side may send as much again.
    ///
    /// # Errors
    /// Timeout; the stream was reset, or its connection has failed.
    pub async fn read(&mut self, buffer: &mut Buffer, most: usize) -> Result<usize, WireError> {
        poll_fn(|context| {
            let polled = self.incoming.borrow_mut().poll_read(context, buffer, most);
            if let Poll::Ready(count) = polled {
                return Poll::Ready(count.map_err(broken));
            }
            expired(self.watchdog, context)
        })
        .await
    }

    /// Waits until the other side gives the stream up, or the connection is gone.
    pub async fn broken(&self) {
        poll_fn(|context| self.outgoing.borrow_mut().poll_gone(context)).await;
    }
}

impl Writer<'_> {
    /// Lets the following writes wait for `duration`, from when one of them first has to.
    pub fn allow(&mut self, duration: Duration) {
        self.watchdog.allow(duration);
    }

    /// Moves the deadline of the following writes.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.watchdog.set(deadline);
    }

    /// Sends all of `bytes`, in which a head stands whole. What the windows of the other side have no room
    /// for is waited with.
    ///
    /// # Errors
    /// Timeout; the stream was reset, or its connection has failed. Part of the bytes may be on their way.
    pub async fn write_all(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        let (mut left, sent) = self.outgoing.borrow_mut().send_heads(bytes)?;
        if let Some(sent) = sent {
            self.incoming.borrow_mut().expect(sent.coming, sent.bodiless);
        }
        while !left.is_empty() {
            let piece = self.outgoing.borrow_mut().next_piece(&mut left)?;
            if let Some(piece) = piece {
                self.send(piece).await?;
            }
        }
        Ok(())
    }

    async fn send(&mut self, piece: Piece<'_>) -> Result<(), WireError> {
        let last = matches!(piece.end, End::Yes);
        let mut data = piece.data;
        while !data.is_empty() {
            let room = self.room(data.len()).await?;
            let (now, later) = data.split_at(room.min(data.len()));
            self.outgoing.borrow_mut().send(now, last && later.is_empty())?;
            data = later;
        }
        match piece.end {
            End::Yes if piece.data.is_empty() => self.outgoing.borrow_mut().send(&[], true),
            End::Trailers(trailers) => self.outgoing.borrow_mut().send_trailers(trailers),
            End::Yes | End::No => Ok(()),
        }
    }

    async fn room(&mut self, wanted: usize) -> Result<usize, WireError> {
        poll_fn(|context| {
            let polled = self.outgoing.borrow_mut().poll_room(context, wanted);
            if polled.is_ready() {
                return polled;
            }
            expired(self.watchdog, context)
        })
        .await
    }
}

fn expired<T>(watchdog: &mut Watchdog, context: &mut Context<'_>) -> Poll<Result<T, WireError>> {
    watchdog.poll_expired(context).map(|()| Err(WireError::TimedOut))
}

//! The input and output under a connection: frames are counted as they go by, small writes are gathered, and
//! a write that does not move ends the connection.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hythe_upstream::{Buffer, Watchdog, Wire};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::PREFACE;
use crate::flood::Flood;
use crate::frames::Frames;

/// A connection's socket.
pub(crate) struct Guarded {
    wire: Wire,
    /// What was read and not yet taken; at first, what came before it was known to be HTTP/2.
    inbox: Buffer,
    /// What waits to be written, and how much of it is.
    outbox: Vec<u8>,
    written: usize,
    /// Since when nothing could be written: watched from then on.
    stalled: Option<Watchdog>,
    patience: Duration,
    /// Frames of a client; a server is asked for what it sends.
    counted: Option<Counted>,
}

/// Frames both ways, as they go by.
struct Counted {
    coming: Frames,
    going: Frames,
    flood: Rc<RefCell<Flood>>,
}

/// Size of a read.
const READ: usize = 16 * 1024;
/// Bytes gathered before they are written: one system call for many frames.
const GATHER: usize = 64 * 1024;
/// What an idle connection keeps of them.
const KEEP: usize = 4 * 1024;

impl Guarded {
    /// A client's. `early` was read already; `patience` is the time for a write to move at all.
    pub(crate) fn of_client(wire: Wire, early: &[u8], flood: Rc<RefCell<Flood>>, patience: Duration) -> Self {
        let mut this = Self::of_server(wire, patience);
        this.inbox.extend(early);
        this.counted = Some(Counted {
            coming: Frames::after(PREFACE.len()),
            going: Frames::default(),
            flood,
        });
        this
    }

    /// A server's.
    pub(crate) fn of_server(wire: Wire, patience: Duration) -> Self {
        Self {
            wire,
            inbox: Buffer::default(),
            outbox: Vec::new(),
            written: 0,
            stalled: None,
            patience,
            counted: None,
        }
    }

    fn is_flooded(&self) -> bool {
        self.counted
            .as_ref()
            .is_some_and(|counted| counted.flood.borrow().is_on())
    }

    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (mut reader, _) = self.wire.split();
        let polled = reader.poll_read(context, &mut self.inbox, READ);
        if polled.is_pending() {
            self.inbox.shrink_to(0);
        }
        polled.map_ok(drop)
    }

    fn poll_write_out(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (_, mut writer) = self.wire.split();
        let mut left = self.outbox.get(self.written..).unwrap_or_default();
        let waiting = left.len();
        let polled = writer.poll_write_all(context, &mut left);
        self.written += waiting - left.len();
        if polled.is_pending() {
            let watchdog = match &mut self.stalled {
                Some(watchdog) if left.len() == waiting => watchdog,
                stalled => stalled.insert(Watchdog::new(self.patience)),
            };
            ready!(watchdog.poll_expired(context));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.stalled = None;
        self.outbox.clear();
        self.outbox.shrink_to(KEEP);
        self.written = 0;
        polled
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.is_flooded() {
            // Nothing more is taken in; whoever polls the connection looks at the flood next.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if this.inbox.is_empty() {
            ready!(this.poll_fill(context))?;
        }
        let bytes = this.inbox.bytes();
        let taken = bytes.get(..buffer.remaining()).unwrap_or(bytes);
        if let Some(counted) = &mut this.counted {
            let mut flood = counted.flood.borrow_mut();
            flood.tick(Instant::now());
            counted.coming.see(taken, |frame| flood.came(frame));
        }
        buffer.put_slice(taken);
        let count = taken.len();
        this.inbox.consume(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.outbox.len() >= GATHER {
            ready!(self.poll_write_out(context))?;
        }
        let this = &mut *self;
        if let Some(counted) = &mut this.counted {
            let mut flood = counted.flood.borrow_mut();
            counted.going.see(bytes, |frame| flood.went(frame));
        }
        this.outbox.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_write_out(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_out(context))?;
        self.wire.split().1.poll_finish(context)
    }
}

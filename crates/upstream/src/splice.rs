//! Moves bytes from one socket to another without bringing them up here: `splice(2)` through a pipe.
//!
//! ```text
//! socket ── fill ──► pipe ── drain ──► socket
//! ```
//!
//! The kernel moves references to pages and copies nothing, which halves the CPU that a large body costs. It takes as
//! many system calls as reading and writing, and a pipe is two descriptors, so small bodies are better copied.
//! Nothing is lost when a step fails: what is in the pipe stays there, and a pipe that is not empty is never
//! used for anything else.
//!
//! Only for sockets without TLS: under TLS the bytes have to come up to be encrypted.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll, ready};

use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::wire::or_timed_out;
use crate::{ReadHalf, WireError, WriteHalf, socket};

/// The pipes of one worker that wait to be used again.
#[derive(Debug, Default)]
pub struct Pipes {
    spare: RefCell<Vec<Pipe>>,
}

/// A pipe between two sockets.
#[derive(Debug)]
pub struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
    held: usize,
}

/// Pipes kept for later; more are closed.
const SPARE: usize = 64;
/// What a pipe holds unless it is told otherwise (pipe(7)), and so the most that one step moves.
const CAPACITY: usize = 64 * 1024;

impl Pipes {
    /// An empty pipe. `None` when the process has no descriptors for one: then bytes have to be copied.
    pub fn take(&self) -> Option<Pipe> {
        let spare = self.spare.borrow_mut().pop();
        spare.or_else(|| Pipe::new().ok())
    }

    /// Keeps a pipe for later, if it is empty.
    pub fn give_back(&self, pipe: Pipe) {
        let mut spare = self.spare.borrow_mut();
        if pipe.held == 0 && spare.len() < SPARE {
            spare.push(pipe);
        }
    }
}

impl Pipe {
    fn new() -> io::Result<Self> {
        let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Self { out, into, held: 0 })
    }

    /// Takes what has arrived at `reader`, `most` bytes at most, into an empty pipe; at least one byte, or 0 at the
    /// end. Only for a half that [is plain](ReadHalf::is_plain).
    ///
    /// # Errors
    /// Timeout or failure of the socket.
    pub async fn fill(&mut self, reader: &mut ReadHalf<'_>, most: usize) -> Result<usize, WireError> {
        let stream = reader.half.as_ref();
        let count = std::future::poll_fn(|context| {
            let moved = self.poll_fill(stream, most.min(CAPACITY), context);
            or_timed_out(moved, reader.watchdog, context)
        })
        .await?;
        self.held += count;
        Ok(count)
    }

    /// [`Pipe::fill`] with what is there now, as much as there is room for. `None`: nothing is, and the reader's
    /// `readable` waits until something is.
    ///
    /// # Errors
    /// Failure of the socket.
    pub fn try_fill(&mut self, reader: &mut ReadHalf<'_>) -> Result<Option<usize>, WireError> {
        let stream: &TcpStream = reader.half.as_ref();
        let moved = stream.try_io(Interest::READABLE, || move_bytes(stream, &self.into, CAPACITY));
        if would_block(&moved) {
            return Ok(None);
        }
        let count = moved.map_err(WireError::Broken)?;
        self.held += count;
        Ok(Some(count))
    }

    /// Writes all that the pipe holds to `writer`. Only for a half that [is plain](WriteHalf::is_plain).
    ///
    /// # Errors
    /// Timeout or failure of the socket; part of the bytes may be on their way.
    pub async fn drain(&mut self, writer: &mut WriteHalf<'_>) -> Result<(), WireError> {
        let stream = writer.half.as_ref();
        while self.held > 0 {
            let count = std::future::poll_fn(|context| {
                let moved = self.poll_drain(stream, context);
                or_timed_out(moved, writer.watchdog, context)
            })
            .await?;
            self.held -= count;
        }
        Ok(())
    }

    fn poll_fill(
        &self,
        stream: &TcpStream,
        most: usize,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(stream.poll_read_ready(context))?;
            let moved = stream.try_io(Interest::READABLE, || move_bytes(stream, &self.into, most));
            // Readiness that was stale is cleared now, and what comes next wakes us.
            if !would_block(&moved) {
                return Poll::Ready(moved);
            }
        }
    }

    fn poll_drain(&self, stream: &TcpStream, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            ready!(stream.poll_write_ready(context))?;
            let moved = stream.try_io(Interest::WRITABLE, || move_bytes(&self.out, stream, self.held));
            if !would_block(&moved) {
                socket::spend(moved.as_ref().map_or(0, |count| *count), context);
                return Poll::Ready(moved);
            }
        }
    }
}

fn move_bytes(from: impl AsFd, to: impl AsFd, most: usize) -> io::Result<usize> {
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    Ok(splice(from, None, to, None, most, flags)?)
}

fn would_block(moved: &io::Result<usize>) -> bool {
    matches!(moved, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::*;
    use crate::Wire;

    async fn pair() -> (Wire, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = crate::connect(listener.local_addr().unwrap(), Duration::from_secs(5));
        (near.await.unwrap(), listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn what_is_sent_on_one_side_arrives_on_the_other() {
        let (mut from, mut sender) = pair().await;
        let (mut to, mut receiver) = pair().await;
        let body: Vec<u8> = (0..3_000_007_u32).map(|n| (n % 251) as u8).collect();
        let sent = body.clone();
        tokio::spawn(async move { sender.write_all(&sent).await.unwrap() });
        let received = tokio::spawn(async move {
            let mut bytes = Vec::new();
            receiver.read_to_end(&mut bytes).await.unwrap();
            bytes
        });
        let pipes = Pipes::default();
        let mut pipe = pipes.take().unwrap();
        let mut moved = 0;
        let ((mut reader, _), (_, mut writer)) = (from.split(), to.split());
        loop {
            let count = pipe.fill(&mut reader, body.len() - moved).await.unwrap();
            moved += count;
            if count == 0 {
                break;
            }
            pipe.drain(&mut writer).await.unwrap();
        }
        pipes.give_back(pipe);
        assert_eq!(pipes.spare.borrow().len(), 1);
        drop(to);
        assert!(received.await.unwrap() == body, "other bytes arrived");
        assert_eq!(moved, body.len());
    }

    #[tokio::test]
    async fn deadlines_hold_and_a_pipe_that_holds_something_is_not_kept() {
        let (mut from, mut sender) = pair().await;
        let (mut to, _receiver) = pair().await;
        let pipes = Pipes::default();
        let mut pipe = pipes.take().unwrap();
        let (mut reader, _) = from.split();
        reader.set_deadline(Instant::now());
        assert!(pipe.fill(&mut reader, 10).await.unwrap_err().is_timeout());

        reader.set_deadline(Instant::now() + Duration::from_secs(60));
        sender.write_all(&[7; 100]).await.unwrap();
        assert_eq!(pipe.fill(&mut reader, 10).await.unwrap(), 10);
        let (_, mut writer) = to.split();
        writer.set_deadline(Instant::now());
        // Nobody reads, so the socket fills up at last.
        let full = vec![0; 1 << 16];
        while writer.write_all(&full).await.is_ok() {}
        assert!(pipe.drain(&mut writer).await.unwrap_err().is_timeout());
        pipes.give_back(pipe);
        assert!(pipes.spare.borrow().is_empty());
    }
}

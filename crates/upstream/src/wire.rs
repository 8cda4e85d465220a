//! A socket with a deadline on every step.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BufMut;
use tokio::io::{AsyncWrite, Interest};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

use crate::{Buffer, Watchdog};

/// A TCP connection with a watchdog over each direction.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    reading: Watchdog,
    writing: Watchdog,
}

/// The reading direction of a [`Wire`].
#[derive(Debug)]
pub struct ReadHalf<'a> {
    half: tokio::net::tcp::ReadHalf<'a>,
    watchdog: &'a mut Watchdog,
}

/// The writing direction of a [`Wire`].
#[derive(Debug)]
pub struct WriteHalf<'a> {
    half: tokio::net::tcp::WriteHalf<'a>,
    watchdog: &'a mut Watchdog,
}

/// Why a step on the wire failed.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The deadline passed.
    #[error("timed out")]
    TimedOut,
    /// The other side closed or reset the connection, or the network failed.
    #[error("the connection broke")]
    Broken(#[source] io::Error),
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

impl Wire {
    /// Takes a connected socket; the first deadlines are `allowed` from now.
    pub fn new(stream: TcpStream, allowed: Duration) -> Self {
        // Only fails on a socket that is already dead, which the first read or write will say better.
        let _ = stream.set_nodelay(true);
        Self {
            stream,
            reading: Watchdog::new(allowed),
            writing: Watchdog::new(allowed),
        }
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Both directions; splitting costs nothing.
    pub fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        let (reader, writer) = self.stream.split();
        (
            ReadHalf {
                half: reader,
                watchdog: &mut self.reading,
            },
            WriteHalf {
                half: writer,
                watchdog: &mut self.writing,
            },
        )
    }
}

impl ReadHalf<'_> {
    /// Moves the deadline of the following reads.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.watchdog.set(deadline);
    }

    /// Waits for the first of: bytes to read, the end of the stream, an error.
    ///
    /// # Errors
    /// Timeout or failure of the socket.
    pub async fn readable(&mut self) -> Result<(), WireError> {
        std::future::poll_fn(|context| {
            let stream: &TcpStream = self.half.as_ref();
            if let Poll::Ready(ready) = stream.poll_read_ready(context) {
                return Poll::Ready(ready.map_err(WireError::Broken));
            }
            self.watchdog
                .poll_expired(context)
                .map(|()| Err(WireError::TimedOut))
        })
        .await
    }

    /// Waits until the connection breaks (reset by the other side, or the network failed), whether or not
    /// bytes wait to be read. The other side's mere end does not count. Only asks what the reactor knows.
    pub async fn broken(&self) {
        // An error means that the reactor is gone, and with it the connection.
        let _ = self.half.ready(Interest::ERROR).await;
    }

    /// Reads what is there: at least one byte, `most` bytes at most. 0: the other side has finished.
    ///
    /// # Errors
    /// Timeout or failure of the socket.
    pub async fn read(&mut self, buffer: &mut Buffer, most: usize) -> Result<usize, WireError> {
        std::future::poll_fn(|context| {
            let mut room = buffer.room(most).limit(most);
            if let Poll::Ready(count) = poll_read_buf(Pin::new(&mut self.half), context, &mut room) {
                return Poll::Ready(count.map_err(WireError::Broken));
            }
            self.watchdog
                .poll_expired(context)
                .map(|()| Err(WireError::TimedOut))
        })
        .await
    }
}

impl WriteHalf<'_> {
    /// Moves the deadline of the following writes.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.watchdog.set(deadline);
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// Timeout or failure of the socket; part of the bytes may be on their way.
    pub async fn write_all(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        let mut left = bytes;
        std::future::poll_fn(|context| self.poll_write_all(context, &mut left)).await
    }

    /// Says that nothing more will be written.
    pub async fn finish(&mut self) {
        let _ = std::future::poll_fn(|context| Pin::new(&mut self.half).poll_shutdown(context)).await;
    }

    fn poll_write_all(&mut self, context: &mut Context<'_>, left: &mut &[u8]) -> Poll<Result<(), WireError>> {
        while !left.is_empty() {
            match Pin::new(&mut self.half).poll_write(context, left) {
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(WireError::Broken(io::ErrorKind::WriteZero.into())));
                }
                Poll::Ready(Ok(count)) => *left = left.get(count..).unwrap_or_default(),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(WireError::Broken(error))),
                Poll::Pending => {
                    return self
                        .watchdog
                        .poll_expired(context)
                        .map(|()| Err(WireError::TimedOut));
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

//! A connection, as exchanges see it: a socket, or a stream of HTTP/2 or a folder of files that is read and
//! written like one.

use std::time::Duration;

use hythe_http1::Version;
use hythe_http2::Stream;
use hythe_upstream::{Buffer, ReadHalf, Wire, WireError, WriteHalf};
use tokio::time::Instant;

use crate::files::{FileLink, FileReader, FileWriter};

/// One side of an exchange.
pub(crate) enum Link {
    /// A connection of its own.
    Wire(Wire),
    /// A stream of a connection that others share.
    Stream(Box<Stream>),
    /// Files of this machine.
    Files(Box<FileLink>),
    /// A client that is not there: nothing comes from it, and what it is sent is thrown away.
    Nobody,
}

/// The reading direction of a [`Link`].
pub(crate) enum Reader<'a> {
    Wire(ReadHalf<'a>),
    Stream(hythe_http2::Reader<'a>),
    Files(FileReader<'a>),
    Nobody,
}

/// The writing direction of a [`Link`].
pub(crate) enum Writer<'a> {
    Wire(WriteHalf<'a>),
    Stream(hythe_http2::Writer<'a>),
    Files(FileWriter<'a>),
    Nobody,
}

impl Link {
    /// Both directions; splitting costs nothing.
    pub(crate) fn split(&mut self) -> (Reader<'_>, Writer<'_>) {
        match self {
            Self::Wire(wire) => {
                let (reader, writer) = wire.split();
                (Reader::Wire(reader), Writer::Wire(writer))
            }
            Self::Stream(stream) => {
                let (reader, writer) = stream.split();
                (Reader::Stream(reader), Writer::Stream(writer))
            }
            Self::Files(files) => {
                let (reader, writer) = files.split();
                (Reader::Files(reader), Writer::Files(writer))
            }
            Self::Nobody => (Reader::Nobody, Writer::Nobody),
        }
    }

    /// Whether what is said here is said in HTTP/2.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self, Self::Stream(_))
    }

    /// The version of a message that came over it, as it is written in fields and logs. `of_head` is what
    /// the head says, which a stream is only dressed in.
    pub(crate) fn version(&self, of_head: Version) -> &'static str {
        version(self.is_stream(), of_head)
    }
}

fn version(is_stream: bool, of_head: Version) -> &'static str {
    match of_head {
        _ if is_stream => "2.0",
        Version::Http10 => "1.0",
        Version::Http11 => "1.1",
    }
}

impl<'a> Reader<'a> {
    /// The socket's half, if bytes come over it as they are.
    pub(crate) fn as_plain(&mut self) -> Option<&mut ReadHalf<'a>> {
        match self {
            Self::Wire(half) if half.is_plain() => Some(half),
            _ => None,
        }
    }

    /// [`Link::version`] of what is read here.
    pub(crate) fn version(&self, of_head: Version) -> &'static str {
        version(matches!(self, Self::Stream(_)), of_head)
    }

    /// Lets the following reads wait for `duration`, from when one of them first has to.
    pub(crate) fn allow(&mut self, duration: Duration) {
        match self {
            Self::Wire(half) => half.allow(duration),
            Self::Stream(half) => half.allow(duration),
            Self::Files(half) => half.set_deadline(Instant::now() + duration),
            Self::Nobody => {}
        }
    }

    /// Moves the deadline of the following reads.
    pub(crate) fn set_deadline(&mut self, deadline: Instant) {
        match self {
            Self::Wire(half) => half.set_deadline(deadline),
            Self::Stream(half) => half.set_deadline(deadline),
            Self::Files(half) => half.set_deadline(deadline),
            Self::Nobody => {}
        }
    }

    /// Waits for the first of: bytes to read, the end, an error. The request of a stream is there.
    pub(crate) async fn readable(&mut self) -> Result<(), WireError> {
        match self {
            Self::Wire(half) => half.readable().await,
            Self::Stream(_) | Self::Files(_) | Self::Nobody => Ok(()),
        }
    }

    /// Reads what is there, `most` bytes of a body at most. 0: the other side has finished.
    pub(crate) async fn read(&mut self, buffer: &mut Buffer, most: usize) -> Result<usize, WireError> {
        match self {
            Self::Wire(half) => half.read(buffer, most).await,
            Self::Stream(half) => half.read(buffer, most).await,
            Self::Files(half) => half.read(buffer).await,
            Self::Nobody => Ok(0),
        }
    }

    /// Waits until the other side is gone; that it has merely finished does not count.
    pub(crate) async fn broken(&self) {
        match self {
            Self::Wire(half) => half.broken().await,
            Self::Stream(half) => half.broken().await,
            Self::Files(_) | Self::Nobody => std::future::pending().await,
        }
    }
}

impl<'a> Writer<'a> {
    /// The socket's half, if bytes go over it as they are.
    pub(crate) fn as_plain(&mut self) -> Option<&mut WriteHalf<'a>> {
        match self {
            Self::Wire(half) if half.is_plain() => Some(half),
            _ => None,
        }
    }

    /// Lets the following writes wait for `duration`, from when one of them first has to.
    pub(crate) fn allow(&mut self, duration: Duration) {
        match self {
            Self::Wire(half) => half.allow(duration),
            Self::Stream(half) => half.allow(duration),
            // What is written is kept at once.
            Self::Files(_) | Self::Nobody => {}
        }
    }

    /// Whether anything since [`Writer::allow`] had to wait, as far as that is known.
    pub(crate) fn has_waited(&self) -> bool {
        match self {
            Self::Wire(half) => half.has_waited(),
            Self::Stream(_) | Self::Files(_) | Self::Nobody => true,
        }
    }

    /// Moves the deadline of the following writes.
    pub(crate) fn set_deadline(&mut self, deadline: Instant) {
        match self {
            Self::Wire(half) => half.set_deadline(deadline),
            Self::Stream(half) => half.set_deadline(deadline),
            Self::Files(_) | Self::Nobody => {}
        }
    }

    /// Writes all of `bytes`.
    pub(crate) async fn write_all(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        match self {
            Self::Wire(half) => half.write_all(bytes).await,
            Self::Stream(half) => half.write_all(bytes).await,
            Self::Files(half) => {
                half.write_all(bytes);
                Ok(())
            }
            Self::Nobody => Ok(()),
        }
    }

    /// Says that nothing more will be written; a stream has said so with its last bytes.
    pub(crate) async fn finish(&mut self) {
        if let Self::Wire(half) = self {
            half.finish().await;
        }
    }
}

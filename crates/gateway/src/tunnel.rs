//! Bytes both ways, after a `101` or below HTTP, until both sides have said that they are done or neither says
//! anything.
//!
//! Little is copied: that takes one read and one write. When much comes without a pause, and neither side speaks
//! TLS, the kernel moves it ([`hythe_upstream::Pipe`]). A pipe is held while it holds something, so a tunnel that waits has none.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use hythe_upstream::{Buffer, Pipes, WireError};
use tokio::time::Instant;

use crate::link::{Reader, Writer};
use crate::metrics::RelayMetrics;

/// What went through a tunnel.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    bytes: [Cell<u64>; 2],
    /// Where it is counted as it goes, with that of others.
    all: Option<Arc<RelayMetrics>>,
}

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    FromClient,
    ToClient,
}

/// Bytes of one read.
const CHUNK: usize = 16 * 1024;
/// From this much on, without a read that was not full, the kernel moves them.
const MUCH: usize = 256 * 1024;

impl Moved {
    /// Counts also in `all`.
    pub(crate) fn also_in(all: Option<Arc<RelayMetrics>>) -> Self {
        Self {
            all,
            ..Self::default()
        }
    }

    /// Bytes that went this way.
    pub(crate) fn get(&self, way: Way) -> u64 {
        self.bytes[way as usize].get()
    }

    pub(crate) fn add(&self, way: Way, count: usize) {
        let bytes = &self.bytes[way as usize];
        bytes.set(bytes.get() + count as u64);
        if let Some(all) = &self.all {
            all.add_bytes(way, count as u64);
        }
    }
}

/// Both directions at once. A side that finishes is passed on as such (half-close) and the other goes on.
/// `buffers`: what was read of each side already. `quiet`: silence in both directions that ends the tunnel (nginx:
/// `proxy_read_timeout`). What was moved counts also when the tunnel is given up.
///
/// # Errors
/// The first failure of either side, which ends both; the silence, too.
pub(crate) async fn run(
    client: (&mut Reader<'_>, &mut Writer<'_>),
    upstream: (&mut Reader<'_>, &mut Writer<'_>),
    buffers: (&mut Buffer, &mut Buffer),
    pipes: &Pipes,
    quiet: Duration,
    moved: &Moved,
) -> Result<(), WireError> {
    let course = Course {
        pipes,
        quiet,
        last: Cell::new(Instant::now()),
        moved,
    };
    let mut upward = Direction {
        reader: client.0,
        writer: upstream.1,
        way: Way::FromClient,
        course: &course,
    };
    let mut downward = Direction {
        reader: upstream.0,
        writer: client.1,
        way: Way::ToClient,
        course: &course,
    };
    // An error on either side ends both: `try_join` drops the other direction.
    let both = futures_util::future::try_join(upward.run(buffers.0), downward.run(buffers.1));
    both.await.map(|_| ())
}

/// What both directions share.
struct Course<'a> {
    pipes: &'a Pipes,
    quiet: Duration,
    /// When something came last, in either direction.
    last: Cell<Instant>,
    moved: &'a Moved,
}

struct Direction<'a, 'r, 'w> {
    reader: &'a mut Reader<'r>,
    writer: &'a mut Writer<'w>,
    way: Way,
    course: &'a Course<'a>,
}

impl Course<'_> {
    /// Notes that something came; until when it is to be passed on.
    fn hear(&self) -> Instant {
        self.last.set(Instant::now());
        self.silent_at()
    }

    /// When silence ends the tunnel.
    fn silent_at(&self) -> Instant {
        self.last.get() + self.quiet
    }

    /// Whether the other direction has moved while one was silent.
    fn has_moved(&self) -> bool {
        self.silent_at() > Instant::now()
    }
}

impl Direction<'_, '_, '_> {
    async fn run(&mut self, buffer: &mut Buffer) -> Result<(), WireError> {
        self.pass_on(buffer).await?;
        let mut at_once = 0;
        loop {
            let spliced = if at_once < MUCH {
                None
            } else {
                self.splice().await?
            };
            let count = match spliced {
                Some(count) => count,
                None => self.copy(buffer).await?,
            };
            match count {
                0 => break,
                CHUNK.. => at_once = MUCH.min(at_once + count),
                _ => at_once = 0,
            }
        }
        self.writer.finish().await;
        Ok(())
    }

    async fn copy(&mut self, buffer: &mut Buffer) -> Result<usize, WireError> {
        let count = loop {
            self.reader.set_deadline(self.course.silent_at());
            match self.reader.read(buffer, CHUNK).await {
                Err(WireError::TimedOut) if self.course.has_moved() => {}
                read => break read?,
            }
        };
        self.pass_on(buffer).await?;
        Ok(count)
    }

    async fn pass_on(&mut self, buffer: &mut Buffer) -> Result<(), WireError> {
        if !buffer.is_empty() {
            self.writer.set_deadline(self.course.hear());
            self.writer.write_all(buffer.bytes()).await?;
            self.course.moved.add(self.way, buffer.len());
            buffer.clear();
        }
        Ok(())
    }

    /// Moves what comes next without bringing it up. `None`: it has to be copied, as one side is no plain socket or
    /// there is no descriptor left for a pipe.
    async fn splice(&mut self) -> Result<Option<usize>, WireError> {
        loop {
            let (Some(_), Some(_)) = (self.reader.as_plain(), self.writer.as_plain()) else {
                return Ok(None);
            };
            self.comes().await?;
            let (Some(reader), Some(writer)) = (self.reader.as_plain(), self.writer.as_plain()) else {
                return Ok(None);
            };
            let Some(mut pipe) = self.course.pipes.take() else {
                return Ok(None);
            };
            let filled = pipe.try_fill(reader)?;
            if let Some(count) = filled {
                writer.set_deadline(self.course.hear());
                pipe.drain(writer).await?;
                self.course.moved.add(self.way, count);
            }
            self.course.pipes.give_back(pipe);
            if filled.is_some() {
                return Ok(filled);
            }
        }
    }

    /// Waits for more, or the end.
    async fn comes(&mut self) -> Result<(), WireError> {
        loop {
            self.reader.set_deadline(self.course.silent_at());
            match self.reader.readable().await {
                Err(WireError::TimedOut) if self.course.has_moved() => {}
                other => return other,
            }
        }
    }
}

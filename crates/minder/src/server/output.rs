//! One output of a child: bytes from its pipe to its segment files.
//!
//! The bytes are spliced: they go from the pipe's pages into the file without passing through this process.
//! Where a file system refuses that, a small buffer copies them. When a file cannot be written (the disk is
//! full), the bytes stay in the pipe, so that the child waits instead of losing output, and a later
//! call tries again.

use std::{
    io::{self, Write},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, retry_on_intr},
    pipe::{SpliceFlags, splice},
};

use super::{
    handover::{self, OutputLeft},
    segment_writer::{SegmentLimits, SegmentWriter},
    slots::Slots,
};
use crate::protocol::{Event, Stream, StreamStatus};

#[cfg(test)]
mod tests;

/// The most that one splice moves: what a pipe holds.
const PIPE_SIZE: u64 = 64 * 1024;

const COPY_BUFFER: u64 = 16 * 1024;

/// A pipe's reading end, the files behind it, and who has to be told.
pub(super) struct Output {
    stream: Stream,
    writer: SegmentWriter,
    pipe: Option<OwnedFd>,
    mover: Mover,
    stalled: Option<Errno>,
    /// Subscribers who have not been told the newest position.
    pub(super) news: Slots,
    /// Subscribers who were told and have not acknowledged.
    pub(super) unacknowledged: Slots,
}

enum Mover {
    Splice,
    /// What was read from the pipe and is not yet in the file.
    Copy(Vec<u8>),
}

/// Where a pipe stands after its bytes were moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pipe {
    Open,
    /// Just now or long ago.
    Closed,
    /// The bytes in it must wait for the disk.
    Stalled,
}

enum Step {
    Moved(u64),
    Empty,
    End,
    Again,
}

impl Output {
    pub(super) fn new(stream: Stream, writer: SegmentWriter) -> Self {
        Self {
            stream,
            writer,
            pipe: None,
            mover: Mover::Splice,
            stalled: None,
            news: Slots::default(),
            unacknowledged: Slots::default(),
        }
    }

    /// As an earlier binary has left it.
    pub(super) fn left(stream: Stream, mut writer: SegmentWriter, left: OutputLeft) -> Self {
        writer.left(left.end, left.consumed, left.dropped);
        let mover = match left.pending.is_empty() {
            true => Mover::Splice,
            false => Mover::Copy(left.pending),
        };
        Self {
            pipe: left.pipe.map(handover::take),
            mover,
            ..Self::new(stream, writer)
        }
    }

    /// For a later binary.
    pub(super) fn to_leave(&self) -> OutputLeft {
        let StreamStatus {
            end,
            consumed,
            dropped,
            ..
        } = self.writer.status();
        let SegmentLimits { segment, unread } = self.writer.limits();
        OutputLeft {
            pipe: self.pipe.as_ref().map(AsRawFd::as_raw_fd),
            pending: match &self.mover {
                Mover::Splice => Vec::new(),
                Mover::Copy(pending) => pending.clone(),
            },
            segment_limit: segment,
            unread_limit: unread,
            end,
            consumed,
            dropped,
        }
    }

    /// Gives it the pipe to read from, which must not block.
    pub(super) fn attach(&mut self, pipe: OwnedFd) {
        self.pipe = Some(pipe);
    }

    /// The open pipe.
    pub(super) fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Whether the last attempt left bytes in the pipe for want of a file.
    pub(super) fn is_stalled(&self) -> bool {
        self.stalled.is_some()
    }

    /// Moves what is there, up to about `budget` bytes, and notes news for the given subscribers.
    pub(super) fn pump(&mut self, budget: u64, subscribers: Slots) -> Pipe {
        if self.pipe.is_none() {
            return Pipe::Closed;
        }
        let before = self.writer.status().end;
        let pipe = self.move_bytes(budget);
        if pipe == Pipe::Closed {
            self.pipe = None;
            self.writer.close();
        }
        if pipe == Pipe::Closed || self.writer.status().end > before {
            self.news = subscribers;
        }
        pipe
    }

    pub(super) fn consume(&mut self, up_to: u64) {
        self.writer.consume(up_to);
    }

    /// Closes the pipe and deletes the files.
    pub(super) fn discard(&mut self) {
        self.pipe = None;
        self.writer.discard();
    }

    pub(super) fn status(&self) -> StreamStatus {
        StreamStatus {
            closed: self.pipe.is_none(),
            stalled_errno: self.stalled.map(Errno::raw_os_error),
            ..self.writer.status()
        }
    }

    /// The news for one subscriber, who must acknowledge them before there are more.
    pub(super) fn take_news(&mut self, slot: usize, id: &str) -> Option<Event> {
        if !self.news.contains(slot) || self.unacknowledged.contains(slot) {
            return None;
        }
        self.news.remove(slot);
        self.unacknowledged.insert(slot);
        let StreamStatus { end, closed, .. } = self.status();
        let segment = self.writer.newest_start();
        Some(Event::Output {
            id: id.to_owned(),
            stream: self.stream,
            segment,
            end,
            closed,
        })
    }

    /// Whether a new subscriber has to hear of it.
    pub(super) fn has_unconsumed(&self) -> bool {
        let status = self.status();
        status.end > status.consumed || status.closed
    }

    fn move_bytes(&mut self, budget: u64) -> Pipe {
        self.stalled = None;
        let mut moved = 0;
        while moved < budget || self.mover.holds_bytes() {
            match self.step() {
                Ok(Step::Moved(bytes)) => moved += bytes,
                Ok(Step::Again) => {}
                Ok(Step::Empty) => break,
                Ok(Step::End) => return Pipe::Closed,
                Err(error) => {
                    self.stalled = Some(error);
                    return Pipe::Stalled;
                }
            }
        }
        Pipe::Open
    }

    fn step(&mut self) -> Result<Step, Errno> {
        if self.mover.holds_bytes() {
            return self.write_step();
        }
        // A silent child needs no file.
        if !self.writer.has_file()
            && let Some(step) = self.look()?
        {
            return Ok(step);
        }
        match &self.mover {
            Mover::Splice => self.splice_step(),
            Mover::Copy(_) => self.fill_step(),
        }
    }

    /// Tells an empty pipe and an ended one from one with bytes in it.
    fn look(&self) -> Result<Option<Step>, Errno> {
        let Some(pipe) = &self.pipe else {
            return Ok(Some(Step::End));
        };
        let mut poll_pipe = [PollFd::new(pipe, PollFlags::IN)];
        retry_on_intr(|| poll(&mut poll_pipe, Some(&Timespec::default())))?;
        let state = poll_pipe[0].revents();
        Ok(match state {
            _ if state.contains(PollFlags::IN) => None,
            _ if state.is_empty() => Some(Step::Empty),
            _ => Some(Step::End),
        })
    }

    fn splice_step(&mut self) -> Result<Step, Errno> {
        let Some(pipe) = &self.pipe else {
            return Ok(Step::End);
        };
        let (file, room) = self.writer.room().map_err(|error| errno(&error))?;
        let length = room.min(PIPE_SIZE) as usize;
        match splice(
            pipe,
            None,
            file,
            None,
            length,
            SpliceFlags::MOVE | SpliceFlags::NONBLOCK,
        ) {
            Ok(0) => Ok(Step::End),
            Ok(bytes) => {
                self.writer.wrote(bytes as u64);
                Ok(Step::Moved(bytes as u64))
            }
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                self.mover = Mover::Copy(Vec::new());
                Ok(Step::Again)
            }
            Err(error) => waiting(error),
        }
    }

    fn fill_step(&mut self) -> Result<Step, Errno> {
        let Some(pipe) = &self.pipe else {
            return Ok(Step::End);
        };
        let (_, room) = self.writer.room().map_err(|error| errno(&error))?;
        let mut pending = vec![0; room.min(COPY_BUFFER) as usize];
        match rustix::io::read(pipe, &mut pending) {
            Ok(0) => Ok(Step::End),
            Ok(read) => {
                pending.truncate(read);
                self.mover = Mover::Copy(pending);
                Ok(Step::Again)
            }
            Err(error) => waiting(error),
        }
    }

    fn write_step(&mut self) -> Result<Step, Errno> {
        let Mover::Copy(pending) = &mut self.mover else {
            return Ok(Step::Again);
        };
        let (mut file, _) = self.writer.room().map_err(|error| errno(&error))?;
        let written = file.write(pending).map_err(|error| errno(&error))?;
        pending.drain(..written);
        if pending.is_empty() {
            pending.shrink_to_fit();
        }
        self.writer.wrote(written as u64);
        Ok(Step::Moved(written as u64))
    }
}

impl Mover {
    fn holds_bytes(&self) -> bool {
        matches!(self, Self::Copy(pending) if !pending.is_empty())
    }
}

fn waiting(error: Errno) -> Result<Step, Errno> {
    match error {
        Errno::AGAIN => Ok(Step::Empty),
        Errno::INTR => Ok(Step::Again),
        other => Err(other),
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

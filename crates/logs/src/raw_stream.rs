//! One raw stream on its way into lines.

use std::io;
use std::path::Path;

use hythe_minder::protocol::Stream;
use hythe_minder::segments::SegmentReader;

use crate::batch::{Batch, Origin};
use crate::splitter::Splitter;

/// What is read at once: of short lines, it makes several times as much.
const READ_BUFFER: usize = 16 * 1024;

/// When this many bytes of lines are there, they are written. It is far below the least budget, since what is written at
/// once is never divided.
const TURN: usize = 128 * 1024;

/// Where reading stands. The only truth is the end of the last line that was written: whatever fails, reading
/// goes back there and on.
#[derive(Debug)]
pub(crate) struct RawStream {
    stream: Stream,
    reader: Option<SegmentReader>,
    splitter: Splitter,
    taken: u64,
    closed_at: Option<u64>,
    done: bool,
    /// It waits for its turn.
    pub(crate) queued: bool,
    /// Somebody waits to hear that it was read.
    pub(crate) awaited: bool,
}

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reached {
    /// Everything that is there was read.
    End,
    /// There may be more.
    Limit,
}

impl RawStream {
    /// Begins after what was written before.
    pub(crate) fn new(stream: Stream, taken: u64) -> Self {
        Self {
            stream,
            reader: None,
            splitter: Splitter::at(taken),
            taken,
            closed_at: None,
            done: false,
            queued: false,
            awaited: false,
        }
    }

    /// Address of the byte after the last line that was written.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether its end was reached and written.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// Notes that no more will come after an address.
    pub(crate) fn close_at(&mut self, end: u64) {
        self.closed_at = Some(end);
    }

    /// Reads on into `batch`. With `last`, what is there now is all there will be.
    pub(crate) fn read(
        &mut self,
        folder: &Path,
        origin: &Origin,
        last: bool,
        batch: &mut Batch,
    ) -> io::Result<Reached> {
        let mut buffer = vec![0; READ_BUFFER];
        while batch.bytes.len() < TURN {
            if !self.read_once(folder, origin, &mut buffer, batch)? {
                self.end(last, origin, batch);
                return Ok(Reached::End);
            }
        }
        Ok(Reached::Limit)
    }

    /// Everything read so far was written; says whether that moved anything.
    pub(crate) fn commit(&mut self, last: bool, reached: Reached) -> bool {
        let moved = self.splitter.line_start() > self.taken;
        self.taken = self.splitter.line_start();
        self.splitter.release_memory();
        self.done = reached == Reached::End && self.has_ended(last);
        moved
    }

    /// What was read since the last commit is read again.
    pub(crate) fn rewind(&mut self) {
        self.reader = None;
        self.splitter = Splitter::at(self.taken);
    }

    fn read_once(
        &mut self,
        folder: &Path,
        origin: &Origin,
        buffer: &mut [u8],
        batch: &mut Batch,
    ) -> io::Result<bool> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            empty => empty.insert(SegmentReader::open(folder, &origin.run, self.stream, self.taken)?),
        };
        let read = reader.read(buffer)?;
        let start = reader.offset() - read as u64;
        if read > 0 && start > self.splitter.position() {
            self.skip_to(start, origin, batch);
        }
        self.splitter.feed(&buffer[..read]);
        while let Some(piece) = self.splitter.next() {
            batch.push(origin, self.stream.into(), &piece);
        }
        Ok(read > 0)
    }

    /// Tells of output that was deleted before it could be read.
    fn skip_to(&mut self, start: u64, origin: &Origin, batch: &mut Batch) {
        let lost = start - self.splitter.position();
        if let Some(piece) = self.splitter.finish(true) {
            batch.push(origin, self.stream.into(), &piece);
        }
        let message = format!("{lost} bytes of output were lost: more came than is kept unread");
        batch.push_note(&origin.service, &origin.instance, &message);
        self.splitter = Splitter::at(start);
    }

    fn end(&mut self, last: bool, origin: &Origin, batch: &mut Batch) {
        if !self.has_ended(last) {
            return;
        }
        if let Some(piece) = self.splitter.finish(false) {
            batch.push(origin, self.stream.into(), &piece);
        }
    }

    fn has_ended(&self, last: bool) -> bool {
        last || self.closed_at.is_some_and(|end| self.splitter.position() >= end)
    }
}

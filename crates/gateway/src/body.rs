//! Moves bodies: from the client to the upstream, and back.
//!
//! Back-pressure is the sockets' own: nothing is read that was not written on. Chunked bodies are decoded
//! strictly and framed anew; a length or an end that does not come true is an error, never repaired. A large body of
//! known length between plain sockets stays in the kernel.

use hythe_http1::{Chunk, ChunkedDecoder, Framing, LAST_CHUNK, Limits, push_chunk_head, push_field};
use hythe_upstream::{Buffer, Pipes, WireError};
use tokio::time::Instant;

use std::time::Duration;

use crate::after::Filtering;
use crate::link::{Reader, Writer};
use crate::mirror::Duplicate;

/// Why a body could not be moved to its end.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// The side it comes from failed, stopped early or was too slow.
    Source(SourceError),
    /// The side it goes to failed or was too slow.
    Sink,
    /// It is larger than it may be.
    TooLarge,
}

/// What was wrong with the side a body comes from.
#[derive(Debug)]
pub(crate) enum SourceError {
    /// The socket.
    Wire(WireError),
    /// It ended before the body did.
    Truncated,
    /// Its chunks break the rules.
    Malformed,
    /// The filter it goes through cannot go on.
    Filter,
}

/// A body on its way: what is left of it, by its framing.
#[derive(Debug)]
pub(crate) enum Body {
    /// Nothing (left).
    Done,
    /// This many bytes.
    Length(u64),
    /// Chunks.
    Chunked(Box<ChunkedDecoder>),
    /// Whatever comes until the end.
    UntilClose,
}

/// How a body is framed on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frame {
    /// As it is.
    Plain,
    /// In chunks.
    Chunks,
}

impl Body {
    pub(crate) fn of(framing: Framing) -> Self {
        match framing {
            Framing::None | Framing::Length(0) => Self::Done,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Box::default()),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Takes what it can from `source` and appends it to `out`, framed. Returns how many bytes of payload
    /// that was.
    pub(crate) fn take(
        &mut self,
        source: &mut Buffer,
        out: &mut Vec<u8>,
        frame: Frame,
        limits: &Limits,
    ) -> Result<u64, SourceError> {
        let filter = None;
        self.take_into(source, &mut Framer { out, frame, filter }, limits)
    }

    /// The same into a framer.
    pub(crate) fn take_into(
        &mut self,
        source: &mut Buffer,
        framer: &mut Framer<'_>,
        limits: &Limits,
    ) -> Result<u64, SourceError> {
        match self {
            Self::Done => Ok(0),
            Self::Length(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(source.len());
                framer.data(source.bytes().get(..count).unwrap_or_default())?;
                source.consume(count);
                *left -= count as u64;
                if *left == 0 {
                    *self = Self::Done;
                    framer.end()?;
                }
                Ok(count as u64)
            }
            Self::UntilClose => {
                let count = source.len();
                framer.data(source.bytes())?;
                source.clear();
                Ok(count as u64)
            }
            Self::Chunked(decoder) => {
                let (count, ended) = take_chunks(decoder, source, framer, limits)?;
                if ended {
                    *self = Self::Done;
                }
                Ok(count)
            }
        }
    }

    /// The source has ended. Only a body without a known end may end with it.
    fn end(&mut self, framer: &mut Framer<'_>) -> Result<(), SourceError> {
        if !matches!(self, Self::UntilClose) {
            return Err(SourceError::Truncated);
        }
        *self = Self::Done;
        framer.end()
    }

    /// How much may be read without touching what follows the body.
    fn appetite(&self, most: usize) -> usize {
        match self {
            Self::Length(left) => usize::try_from(*left).unwrap_or(usize::MAX).min(most),
            _ => most,
        }
    }
}

fn take_chunks(
    decoder: &mut ChunkedDecoder,
    source: &mut Buffer,
    framer: &mut Framer<'_>,
    limits: &Limits,
) -> Result<(u64, bool), SourceError> {
    let mut payload = 0;
    loop {
        match decoder
            .step(source.bytes(), limits)
            .map_err(|_| SourceError::Malformed)?
        {
            Chunk::Data { skip, len } => {
                framer.data(source.bytes().get(skip..skip + len).unwrap_or_default())?;
                source.consume(skip + len);
                payload += len as u64;
            }
            Chunk::More { consumed } => {
                source.consume(consumed);
                return Ok((payload, false));
            }
            Chunk::End { consumed } => {
                source.consume(consumed);
                framer.end_with_trailers(decoder)?;
                return Ok((payload, true));
            }
        }
    }
}

/// Where payload goes: through a filter, if there is one, and framed to the end of `out`.
pub(crate) struct Framer<'a> {
    pub(crate) out: &'a mut Vec<u8>,
    pub(crate) frame: Frame,
    pub(crate) filter: Option<&'a mut Filtering>,
}

impl Framer<'_> {
    fn data(&mut self, data: &[u8]) -> Result<(), SourceError> {
        match &mut self.filter {
            None => push_data(self.out, data, self.frame),
            Some(filter) => {
                filter.push(data).map_err(|_| SourceError::Filter)?;
                filter.drain(|ready| push_data(self.out, ready, self.frame));
            }
        }
        Ok(())
    }

    /// Lets nothing wait in a filter for what has not come yet.
    pub(crate) fn flush(&mut self) -> Result<(), SourceError> {
        if let Some(filter) = &mut self.filter {
            filter.flush().map_err(|_| SourceError::Filter)?;
            filter.drain(|ready| push_data(self.out, ready, self.frame));
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), SourceError> {
        self.finish_filter()?;
        push_end(self.out, self.frame);
        Ok(())
    }

    fn end_with_trailers(&mut self, decoder: &ChunkedDecoder) -> Result<(), SourceError> {
        self.finish_filter()?;
        push_trailers(self.out, decoder, self.frame);
        Ok(())
    }

    fn finish_filter(&mut self) -> Result<(), SourceError> {
        if let Some(filter) = &mut self.filter {
            filter.finish().map_err(|_| SourceError::Filter)?;
            filter.drain(|ready| push_data(self.out, ready, self.frame));
        }
        Ok(())
    }
}

fn push_data(out: &mut Vec<u8>, data: &[u8], frame: Frame) {
    if data.is_empty() {
        return;
    }
    if frame == Frame::Chunks {
        push_chunk_head(out, data.len() as u64);
    }
    out.extend_from_slice(data);
    if frame == Frame::Chunks {
        out.extend_from_slice(b"\r\n");
    }
}

fn push_end(out: &mut Vec<u8>, frame: Frame) {
    if frame == Frame::Chunks {
        out.extend_from_slice(LAST_CHUNK);
    }
}

fn push_trailers(out: &mut Vec<u8>, decoder: &ChunkedDecoder, frame: Frame) {
    if frame == Frame::Chunks {
        out.extend_from_slice(b"0\r\n");
        for (name, value) in decoder.trailers() {
            push_field(out, name, value);
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Time allowed for single steps of a pump.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For the next read.
    pub(crate) read: Duration,
    /// For a write.
    pub(crate) write: Duration,
    /// How the time for reads is spent; `None`: each read has all of it.
    pub(crate) pace: Option<Pace>,
}

/// A least rate, for a side that may be slow on purpose. Waiting spends the time for reads and bytes earn it back,
/// up to what it was: a byte a minute earns next to nothing, so the whole body has hardly more time than one pause.
/// Only waiting for this side counts, not the other one's slowness.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    most: Duration,
    per_byte: Duration,
}

impl Pace {
    /// Pauses of `most` in all, and `rate` bytes a second beside them; 0: any rate will do.
    pub(crate) fn new(most: Duration, rate: u32) -> Option<Self> {
        let per_byte = Duration::from_secs(1).checked_div(rate)?;
        Some(Self { most, per_byte })
    }
}

impl Patience {
    /// Takes in that it took so long until `count` bytes came.
    fn spend(&mut self, waited: Duration, count: usize) {
        if let Some(pace) = self.pace {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            let earned = pace.per_byte.saturating_mul(count);
            let left = self.read.saturating_sub(waited);
            self.read = left.saturating_add(earned).min(pace.most);
        }
    }
}

/// A pump: its ends, and the buffers between.
pub(crate) struct Pump<'a, 'r, 'w> {
    pub(crate) reader: &'a mut Reader<'r>,
    pub(crate) writer: &'a mut Writer<'w>,
    pub(crate) source: &'a mut Buffer,
    pub(crate) out: &'a mut Vec<u8>,
    pub(crate) frame: Frame,
    pub(crate) filter: Option<&'a mut Filtering>,
    pub(crate) patience: Patience,
    pub(crate) limits: &'a Limits,
    /// Most payload that may be moved, bytes.
    pub(crate) most: u64,
    /// Size of a read.
    pub(crate) chunk: usize,
    /// For large bodies.
    pub(crate) pipes: &'a Pipes,
    /// What is written is copied there.
    pub(crate) copy: Option<&'a mut Duplicate>,
}

/// From this length on a body is moved in the kernel where that is possible.
const LARGE: u64 = 256 * 1024;

impl Pump<'_, '_, '_> {
    /// Moves `body` to its end. What is already in `out` (a head) goes with the first write. Returns the
    /// payload moved, from `moved` on.
    pub(crate) async fn run(&mut self, body: &mut Body, moved: &mut u64) -> Result<(), BodyError> {
        loop {
            let mut framer = Framer {
                out: &mut *self.out,
                frame: self.frame,
                filter: self.filter.as_deref_mut(),
            };
            *moved += body
                .take_into(self.source, &mut framer, self.limits)
                .map_err(BodyError::Source)?;
            framer.flush().map_err(BodyError::Source)?;
            if *moved > self.most {
                return Err(BodyError::TooLarge);
            }
            self.flush().await?;
            if body.is_done() {
                return Ok(());
            }
            if self.is_large(body) && self.splice(body, moved).await? {
                return Ok(());
            }
            if self.passes_through(body) {
                self.read_and_pass(body, moved).await?;
            } else {
                self.read(body).await?;
            }
        }
    }

    /// A plain body needs no copy: what is read is written from where it was read to.
    fn passes_through(&self, body: &Body) -> bool {
        self.frame == Frame::Plain && self.filter.is_none() && matches!(body, Body::Length(_))
    }

    fn is_large(&self, body: &Body) -> bool {
        self.copy.is_none()
            && self.passes_through(body)
            && matches!(body, Body::Length(left) if *left >= LARGE)
    }

    /// Moves all of a large body between sockets without bringing it up. `false`: it has to be copied, as one side
    /// is no plain socket or there is no descriptor left for a pipe.
    async fn splice(&mut self, body: &mut Body, moved: &mut u64) -> Result<bool, BodyError> {
        let (Some(reader), Some(writer)) = (self.reader.as_plain(), self.writer.as_plain()) else {
            return Ok(false);
        };
        let Some(mut pipe) = self.pipes.take() else {
            return Ok(false);
        };
        while let Body::Length(left) = body {
            let asked = Instant::now();
            reader.set_deadline(asked + self.patience.read);
            let most = usize::try_from(*left).unwrap_or(usize::MAX);
            let filled = pipe.fill(reader, most).await;
            let count = match filled.map_err(|error| BodyError::Source(SourceError::Wire(error)))? {
                0 => return Err(BodyError::Source(SourceError::Truncated)),
                count => count,
            };
            let arrived = Instant::now();
            self.patience.spend(arrived - asked, count);
            writer.set_deadline(arrived + self.patience.write);
            pipe.drain(writer).await.map_err(|_| BodyError::Sink)?;
            *moved += count as u64;
            *left -= count as u64;
            if *left == 0 {
                *body = Body::Done;
            }
        }
        self.pipes.give_back(pipe);
        Ok(true)
    }

    async fn read_and_pass(&mut self, body: &mut Body, moved: &mut u64) -> Result<(), BodyError> {
        self.read(body).await?;
        if let Some(copy) = &mut self.copy {
            copy.take(self.source.bytes());
        }
        self.writer.allow(self.patience.write);
        self.writer
            .write_all(self.source.bytes())
            .await
            .map_err(|_| BodyError::Sink)?;
        if let Body::Length(left) = body {
            let count = self.source.len() as u64;
            *moved += count;
            *left -= count;
            if *left == 0 {
                *body = Body::Done;
            }
        }
        self.source.clear();
        Ok(())
    }

    async fn read(&mut self, body: &mut Body) -> Result<(), BodyError> {
        let began = Instant::now();
        self.reader.set_deadline(began + self.patience.read);
        let count = self.reader.read(self.source, body.appetite(self.chunk)).await;
        let count = count.map_err(|error| BodyError::Source(SourceError::Wire(error)))?;
        if count == 0 {
            let mut framer = Framer {
                out: &mut *self.out,
                frame: self.frame,
                filter: self.filter.as_deref_mut(),
            };
            return body.end(&mut framer).map_err(BodyError::Source);
        }
        self.patience.spend(began.elapsed(), count);
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), BodyError> {
        if self.out.is_empty() {
            return Ok(());
        }
        if let Some(copy) = &mut self.copy {
            copy.take(self.out);
        }
        self.writer.allow(self.patience.write);
        let written = self.writer.write_all(self.out).await.map_err(|_| BodyError::Sink);
        self.out.clear();
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_spends_time_and_bytes_earn_it_back() {
        let seconds = Duration::from_secs;
        let mut patience = Patience {
            read: seconds(60),
            write: seconds(60),
            pace: Pace::new(seconds(60), 250),
        };
        // What came, after how long, and what is left.
        for (count, waited, left) in [
            (16_384, 0, 60_000),
            (250, 30, 31_000),
            (1, 10, 21_004),
            (0, 20, 1_004),
            (1, 59, 4),
            (1 << 40, 59, 60_000),
        ] {
            patience.spend(seconds(waited), count);
            assert_eq!(patience.read.as_millis(), left, "{count} bytes after {waited} s");
        }
        patience.pace = Pace::new(seconds(60), 0);
        patience.spend(seconds(59), 1);
        assert_eq!(patience.read, seconds(60));
    }
}

//! Bodies sent in chunks.
//!
//! ```text
//!                      +-------------- next chunk ----------------+
//!                      v                                          |
//! start --> Size --> Extension --> SizeEnd --> Data --> DataCr --> DataLf
//!                                     |
//!                                     +-- size 0 --> Trailers --> Done
//! ```
//!
//! Sizes are read byte by byte, so that a buffer may end anywhere; payload is never touched, the caller is told
//! where it lies. Extensions are bounded and dropped. A line ends with CRLF and nothing else, and no blank is
//! tolerated around a size. Trailers are copied, since they may come in pieces: messages that have any are rare.

use crate::class::{hex_value, is_control};
use crate::{HeadFault, Limits, Span, section};

/// Where a decoder found what in the buffer given to [`ChunkedDecoder::step`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// Drop `skip` bytes; the `len` bytes that follow are payload, at least one. Step again with the rest.
    Data {
        /// Bytes of framing before the payload.
        skip: usize,
        /// Bytes of payload.
        len: usize,
    },
    /// The whole buffer was framing, or empty: drop it, step again when there is more.
    More {
        /// Bytes to drop: all of them.
        consumed: usize,
    },
    /// The body is over and its trailers are there; what follows is the next message.
    End {
        /// Bytes to drop.
        consumed: usize,
    },
}

/// Why a chunked body cannot be read. The connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ChunkError {
    /// A size that is empty or not hexadecimal, or followed by something other than `;` or CRLF.
    #[error("malformed chunk size")]
    BadSize,
    /// A size of more than 16 digits.
    #[error("chunk size out of range")]
    SizeOverflow,
    /// A control byte other than tab in an extension, or a line that ends otherwise than with CRLF.
    #[error("malformed chunk size line")]
    BadLine,
    /// A size with its extensions longer than [`Limits::chunk_line`].
    #[error("chunk size line too long")]
    LineTooLong,
    /// Payload that is not followed by CRLF.
    #[error("chunk longer than its size")]
    BadDataEnd,
    /// Trailers longer than [`Limits::trailers`], or more of them than [`Limits::fields`].
    #[error("trailers too large")]
    TrailersTooLarge,
    /// A trailer that breaks a rule of field lines.
    #[error("malformed trailer")]
    BadTrailer(#[source] HeadFault),
}

/// Reads one chunked body; scratch to be used again and again.
#[derive(Clone, Debug, Default)]
pub struct ChunkedDecoder {
    state: State,
    /// The chunk's size as far as read, then its bytes that are still to come.
    size: u64,
    digits: u32,
    /// Bytes of the size line so far.
    line: usize,
    trailers: Trailers,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    Extension,
    SizeEnd,
    Data,
    DataCr,
    DataLf,
    Trailers,
    Done,
}

const MOST_DIGITS: u32 = 16;

impl ChunkedDecoder {
    /// Says what the bytes at the start of `buf` are. Bytes that an answer covered must not be given again.
    pub fn step(&mut self, buf: &[u8], limits: &Limits) -> Result<Chunk, ChunkError> {
        let mut at = 0;
        loop {
            if self.state == State::Done {
                return Ok(Chunk::End { consumed: at });
            }
            let Some(&byte) = buf.get(at) else {
                return Ok(Chunk::More { consumed: at });
            };
            if self.state == State::Data {
                let len = self.take(buf.len() - at);
                return Ok(Chunk::Data { skip: at, len });
            }
            self.state = self.after(byte, limits)?;
            at += 1;
        }
    }

    /// The trailers, names and values, once the end was reached. Left out are those that would change how the
    /// message is framed, routed, allowed or understood, and those for this connection only.
    pub fn trailers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let bytes = &self.trailers.bytes;
        self.trailers
            .kept
            .iter()
            .map(move |(name, value)| (name.of(bytes), value.of(bytes)))
    }

    /// Whether the end was reached.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Makes it ready for another body.
    pub fn reset(&mut self) {
        self.state = State::Size;
        self.start_chunk();
        self.trailers.clear();
    }

    /// Takes payload, up to the end of the chunk.
    fn take(&mut self, present: usize) -> usize {
        let len = usize::try_from(self.size).map_or(present, |left| left.min(present));
        self.size -= len as u64;
        if self.size == 0 {
            self.state = State::DataCr;
        }
        len
    }

    /// The state after a byte of framing.
    fn after(&mut self, byte: u8, limits: &Limits) -> Result<State, ChunkError> {
        match (self.state, byte) {
            (State::Size | State::Extension, b'\r') => self.end_of_size(),
            (State::Size | State::Extension, _) if self.line >= limits.chunk_line => {
                Err(ChunkError::LineTooLong)
            }
            (State::Size, b';') if self.digits > 0 => self.extend(),
            (State::Size, _) => self.digit(byte),
            (State::Extension, _) if !is_control(byte) => self.extend(),
            (State::SizeEnd, b'\n') if self.size == 0 => Ok(State::Trailers),
            (State::SizeEnd, b'\n') => Ok(State::Data),
            (State::Extension | State::SizeEnd, _) => Err(ChunkError::BadLine),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => {
                self.start_chunk();
                Ok(State::Size)
            }
            (State::DataCr | State::DataLf, _) => Err(ChunkError::BadDataEnd),
            (State::Trailers, _) if self.trailers.take(byte, limits)? => Ok(State::Done),
            (State::Trailers, _) => Ok(State::Trailers),
            // `step` gives neither of these a byte.
            (State::Data | State::Done, _) => Ok(self.state),
        }
    }

    fn start_chunk(&mut self) {
        (self.size, self.digits, self.line) = (0, 0, 0);
    }

    fn digit(&mut self, byte: u8) -> Result<State, ChunkError> {
        let value = hex_value(byte).ok_or(ChunkError::BadSize)?;
        if self.digits == MOST_DIGITS {
            return Err(ChunkError::SizeOverflow);
        }
        self.size = self.size << 4 | u64::from(value);
        self.digits += 1;
        self.line += 1;
        Ok(State::Size)
    }

    fn extend(&mut self) -> Result<State, ChunkError> {
        self.line += 1;
        Ok(State::Extension)
    }

    fn end_of_size(&self) -> Result<State, ChunkError> {
        if self.digits == 0 {
            return Err(ChunkError::BadSize);
        }
        Ok(State::SizeEnd)
    }
}

/// The trailer section so far.
#[derive(Clone, Debug, Default)]
struct Trailers {
    /// The lines kept, and the one being read.
    bytes: Vec<u8>,
    kept: Vec<(Span, Span)>,
    line_start: usize,
    /// Bytes of the section, with those of lines that were left out.
    taken: usize,
    lines: usize,
    /// Whether the last byte was a CR.
    after_cr: bool,
}

impl Trailers {
    fn clear(&mut self) {
        self.bytes.clear();
        self.kept.clear();
        (self.line_start, self.taken, self.lines) = (0, 0, 0);
        self.after_cr = false;
    }

    /// Takes one byte; `true` if it was the last of the section.
    fn take(&mut self, byte: u8, limits: &Limits) -> Result<bool, ChunkError> {
        self.taken += 1;
        if self.taken > limits.trailers.min(u32::MAX as usize) {
            return Err(ChunkError::TrailersTooLarge);
        }
        match (self.after_cr, byte) {
            (true, b'\n') => self.end_line(limits),
            (true, _) => Err(ChunkError::BadTrailer(HeadFault::BareCr)),
            (false, b'\r') => {
                self.after_cr = true;
                Ok(false)
            }
            (false, b'\n') => Err(ChunkError::BadTrailer(HeadFault::BareLf)),
            (false, _) if is_control(byte) => Err(ChunkError::BadTrailer(HeadFault::ControlByte)),
            (false, _) => {
                self.bytes.push(byte);
                Ok(false)
            }
        }
    }

    fn end_line(&mut self, limits: &Limits) -> Result<bool, ChunkError> {
        self.after_cr = false;
        let line = Span::new(self.line_start, self.bytes.len());
        if line.is_empty() {
            return Ok(true);
        }
        self.lines += 1;
        if self.lines > limits.fields {
            return Err(ChunkError::TrailersTooLarge);
        }
        let field = section::field(&self.bytes, line).map_err(ChunkError::BadTrailer)?;
        if field.known.is_some() || is_forbidden(field.name.of(&self.bytes)) {
            self.bytes.truncate(self.line_start);
        } else {
            self.kept.push((field.name, field.value));
        }
        self.line_start = self.bytes.len();
        Ok(false)
    }
}

/// Fields that are not [`Known`](crate::Known) and yet must come before the body or not at all.
const FORBIDDEN: [&[u8]; 22] = [
    b"age",
    b"cache-control",
    b"content-encoding",
    b"content-location",
    b"content-range",
    b"content-type",
    b"expires",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
    b"location",
    b"max-forwards",
    b"origin",
    b"pragma",
    b"range",
    b"retry-after",
    b"set-cookie",
    b"vary",
    b"warning",
    b"www-authenticate",
];

fn is_forbidden(name: &[u8]) -> bool {
    FORBIDDEN
        .iter()
        .any(|forbidden| forbidden.eq_ignore_ascii_case(name))
}

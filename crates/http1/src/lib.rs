//! The HTTP/1.x wire: strict heads, bodies and framing. Pure: bytes in, decisions out.
//!
//! ```text
//! read buffer --> RequestHead::parse  --> spans into the buffer, framing, what each field is to a proxy
//!                 ResponseHead::parse
//!                 ChunkedDecoder::step --> where the payload lies in the buffer, then the trailers
//! write buffer <-- push_status_line, push_field, push_chunk_head, LAST_CHUNK
//! ```
//!
//! A head is read line by line. One scan over a line's bytes, eight at a time, finds the first control byte: it must
//! be the CR of the line's CRLF, which makes everything before it free of control bytes at the same time. Only a
//! line whose end is in sight is looked at, and bytes once scanned are not scanned again, so a head that comes
//! byte by byte costs no more than linear time and gets the same verdict as one that comes whole.
//! The scratch (`RequestHead`, `ResponseHead`, `ChunkedDecoder`) is kept for the life of a connection: once its
//! vector of fields has grown, a head costs no allocation.
//!
//! What two readers of the same bytes could understand differently is refused, never repaired: see
//! [`HeadFault`], [`RefusalKind`] and [`ChunkError`]. After any of these the connection must be closed, since
//! nobody knows where the next message starts.
//!
//! Left out on purpose: reading and writing (the caller owns buffers and sockets), HTTP/0.9, `CONNECT`, `TRACE`,
//! transfer codings other than `chunked`, folded field lines, and anything that alters a message.

mod chunked;
mod class;
mod date;
mod field;
mod host;
mod limits;
mod line;
pub mod path;
mod refusal;
mod request;
mod response;
mod section;
mod span;
mod target;
mod write;

#[cfg(test)]
mod tests;

pub use chunked::{Chunk, ChunkError, ChunkedDecoder};
pub use date::imf_fixdate;
pub use field::{Field, Known};
pub use limits::Limits;
pub use refusal::{Refusal, RefusalKind};
pub use request::RequestHead;
pub use response::{BadResponse, BadResponseKind, RequestKind, ResponseHead};
pub use section::HeadFault;
pub use span::Span;
pub use write::{
    CRLF, LAST_CHUNK, push_chunk_head, push_decimal, push_field, push_status_line, reason_phrase,
};

/// The version of a message; nothing else is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// `HTTP/1.0`
    Http10,
    /// `HTTP/1.1`
    #[default]
    Http11,
}

/// How the end of a message's body is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    #[default]
    None,
    /// Exactly so many bytes, as `Content-Length` says; may be 0.
    Length(u64),
    /// Chunks, read by [`ChunkedDecoder`].
    Chunked,
    /// All bytes until the peer closes; responses only.
    UntilClose,
}

/// Whether a head is all there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The head is parsed; the fields of the scratch are valid.
    Complete,
    /// More bytes are needed: call again with the same bytes and those that followed.
    Partial,
}

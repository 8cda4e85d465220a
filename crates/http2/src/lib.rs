//! HTTP/2, dressed as HTTP/1.1: every stream looks like a connection that carries one request.
//!
//! ```text
//! HEADERS  --> the bytes of a head          bytes of a head     --> HEADERS
//! DATA     --> plain, or in chunks          a body, as framed   --> DATA
//! trailers --> trailers of the last chunk   trailers            --> HEADERS with END_STREAM
//! ```
//!
//! A proxy that reads and writes HTTP/1.1 so serves HTTP/2 with the same code and, above all, with the same
//! rules: a head that came in a binary form passes the same strict parser as one that came as text. What
//! only HTTP/2 knows stays in here:
//!
//! - [`Stream`]: one request and its answer; flow control is given back only for what was written on.
//! - [`Server`]: a client's connection, with its limits and its floods.
//! - [`Upstreams`]: connections to upstreams, shared by the requests of one worker.
//!
//! The codec is the crate `h2`, which checks frames, HPACK, the rules for fields and lengths, and the state
//! of streams. Left out on purpose: server push, priorities, extended CONNECT (WebSocket over HTTP/2), and the
//! upgrade from HTTP/1.1, which RFC 9113 has given up.

mod error;
mod flood;
mod frames;
mod guarded;
mod heads;
mod incoming;
mod outgoing;
mod server;
mod stream;
mod upstreams;

pub use error::is_unprocessed;
pub use server::{Server, ServerLimits};
pub use stream::{Reader, Stream, Writer};
pub use upstreams::{UpstreamLimits, Upstreams};

/// What a client that speaks HTTP/2 at once begins with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the other side may send of one body before it was passed on, and of all bodies of a connection; bytes.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What is held of a body that the other side has opened its windows for and not taken yet; bytes.
const SEND_BUFFER: usize = 64 * 1024;

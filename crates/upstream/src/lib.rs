//! Connections to upstreams, and the input and output under both sides of a proxy.
//!
//! Everything here belongs to one gateway worker and stays on its thread: a socket has one reactor, so a
//! pool shared between workers would move requests between cores. What must be counted for the whole node
//! lives in `hythe-balance`.
//!
//! - [`Watchdog`]: a deadline that costs nothing to move, which is what a proxy does with deadlines.
//! - [`Wire`]: a socket with its watchdog: read some, write all, each with a deadline; under TLS if wanted.
//! - [`proxy_protocol`]: what a proxy says of a connection before the client's first byte.
//! - [`IdlePool`]: kept-alive upstream connections, last in first out, and the rules for when one may be
//!   used again.
//! - [`Pipe`]: moves large bodies between plain sockets in the kernel.
//!
//! Left out on purpose: retries. Whether a failed request may be repeated depends on the request, which
//! the gateway knows; here an error only says how far things got.

mod buffer;
mod pool;
pub mod proxy_protocol;
mod session;
mod socket;
mod splice;
mod watchdog;
mod wire;

pub use buffer::Buffer;
pub use pool::{IdlePool, KeepAlive, Reuse};
pub use session::Negotiated;
pub use splice::{Pipe, Pipes};
pub use watchdog::Watchdog;
pub use wire::{Greeting, Peer, ReadHalf, Wire, WireError, WriteHalf, connect};

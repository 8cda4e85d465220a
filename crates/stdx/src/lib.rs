//! What the standard library lacks and several crates need: human durations and sizes, a stable hash,
//! a map whose versions share their parts, atomic file writes, lines and columns of texts, errors with their causes,
//! who listens on this machine and who gets its connections, milliseconds since the epoch.

mod atomic_file;
mod hash;
mod lines;
mod listening;
mod quantity;
mod shared_map;
mod text;

pub use atomic_file::{write_atomically, write_atomically_unsynced, write_atomically_with_mode};
pub use hash::StableHash;
pub use lines::Lines;
pub use listening::{Listener, listener_for, listeners};
pub use quantity::{
    ParseQuantityError, format_duration, format_exact_size, format_size, parse_duration, parse_size,
};
pub use shared_map::{Difference, SharedMap};
pub use text::{chain, shortened};

/// Milliseconds since the Unix epoch, from the system clock; 0 for a clock set before 1970.
pub fn unix_ms() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |elapsed| {
            u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
        })
}

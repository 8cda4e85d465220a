//! What a closed loop of requests came to, whichever program made them.

use serde::{Deserialize, Serialize};

/// Requests that were all answered with 200.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Throughput {
    /// Requests answered.
    pub(crate) requests: u64,
    /// Requests answered per second.
    pub(crate) requests_per_second: f64,
}

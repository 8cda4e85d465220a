//! Unix milliseconds that never go backwards.

use std::time::Duration;

use tokio::time::Instant;

/// Counts on from the system clock's time at its creation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
    origin_ms: u64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            origin: Instant::now(),
            origin_ms: hythe_stdx::unix_ms(),
        }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.origin_ms + crate::backoff::millis(self.origin.elapsed())
    }

    /// When `at_ms` is; now for what is past.
    pub(crate) fn instant(&self, at_ms: u64) -> Instant {
        self.origin + Duration::from_millis(at_ms.saturating_sub(self.origin_ms))
    }
}

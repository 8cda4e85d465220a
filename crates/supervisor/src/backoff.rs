//! How long a crashed instance waits for its restart.

use std::time::Duration;

use hythe_model::InstanceId;
use hythe_stdx::StableHash;

/// The first restart comes at once, the second after `first`, every further one after twice the time of
/// the one before, `longest` at most; each up to a tenth more or less, so that copies that died together
/// do not come back together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// Wait before the second restart (100 ms).
    pub first: Duration,
    /// No wait is longer (15 s).
    pub longest: Duration,
    /// An instance that was up this long starts over with a restart at once (30 s).
    pub reset_after: Duration,
    /// An exit sooner than this after the start is a quick failure; what has no health check and no port is
    /// ready after it (1 s).
    pub quick: Duration,
    /// This many exits in a row and its service is said to fail; it is started again all the same (3).
    pub looping: u32,
    /// This many quick failures in a row and the instance is given up (16).
    pub quick_failures: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(15),
            reset_after: Duration::from_secs(30),
            quick: Duration::from_secs(1),
            looping: 3,
            quick_failures: 16,
        }
    }
}

impl Backoff {
    /// Milliseconds from the exit number `failures` (from 1) to the restart. The spread comes from the
    /// id, so the same question has the same answer.
    pub(crate) fn delay_ms(&self, failures: u32, id: &InstanceId) -> u64 {
        let Some(doublings) = failures.checked_sub(2) else {
            return 0;
        };
        let delay = self
            .first
            .saturating_mul(2_u32.saturating_pow(doublings))
            .min(self.longest);
        let hash = StableHash::default()
            .with(id.0.as_bytes())
            .with(&failures.to_le_bytes())
            .finish();
        millis(delay).saturating_mul(900 + hash % 201) / 1000
    }
}

/// Whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest_within_a_tenth() {
        let id = InstanceId("users-1".into());
        let delay = |failures| Backoff::default().delay_ms(failures, &id);
        assert_eq!([delay(0), delay(1)], [0, 0]);
        for (failures, expected) in [
            (2, 100),
            (3, 200),
            (4, 400),
            (9, 12_800),
            (10, 15_000),
            (500, 15_000),
        ] {
            let delay = delay(failures);
            assert!(
                delay.abs_diff(expected) <= expected / 10,
                "failure {failures}: {delay}"
            );
        }
    }
}

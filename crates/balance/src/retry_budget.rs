//! How many retries a pool takes: a share of its requests, so that retries never become a storm of their own.
//!
//! Counted over windows of ten seconds, from counters that are kept anyway: a request that is not repeated costs
//! nothing here.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// See the module.
#[derive(Debug, Default)]
pub struct RetryBudget {
    window: Mutex<Option<Window>>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    begun: Instant,
    /// Requests sent before it.
    requests: u64,
    retries: u64,
}

/// What is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryShare {
    /// Retries for every hundred requests.
    pub percent: u32,
    /// Retries a second that are allowed whatever the share.
    pub per_second: u32,
}

const WINDOW: Duration = Duration::from_secs(10);

impl RetryBudget {
    /// Takes a retry out of the budget, if there is one. `requests`: how many were ever sent.
    pub fn take(&self, share: RetryShare, requests: u64, now: Instant) -> bool {
        let mut held = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Window {
            begun: now,
            // The request that asks was sent in this window.
            requests: requests.saturating_sub(1),
            retries: 0,
        };
        let window = held.get_or_insert(fresh);
        if now.saturating_duration_since(window.begun) >= WINDOW {
            *window = fresh;
        }
        let allowed = window.allowed(share, requests, now);
        window.retries += u64::from(allowed);
        allowed
    }
}

impl Window {
    fn allowed(&self, share: RetryShare, requests: u64, now: Instant) -> bool {
        let requests = requests.saturating_sub(self.requests);
        let first_tries = requests.saturating_sub(self.retries);
        let seconds = now.saturating_duration_since(self.begun).as_secs() + 1;
        let share_now = first_tries.saturating_mul(u64::from(share.percent)) / 100;
        let always = seconds * u64::from(share.per_second);
        self.retries < share_now.max(always)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_requests_and_a_few() {
        let rows = [
            // percent, per second, requests, seconds into the window, retries that are allowed
            (20, 0, 100, 0, 20),
            (20, 10, 10, 0, 10),
            (20, 10, 10, 3, 40),
            (20, 10, 1_000, 3, 200),
            (0, 0, 1_000, 0, 0),
        ];
        for (percent, per_second, requests, seconds, expected) in rows {
            let (budget, begin) = (RetryBudget::default(), Instant::now());
            let share = RetryShare { percent, per_second };
            let mut granted = u64::from(budget.take(share, 1, begin));
            let now = begin + Duration::from_secs(seconds);
            for _ in 0..expected + 50 {
                // What is granted is sent, and counts as a request.
                granted += u64::from(budget.take(share, requests + granted, now));
            }
            assert_eq!(granted, expected, "{percent} % {per_second}/s of {requests}");
        }
    }

    #[test]
    fn a_new_window_begins_anew() {
        let (budget, begin) = (RetryBudget::default(), Instant::now());
        let share = RetryShare {
            percent: 0,
            per_second: 1,
        };
        let at = |seconds| budget.take(share, 50, begin + Duration::from_secs(seconds));
        assert_eq!(
            [at(0), at(0), at(9), at(10), at(10)],
            [true, false, true, true, false]
        );
    }
}

//! How long a crashed instance waits for its restart.

use std::time::Duration;

use hythe_model::InstanceId;
use hythe_model::workload::RestartRules;
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
    /// An instance that was up this long starts over with a restart at once; what was just replaced for the memory
    /// it used is not looked at again before (30 s).
    pub reset_after: Duration,
    /// An exit sooner than this after the start is a quick failure, unless its workload says otherwise; what has no
    /// health check and no port is ready after it (1 s).
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
    /// Milliseconds from the exit number `failures` (from 1) to the restart, where a workload's own `rules` win.
    pub(crate) fn delay_ms(&self, rules: &RestartRules, failures: u32, id: &InstanceId) -> u64 {
        match (rules.backoff_ms, rules.delay_ms) {
            (Some(first_ms), _) => spread_ms(self.growing(first_ms, failures), failures, id),
            (None, Some(delay_ms)) => delay_ms,
            (None, None) => spread_ms(self.doubling(failures), failures, id),
        }
    }

    /// An exit sooner than this after the start is a quick one.
    pub(crate) fn quick_ms(&self, rules: &RestartRules) -> u64 {
        rules.min_uptime_ms.unwrap_or(millis(self.quick))
    }

    /// This many quick exits in a row are enough; `None`: any number is tried again.
    pub(crate) fn most_quick_exits(&self, rules: &RestartRules) -> Option<u32> {
        let own = rules.backoff_ms.is_none().then_some(self.quick_failures);
        rules.max_quick_exits.or(own)
    }

    fn doubling(&self, failures: u32) -> Duration {
        let doublings = failures.checked_sub(2);
        let times = doublings.map_or(0, |doublings| 2_u32.saturating_pow(doublings));
        self.first.saturating_mul(times).min(self.longest)
    }

    fn growing(&self, first_ms: u64, failures: u32) -> Duration {
        let first = Duration::from_millis(first_ms).min(self.longest);
        let growth = 1.5_f64.powi(failures.saturating_sub(1).min(MOST_GROWTHS).cast_signed());
        first.mul_f64(growth).min(self.longest)
    }
}

/// A millisecond has grown to the longest wait before.
const MOST_GROWTHS: u32 = 64;

/// A tenth more or less. The spread comes from the id, so the same question has the same answer.
fn spread_ms(delay: Duration, failures: u32, id: &InstanceId) -> u64 {
    let hash = StableHash::default()
        .with(id.0.as_bytes())
        .with(&failures.to_le_bytes())
        .finish();
    millis(delay).saturating_mul(900 + hash % 201) / 1000
}

/// Whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delay(rules: &RestartRules, failures: u32) -> u64 {
        Backoff::default().delay_ms(rules, failures, &InstanceId("users-1".into()))
    }

    #[test]
    fn delays_grow_up_to_the_longest_within_a_tenth() {
        let own = RestartRules::default();
        let growing = RestartRules {
            backoff_ms: Some(100),
            delay_ms: Some(7),
            ..RestartRules::default()
        };
        assert_eq!([delay(&own, 0), delay(&own, 1)], [0, 0]);
        let rows = [
            (&own, 2, 100),
            (&own, 3, 200),
            (&own, 4, 400),
            (&own, 9, 12_800),
            (&own, 10, 15_000),
            (&own, 500, 15_000),
            (&growing, 1, 100),
            (&growing, 2, 150),
            (&growing, 3, 225),
            (&growing, 12, 8_649),
            (&growing, 14, 15_000),
            (&growing, u32::MAX, 15_000),
        ];
        for (rules, failures, expected) in rows {
            let delay = delay(rules, failures);
            assert!(
                delay.abs_diff(expected) <= expected / 10,
                "failure {failures} under {rules:?}: {delay}"
            );
        }
    }

    #[test]
    fn a_fixed_delay_is_always_the_same() {
        let fixed = RestartRules {
            delay_ms: Some(250),
            ..RestartRules::default()
        };
        assert_eq!([1, 2, 30].map(|failures| delay(&fixed, failures)), [250; 3]);
    }
}

//! How soon a member answers: a moving average that believes the worst at once (peak EWMA, as Finagle's).
//!
//! An answer slower than the average becomes the average; a faster one pulls it down by as much as time has gone by
//! since the answer before, and so does silence, so that a member that was slow once is tried again. What a request
//! would have to expect is the average for each request that is in flight, itself included, by the member's weight.
//! A member that nobody knows yet is asked by one request first.
//!
//! Average and time are one atomic word, so an observation costs one exchange and no lock.
//!
//! # What is left out
//! Failures: a member that fails quickly would look like a quick one, and one that never answers like one that nobody
//! knows. Leaving those alone is the matter of `max_fails`, of outliers and of checks.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// See the module. Times are milliseconds of the pool's clock.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Milliseconds of the last answer in the upper half, microseconds of the average in the lower; 0: nobody knows.
    state: AtomicU64,
}

/// In which an average falls to a third while nothing is heard.
const DECAY_MS: f32 = 10_000.0;

impl Pace {
    /// An answer came, so soon after its request.
    pub(crate) fn observe(&self, took_us: u32, now: u64) {
        let next = |state| Some(pack(after(state, took_us, now), latest(state, now)));
        let _ = self.state.fetch_update(Relaxed, Relaxed, next);
    }

    /// What one more request has to expect, in units that only compare. Less is better.
    #[expect(clippy::cast_precision_loss, reason = "it only compares")]
    pub(crate) fn cost(&self, in_flight: u64, weight: u64, now: u64) -> f32 {
        let state = self.state.load(Relaxed);
        match (state, in_flight) {
            (0, 0) => 0.0,
            (0, _) => f32::MAX,
            _ => faded(state, now) * (in_flight + 1) as f32 / weight.max(1) as f32,
        }
    }
}

/// The average after one more answer.
#[expect(clippy::cast_precision_loss, reason = "an average need not be exact")]
fn after(state: u64, took_us: u32, now: u64) -> f32 {
    let (average, took) = (average(state), took_us as f32);
    if took >= average {
        return took;
    }
    let kept = kept(state, now);
    average * kept + took * (1.0 - kept)
}

/// The average when nothing was heard since.
fn faded(state: u64, now: u64) -> f32 {
    average(state) * kept(state, now)
}

/// How much of it counts yet.
#[expect(clippy::cast_precision_loss, reason = "an average need not be exact")]
fn kept(state: u64, now: u64) -> f32 {
    (-(since(state, now).max(0) as f32) / DECAY_MS).exp()
}

/// Milliseconds since the last answer. Below 0: `now` was asked for before it, by another thread or long ago.
fn since(state: u64, now: u64) -> i32 {
    (now as u32).wrapping_sub((state >> 32) as u32) as i32
}

/// The time of the last answer, of two that are told of in whatever order.
fn latest(state: u64, now: u64) -> u64 {
    if state != 0 && since(state, now) < 0 {
        state >> 32
    } else {
        now
    }
}

fn average(state: u64) -> f32 {
    f32::from_bits(state as u32)
}

fn pack(average: f32, now: u64) -> u64 {
    // Never the word that means that nobody knows.
    let average = average.max(1.0);
    (u64::from(now as u32) << 32) | u64::from(average.to_bits())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pace(answers: &[(u32, u64)]) -> Pace {
        let pace = Pace::default();
        for (took_us, now) in answers {
            pace.observe(*took_us, *now);
        }
        pace
    }

    #[test]
    fn the_worst_is_believed_at_once_and_the_better_by_and_by() {
        let cost = |answers: &[(u32, u64)], now| pace(answers).cost(0, 1, now).round();
        assert_eq!(cost(&[(1_000, 0)], 0), 1_000.0);
        assert_eq!(cost(&[(1_000, 0), (9_000, 1)], 1), 9_000.0);
        assert_eq!(cost(&[(9_000, 0), (1_000, 0)], 0), 9_000.0);
        // Whoever looks, or tells of an answer, with a time from before the last one changes nothing by it.
        assert_eq!(cost(&[(9_000, 5)], 4), 9_000.0);
        assert_eq!(cost(&[(9_000, 5), (1_000, 4)], 5), 9_000.0);
        assert_eq!(cost(&[(9_000, 5), (1_000, 4)], 10_005), 3_311.0);
        // 1 / e of it is left after ten seconds.
        assert_eq!(cost(&[(9_000, 0), (1_000, 10_000)], 10_000), 3_943.0);
        assert_eq!(cost(&[(9_000, 0)], 10_000), 3_311.0);
        assert_eq!(cost(&[(9_000, 0)], 10_000_000), 0.0);
    }

    #[test]
    fn who_nobody_knows_is_asked_once() {
        let unknown = Pace::default();
        assert_eq!(unknown.cost(0, 1, 5), 0.0);
        assert_eq!(unknown.cost(1, 1, 5), f32::MAX);
        let known = pace(&[(1_000, 5)]);
        assert_eq!(
            [known.cost(0, 1, 5), known.cost(3, 1, 5), known.cost(3, 2, 5)],
            [1e3, 4e3, 2e3]
        );
    }

    proptest! {
        #[test]
        fn between_the_quickest_and_the_slowest(answers in prop::collection::vec((1..10_000_000u32, 0..60_000u64), 1..20)) {
            let mut now = 1 << 32;
            let pace = Pace::default();
            for (took_us, wait) in &answers {
                now += wait;
                pace.observe(*took_us, now);
            }
            let cost = pace.cost(0, 1, now);
            let all = || answers.iter().map(|(took_us, _)| *took_us as f32);
            prop_assert!(cost >= all().fold(f32::MAX, f32::min) * 0.999, "{cost}");
            prop_assert!(cost <= all().fold(0.0, f32::max) * 1.001, "{cost}");
        }
    }
}

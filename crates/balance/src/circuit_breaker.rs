//! Sparing a pool that cannot keep up: requests are refused at once instead of queueing up before it.
//!
//! Two bounds, each of its own: how many requests may be in flight, and which share of them may fail. When the share is
//! passed, the breaker is open for a while; then one request at a time tries whether the pool is well again, and
//! the first that is answered closes it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerRules {
    /// Most requests in flight; 0: any number.
    pub max_requests: u32,
    /// Percent of failures that opens it; 0: none does.
    pub error_percent: u32,
    /// Requests of a window below which the share says nothing.
    pub min_requests: u32,
    /// How long a window is.
    pub window: Duration,
    /// How long it stays open.
    pub open: Duration,
}

/// See the module.
#[derive(Debug, Default)]
pub struct CircuitBreaker {
    in_flight: AtomicU32,
    state: Mutex<State>,
}

/// What a breaker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Requests pass.
    Closed,
    /// They are refused.
    Open,
    /// One at a time passes.
    HalfOpen,
}

#[derive(Debug, Default)]
struct State {
    window_begun: Option<Instant>,
    requests: u32,
    failures: u32,
    opened: Option<Instant>,
    /// Whether one tries whether the pool is well again.
    is_tried: bool,
}

/// The right to send a request through a breaker, until it is dropped.
#[derive(Debug)]
#[must_use = "a dropped pass no longer counts"]
pub struct Pass<'b> {
    breaker: &'b CircuitBreaker,
    rules: BreakerRules,
    is_trial: bool,
}

impl CircuitBreaker {
    /// `None`: the request is to be refused.
    pub fn enter(&self, rules: BreakerRules, now: Instant) -> Option<Pass<'_>> {
        let most = if rules.max_requests == 0 {
            u32::MAX
        } else {
            rules.max_requests
        };
        let add = |count: u32| (count < most).then_some(count + 1);
        self.in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .ok()?;
        let mut pass = Pass {
            breaker: self,
            rules,
            is_trial: false,
        };
        if rules.error_percent > 0 {
            // Refused here, the pass takes itself out again.
            let mut state = self.state();
            match state.now(rules, now) {
                BreakerState::Closed => {}
                BreakerState::HalfOpen if !state.is_tried => {
                    state.is_tried = true;
                    pass.is_trial = true;
                }
                BreakerState::Open | BreakerState::HalfOpen => {
                    drop(state);
                    return None;
                }
            }
        }
        Some(pass)
    }

    /// What it is doing at `now`.
    pub fn at(&self, rules: BreakerRules, now: Instant) -> BreakerState {
        self.state().now(rules, now)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass<'_> {
    /// Tells how the request went.
    pub fn ended(self, failed: bool, now: Instant) {
        if self.rules.error_percent > 0 {
            self.breaker.state().count(self.rules, failed, self.is_trial, now);
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.breaker.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.is_trial {
            self.breaker.state().is_tried = false;
        }
    }
}

impl State {
    fn now(&self, rules: BreakerRules, now: Instant) -> BreakerState {
        match self.opened {
            None => BreakerState::Closed,
            Some(opened) if now.saturating_duration_since(opened) < rules.open => BreakerState::Open,
            Some(_) => BreakerState::HalfOpen,
        }
    }

    fn count(&mut self, rules: BreakerRules, failed: bool, is_trial: bool, now: Instant) {
        if is_trial {
            *self = Self {
                opened: failed.then_some(now),
                ..Self::default()
            };
        } else if self.opened.is_none() {
            self.count_in_window(rules, failed, now);
        }
    }

    fn count_in_window(&mut self, rules: BreakerRules, failed: bool, now: Instant) {
        let begun = *self.window_begun.get_or_insert(now);
        if now.saturating_duration_since(begun) >= rules.window {
            (self.window_begun, self.requests, self.failures) = (Some(now), 0, 0);
        }
        self.requests += 1;
        self.failures += u32::from(failed);
        let share = u64::from(self.failures) * 100 / u64::from(self.requests);
        if self.requests >= rules.min_requests && share >= u64::from(rules.error_percent) {
            self.opened = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: BreakerRules = BreakerRules {
        max_requests: 2,
        error_percent: 50,
        min_requests: 4,
        window: Duration::from_secs(10),
        open: Duration::from_secs(5),
    };

    /// Requests one after the other at this second; `-` is one that was refused.
    fn requests(breaker: &CircuitBreaker, begin: Instant, second: u64, outcomes: &str) -> String {
        let now = begin + Duration::from_secs(second);
        let request = |outcome| match breaker.enter(RULES, now) {
            None => '-',
            Some(pass) => {
                pass.ended(outcome == 'f', now);
                outcome
            }
        };
        outcomes.chars().map(request).collect()
    }

    #[test]
    fn it_opens_tries_and_closes() {
        let (breaker, begin) = (CircuitBreaker::default(), Instant::now());
        for (second, outcomes, expected) in [
            (0, "ffo", "ffo"),
            // A window later they are forgotten.
            (10, "offoo", "offo-"),
            (14, "oo", "--"),
            (15, "fo", "f-"),
            (19, "o", "-"),
            (20, "offo", "offo"),
            (20, "oo", "o-"),
        ] {
            assert_eq!(
                requests(&breaker, begin, second, outcomes),
                expected,
                "at {second}"
            );
        }
    }

    #[test]
    fn one_at_a_time_tries() {
        let (breaker, begin) = (CircuitBreaker::default(), Instant::now());
        assert_eq!(requests(&breaker, begin, 0, "ffff"), "ffff");
        let later = begin + Duration::from_secs(5);
        let trial = breaker.enter(RULES, later).unwrap();
        assert!(breaker.enter(RULES, later).is_none());
        // A trial of which nobody has said how it went leaves the place to the next.
        drop(trial);
        assert_eq!(requests(&breaker, begin, 5, "oo"), "oo");
        assert_eq!(breaker.at(RULES, later), BreakerState::Closed);
    }

    #[test]
    fn so_many_in_flight() {
        let (breaker, now) = (CircuitBreaker::default(), Instant::now());
        let (first, _second) = (breaker.enter(RULES, now), breaker.enter(RULES, now));
        assert!(breaker.enter(RULES, now).is_none());
        drop(first);
        assert!(breaker.enter(RULES, now).is_some());
    }
}

//! Members that answer worse than the others are left alone for a while: outlier ejection.
//!
//! Errors in a row, with no good answer between, eject a member: it failed, answered 5xx, or did not answer. It comes
//! back by itself after the ejection time; each further ejection lasts that much longer than the one before, up to a bound,
//! and the count begins anew for a member that has then served for as long as the longest. No more than a share of a
//! pool's members is ejected at a time (one always may be), and never the last that can be picked.
//!
//! The count is the whole node's, an atomic that good answers only touch after an error. Ejecting is decided under
//! the pool's lock. Other than `max_fails` it looks at statuses, holds for instances and for targets alike, and lets
//! the whole load back at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;

use crate::lease::{Fault, Outcome};

/// When members are ejected, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutlierRules {
    /// Errors in a row that eject; at least 1.
    pub consecutive_errors: u32,
    /// How long the first ejection lasts, milliseconds, and by how much each grows.
    pub ejection_ms: u64,
    /// How long one lasts at most, milliseconds.
    pub max_ejection_ms: u64,
    /// Percent of the members that may be ejected at a time; one always may be.
    pub max_percent: u8,
}

/// What is held against one member. Belongs to one address in one pool and outlives the pool's versions. Times are
/// milliseconds of the pool's clock. But for the errors, only written under the pool's lock.
#[derive(Debug, Default)]
pub(crate) struct Outlier {
    errors: AtomicU32,
    ejected_until: AtomicU64,
    /// Ejections without a long time of service between.
    ejections: AtomicU32,
}

/// Those of a pool's members that could be picked if nobody were ejected.
pub(crate) type Roster = ArcSwap<Vec<Arc<Outlier>>>;

impl Outlier {
    /// Takes an outcome in; whether it is time to eject.
    pub(crate) fn take(&self, outcome: &Outcome, rules: &OutlierRules) -> bool {
        match outcome {
            Outcome::Unknown => false,
            Outcome::Answered(Some(500..), _) | Outcome::Failed(Fault::Status(500..), _) => self.err(rules),
            Outcome::Failed(Fault::Connection | Fault::Timeout, _) => self.err(rules),
            Outcome::Answered(..) | Outcome::Failed(Fault::Status(_), _) => {
                if self.errors.load(Relaxed) > 0 {
                    self.errors.store(0, Relaxed);
                }
                false
            }
        }
    }

    fn err(&self, rules: &OutlierRules) -> bool {
        let before = self.errors.fetch_add(1, Relaxed);
        before.saturating_add(1) >= rules.consecutive_errors
    }

    /// Ejects it, if it is not out already and `roster` can spare it. Whether it did.
    pub(crate) fn eject(&self, rules: &OutlierRules, roster: &[Arc<Self>], now: u64) -> bool {
        if self.out_for(now).is_some() || !can_spare(rules, roster, now) {
            return false;
        }
        let ended = self.ejected_until.load(Relaxed);
        let is_long_ago = now.saturating_sub(ended) >= rules.max_ejection_ms;
        let times = match self.ejections.load(Relaxed) {
            _ if is_long_ago => 1,
            times => times.saturating_add(1),
        };
        let length = rules.ejection_ms.saturating_mul(u64::from(times));
        self.ejections.store(times, Relaxed);
        self.ejected_until
            .store(now + length.min(rules.max_ejection_ms), Relaxed);
        true
    }

    /// How long it is still ejected at `now`, milliseconds. `None`: it is not.
    pub(crate) fn out_for(&self, now: u64) -> Option<u64> {
        let left = self.ejected_until.load(Relaxed).saturating_sub(now);
        (left > 0).then_some(left)
    }

    /// How often it was ejected in a row.
    pub(crate) fn ejections(&self) -> u32 {
        self.ejections.load(Relaxed)
    }

    /// Nothing that it did before counts any more, but how often it was ejected.
    pub(crate) fn forget_errors(&self) {
        self.errors.store(0, Relaxed);
    }
}

/// Whether one more may be ejected.
fn can_spare(rules: &OutlierRules, roster: &[Arc<Outlier>], now: u64) -> bool {
    let ejected = roster
        .iter()
        .filter(|outlier| outlier.out_for(now).is_some())
        .count();
    let percent = (ejected + 1) * 100 / roster.len().max(1);
    let is_last = ejected + 1 >= roster.len();
    !is_last && (ejected == 0 || percent <= usize::from(rules.max_percent))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: OutlierRules = OutlierRules {
        consecutive_errors: 3,
        ejection_ms: 1_000,
        max_ejection_ms: 2_500,
        max_percent: 50,
    };

    #[test]
    fn errors_in_a_row() {
        let error = Outcome::Answered(Some(503), None);
        let good = Outcome::Answered(Some(404), None);
        let rows: [(&[&Outcome], bool); 4] = [
            (&[&error, &error], false),
            (&[&error, &error, &error], true),
            (&[&error, &error, &good, &error, &error], false),
            (&[&error, &error, &Outcome::Unknown, &error], true),
        ];
        for (outcomes, expected) in rows {
            let outlier = Outlier::default();
            let last = outcomes
                .iter()
                .map(|outcome| outlier.take(outcome, &RULES))
                .last();
            assert_eq!(last, Some(expected), "{outcomes:?}");
        }
    }

    #[test]
    fn ejections_grow_and_are_forgotten() {
        let roster = [Arc::new(Outlier::default()), Arc::default()];
        // When it is ejected, and how long that lasts.
        for (now, length) in [
            (10_000, 1_000),
            (11_000, 2_000),
            (14_000, 2_500),
            (18_999, 2_500),
            (24_000, 1_000),
        ] {
            assert!(roster[0].eject(&RULES, &roster, now), "{now}");
            assert_eq!(roster[0].out_for(now), Some(length), "{now}");
            assert!(!roster[0].eject(&RULES, &roster, now + 1), "{now}: out already");
            assert_eq!(roster[0].out_for(now + length), None, "{now}");
        }
    }

    #[test]
    fn so_many_and_never_the_last() {
        for (members, percent, expected) in [
            (1, 100, 0),
            (2, 100, 1),
            (2, 0, 1),
            (4, 49, 1),
            (4, 50, 2),
            (4, 100, 3),
            (10, 30, 3),
        ] {
            let rules = OutlierRules {
                max_percent: percent,
                ..RULES
            };
            let roster: Vec<Arc<Outlier>> = (0..members).map(|_| Arc::default()).collect();
            let ejected = roster
                .iter()
                .filter(|outlier| outlier.eject(&rules, &roster, 5))
                .count();
            assert_eq!(ejected, expected, "{members} members, {percent} %");
        }
    }
}

//! What a pool remembers of a member: its failures, and how far its turn has come.
//!
//! nginx's peer, field by field: `fails`, `accessed`, `checked`, `effective_weight` and `current_weight`, with nginx's
//! steps (`ngx_http_upstream_round_robin.c`, 1.22). A failure counts, takes `weight / max_fails` off the effective
//! weight, and `max_fails` of them take the member out for `fail_timeout`. After that one request at a time of
//! `fail_timeout` tries it; when one succeeds, the failures are forgotten. The effective weight comes back by one
//! with each pick. Other than nginx, time is counted in milliseconds and not in whole seconds.
//!
//! A standing belongs to one address in one pool and outlives the pool's versions. It is only written under the lock
//! of the pool's [`Turn`](crate::turn::Turn); its fields are atomics so that the request path may read without.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed};

use hythe_model::endpoint::EndpointRules;

/// See the module. Times are milliseconds of the pool's own clock.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    fails: AtomicU32,
    /// When it failed last.
    accessed: AtomicU64,
    /// When it failed last or was last given a trial.
    checked: AtomicU64,
    /// What failures have taken off its weight.
    deficit: AtomicI64,
    /// The running value of smooth weighted round robin.
    current: AtomicI64,
    /// When its weight began to grow; 0: it never did.
    warming: AtomicU64,
}

impl Standing {
    /// How long it is still left alone at `now`, milliseconds. `None`: it may be picked.
    pub(crate) fn out_for(&self, rules: &EndpointRules, now: u64) -> Option<u64> {
        let fails = self.fails.load(Relaxed);
        if rules.max_fails == 0 || fails < rules.max_fails {
            return None;
        }
        let since = now.saturating_sub(self.checked.load(Relaxed));
        (since <= rules.fail_timeout_ms).then(|| rules.fail_timeout_ms - since)
    }

    /// Whether no failure is held against it.
    pub(crate) fn is_clean(&self) -> bool {
        self.fails.load(Relaxed) == 0 && self.deficit.load(Relaxed) == 0
    }

    /// Failures that still count.
    pub(crate) fn fails(&self) -> u32 {
        self.fails.load(Relaxed)
    }

    /// A request is sent to it.
    pub(crate) fn picked(&self, rules: &EndpointRules, now: u64) {
        if now.saturating_sub(self.checked.load(Relaxed)) > rules.fail_timeout_ms {
            self.checked.store(now, Relaxed);
        }
    }

    /// A request to it failed.
    pub(crate) fn failed(&self, weight: u16, rules: &EndpointRules, now: u64) {
        self.fails
            .store(self.fails.load(Relaxed).saturating_add(1), Relaxed);
        self.accessed.store(now, Relaxed);
        self.checked.store(now, Relaxed);
        let weight = i64::from(weight);
        if rules.max_fails > 0 {
            let deficit = self.deficit.load(Relaxed) + weight / i64::from(rules.max_fails);
            self.deficit.store(deficit.min(weight), Relaxed);
        }
    }

    /// It answered: failures from before its trial are forgotten. Whether they are.
    pub(crate) fn answered(&self) -> bool {
        let was_tried = self.accessed.load(Relaxed) < self.checked.load(Relaxed);
        if was_tried {
            self.fails.store(0, Relaxed);
        }
        was_tried
    }

    /// Whether so many failures count that it is out, or would be if it were not tried.
    pub(crate) fn is_on_trial(&self, rules: &EndpointRules) -> bool {
        rules.max_fails > 0 && self.fails() >= rules.max_fails
    }

    /// Its weight begins to grow, from nearly nothing.
    pub(crate) fn warm_from(&self, now: u64) {
        self.warming.store(now.max(1), Relaxed);
    }

    /// When its weight began to grow, if it ever did.
    pub(crate) fn warming_since(&self) -> Option<u64> {
        let since = self.warming.load(Relaxed);
        (since > 0).then_some(since)
    }

    pub(crate) fn effective_weight(&self, weight: u16) -> i64 {
        i64::from(weight) - self.deficit.load(Relaxed)
    }

    /// The effective weight grows back.
    pub(crate) fn recover(&self) {
        let deficit = self.deficit.load(Relaxed);
        if deficit > 0 {
            self.deficit.store(deficit - 1, Relaxed);
        }
    }

    pub(crate) fn current(&self) -> i64 {
        self.current.load(Relaxed)
    }

    pub(crate) fn set_current(&self, current: i64) {
        self.current.store(current, Relaxed);
    }
}

//! The place where the current version of a pool stands.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;

use crate::lease::Lease;
use crate::pool::Pool;
use crate::query::Query;

/// A pool whose members change.
#[derive(Debug)]
pub struct PoolCell {
    current: ArcSwap<Pool>,
}

impl PoolCell {
    /// A place that holds `pool`.
    pub fn new(pool: Pool) -> Self {
        Self {
            current: ArcSwap::from_pointee(pool),
        }
    }

    /// The pool as it stands.
    pub fn load(&self) -> Arc<Pool> {
        self.current.load_full()
    }

    /// Puts `pool` in place, usually the [`next_version`](Pool::next_version) of what stands there. The old one
    /// takes its members off.
    pub fn replace(&self, pool: Pool) {
        let old = self.current.swap(Arc::new(pool));
        old.unlist();
    }

    /// Picks a member that was not tried, from the pool as it stands.
    pub fn pick(&self, query: &mut Query, now: Instant) -> Option<Lease> {
        loop {
            let pool = self.current.load();
            if let Some(lease) = pool.pick(query, now) {
                return Some(lease);
            }
            // A pool that was replaced under our hands gives nobody; the new one may.
            if Arc::ptr_eq(&pool, &self.current.load()) {
                return None;
            }
        }
    }
}

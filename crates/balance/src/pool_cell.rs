//! The place where the current version of a pool stands.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::lease::{Lease, Tried};
use crate::pool::Pool;
use crate::rotation::Turn;

/// A pool whose members change.
#[derive(Debug)]
pub struct PoolCell {
    current: ArcSwap<Pool>,
    turn: Arc<Turn>,
}

impl PoolCell {
    /// A place that holds `pool`.
    pub fn new(pool: Pool) -> Self {
        Self {
            turn: pool.turn(),
            current: ArcSwap::from_pointee(pool),
        }
    }

    /// The pool as it stands.
    pub fn load(&self) -> Arc<Pool> {
        self.current.load_full()
    }

    /// Puts `pool` in place. Its rotation goes on where the old one was, and the old one takes its members off.
    pub fn replace(&self, mut pool: Pool) {
        pool.continue_from(Arc::clone(&self.turn));
        let old = self.current.swap(Arc::new(pool));
        old.unlist();
    }

    /// Picks a healthy member that was not tried, from the pool as it stands.
    pub fn pick(&self, tried: &Tried) -> Option<Lease> {
        loop {
            let pool = self.current.load();
            if let Some(lease) = pool.pick(tried) {
                return Some(lease);
            }
            // A pool that was replaced under our hands gives nobody; the new one may.
            if Arc::ptr_eq(&pool, &self.current.load()) {
                return None;
            }
        }
    }
}

//! The place where the current version of a pool stands.

use std::pin::pin;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use crate::lease::{Lease, Tried};
use crate::pool::Pool;
use crate::rotation::Turn;

/// A pool whose members change.
#[derive(Debug)]
pub struct PoolCell {
    current: ArcSwap<Pool>,
    turn: Arc<Turn>,
    replaced: Notify,
}

impl PoolCell {
    /// A place that holds `pool`.
    pub fn new(pool: Pool) -> Self {
        Self {
            turn: pool.turn(),
            current: ArcSwap::from_pointee(pool),
            replaced: Notify::new(),
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
        self.replaced.notify_waiters();
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

    /// Waits until the pool has a member that may be picked.
    pub async fn wait_until_ready(&self) {
        loop {
            let mut replaced = pin!(self.replaced.notified());
            // From here on no replacement is missed.
            replaced.as_mut().enable();
            if self.current.load().healthy_members().len() > 0 {
                return;
            }
            replaced.await;
        }
    }
}

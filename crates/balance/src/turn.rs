//! Whose turn it is in a pool, for all its versions.
//!
//! As long as nothing is held against a member, turns repeat in a cycle that was worked out in advance (see
//! [`rotation`](crate::rotation)) and taking one is a single increment: exact between threads and without a lock. The
//! turns are *even*. A failure, or anything else that makes a turn depend on more than weights, makes them *uneven*:
//! the count stops where it is, and nginx's running values go on from there, under a lock. When nothing is
//! held against anybody any more, the turns become even again at the values they have then.
//!
//! The count and its evenness are one atomic, so no turn is lost or given twice when it changes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// See the module.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Turn {
    /// Even turns taken, and [`UNEVEN`].
    count: AtomicU64,
    uneven: Mutex<Uneven>,
}

/// What is known while turns are uneven.
#[derive(Debug, Default)]
pub(crate) struct Uneven {
    /// Turns taken when they stopped being even, until somebody has worked out the running values at that point.
    pub(crate) stopped_at: Option<u64>,
    /// Uneven turns to take before it is looked again whether they could be even.
    pub(crate) patience: u32,
}

const UNEVEN: u64 = 1 << 63;

impl Turn {
    /// Takes a turn. `None`: they are uneven.
    pub(crate) fn take(&self) -> Option<u64> {
        let turn = self.count.fetch_add(1, Ordering::Relaxed);
        (turn & UNEVEN == 0).then_some(turn)
    }

    /// The next turn, not taken. `None`: they are uneven.
    pub(crate) fn peek(&self) -> Option<u64> {
        let turn = self.count.load(Ordering::Relaxed);
        (turn & UNEVEN == 0).then_some(turn)
    }

    /// A number that differs from call to call, for choices at random.
    pub(crate) fn seed(&self) -> u64 {
        self.count.fetch_add(1, Ordering::Relaxed)
    }

    /// Standings are only written while this is held.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Uneven> {
        // A panic between two steps leaves values that are uneven, not wrong.
        self.uneven.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops even turns.
    pub(crate) fn make_uneven(&self, uneven: &mut Uneven) {
        let turn = self.count.fetch_or(UNEVEN, Ordering::Relaxed);
        if turn & UNEVEN == 0 {
            *uneven = Uneven {
                stopped_at: Some(turn),
                patience: 0,
            };
        }
    }

    /// Begins to count even turns, from the first.
    pub(crate) fn make_even(&self) {
        self.count.store(0, Ordering::Relaxed);
    }
}

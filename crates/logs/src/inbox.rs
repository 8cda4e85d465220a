//! What the collector is asked to do. Nobody who asks ever waits: what could repeat is merged, notes are
//! bounded, and everything else is bounded by the number of instances.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hythe_minder::protocol::Stream;
use hythe_model::FullName;

use crate::RunOutput;

/// The most notes that wait; more are dropped.
const MAX_NOTES: usize = 4096;

/// Orders and wakes on their way to the collector.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    work: Mutex<Work>,
    changed: Condvar,
}

/// Everything asked for since it was last taken.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// In order.
    pub(crate) orders: Vec<Order>,
    /// Streams with news, and where they ended if they did; to be looked at after the orders.
    pub(crate) wakes: BTreeMap<(String, Stream), Option<u64>>,
    pub(crate) stopped: bool,
    notes: usize,
}

#[derive(Debug)]
pub(crate) enum Order {
    Attach(RunOutput),
    Detach(String),
    Note {
        service: FullName,
        instance: String,
        message: String,
    },
}

impl Inbox {
    pub(crate) fn order(&self, order: Order) {
        let mut work = self.work();
        if matches!(order, Order::Note { .. }) {
            if work.notes >= MAX_NOTES {
                tracing::warn!(?order, "a note was dropped: too many wait to be written");
                return;
            }
            work.notes += 1;
        }
        work.orders.push(order);
        self.changed.notify_one();
    }

    pub(crate) fn wake(&self, run: &str, stream: Stream, closed_at: Option<u64>) {
        let mut work = self.work();
        let known = work.wakes.entry((run.to_owned(), stream)).or_default();
        *known = known.or(closed_at);
        self.changed.notify_one();
    }

    pub(crate) fn stop(&self) {
        self.work().stopped = true;
        self.changed.notify_one();
    }

    /// Takes what there is, after waiting for something, `patience` at most.
    pub(crate) fn take(&self, patience: Duration) -> Work {
        let idle = |work: &mut Work| work.orders.is_empty() && work.wakes.is_empty() && !work.stopped;
        let waited = self.changed.wait_timeout_while(self.work(), patience, idle);
        let (mut work, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let stopped = work.stopped;
        Work {
            stopped,
            ..std::mem::replace(
                &mut *work,
                Work {
                    stopped,
                    ..Work::default()
                },
            )
        }
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! Ctrl-C, SIGTERM and SIGHUP (the terminal is gone), for verbs that have something to put in order first.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::failure::Outcome;

/// Counts the signals that came.
#[derive(Clone)]
pub(crate) struct Interrupt {
    count: Arc<AtomicUsize>,
    /// Signals that came before and do not count.
    before: usize,
}

impl Interrupt {
    /// From here on the signals no longer end the process; `tell` is called for each one.
    pub(crate) fn listen(tell: impl Fn() + Send + 'static) -> Outcome<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                for _ in signals.forever() {
                    counted.fetch_add(1, Ordering::Relaxed);
                    tell();
                }
            })?;
        Ok(Self { count, before: 0 })
    }

    /// One that never comes: the signals end the process, as usual.
    pub(crate) fn never() -> Self {
        Self {
            count: Arc::default(),
            before: 0,
        }
    }

    /// The same, but only for signals that come from here on.
    pub(crate) fn after(other: &Self) -> Self {
        Self {
            count: Arc::clone(&other.count),
            before: other.count.load(Ordering::Relaxed),
        }
    }

    /// Whether one came.
    pub(crate) fn is_raised(&self) -> bool {
        self.count.load(Ordering::Relaxed) > self.before
    }
}

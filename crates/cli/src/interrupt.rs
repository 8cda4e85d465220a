//! Ctrl-C and SIGTERM, for verbs that have something to put in order first.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use signal_hook::consts::{SIGINT, SIGTERM};
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
    /// From here on the signals no longer end the process; each one is told to the receiver as well.
    pub(crate) fn listen() -> Outcome<(Self, Receiver<()>)> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let count = Arc::new(AtomicUsize::new(0));
        let (told, receiver) = sync_channel(8);
        let counted = Arc::clone(&count);
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || tell(&mut signals, &counted, &told))?;
        Ok((Self { count, before: 0 }, receiver))
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

fn tell(signals: &mut Signals, count: &AtomicUsize, told: &SyncSender<()>) {
    for _ in signals.forever() {
        count.fetch_add(1, Ordering::Relaxed);
        let _ = told.try_send(());
    }
}

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

/// The writing end: there is one for each value.
pub struct Publisher<T> {
    shared: Arc<Shared<T>>,
}

/// The reading end; cheap to clone.
pub struct Latest<T> {
    shared: Arc<Shared<T>>,
    seen: watch::Receiver<u64>,
}

/// A reader for a hot path: keeps the pointer it saw last and only touches shared memory again when the
/// value was replaced.
pub struct Cached<T> {
    cache: arc_swap::cache::Cache<SharedSwap<T>, Arc<T>>,
}

struct Shared<T> {
    value: ArcSwap<T>,
    version: watch::Sender<u64>,
}

struct SharedSwap<T>(Arc<Shared<T>>);

/// Makes both ends, holding `first`.
pub fn latest<T>(first: T) -> (Publisher<T>, Latest<T>) {
    let (version, seen) = watch::channel(0);
    let shared = Arc::new(Shared {
        value: ArcSwap::from_pointee(first),
        version,
    });
    (
        Publisher {
            shared: Arc::clone(&shared),
        },
        Latest { shared, seen },
    )
}

/// A value that never changes: for tests, and for outputs of subsystems that are switched off.
pub fn constant<T>(value: T) -> Latest<T> {
    latest(value).1
}

impl<T> Publisher<T> {
    /// Replaces the value and wakes everybody who waits.
    pub fn publish(&self, value: impl Into<Arc<T>>) {
        self.shared.value.store(value.into());
        self.shared.version.send_modify(|version| *version += 1);
    }

    /// The value as it stands.
    pub fn get(&self) -> Arc<T> {
        self.shared.value.load_full()
    }

    /// A new reader.
    pub fn subscribe(&self) -> Latest<T> {
        Latest {
            shared: Arc::clone(&self.shared),
            seen: self.shared.version.subscribe(),
        }
    }
}

impl<T> Latest<T> {
    /// The value as it stands.
    pub fn get(&self) -> Arc<T> {
        self.shared.value.load_full()
    }

    /// Marks the current value as seen and returns it.
    pub fn get_and_mark(&mut self) -> Arc<T> {
        self.seen.mark_unchanged();
        self.shared.value.load_full()
    }

    /// Waits until the value is replaced after the last time this reader marked or waited. For ever when
    /// the publisher holds on to the same value; also for ever once the publisher is gone, because a
    /// value whose writer ended stays valid (the readers' own shutdown ends them).
    pub async fn changed(&mut self) {
        if self.seen.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until `accept` says yes and returns that value.
    pub async fn wait_for(&mut self, mut accept: impl FnMut(&T) -> bool) -> Arc<T> {
        loop {
            let value = self.get_and_mark();
            if accept(&value) {
                return value;
            }
            self.changed().await;
        }
    }

    /// A reader for a hot path.
    pub fn cached(&self) -> Cached<T> {
        Cached {
            cache: arc_swap::cache::Cache::new(SharedSwap(Arc::clone(&self.shared))),
        }
    }
}

impl<T> Cached<T> {
    /// The value as it stands: one atomic load when it did not change.
    pub fn load(&mut self) -> &Arc<T> {
        self.cache.load()
    }
}

impl<T> std::ops::Deref for SharedSwap<T> {
    type Target = ArcSwap<T>;
    fn deref(&self) -> &ArcSwap<T> {
        &self.0.value
    }
}

impl<T> Clone for Latest<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            seen: self.seen.clone(),
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Latest<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Latest").field(&self.get()).finish()
    }
}

impl<T> fmt::Debug for Publisher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Cached<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached").finish_non_exhaustive()
    }
}

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Owner of the server's long-lived tasks. Clones are handles on the same tree.
#[derive(Debug, Clone, Default)]
pub struct Spine {
    tasks: TaskTracker,
    stop: CancellationToken,
    panics: Arc<AtomicU64>,
}

/// Tells a task that the server is stopping.
#[derive(Debug, Clone)]
pub struct Shutdown(CancellationToken);

/// Whoever holds it keeps a part of the server going; dropping it ends the part.
#[derive(Debug)]
pub struct Ending {
    _ends: DropGuard,
}

impl Spine {
    /// Starts a named task on the current runtime. It must end soon after its [`Shutdown`] fires. If it
    /// panics the panic is logged and counted; the rest of the server goes on.
    pub fn spawn<F>(&self, name: &'static str, task: impl FnOnce(Shutdown) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let future = AssertUnwindSafe(task(self.shutdown())).catch_unwind();
        let panics = Arc::clone(&self.panics);
        self.tasks.spawn(async move {
            if future.await.is_err() {
                panics.fetch_add(1, Ordering::Relaxed);
                tracing::error!(
                    task = name,
                    "a task panicked and ended; restart the server and report this"
                );
            }
        });
    }

    /// A handle that fires when the server stops.
    pub fn shutdown(&self) -> Shutdown {
        Shutdown(self.stop.clone())
    }

    /// How many tasks panicked since the start.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Asks every task to stop and waits for them, `deadline` at most. `false` if some did not end.
    pub async fn stop(&self, deadline: Duration) -> bool {
        self.stop.cancel();
        self.tasks.close();
        tokio::time::timeout(deadline, self.tasks.wait()).await.is_ok()
    }
}

impl Shutdown {
    /// The shutdown of a part: it fires with this one, and before it when the [`Ending`] is dropped.
    pub fn of_part(&self) -> (Ending, Self) {
        let part = self.0.child_token();
        let ending = Ending {
            _ends: part.clone().drop_guard(),
        };
        (ending, Self(part))
    }

    /// Waits until the server stops.
    pub async fn requested(&self) {
        self.0.cancelled().await;
    }

    /// Whether the server is stopping.
    pub fn is_requested(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Runs `future` unless the server stops first.
    pub async fn unless_requested<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.requested() => None,
            value = future => Some(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_contained_and_counted_and_stop_waits() {
        let spine = Spine::default();
        spine.spawn("bad", |_| async { panic!("planted") });
        let (sent, received) = tokio::sync::oneshot::channel();
        spine.spawn("good", |shutdown| async move {
            shutdown.requested().await;
            let _ = sent.send(());
        });
        assert!(spine.stop(Duration::from_secs(1)).await);
        received.await.unwrap();
        assert_eq!(spine.panics(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_ends_alone_and_with_the_whole() {
        let spine = Spine::default();
        let ((first, first_part), (_second, second_part)) =
            (spine.shutdown().of_part(), spine.shutdown().of_part());
        drop(first);
        first_part.requested().await;
        assert!(!second_part.is_requested() && !spine.shutdown().is_requested());
        assert!(spine.stop(Duration::from_secs(1)).await);
        second_part.requested().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_stuck_task_does_not_hold_the_stop_for_ever() {
        let spine = Spine::default();
        spine.spawn("stuck", |_| std::future::pending());
        assert!(!spine.stop(Duration::from_secs(1)).await);
    }
}

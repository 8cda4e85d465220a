use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;
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
    async fn a_stuck_task_does_not_hold_the_stop_for_ever() {
        let spine = Spine::default();
        spine.spawn("stuck", |_| std::future::pending());
        assert!(!spine.stop(Duration::from_secs(1)).await);
    }
}

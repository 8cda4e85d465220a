//! Deadlines that move with every request and almost never fire.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// One deadline. Moving it later is a store: the timer underneath is left where it is, and when it fires
/// early it is armed again for what is left. Only a deadline that moves closer touches the timer wheel,
/// so a busy connection touches it about once per timeout instead of several times per request. A step that
/// may take a certain time from when it first has to wait does not even read the clock if it never has to, and
/// there is no timer before the first wait.
#[derive(Debug)]
pub struct Watchdog {
    timer: Option<Pin<Box<Sleep>>>,
    limit: Limit,
}

/// When it is over.
#[derive(Debug, Clone, Copy)]
enum Limit {
    At(Instant),
    /// This long after the next wait begins.
    After(Duration),
}

impl Watchdog {
    /// A watchdog that fires `after` the first wait begins.
    pub fn new(after: Duration) -> Self {
        Self {
            timer: None,
            limit: Limit::After(after),
        }
    }

    /// Moves the deadline.
    pub fn set(&mut self, deadline: Instant) {
        self.limit = Limit::At(deadline);
    }

    /// Moves the deadline to `duration` after the next wait begins.
    pub fn allow(&mut self, duration: Duration) {
        self.limit = Limit::After(duration);
    }

    /// Whether there was a wait since [`Watchdog::allow`].
    pub fn has_waited(&self) -> bool {
        matches!(self.limit, Limit::At(_))
    }

    /// Ready when the deadline has passed; otherwise the task is woken then.
    pub fn poll_expired(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let deadline = self.fix_deadline();
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if deadline < timer.deadline() {
            timer.as_mut().reset(deadline);
        }
        while timer.as_mut().poll(context).is_ready() {
            if deadline <= timer.deadline() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }

    fn fix_deadline(&mut self) -> Instant {
        match self.limit {
            Limit::At(deadline) => deadline,
            Limit::After(duration) => {
                let deadline = Instant::now() + duration;
                self.limit = Limit::At(deadline);
                deadline
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn fires_at(watchdog: &mut Watchdog, start: Instant) -> Duration {
        std::future::poll_fn(|context| watchdog.poll_expired(context)).await;
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_moves_both_ways() {
        let start = Instant::now();
        let mut watchdog = Watchdog::new(Duration::from_secs(10));
        watchdog.set(start + Duration::from_secs(25));
        assert_eq!(fires_at(&mut watchdog, start).await.as_secs(), 25);

        let start = Instant::now();
        watchdog.set(start + Duration::from_secs(60));
        watchdog.set(start + Duration::from_secs(3));
        assert_eq!(fires_at(&mut watchdog, start).await.as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_allowed_counts_from_the_first_wait() {
        let mut watchdog = Watchdog::new(Duration::from_secs(10));
        watchdog.allow(Duration::from_secs(4));
        tokio::time::advance(Duration::from_secs(7)).await;
        let start = Instant::now();
        assert!(!watchdog.has_waited());
        assert_eq!(fires_at(&mut watchdog, start).await.as_secs(), 4);
        assert!(watchdog.has_waited());
        watchdog.allow(Duration::from_secs(4));
        watchdog.set(Instant::now() + Duration::from_secs(1));
        let start = Instant::now();
        assert_eq!(fires_at(&mut watchdog, start).await.as_secs(), 1);
    }
}

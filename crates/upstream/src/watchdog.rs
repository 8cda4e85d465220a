//! Deadlines that move with every request and almost never fire.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// One deadline. Moving it later is a store: the timer underneath is left where it is, and when it fires
/// early it is armed again for what is left. Only a deadline that moves closer touches the timer wheel,
/// so a busy connection touches it about once per timeout instead of several times per request.
#[derive(Debug)]
pub struct Watchdog {
    timer: Pin<Box<Sleep>>,
    armed: Instant,
    deadline: Instant,
}

impl Watchdog {
    /// A watchdog that fires `after` from now.
    pub fn new(after: Duration) -> Self {
        let deadline = Instant::now() + after;
        Self {
            timer: Box::pin(tokio::time::sleep_until(deadline)),
            armed: deadline,
            deadline,
        }
    }

    /// Moves the deadline.
    pub fn set(&mut self, deadline: Instant) {
        self.deadline = deadline;
        if deadline < self.armed {
            self.arm();
        }
    }

    /// Ready when the deadline has passed; otherwise the task is woken then.
    pub fn poll_expired(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.timer.as_mut().poll(context).is_ready() {
            if self.deadline <= self.armed {
                return Poll::Ready(());
            }
            self.arm();
        }
        Poll::Pending
    }

    fn arm(&mut self) {
        self.timer.as_mut().reset(self.deadline);
        self.armed = self.deadline;
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
}

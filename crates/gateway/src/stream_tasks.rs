//! Tasks that serve streams of HTTP/2, one after another.
//!
//! What serves a request is large and a stream is short: a task for each would spend more on being made than on most
//! requests. So a task that is through waits for the next stream. A worker keeps some of them; more end.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Tasks of a worker that wait for work.
pub(crate) struct StreamTasks<Job> {
    waiting: RefCell<Vec<Rc<Seat<Job>>>>,
}

/// Where a waiting task is given its next job.
struct Seat<Job> {
    job: Cell<Option<Job>>,
    waker: Cell<Option<Waker>>,
}

/// Tasks that wait; more end instead.
const MOST_WAITING: usize = 64;

impl<Job: 'static> StreamTasks<Job> {
    /// Has `job` done by a task that waits, or otherwise by a new one, which is to ask for [another](Self::another) when
    /// it is done.
    pub(crate) fn take<F>(&self, job: Job, serve: impl FnOnce(Job) -> F)
    where
        F: Future<Output = ()> + 'static,
    {
        let waiting = self.waiting.borrow_mut().pop();
        match waiting {
            Some(seat) => seat.give(job),
            None => drop(tokio::task::spawn_local(serve(job))),
        }
    }

    /// Waits for another job; `None`: enough others wait.
    pub(crate) async fn another(&self) -> Option<Job> {
        let seat = {
            let mut waiting = self.waiting.borrow_mut();
            if waiting.len() >= MOST_WAITING {
                return None;
            }
            let seat = Rc::new(Seat::default());
            waiting.push(Rc::clone(&seat));
            seat
        };
        Some(seat.job().await)
    }
}

impl<Job> Default for StreamTasks<Job> {
    fn default() -> Self {
        Self {
            waiting: RefCell::default(),
        }
    }
}

impl<Job> Seat<Job> {
    fn give(&self, job: Job) {
        self.job.set(Some(job));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    async fn job(&self) -> Job {
        poll_fn(|context| match self.job.take() {
            Some(job) => Poll::Ready(job),
            None => {
                self.waker.set(Some(context.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }
}

impl<Job> Default for Seat<Job> {
    fn default() -> Self {
        Self {
            job: Cell::new(None),
            waker: Cell::new(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Office {
        tasks: StreamTasks<u32>,
        made: Cell<usize>,
        done: RefCell<Vec<u32>>,
    }

    impl Office {
        fn take(self: &Rc<Self>, job: u32) {
            let office = Rc::clone(self);
            self.tasks.take(job, |job| async move {
                office.made.set(office.made.get() + 1);
                let mut next = Some(job);
                while let Some(job) = next {
                    office.done.borrow_mut().push(job);
                    next = office.tasks.another().await;
                }
            });
        }

        async fn settle(&self) {
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn a_task_serves_one_job_after_another() {
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let office = Rc::new(Office::default());
                for job in 0..5 {
                    office.take(job);
                    office.settle().await;
                }
                assert_eq!(*office.done.borrow(), [0, 1, 2, 3, 4]);
                assert_eq!(office.made.get(), 1);
            })
            .await;
    }

    #[tokio::test]
    async fn only_so_many_wait() {
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let office = Rc::new(Office::default());
                let many = 2 * u32::try_from(MOST_WAITING).unwrap();
                (0..many).for_each(|job| office.take(job));
                office.settle().await;
                assert_eq!(office.done.borrow().len(), 2 * MOST_WAITING);
                assert_eq!(office.tasks.waiting.borrow().len(), MOST_WAITING);
            })
            .await;
    }
}

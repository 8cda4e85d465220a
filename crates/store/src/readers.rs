//! The connections that read: a few, lent to one question at a time on the runtime's blocking threads.
//!
//! Every question is short and ends its read transaction with itself, so that no reader holds up the copying
//! of the log for long.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use crate::fault::Fault;
use crate::schema;

/// How many questions are answered at the same time; the others wait.
const READERS: usize = 4;

/// The pool.
#[derive(Clone)]
pub(crate) struct Readers {
    permits: Arc<Semaphore>,
    idle: Arc<Idle>,
}

/// The connections not lent; `None` once closed. Locked for a push or a pop only.
type Idle = Mutex<Option<Vec<Connection>>>;

/// Why a question has no answer.
pub(crate) enum Unanswered {
    Closed,
    Fault(Fault),
}

impl Readers {
    pub(crate) fn open(path: &Path) -> Result<Self, Fault> {
        let idle: Vec<_> = (0..READERS)
            .map(|_| schema::reader(path))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            permits: Arc::new(Semaphore::new(READERS)),
            idle: Arc::new(Mutex::new(Some(idle))),
        })
    }

    /// Answers a question. It goes on when its future is dropped, and gives the connection back when it is
    /// done.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Unanswered> {
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(|_| Unanswered::Closed)?;
        let idle = Arc::clone(&self.idle);
        let answer = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let loan = Loan::take(&idle);
            let connection = loan.as_ref().and_then(|loan| loan.connection.as_ref());
            question(connection.ok_or(Unanswered::Closed)?).map_err(Unanswered::Fault)
        });
        answer.await.unwrap_or(Err(Unanswered::Closed))
    }

    /// Refuses further questions; those under way end by themselves.
    pub(crate) fn close(&self) {
        self.permits.close();
        drop(locked(&self.idle).take());
    }
}

/// A connection that goes back to the others, even if the question panics.
struct Loan<'a> {
    /// Taken by the drop only.
    connection: Option<Connection>,
    idle: &'a Idle,
}

impl<'a> Loan<'a> {
    fn take(idle: &'a Idle) -> Option<Self> {
        let connection = locked(idle).as_mut()?.pop();
        connection.is_some().then_some(Self { connection, idle })
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        if let (Some(idle), Some(connection)) = (locked(self.idle).as_mut(), self.connection.take()) {
            idle.push(connection);
        }
    }
}

fn locked(idle: &Idle) -> MutexGuard<'_, Option<Vec<Connection>>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

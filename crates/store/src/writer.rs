//! The one connection that writes, on a thread of its own.
//!
//! ```text
//! commit() -- bounded queue --> BEGIN -> a savepoint each -> COMMIT -> publish -> acknowledge
//!                   all that wait                     the log is synced
//! ```
//!
//! Transactions that arrive while a sync is under way share the next one: each keeps its own generation and
//! its own fate, a refused one is rolled back to its savepoint. Nobody hears of a transaction, watchers
//! included, before the COMMIT around it has returned.
//!
//! When the storage fails, the whole group is rolled back and every transaction tried again alone, so that
//! one which does not fit on the disk takes down no other. After the acknowledgements, and only then, the log
//! is copied back into the database.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};

use hythe_ports::documents::{CommitError, Committed, MaintenanceError, Transaction};
use rusqlite::hooks::Wal;
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot, watch};

use crate::apply::{Stamp, apply};
use crate::fault::{Failure, Fault};
use crate::rows;

/// How many requests wait before callers have to.
const QUEUE: usize = 1_024;
/// How many transactions share a sync.
const GROUP: usize = 256;
/// After how many pages of log it is copied back.
const CHECKPOINT_PAGES: u32 = 1_000;
/// At how many pages of log the readers are waited for, so that it can start over.
const INSISTENT_PAGES: u32 = 16 * CHECKPOINT_PAGES;
/// How many generations too many are forgotten at once; what keeps the history short must not make one commit
/// long.
const FORGET_AT_ONCE: u64 = 256;

/// A handle on the thread. Dropping it ends the thread, after what is queued, and waits for that.
pub(crate) struct Writer {
    requests: mpsc::Sender<Request>,
    closing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread is asked to do.
pub(crate) enum Request {
    Commit {
        transaction: Transaction,
        reply: oneshot::Sender<Result<Committed, CommitError>>,
    },
    Compact {
        keep: u64,
        reply: oneshot::Sender<Result<(), MaintenanceError>>,
    },
    /// Nothing but to look up.
    Wake,
}

impl Writer {
    /// Starts the thread.
    pub(crate) fn start(
        mut connection: Connection,
        stamp: Stamp,
        history_keep: u64,
        published: watch::Sender<u64>,
    ) -> Result<Self, Fault> {
        let (requests, queue) = mpsc::channel(QUEUE);
        let closing = Arc::new(AtomicBool::new(false));
        let worker = Worker {
            log_pages: count_log_pages(&mut connection)?,
            checkpointed_pages: 0,
            connection,
            stamp,
            history_keep,
            published,
            closing: Arc::clone(&closing),
        };
        let thread = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(|| worker.run(queue))?;
        Ok(Self {
            requests,
            closing,
            thread: Some(thread),
        })
    }

    /// Where requests go.
    pub(crate) fn requests(&self) -> mpsc::Sender<Request> {
        self.requests.clone()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Release);
        // A queue too full for this one has enough to wake the thread.
        let _ = self.requests.try_send(Request::Wake);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer had panicked");
        }
    }
}

/// Has the connection tell how long its log is after each commit.
fn count_log_pages(connection: &mut Connection) -> Result<Arc<AtomicU32>, rusqlite::Error> {
    let pages = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&pages);
    connection.wal_hook(Some(move |_: &mut Wal, pages| {
        counted.store(u32::try_from(pages).unwrap_or(0), Ordering::Relaxed);
        Ok(())
    }))?;
    Ok(pages)
}

struct Worker {
    connection: Connection,
    stamp: Stamp,
    history_keep: u64,
    published: watch::Sender<u64>,
    closing: Arc<AtomicBool>,
    log_pages: Arc<AtomicU32>,
    /// How long the log was when it was last copied back.
    checkpointed_pages: u32,
}

/// A transaction and who waits for it.
struct Waiting {
    transaction: Transaction,
    reply: oneshot::Sender<Result<Committed, CommitError>>,
}

impl Worker {
    fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        while let Some(request) = queue.blocking_recv() {
            self.serve(request, &mut queue);
            if self.closing.load(Ordering::Acquire) {
                break;
            }
        }
        // Whoever got in before the end is served. Waiting for senders instead could be for ever: one of them
        // may be a future that nobody polls.
        queue.close();
        while let Ok(request) = queue.try_recv() {
            self.serve(request, &mut queue);
        }
        self.checkpoint("TRUNCATE");
    }

    /// Serves a request, and with a commit all that wait right behind it.
    fn serve(&mut self, request: Request, queue: &mut mpsc::Receiver<Request>) {
        let mut group = Vec::new();
        let mut next = Some(request);
        while let Some(request) = next.take() {
            match request {
                Request::Commit { transaction, reply } => group.push(Waiting { transaction, reply }),
                Request::Compact { keep, reply } => {
                    self.commit(std::mem::take(&mut group));
                    // Nobody waits any more: nothing to tell.
                    let _ = reply.send(self.compact(keep).map_err(MaintenanceError::from));
                }
                Request::Wake => {}
            }
            if group.len() < GROUP {
                next = queue.try_recv().ok();
            }
        }
        self.commit(group);
        self.checkpoint_if_due();
    }

    fn commit(&mut self, group: Vec<Waiting>) {
        if group.is_empty() {
            return;
        }
        let transactions: Vec<_> = group.iter().map(|waiting| &waiting.transaction).collect();
        let results = self.commit_together(&transactions).unwrap_or_else(|fault| {
            self.recover(&fault);
            transactions
                .iter()
                .map(|transaction| self.commit_alone(transaction))
                .collect()
        });
        self.publish(&results);
        for (waiting, result) in group.into_iter().zip(results) {
            // A caller that has gone away gets no answer; its transaction stands.
            let _ = waiting.reply.send(result);
        }
    }

    /// Commits a group. A fault is everybody's, and then nothing has happened.
    fn commit_together(
        &mut self,
        group: &[&Transaction],
    ) -> Result<Vec<Result<Committed, CommitError>>, Fault> {
        let mut outer = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut results = Vec::with_capacity(group.len());
        for transaction in group {
            let savepoint = outer.savepoint()?;
            match apply(&savepoint, &self.stamp, transaction) {
                Ok(committed) => {
                    savepoint.commit()?;
                    results.push(Ok(committed));
                }
                Err(Failure::Refused(refusal)) => {
                    savepoint.finish()?;
                    results.push(Err(refusal));
                }
                Err(Failure::Fault(fault)) => return Err(fault),
            }
        }
        forget_what_is_too_old(&outer, self.history_keep)?;
        outer.commit()?;
        Ok(results)
    }

    fn commit_alone(&mut self, transaction: &Transaction) -> Result<Committed, CommitError> {
        match self.commit_together(&[transaction]) {
            Ok(mut results) => results.pop().unwrap_or(Err(CommitError::Closed)),
            Err(fault) => Err(fault.into()),
        }
    }

    /// Does what can be done about a fault: the log may hold space that it no longer needs.
    fn recover(&mut self, fault: &Fault) {
        tracing::warn!(error = fault as &dyn std::error::Error, "the store cannot write");
        if matches!(fault, Fault::Full(_)) {
            self.checkpoint("TRUNCATE");
        }
    }

    fn publish(&self, results: &[Result<Committed, CommitError>]) {
        let newest = results
            .iter()
            .flatten()
            .map(|committed| committed.generation)
            .max();
        self.published.send_if_modified(|published| {
            let newer = newest.filter(|newest| newest > published);
            *published = newer.unwrap_or(*published);
            newer.is_some()
        });
    }

    fn compact(&mut self, keep: u64) -> Result<(), Fault> {
        let outer = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let generation = rows::counter(&outer)?.generation;
        rows::forget(&outer, generation.saturating_sub(keep))?;
        outer.commit()?;
        // It gives back a page per step, so it has to be followed to its end.
        let mut vacuum = self.connection.prepare("PRAGMA incremental_vacuum")?;
        let mut steps = vacuum.query([])?;
        while steps.next()?.is_some() {}
        drop(steps);
        drop(vacuum);
        self.checkpoint("TRUNCATE");
        Ok(())
    }

    fn checkpoint_if_due(&mut self) {
        let pages = self.log_pages.load(Ordering::Relaxed);
        if pages < self.checkpointed_pages {
            // All was copied and no reader in the way: the log has started over.
            self.checkpointed_pages = 0;
        }
        if pages - self.checkpointed_pages >= CHECKPOINT_PAGES {
            self.checkpoint(if pages < INSISTENT_PAGES {
                "PASSIVE"
            } else {
                "RESTART"
            });
        }
    }

    /// Copies the log back. That it fails costs nothing but the log's length: it is tried again when the log
    /// has grown.
    fn checkpoint(&mut self, mode: &str) {
        let pragma = format!("PRAGMA wal_checkpoint({mode})");
        if let Err(error) = self.connection.query_row(&pragma, [], |_| Ok(())) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the store's log stays as long as it is"
            );
        }
        self.checkpointed_pages = self.log_pages.load(Ordering::Relaxed);
    }
}

/// Forgets the oldest generations beyond `keep`, a limited number of them.
fn forget_what_is_too_old(connection: &Connection, keep: u64) -> Result<(), Fault> {
    let rows::Counter {
        generation,
        forgotten,
    } = rows::counter(connection)?;
    let wanted = generation.saturating_sub(keep);
    if wanted >= forgotten + FORGET_AT_ONCE {
        rows::forget(connection, forgotten + FORGET_AT_ONCE)?;
    }
    Ok(())
}

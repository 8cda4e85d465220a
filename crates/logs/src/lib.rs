//! Output of instances: line by line, in rotated files and the newest in memory; no line lost or doubled when
//! the server dies.
//!
//! ```text
//! minder ── raw segments ──► collector (one thread) ──► <project>.<service>.log, .1, .2.gz ...
//!                                 │    one lock  ├────► files at paths of the user's choice
//!                                 │              ├────► memory: the last lines of each service
//!                                 ▼              └────► followers: bounded queues
//!                       Progress: consumed, released
//! ```
//!
//! What a service's files may be is said by its workload ([`hythe_model::LogRules`]), read anew for every write. All logs
//! together have a budget: above it, the oldest file of all services goes first, at once. A full disk has the same
//! effect; when nothing is left that may go, output waits with the minder.
//!
//! Raw bytes stay with the minder until the lines made of them are in a file, and every line in a file carries
//! the address in the raw stream after it. So there is no state of its own to keep: after a crash the collector
//! cuts off a line that was half written, finds the last line of each stream, and reads on from its address.
//!
//! A last line without a line end is written when its stream ends or has 64 KiB, not after a time of silence:
//! where lines end then never depends on when the server looked. Nothing is synced to the disk: a crash of the
//! server loses nothing, a crash of the machine may lose what the kernel had not written yet.
//!
//! Deliberately left out: who runs what and why (whoever attaches says so), rendering for terminals, and search. Files of
//! services that are gone stay until they are the oldest above the budget.

mod backwards;
mod batch;
mod budget;
mod collector;
mod entry;
mod follower;
mod gzip;
mod hub;
mod inbox;
mod keeper;
mod numbered;
mod own_files;
mod raw_stream;
mod recent;
mod rotated_files;
mod selection;
mod service_log;
mod splitter;
#[cfg(test)]
mod tests;
mod timestamp;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hythe_minder::protocol::Stream;
use hythe_model::view::LogLine;
use hythe_model::{Desired, FullName, InstanceId};
use hythe_ports::{BoxFuture, LogQuery};
use hythe_spine::{Latest, Spine};
use tokio::sync::mpsc;

use crate::collector::Collector;
use crate::entry::Line;
use crate::hub::Hub;
use crate::inbox::{Inbox, Order};
use crate::recent::RecentLimits;
use crate::selection::{Selection, read_merged};

/// How many lines wait between a follower's queue and its reader.
const FOLLOW_CAPACITY: usize = 256;

/// Where logs are and how much is kept.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder of the log files; made with mode 0700 if it is not there.
    pub dir: PathBuf,
    /// Folder of the minder's raw segments.
    pub raw_dir: PathBuf,
    /// The most bytes that the log files of all services take together.
    pub budget: u64,
    /// Lines in memory for each service.
    pub tail_lines: usize,
    /// Bytes in memory for each service.
    pub tail_bytes: usize,
}

/// One run of an instance, whose output is to be taken over.
#[derive(Debug, Clone)]
pub struct RunOutput {
    /// Name of its raw streams; never used for another run.
    pub run: String,
    /// Instance.
    pub instance: InstanceId,
    /// Service.
    pub service: FullName,
    /// Place among the copies, if that is known.
    pub slot: Option<u32>,
    /// Addresses before which everything is known to have been taken over.
    pub from: Offsets,
    /// An earlier server may have taken over more than that.
    pub resumed: bool,
}

/// Addresses in the two raw streams of a run, bytes from the beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offsets {
    /// Standard output.
    pub out: u64,
    /// Standard error.
    pub err: u64,
}

/// What became of raw output; told on the collector's thread, so whoever listens must not block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Everything before an address is in a log file. Also told, with nothing new, after each
    /// [`Logs::wake`]: whoever woke it may do so again.
    Consumed {
        /// Run.
        run: String,
        /// Stream.
        stream: Stream,
        /// Address after the last line written.
        up_to: u64,
    },
    /// A detached run has been drained and its raw segments are deleted.
    Released {
        /// Run.
        run: String,
    },
}

/// The logs of all services. Collects until it is dropped or the spine stops.
pub struct Logs {
    hub: Arc<Mutex<Hub>>,
    inbox: Arc<Inbox>,
    spine: Spine,
}

impl Config {
    /// The usual bounds: 1 GiB in files, and 1000 lines or 1 MiB in memory for each service.
    pub fn new(dir: PathBuf, raw_dir: PathBuf) -> Self {
        Self {
            dir,
            raw_dir,
            budget: 1 << 30,
            tail_lines: 1000,
            tail_bytes: 1 << 20,
        }
    }
}

impl Logs {
    /// Opens the logs that are there and starts to collect. What is kept of a service is said by its workload in
    /// `desired`. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the folder cannot be made or a log in it cannot be read.
    pub fn open(
        config: Config,
        desired: Latest<Desired>,
        progress: impl Fn(Progress) + Send + 'static,
        spine: &Spine,
    ) -> io::Result<Self> {
        let recent_limits = RecentLimits {
            lines: config.tail_lines,
            bytes: config.tail_bytes,
        };
        let hub = Hub::open(config.dir, config.budget, recent_limits, desired)?;
        let hub = Arc::new(Mutex::new(hub));
        keeper::keep(Arc::clone(&hub), spine);
        let collector = Collector::new(Arc::clone(&hub), config.raw_dir, Box::new(progress));
        let inbox = Arc::new(Inbox::default());
        collect(collector, Arc::clone(&inbox), spine);
        Ok(Self {
            hub,
            inbox,
            spine: spine.clone(),
        })
    }

    /// Begins to take over the output of a run. Attaching it again changes nothing.
    pub fn attach(&self, output: RunOutput) {
        self.inbox.order(Order::Attach(output));
    }

    /// Tells that a stream has news, and where it ended if no more will come.
    pub fn wake(&self, run: &str, stream: Stream, closed_at: Option<u64>) {
        self.inbox.wake(run, stream, closed_at);
    }

    /// Tells that a run's segments are complete: they are read to their end and deleted.
    pub fn detach(&self, run: &str) {
        self.inbox.order(Order::Detach(run.to_owned()));
    }
}

impl hythe_ports::Logs for Logs {
    fn tail<'a>(&'a self, query: &'a LogQuery) -> BoxFuture<'a, io::Result<Vec<LogLine>>> {
        let (hub, query) = (Arc::clone(&self.hub), query.clone());
        Box::pin(async move {
            let lines = blocking(move || {
                let selections = lock(&hub).select(&query)?;
                read(selections, &query)
            });
            Ok(lines.await?.iter().map(|line| line.view()).collect())
        })
    }

    fn follow<'a>(&'a self, query: &'a LogQuery) -> BoxFuture<'a, io::Result<mpsc::Receiver<LogLine>>> {
        let (hub, query) = (Arc::clone(&self.hub), query.clone());
        Box::pin(async move {
            let begun = blocking(move || {
                let (selections, follower) = {
                    let mut hub = lock(&hub);
                    (hub.select(&query)?, hub.follow(&query))
                };
                Ok((read(selections, &query)?, follower))
            });
            let (first, follower) = begun.await?;
            let (sender, receiver) = mpsc::channel(FOLLOW_CAPACITY);
            self.spine.spawn("log follower", |shutdown| async move {
                shutdown.unless_requested(follower.feed(first, sender)).await;
            });
            Ok(receiver)
        })
    }

    fn flush<'a>(&'a self, services: &'a [FullName]) -> BoxFuture<'a, io::Result<()>> {
        let (hub, services) = (Arc::clone(&self.hub), services.to_vec());
        Box::pin(blocking(move || lock(&hub).flush(&services)))
    }

    fn reopen(&self) {
        lock(&self.hub).reopen();
    }

    fn note(&self, service: &FullName, instance: &str, message: &str) {
        let (instance, message) = (instance.to_owned(), message.to_owned());
        self.inbox.order(Order::Note {
            service: service.clone(),
            instance,
            message,
        });
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.inbox.stop();
    }
}

fn collect(collector: Collector, inbox: Arc<Inbox>, spine: &Spine) {
    spine.spawn("logs", |shutdown| async move {
        let for_thread = Arc::clone(&inbox);
        let mut thread = tokio::task::spawn_blocking(move || collector.run(&for_thread));
        let ended = tokio::select! {
            ended = &mut thread => ended,
            () = shutdown.requested() => {
                inbox.stop();
                thread.await
            }
        };
        if let Err(panic) = ended.map_err(tokio::task::JoinError::try_into_panic)
            && let Ok(panic) = panic
        {
            std::panic::resume_unwind(panic);
        }
    });
}

fn read(selections: Vec<Selection>, query: &LogQuery) -> io::Result<Vec<Arc<Line>>> {
    read_merged(selections, query.last.unwrap_or(usize::MAX))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

fn lock(hub: &Mutex<Hub>) -> MutexGuard<'_, Hub> {
    hub.lock().unwrap_or_else(PoisonError::into_inner)
}

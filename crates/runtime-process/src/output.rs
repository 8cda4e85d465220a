//! Telling whoever makes logs where output is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hythe_minder::protocol::Stream;
use hythe_minder::segments;
use hythe_model::{FullName, InstanceId};
use tokio::sync::mpsc;

use crate::run_files::RunFiles;

/// How many events may wait: more than twice what a minder's children can cause at once.
const QUEUE: usize = 16 * 1024;

/// What happens to the raw output of instances. Its reader answers with
/// [`ProcessRuntime::consumed`](crate::ProcessRuntime::consumed) and
/// [`ProcessRuntime::released`](crate::ProcessRuntime::released).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputEvent {
    /// An instance was started, or one that an earlier server started was found. Its streams may have news
    /// already: they are to be read and reported as consumed once.
    Began {
        /// Name of its raw streams; unique for each start.
        run: String,
        /// Instance.
        instance: InstanceId,
        /// Service.
        service: FullName,
        /// Place among the copies; not known of what a dead minder has left.
        slot: Option<u32>,
        /// Address in standard output before which everything was consumed.
        out_from: u64,
        /// The same of standard error.
        err_from: u64,
        /// Whether an earlier server may have consumed more than that.
        adopted: bool,
    },
    /// A stream has news. The next such event of the stream comes after it was consumed.
    Wrote {
        /// Run.
        run: String,
        /// Stream.
        stream: Stream,
        /// Where it ended, if no more will come.
        closed_at: Option<u64>,
    },
    /// The segments are complete: nobody writes to them any more, and they are the reader's to delete.
    Ended {
        /// Run.
        run: String,
    },
}

/// A run as its output's reader must know it.
#[derive(Debug)]
pub(crate) struct NewRun<'a> {
    pub(crate) run: &'a str,
    pub(crate) instance: &'a InstanceId,
    pub(crate) service: &'a FullName,
    pub(crate) slot: Option<u32>,
    /// Standard output and standard error.
    pub(crate) from: [u64; 2],
    pub(crate) adopted: bool,
}

/// The sending end. Blocks when the reader is far behind, so it belongs on the minder's thread.
#[derive(Debug)]
pub(crate) struct Output {
    events: mpsc::Sender<OutputEvent>,
    raw_folder: PathBuf,
    pub(crate) files: RunFiles,
    /// Runs that began and were not released.
    open: Mutex<BTreeSet<String>>,
}

impl Output {
    pub(crate) fn new(raw_folder: &Path, files: RunFiles) -> (Self, mpsc::Receiver<OutputEvent>) {
        let (events, receiver) = mpsc::channel(QUEUE);
        (
            Self {
                events,
                raw_folder: raw_folder.to_owned(),
                files,
                open: Mutex::default(),
            },
            receiver,
        )
    }

    /// Tells of a run, once.
    pub(crate) fn began(&self, new: &NewRun<'_>) {
        if self.open().contains(new.run) {
            return;
        }
        let [out_from, err_from] = new.from;
        // Without a reader there is nobody to tell.
        let _ = self.events.blocking_send(OutputEvent::Began {
            run: new.run.to_owned(),
            instance: new.instance.clone(),
            service: new.service.clone(),
            slot: new.slot,
            out_from,
            err_from,
            adopted: new.adopted,
        });
        self.open().insert(new.run.to_owned());
    }

    /// Tells of news; not when too much waits to be told (a reader looks by itself from time to time), and not
    /// before the run began (it looks then).
    pub(crate) fn wrote(&self, run: String, stream: Stream, closed_at: Option<u64>) {
        if !self.open().contains(&run) {
            return;
        }
        let _ = self.events.try_send(OutputEvent::Wrote {
            run,
            stream,
            closed_at,
        });
    }

    /// Tells that a run's segments are complete. When the reader has gone, the note on disk stays, from which
    /// the next server tells its own reader.
    pub(crate) fn ended(&self, run: &str) {
        let _ = self
            .events
            .blocking_send(OutputEvent::Ended { run: run.to_owned() });
    }

    /// The reader is done with a run.
    pub(crate) fn released(&self, run: &str) {
        self.files.remove(run);
        self.open().remove(run);
    }

    /// Runs that began and are not among those that are there.
    pub(crate) fn gone(&self, there: &BTreeSet<&str>) -> Vec<String> {
        self.open()
            .iter()
            .filter(|run| !there.contains(run.as_str()))
            .cloned()
            .collect()
    }

    /// Where the segments of a run begin that no minder has any more.
    pub(crate) fn starts(&self, run: &str) -> [u64; 2] {
        Stream::ALL.map(|stream| {
            let segments = segments::list(&self.raw_folder, run, stream).unwrap_or_default();
            segments.first().map_or(0, |first| first.start)
        })
    }

    fn open(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

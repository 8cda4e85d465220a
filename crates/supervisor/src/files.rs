//! Tells when files that a service watches have changed.
//!
//! One task beside each running service that watches files, with a descriptor of its own and no thread. It waits for a
//! change that counts, then until nothing changed for a while, so that a save, a check-out or a build is one event. What
//! cannot be watched is told in the service's log and tried again: a folder may come back, a limit may be raised.
//!
//! What is there at first is gone over on a thread for such things; folders that appear later are small or left out, and
//! are gone over at once.
//!
//! Deliberately left out: file systems that tell nobody about changes made elsewhere (network shares), and links to
//! folders, which are not followed.

#[cfg(test)]
mod tests;
mod tree;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hythe_model::workload::Watch;
use hythe_model::{Desired, Entry, FullName, Workload};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::owner::Event;
use tree::Tree;

/// The tasks.
pub(crate) struct FileWatches {
    tasks: BTreeMap<FullName, FileWatch>,
    events: mpsc::Sender<Event>,
}

struct FileWatch {
    workload: Arc<Entry<Workload>>,
    _task: AbortOnDropHandle<()>,
}

/// What one service watches.
struct Watched {
    service: FullName,
    folder: PathBuf,
    watch: Watch,
    events: mpsc::Sender<Event>,
}

/// An editor writes, renames and removes within this time.
const SHORTEST_QUIET: Duration = Duration::from_millis(50);
/// A burst that does not end counts as one all the same.
const LONGEST_BURST: Duration = Duration::from_secs(2);
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(2);

impl FileWatches {
    pub(crate) fn new(events: mpsc::Sender<Event>) -> Self {
        Self {
            tasks: BTreeMap::new(),
            events,
        }
    }

    /// Makes the tasks those that `desired` needs.
    pub(crate) fn keep(&mut self, desired: &Desired) {
        let watch = |entry: &Arc<Entry<Workload>>| entry.spec.watch.clone().filter(|_| !entry.spec.stopped);
        self.tasks.retain(|service, _| {
            let entry = desired.workloads.get(service);
            entry.is_some_and(|entry| watch(entry).is_some())
        });
        for (service, entry) in desired.workloads.iter() {
            let Some(watch) = watch(entry) else {
                continue;
            };
            if self.tasks.get(service).is_none_or(|task| !task.fits(entry)) {
                let watched = Watched {
                    service: service.clone(),
                    folder: entry.spec.working_dir.clone(),
                    watch,
                    events: self.events.clone(),
                };
                let task = FileWatch {
                    workload: Arc::clone(entry),
                    _task: AbortOnDropHandle::new(tokio::spawn(watched.run())),
                };
                self.tasks.insert(service.clone(), task);
            }
        }
    }
}

impl FileWatch {
    fn fits(&self, entry: &Arc<Entry<Workload>>) -> bool {
        let (ours, theirs) = (&self.workload.spec, &entry.spec);
        Arc::ptr_eq(&self.workload, entry)
            || (ours.watch == theirs.watch && ours.working_dir == theirs.working_dir)
    }
}

impl Watched {
    async fn run(self) {
        let mut said = None;
        loop {
            let why = match self.plant().await {
                Ok(tree) => {
                    said = None;
                    self.report_changes(tree).await
                }
                Err(why) => why,
            };
            let why = format!("cannot watch files: {why}");
            if said.as_ref() != Some(&why) {
                said = Some(why.clone());
                let service = self.service.clone();
                if self
                    .events
                    .send(Event::NotWatched { service, why })
                    .await
                    .is_err()
                {
                    return;
                }
            }
            tokio::time::sleep(TRY_AGAIN_AFTER).await;
        }
    }

    /// Going over folders takes a while.
    async fn plant(&self) -> Result<AsyncFd<Tree>, String> {
        let (folder, watch) = (self.folder.clone(), self.watch.clone());
        let planted = tokio::task::spawn_blocking(move || Tree::plant(&folder, &watch));
        let tree = planted.await.map_err(|error| error.to_string())??;
        #[expect(
            deprecated,
            reason = "what should be used instead is unsafe; the tree owns its descriptor and keeps it"
        )]
        let registered = AsyncFd::new(tree);
        registered.map_err(|error| error.to_string())
    }

    /// Until the tree cannot tell any more; why.
    async fn report_changes(&self, mut tree: AsyncFd<Tree>) -> String {
        loop {
            let first = match next_change(&mut tree).await {
                Ok(first) => first,
                Err(why) => return why,
            };
            let (others, broken) = self.rest_of_burst(&first, &mut tree).await;
            let service = self.service.clone();
            let what = told(&first, others);
            if self
                .events
                .send(Event::FilesChanged { service, what })
                .await
                .is_err()
            {
                return "nobody listens".to_owned();
            }
            if let Some(why) = broken {
                return why;
            }
        }
    }

    /// Waits until nothing changes; how many other files did, and why nothing more can be told, if so.
    async fn rest_of_burst(&self, first: &Path, tree: &mut AsyncFd<Tree>) -> (usize, Option<String>) {
        let quiet = Duration::from_millis(self.watch.delay_ms).max(SHORTEST_QUIET);
        let end = Instant::now() + quiet + LONGEST_BURST;
        let mut others = std::collections::BTreeSet::new();
        loop {
            let until = (Instant::now() + quiet).min(end);
            match tokio::time::timeout_at(until, next_change(tree)).await {
                Err(_) => return (others.len(), None),
                Ok(Err(why)) => return (others.len(), Some(why)),
                Ok(Ok(_)) if Instant::now() >= end => return (others.len(), None),
                Ok(Ok(path)) if path != first && others.len() < MOST_TOLD => drop(others.insert(path)),
                Ok(Ok(_)) => {}
            }
        }
    }
}

/// More files than this are not counted.
const MOST_TOLD: usize = 1_000;

/// The next change that counts, as a path from the working folder.
async fn next_change(tree: &mut AsyncFd<Tree>) -> Result<PathBuf, String> {
    loop {
        if let Some(path) = tree.get_mut().take_change()? {
            return Ok(path);
        }
        let mut ready = tree.readable_mut().await.map_err(|error| error.to_string())?;
        match ready.try_io(|tree| tree.get_mut().read()) {
            Ok(Err(error)) if error.kind() != io::ErrorKind::WouldBlock => return Err(error.to_string()),
            Ok(_) | Err(_) => {}
        }
    }
}

/// `server.js changed`, `server.js and 3 others changed`.
fn told(first: &Path, others: usize) -> String {
    let first = first.display();
    match others {
        0 => format!("{first} changed"),
        1 => format!("{first} and another file changed"),
        _ => format!("{first} and {others} others changed"),
    }
}

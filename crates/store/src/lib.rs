//! Desired state: durable, watchable documents in SQLite.
//!
//! One process owns a data directory (`lock`); in it one thread writes (`writer`) and a few connections read
//! (`readers`). `apply` is what a transaction means, `rows` and `query` are its SQL, `ownership` remembers
//! who set which field, `schema` is the file and its versions, `copy` takes and restores backups.
//!
//! Durable before acknowledged: SQLite's write-ahead log with full sync, acknowledged after the commit. Every
//! change once: the generation comes from a row that is updated inside the transaction, so numbers become
//! visible in their order, and the changes are logged in the same transaction as the documents. A full disk
//! hurts writes only, and only while it is full.
//!
//! Left out: several processes on one directory (nodes that share a store share a database server, behind the
//! same trait), and any knowledge of what documents mean.

mod apply;
mod copy;
mod fault;
mod lock;
mod ownership;
mod query;
mod readers;
mod rows;
mod schema;
#[cfg(test)]
mod tests;
mod writer;

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use hythe_ports::BoxFuture;
use hythe_ports::documents::{
    Cause, Changes, ChangesError, CommitError, Committed, Document, Documents, HistoryEntry, HistoryFilter,
    Identity, MaintenanceError, NodeId, Page, Query, Reach, ReadError, Transaction,
};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use crate::fault::Fault;
use crate::lock::{DirectoryLock, LockError};
use crate::query::Answer;
use crate::readers::{Readers, Unanswered};
use crate::writer::{Request, Writer};

pub use copy::{RestoreError, restore};

/// The database's file in the data directory.
const DATABASE: &str = "store.db";

/// Tells the time: milliseconds since 1970. It is asked once per transaction, while the transaction is being
/// written.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// How to open a store.
#[derive(Clone)]
pub struct Config {
    /// The data directory. Created with mode 0700 if it does not exist.
    pub dir: PathBuf,
    /// The node that this process is.
    pub node: NodeId,
    /// Where times come from.
    pub clock: Clock,
    /// How many generations of changes and history to keep at least, in transactions. Some hundred more may
    /// be kept.
    pub history_keep: u64,
}

impl Config {
    /// A store by the system's clock that keeps 10,000 generations of history.
    pub fn new(dir: impl Into<PathBuf>, node: NodeId) -> Self {
        Self {
            dir: dir.into(),
            node,
            clock: Arc::new(milliseconds_since_1970),
            history_keep: 10_000,
        }
    }
}

fn milliseconds_since_1970() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Why a store cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{} is in use by {}", dir.display(), holder(.pid))]
    InUse {
        /// The data directory.
        dir: PathBuf,
        /// The process, unless it is only just starting.
        pid: Option<u32>,
    },
    /// It was written by a newer version.
    #[error("{} has schema version {found}, this version knows {known}", path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema version.
        found: usize,
        /// The newest schema version known here.
        known: usize,
    },
    /// Something else is in its place.
    #[error("{} is not a store", path.display())]
    NotAStore {
        /// The database.
        path: PathBuf,
    },
    /// The stored data cannot be understood.
    #[error("{} is damaged", path.display())]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Cause,
    },
    /// No space is left to open it.
    #[error("no space left for {}", path.display())]
    Full {
        /// The database.
        path: PathBuf,
        /// What could not be written.
        #[source]
        source: Cause,
    },
    /// The data directory or the database in it cannot be reached.
    #[error("cannot open {}", path.display())]
    Io {
        /// The directory or database.
        path: PathBuf,
        /// The reason.
        #[source]
        source: Cause,
    },
}

impl OpenError {
    fn storage(path: &Path, fault: Fault) -> Self {
        let path = path.to_owned();
        match fault {
            Fault::Full(source) => Self::Full { path, source },
            Fault::Corrupt(source) => Self::Corrupt { path, source },
            Fault::Io(source) => Self::Io { path, source },
        }
    }
}

fn holder(pid: &Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// Opens the store of a data directory, creating or migrating it as needed. Blocks while it does.
pub fn open(config: Config) -> Result<Store, OpenError> {
    let Config {
        dir,
        node,
        clock,
        history_keep,
    } = config;
    let lock = claim_directory(&dir)?;
    let path = dir.join(DATABASE);
    let at = |fault: Fault| OpenError::storage(&path, fault);
    create_database(&path).map_err(|error| at(error.into()))?;
    let mut connection = schema::plain(&path).map_err(|error| at(error.into()))?;
    schema::migrate(&mut connection, &path, schema::MIGRATIONS)?;
    drop(connection);
    let start = || {
        let connection = schema::writer(&path)?;
        let generation = rows::counter(&connection)?.generation;
        let readers = Readers::open(&path)?;
        copy::sync_directory(&path)?;
        let (published, generation) = watch::channel(generation);
        let writer = Writer::start(connection, apply::Stamp::new(clock), history_keep, published)?;
        Ok((readers, generation, writer))
    };
    let (readers, generation, writer) = start().map_err(at)?;
    let running = Mutex::new(Some(Running { writer, _lock: lock }));
    Ok(Store {
        shared: Arc::new(Shared {
            node,
            generation,
            readers,
            running,
        }),
    })
}

/// Creates a data directory if necessary and takes its lock.
fn claim_directory(dir: &Path) -> Result<DirectoryLock, OpenError> {
    let failed = |error: io::Error| OpenError::Io {
        path: dir.to_owned(),
        source: error.into(),
    };
    if !dir.is_dir() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(failed)?;
        copy::sync_directory(dir).map_err(failed)?;
    }
    DirectoryLock::take(dir).map_err(|error| match error {
        LockError::Held(pid) => OpenError::InUse {
            dir: dir.to_owned(),
            pid,
        },
        LockError::Io(error) => failed(error),
    })
}

/// Makes sure that the database exists and is its owner's alone; SQLite gives the same mode to the log beside
/// it.
fn create_database(path: &Path) -> io::Result<()> {
    let file = copy::create_private(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))
}

/// An open store; a clone is another handle on the same one.
///
/// It closes with [`Store::close`], or when the last handle is dropped, which blocks until what is queued is
/// written. It must be used from within a tokio runtime, whose blocking threads run the reads.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    node: NodeId,
    generation: watch::Receiver<u64>,
    readers: Readers,
    /// `None` once closed. Locked for a look only.
    running: Mutex<Option<Running>>,
}

/// In the order in which it ends: the lock of the directory goes last.
struct Running {
    writer: Writer,
    _lock: DirectoryLock,
}

impl Store {
    /// Writes what is queued, refuses the rest, and leaves the directory to others. Returns when that is
    /// done.
    pub async fn close(&self) {
        self.shared.readers.close();
        let running = self.shared.running().take();
        // It ends even if the runtime, and the wait for it, ends first.
        let _ = tokio::task::spawn_blocking(move || drop(running)).await;
    }
}

impl Shared {
    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where requests go; `None` once closed.
    fn requests(&self) -> Option<mpsc::Sender<Request>> {
        self.running().as_ref().map(|running| running.writer.requests())
    }

    /// Hands a request to the writer and waits for its answer; `None` if there is no writer any more.
    async fn request<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.requests()?.send(request(reply)).await.ok()?;
        answer.await.ok()
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&rusqlite::Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, ReadError> {
        self.readers
            .ask(question)
            .await
            .map_err(|unanswered| match unanswered {
                Unanswered::Closed => ReadError::Closed,
                Unanswered::Fault(fault) => fault.into(),
            })
    }

    async fn changes_since(
        &self,
        generation: u64,
        reach: Reach,
        limit: usize,
    ) -> Result<Changes, ChangesError> {
        let node = self.node.clone();
        let answer =
            self.ask(move |connection| query::changes_since(connection, &node, generation, reach, limit));
        match answer.await? {
            Answer::Changes(changes) => Ok(changes),
            Answer::TooOld { oldest, generation } => Err(ChangesError::TooOld { oldest, generation }),
            Answer::Ahead { generation } => Err(ChangesError::Ahead { generation }),
        }
    }
}

impl Documents for Store {
    fn node(&self) -> &NodeId {
        &self.shared.node
    }

    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Committed, CommitError>> {
        Box::pin(async move {
            let answer = self
                .shared
                .request(|reply| Request::Commit { transaction, reply })
                .await;
            answer.unwrap_or(Err(CommitError::Closed))
        })
    }

    fn get<'a>(
        &'a self,
        kind: &'a str,
        scope: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Document>, ReadError>> {
        let identity = Identity::new(kind, scope, name);
        Box::pin(
            self.shared
                .ask(move |connection| rows::by_identity(connection, &identity)),
        )
    }

    fn get_by_uid(&self, uid: Uuid) -> BoxFuture<'_, Result<Option<Document>, ReadError>> {
        Box::pin(self.shared.ask(move |connection| rows::by_uid(connection, uid)))
    }

    fn list(&self, query: Query) -> BoxFuture<'_, Result<Page, ReadError>> {
        let node = self.shared.node.clone();
        Box::pin(
            self.shared
                .ask(move |connection| query::list(connection, &node, &query)),
        )
    }

    fn generation(&self) -> BoxFuture<'_, Result<u64, ReadError>> {
        Box::pin(async move {
            let open = self.shared.running().is_some();
            open.then(|| *self.shared.generation.borrow())
                .ok_or(ReadError::Closed)
        })
    }

    fn changes_since(
        &self,
        generation: u64,
        reach: Reach,
        limit: usize,
    ) -> BoxFuture<'_, Result<Changes, ChangesError>> {
        Box::pin(self.shared.changes_since(generation, reach, limit))
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.shared.generation.clone()
    }

    fn history(
        &self,
        limit: usize,
        filter: HistoryFilter,
    ) -> BoxFuture<'_, Result<Vec<HistoryEntry>, ReadError>> {
        Box::pin(
            self.shared
                .ask(move |connection| query::history(connection, limit, &filter)),
        )
    }

    fn backup<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<(), MaintenanceError>> {
        let path = path.to_owned();
        Box::pin(async move {
            let copied = self
                .shared
                .readers
                .ask(move |connection| Ok(copy::backup(connection, &path)));
            match copied.await {
                Ok(copied) => copied,
                Err(Unanswered::Closed) => Err(MaintenanceError::Closed),
                Err(Unanswered::Fault(fault)) => Err(fault.into()),
            }
        })
    }

    fn compact(&self, keep: u64) -> BoxFuture<'_, Result<(), MaintenanceError>> {
        Box::pin(async move {
            let answer = self
                .shared
                .request(|reply| Request::Compact { keep, reply })
                .await;
            answer.unwrap_or(Err(MaintenanceError::Closed))
        })
    }
}

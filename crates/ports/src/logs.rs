//! Output of instances, as others may read it.

use hythe_model::FullName;
use hythe_model::view::LogLine;
use tokio::sync::mpsc;

use crate::BoxFuture;

/// Where output of instances is read.
pub trait Logs: Send + Sync {
    /// The last lines that `query` selects, oldest first.
    fn tail<'a>(&'a self, query: &'a LogQuery) -> BoxFuture<'a, std::io::Result<Vec<LogLine>>>;
    /// The same, then every new line, without a gap or a double between the two. A reader that does not
    /// keep up is told so in a line of the stream `hythe` that counts what it missed.
    fn follow<'a>(&'a self, query: &'a LogQuery) -> BoxFuture<'a, std::io::Result<mpsc::Receiver<LogLine>>>;
    /// Deletes what is kept of services, in files and in memory; files at paths of their own are emptied. No service: of
    /// all.
    fn flush<'a>(&'a self, services: &'a [FullName]) -> BoxFuture<'a, std::io::Result<()>>;
    /// Lets go of every open file, to be opened anew for the next line: after others have renamed or deleted some.
    fn reopen(&self);
    /// Adds a note of the supervisor (`started`, `exited with code 1`) to an instance's log.
    fn note(&self, service: &FullName, instance: &str, message: &str);
}

/// Which lines.
#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    /// Only these services; empty: all.
    pub services: Vec<FullName>,
    /// Only lines read at or after this, Unix milliseconds.
    pub since: Option<u64>,
    /// At most this many of the last lines; `None`: all that are kept.
    pub last: Option<usize>,
}

//! Desired state as documents: what every dialect writes and every reconciler reads.
//!
//! A document is whole JSON of a kind the store need not understand, under an identity (kind, scope, name).
//! Writers commit transactions; each transaction that changes something gets the store's next *generation*,
//! and every document it touched carries that number. A reader lists, remembers the page's generation, and
//! follows [`Documents::changes_since`] from there: it sees every change once, in order, deletions included,
//! or is told that it is too late and must list again.
//!
//! Left out on purpose: schemas (whoever owns a kind validates it), queries by body fields (an index is a
//! tag, a unique key or a reference that the writer declares) and status (what *is* belongs to the registry).

mod document;
mod error;
mod read;
mod write;

use std::path::Path;

use tokio::sync::watch;
use uuid::Uuid;

use crate::BoxFuture;

pub use document::{Document, Identity, NodeId, OnDelete, Placement, Reach, Reference, UniqueKey};
pub use error::{Cause, ChangesError, CommitError, MaintenanceError, ReadError};
pub use read::{Change, Changes, HistoryChange, HistoryEntry, HistoryFilter, Op, Page, Query, TagFilter};
pub use write::{Committed, Expect, Put, Transaction, Write};

/// The most documents one page holds; a larger [`Query::limit`] is brought down to it.
pub const MAX_PAGE: usize = 1_000;
/// The most changes asked for at once; a larger limit is brought down to it.
pub const MAX_CHANGES: usize = 10_000;
/// The most bytes of JSON that one document may take, its body and everything about it together.
pub const MAX_DOCUMENT_BYTES: usize = 4 << 20;

/// A store of documents.
///
/// Every answer is read from one consistent state, and a reader sees its own acknowledged writes.
pub trait Documents: Send + Sync {
    /// The node on whose behalf this handle reads; [`Reach::Here`] refers to it.
    fn node(&self) -> &NodeId;

    /// Applies all writes or none. Durable once acknowledged. A transaction that changes nothing is
    /// acknowledged with the generation the store already has. Dropping the future does not take back a
    /// transaction that was queued.
    fn commit(&self, transaction: Transaction) -> BoxFuture<'_, Result<Committed, CommitError>>;

    /// The document of this identity, wherever it is placed.
    fn get<'a>(
        &'a self,
        kind: &'a str,
        scope: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<Document>, ReadError>>;

    /// The document of this uid, wherever it is placed.
    fn get_by_uid(&self, uid: Uuid) -> BoxFuture<'_, Result<Option<Document>, ReadError>>;

    /// One page of documents in the order of their uids. Whoever exists from the first page to the last is
    /// listed exactly once.
    fn list(&self, query: Query) -> BoxFuture<'_, Result<Page, ReadError>>;

    /// The generation of the last transaction that changed something; 0 in a new store.
    fn generation(&self) -> BoxFuture<'_, Result<u64, ReadError>>;

    /// What changed after `generation`, in order. It stops looking at `limit` changes (1 to [`MAX_CHANGES`]),
    /// but never splits a transaction: the answer may exceed the limit by the rest of one, and may be empty
    /// although there is more.
    fn changes_since(
        &self,
        generation: u64,
        reach: Reach,
        limit: usize,
    ) -> BoxFuture<'_, Result<Changes, ChangesError>>;

    /// Wakes after every commit, with the newest generation. It coalesces: follow with
    /// [`Documents::changes_since`]. Ends when the store closes.
    fn watch(&self) -> watch::Receiver<u64>;

    /// The newest transactions that match, newest first; at most `limit` (1 to [`MAX_PAGE`]).
    fn history(
        &self,
        limit: usize,
        filter: HistoryFilter,
    ) -> BoxFuture<'_, Result<Vec<HistoryEntry>, ReadError>>;

    /// Writes a consistent copy to a file that does not exist yet, while the store runs.
    fn backup<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<(), MaintenanceError>>;

    /// Forgets all changes and history but those of the last `keep` generations and gives the space back.
    fn compact(&self, keep: u64) -> BoxFuture<'_, Result<(), MaintenanceError>>;
}

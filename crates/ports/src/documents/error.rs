//! Why the store says no: one enum per group of operations.

use thiserror::Error;

use super::{Expect, Identity, MAX_DOCUMENT_BYTES};

/// What a backend met underneath.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a transaction was refused. Nothing of it happened. The documents are boxed to keep every `Result` of a
/// commit small.
#[derive(Debug, Error)]
pub enum CommitError {
    /// Somebody else was first.
    #[error("{document}: expected {expected}, found {}", found(.actual))]
    Conflict {
        /// The document.
        document: Box<Identity>,
        /// What the writer believed.
        expected: Expect,
        /// Its generation, if it exists.
        actual: Option<u64>,
    },
    /// A unique key is taken.
    #[error("{document}: {field} `{value}` is already taken by {existing}")]
    NotUnique {
        /// The document that wanted it.
        document: Box<Identity>,
        /// The key's field.
        field: String,
        /// The key's value.
        value: String,
        /// The document that holds it.
        existing: Box<Identity>,
    },
    /// A document refers to one that would not exist.
    #[error("{document}: {field} refers to {target}, which does not exist")]
    ReferenceMissing {
        /// The document that refers.
        document: Box<Identity>,
        /// Its field.
        field: String,
        /// The missing document.
        target: Box<Identity>,
    },
    /// A document cannot go while another one needs it.
    #[error("{document} is still needed by {by} ({field})")]
    StillReferenced {
        /// The document that was to go.
        document: Box<Identity>,
        /// The one that needs it.
        by: Box<Identity>,
        /// The field that refers.
        field: String,
    },
    /// The transaction names a document twice.
    #[error("{document} is written twice in one transaction")]
    Repeated {
        /// The document.
        document: Box<Identity>,
    },
    /// The document exceeds [`MAX_DOCUMENT_BYTES`].
    #[error("{document} takes {bytes} bytes of at most {MAX_DOCUMENT_BYTES}")]
    TooLarge {
        /// The document.
        document: Box<Identity>,
        /// What it takes.
        bytes: usize,
    },
    /// No space is left. The store goes on, and takes writes again once there is space.
    #[error("no space left for the store")]
    Full(#[source] Cause),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
    /// The stored data cannot be understood.
    #[error("the store is damaged")]
    Corrupt(#[source] Cause),
    /// The store cannot be reached.
    #[error("cannot write to the store")]
    Io(#[source] Cause),
}

fn found(actual: &Option<u64>) -> String {
    actual.map_or_else(
        || "none".to_owned(),
        |generation| format!("generation {generation}"),
    )
}

/// Why nothing could be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
    /// The stored data cannot be understood.
    #[error("the store is damaged")]
    Corrupt(#[source] Cause),
    /// The store cannot be reached.
    #[error("cannot read from the store")]
    Io(#[source] Cause),
}

/// Why there is no list of changes.
#[derive(Debug, Error)]
pub enum ChangesError {
    /// The changes after that generation are forgotten: list again.
    #[error("changes are kept from generation {oldest} on, now at {generation}")]
    TooOld {
        /// The oldest generation from which changes can still be followed.
        oldest: u64,
        /// The store's generation.
        generation: u64,
    },
    /// The store has not come that far, so the reader knows another store: list again.
    #[error("the store is at generation {generation} only")]
    Ahead {
        /// The store's generation.
        generation: u64,
    },
    /// Nothing could be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Why upkeep of the store failed. Its documents are as they were.
#[derive(Debug, Error)]
pub enum MaintenanceError {
    /// The copy's file is there already.
    #[error("the file exists already")]
    Exists,
    /// No space is left.
    #[error("no space left")]
    Full(#[source] Cause),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
    /// The stored data cannot be understood.
    #[error("the store is damaged")]
    Corrupt(#[source] Cause),
    /// The store or the copy cannot be reached.
    #[error("cannot reach the store or its copy")]
    Io(#[source] Cause),
}

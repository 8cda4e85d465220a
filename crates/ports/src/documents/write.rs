//! Transactions, and what becomes of them.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use super::{Document, Identity, Placement, Reference, UniqueKey};

/// Writes that happen together or not at all.
#[derive(Debug, Clone, PartialEq)]
pub struct Transaction {
    /// Who asked, for the history.
    pub actor: String,
    /// In whose name fields are set: `cli`, `file:shop`, `autoscaler`.
    pub owner: String,
    /// Why, in words for people.
    pub reason: String,
    /// The writes. Their order does not matter: expectations are about the state before the transaction, keys
    /// and references about the state after it. Each names another document.
    pub writes: Vec<Write>,
}

/// One write of a transaction.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// Create or replace.
    Put(Put),
    /// Delete. Deleting what is not there is no write, unless it was expected.
    Delete {
        /// The kind of the document.
        kind: String,
        /// Its scope.
        scope: String,
        /// Its name.
        name: String,
        /// What must hold of it beforehand.
        expect: Expect,
    },
}

impl Write {
    /// A deletion that expects nothing.
    #[must_use]
    pub fn delete(identity: Identity) -> Self {
        let Identity { kind, scope, name } = identity;
        Self::Delete {
            kind,
            scope,
            name,
            expect: Expect::Any,
        }
    }

    /// The document that is written.
    #[must_use]
    pub fn identity(&self) -> Identity {
        match self {
            Self::Put(put) => Identity::new(&put.kind, &put.scope, &put.name),
            Self::Delete {
                kind, scope, name, ..
            } => Identity::new(kind, scope, name),
        }
    }

    /// What must hold of the document before the transaction.
    #[must_use]
    pub fn expect(&self) -> Expect {
        match self {
            Self::Put(put) => put.expect,
            Self::Delete { expect, .. } => *expect,
        }
    }
}

impl From<Put> for Write {
    fn from(put: Put) -> Self {
        Self::Put(put)
    }
}

/// A document as it shall be. One that already is like this is left alone and keeps its generation.
#[derive(Debug, Clone, PartialEq)]
pub struct Put {
    /// The kind of the document.
    pub kind: String,
    /// Its scope.
    pub scope: String,
    /// Its name.
    pub name: String,
    /// The whole body.
    pub body: Value,
    /// For whom it is meant.
    pub placement: Placement,
    /// By what it can be found.
    pub tags: BTreeSet<String>,
    /// What no other document may hold.
    pub unique: BTreeSet<UniqueKey>,
    /// Which documents it needs.
    pub references: BTreeSet<Reference>,
    /// What must hold of the document beforehand.
    pub expect: Expect,
}

impl Put {
    /// A shared document without tags, keys, references or expectations.
    #[must_use]
    pub fn new(identity: Identity, body: Value) -> Self {
        let Identity { kind, scope, name } = identity;
        Self {
            kind,
            scope,
            name,
            body,
            placement: Placement::Shared,
            tags: BTreeSet::new(),
            unique: BTreeSet::new(),
            references: BTreeSet::new(),
            expect: Expect::Any,
        }
    }
}

/// What a writer believes about a document before its transaction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    #[default]
    Any,
    /// That it does not exist.
    Absent,
    /// That it exists.
    Present,
    /// That this generation was the last to write it.
    Generation(u64),
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("anything"),
            Self::Absent => f.write_str("no document"),
            Self::Present => f.write_str("a document"),
            Self::Generation(generation) => write!(f, "generation {generation}"),
        }
    }
}

/// What a transaction came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Committed {
    /// The transaction's generation, or the store's if nothing changed.
    pub generation: u64,
    /// Whether anything changed.
    pub changed: bool,
    /// One per write, in the order of the writes: the document as it now stands, or as it was before it was
    /// deleted; `None` where there was nothing to delete.
    pub documents: Vec<Option<Document>>,
    /// What was deleted because it needed something that was deleted, as it was before.
    pub cascaded: Vec<Document>,
}

//! Lists, changes and history: the questions and the answers.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Document, Identity, MAX_PAGE, Reach};

/// Which documents to list.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// Of this kind.
    pub kind: String,
    /// In this scope, or in all.
    pub scope: Option<String>,
    /// With these tags.
    pub tags: TagFilter,
    /// As far as this.
    pub reach: Reach,
    /// Those after this uid: the previous page's [`Page::next`].
    pub after: Option<Uuid>,
    /// How many at most, 1 to [`MAX_PAGE`]; anything else is brought into that range.
    pub limit: usize,
}

impl Query {
    /// The first page of all documents of a kind that reach this node.
    pub fn new(kind: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            scope: None,
            tags: TagFilter::default(),
            reach: Reach::Here,
            after: None,
            limit: MAX_PAGE,
        }
    }
}

/// Which tags a document must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagFilter {
    /// Each of these; no tag at all means every document.
    All(BTreeSet<String>),
    /// At least one of these; no tag at all means no document.
    Any(BTreeSet<String>),
}

impl Default for TagFilter {
    fn default() -> Self {
        Self::All(BTreeSet::new())
    }
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The documents, by uid.
    pub documents: Vec<Document>,
    /// Where the next page starts, if there is one.
    pub next: Option<Uuid>,
    /// The generation of the state from which the page was read. To follow changes after listing several
    /// pages, start from the
    /// *first* page's.
    pub generation: u64,
}

/// What happened to a document in one generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// It came to be or, for a reader who looks no further than [`Reach::Here`], was placed here.
    Create,
    /// It changed.
    Update,
    /// It was deleted or, for a reader who looks no further than [`Reach::Here`], placed elsewhere.
    Delete,
}

/// One document's change.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The generation that made it.
    pub generation: u64,
    /// What happened.
    pub op: Op,
    /// The document afterwards; of a deleted one the last state, with the generation that wrote it.
    pub document: Document,
}

/// What changed, up to a point.
#[derive(Debug, Clone, PartialEq)]
pub struct Changes {
    /// The changes in order.
    pub changes: Vec<Change>,
    /// Everything up to here is in `changes`: where to go on.
    pub generation: u64,
    /// Whether the store is further on than that.
    pub more: bool,
}

/// Which transactions to tell about; all conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryFilter {
    /// That this actor made.
    pub actor: Option<String>,
    /// That touched a document of this kind.
    pub kind: Option<String>,
    /// That touched a document in this scope.
    pub scope: Option<String>,
    /// That touched a document of this name (with the kind and scope above, the same document).
    pub name: Option<String>,
    /// Before this generation: the last entry's, to page.
    pub before: Option<u64>,
}

/// One transaction as the history tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// Its generation.
    pub generation: u64,
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// Who asked.
    pub actor: String,
    /// In whose name.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// What it did, cascades included.
    pub changes: Vec<HistoryChange>,
}

/// One line of a [`HistoryEntry`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryChange {
    /// Which document.
    #[serde(flatten)]
    pub identity: Identity,
    /// What happened to it.
    pub op: Op,
}

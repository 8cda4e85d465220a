//! A document and what surrounds its body.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{Expect, Put};

/// Names one node among those that share a store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub String);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a document is called: unique in the whole store, at any one time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// What sort of document it is, which decides what its body means.
    pub kind: String,
    /// The project or namespace in which the name holds; may be empty.
    pub scope: String,
    /// The name within kind and scope.
    pub name: String,
}

impl Identity {
    /// The identity of these three parts.
    pub fn new(kind: impl Into<String>, scope: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            scope: scope.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, scope, name } = self;
        match scope.as_str() {
            "" => write!(f, "{kind} `{name}`"),
            scope => write!(f, "{kind} `{scope}/{name}`"),
        }
    }
}

/// For whom a document is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// Every node serves it.
    #[default]
    Shared,
    /// One node acts on it.
    Local(NodeId),
}

impl Placement {
    /// Whether `node` is meant.
    #[must_use]
    pub fn reaches(&self, node: &NodeId) -> bool {
        match self {
            Self::Shared => true,
            Self::Local(owner) => owner == node,
        }
    }
}

/// How far a reader looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reach {
    /// At shared documents and those of the handle's own node.
    #[default]
    Here,
    /// At every node's documents.
    Everywhere,
}

/// A value that at most one document of the store holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UniqueKey {
    /// What the value is unique *as*, across all kinds: `route.name` where only routes compete, `host` where
    /// several kinds do.
    pub field: String,
    /// The value.
    pub value: String,
}

/// That one document needs another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Reference {
    /// The field that refers, for messages.
    pub field: String,
    /// The kind of the document referred to.
    pub kind: String,
    /// Its scope.
    pub scope: String,
    /// Its name.
    pub name: String,
    /// What becomes of the referring document when the other one goes.
    pub on_delete: OnDelete,
}

impl Reference {
    /// The identity of the document referred to.
    #[must_use]
    pub fn target(&self) -> Identity {
        Identity::new(&self.kind, &self.scope, &self.name)
    }
}

/// What the deletion of a document does to one that refers to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDelete {
    /// The deletion is refused.
    Restrict,
    /// The referring document is deleted as well.
    Cascade,
}

/// A document as it stands after the transaction of its `generation`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// What it is called.
    pub identity: Identity,
    /// Which document it is: a UUIDv7, another one after deletion and re-creation.
    pub uid: Uuid,
    /// The generation that last wrote it.
    pub generation: u64,
    /// The generation that created it.
    pub created_generation: u64,
    /// When it was created, in milliseconds since 1970.
    pub created_at: i64,
    /// When it was last written, in milliseconds since 1970.
    pub updated_at: i64,
    /// For whom it is meant.
    pub placement: Placement,
    /// By what it can be found.
    pub tags: BTreeSet<String>,
    /// What no other document may hold.
    pub unique: BTreeSet<UniqueKey>,
    /// Which documents it needs.
    pub references: BTreeSet<Reference>,
    /// Who set each leaf of the body, by JSON pointer. Objects are descended into; an array, and an empty
    /// object, is a leaf.
    pub owners: BTreeMap<String, String>,
    /// What it says.
    pub body: Value,
}

impl Document {
    /// The write that would leave this document as it is, provided nobody else writes it first: the start of
    /// an edit.
    #[must_use]
    pub fn to_put(&self) -> Put {
        let Identity { kind, scope, name } = self.identity.clone();
        Put {
            kind,
            scope,
            name,
            body: self.body.clone(),
            placement: self.placement.clone(),
            tags: self.tags.clone(),
            unique: self.unique.clone(),
            references: self.references.clone(),
            expect: Expect::Generation(self.generation),
        }
    }
}

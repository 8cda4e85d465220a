//! What an acknowledgement is worth: kill -9, the order of system calls, and a full disk.
//!
//! The tests run this very binary again as a *child*, which opens the store that the environment names and
//! writes to it; in an ordinary run the child's test finds nothing in the environment and returns at once.

#![cfg(test)]

#[path = "durability/child.rs"]
mod child;
#[path = "durability/full_disk.rs"]
mod full_disk;
#[path = "durability/killed.rs"]
mod killed;
#[path = "durability/synced.rs"]
mod synced;

use std::path::Path;

use hythe_ports::documents::{CommitError, Committed, Documents, Identity, NodeId, Put, Transaction, Write};
use hythe_store::{Config, Store};

fn open(directory: &Path) -> Store {
    hythe_store::open(Config::new(directory, NodeId("one".to_owned()))).unwrap()
}

fn put(name: &str, body: impl Into<serde_json::Value>) -> Write {
    Put::new(Identity::new("thing", "", name), body.into()).into()
}

async fn commit(store: &Store, write: Write) -> Result<Committed, CommitError> {
    let (actor, owner, reason) = ("alice".to_owned(), "cli".to_owned(), "a test".to_owned());
    store
        .commit(Transaction {
            actor,
            owner,
            reason,
            writes: vec![write],
        })
        .await
}

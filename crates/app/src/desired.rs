//! The store's documents as the typed desired state that subsystems read.
//!
//! Lists every document once, then follows the changes. A document that cannot be read is left as it was
//! and named in the log: one bad document must not stop the others. Only of what runs every document has to be readable
//! at the start, as the instances of one that is left out would be ended.

use std::sync::Arc;
use std::time::Duration;

use hythe_model::desired::{AppliedManifest, DocumentChange, UnreadableDocument};
use hythe_model::{
    CaCertificate, Certificate, Consumer, Desired, Kind, Listener, Plugin, Route, Service, Target, Upstream,
    Workload,
};
use hythe_ports::documents::{Change, ChangesError, Document, Documents, Op, Query, Reach, ReadError};
use hythe_spine::{Latest, Publisher, Shutdown, Spine, latest};

/// Changes taken in at a time.
const BATCH: usize = 1_000;
/// Time to the next try when the store does not answer.
const RETRY: Duration = Duration::from_millis(500);

const KINDS: [&str; 11] = [
    Workload::KIND,
    Service::KIND,
    Route::KIND,
    Upstream::KIND,
    Target::KIND,
    Consumer::KIND,
    Plugin::KIND,
    Listener::KIND,
    Certificate::KIND,
    CaCertificate::KIND,
    AppliedManifest::KIND,
];

/// Reads the desired state and keeps following it.
///
/// # Errors
/// When the first reading fails, or a workload cannot be read.
pub(crate) async fn follow(documents: Arc<dyn Documents>, spine: &Spine) -> anyhow::Result<Latest<Desired>> {
    let (first, unreadable) = list(&*documents).await?;
    if let Some(workload) = unreadable
        .into_iter()
        .find(|document| document.kind == Workload::KIND)
    {
        return Err(anyhow::Error::new(workload).context(
            "what runs is left alone: start the version that wrote this, and stop the service first",
        ));
    }
    let (publisher, desired) = latest(first);
    spine.spawn("desired state", |shutdown| {
        keep_following(documents, publisher, shutdown)
    });
    Ok(desired)
}

async fn keep_following(documents: Arc<dyn Documents>, publisher: Publisher<Desired>, shutdown: Shutdown) {
    let mut generations = documents.watch();
    let follow = async {
        loop {
            if let Err(error) = catch_up(&*documents, &publisher).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the desired state cannot be read; trying again"
                );
                tokio::time::sleep(RETRY).await;
                continue;
            }
            if generations.changed().await.is_err() {
                return;
            }
        }
    };
    shutdown.unless_requested(follow).await;
}

async fn catch_up(documents: &dyn Documents, publisher: &Publisher<Desired>) -> Result<(), ChangesError> {
    loop {
        let current = publisher.get();
        let changes = match documents
            .changes_since(current.generation, Reach::Here, BATCH)
            .await
        {
            Ok(changes) => changes,
            Err(ChangesError::TooOld { .. }) => {
                publisher.publish(list(documents).await?.0);
                continue;
            }
            Err(error) => return Err(error),
        };
        if changes.generation > current.generation {
            let mut next = Desired::clone(&current);
            for change in &changes.changes {
                take_in(&mut next, change);
            }
            next.generation = changes.generation;
            publisher.publish(next);
        }
        if !changes.more {
            return Ok(());
        }
    }
}

/// Everything there is. Pages are read from states that may differ; what changed meanwhile is caught up
/// from the first page's generation. Beside it, what cannot be read.
async fn list(documents: &dyn Documents) -> Result<(Desired, Vec<UnreadableDocument>), ReadError> {
    let mut unreadable = Vec::new();
    let mut desired = Desired {
        generation: documents.generation().await?,
        ..Desired::default()
    };
    for kind in KINDS {
        let mut query = Query::new(kind);
        loop {
            let page = documents.list(query.clone()).await?;
            for document in &page.documents {
                unreadable.extend(apply(&mut desired, document, true).err());
            }
            query.after = page.next;
            if page.next.is_none() {
                break;
            }
        }
    }
    Ok((desired, unreadable))
}

fn take_in(desired: &mut Desired, change: &Change) {
    let _ = apply(desired, &change.document, change.op != Op::Delete);
}

/// One that cannot be read is told here already.
fn apply(desired: &mut Desired, document: &Document, exists: bool) -> Result<(), UnreadableDocument> {
    let uid = document.uid.to_string();
    let change = DocumentChange {
        kind: &document.identity.kind,
        scope: &document.identity.scope,
        name: &document.identity.name,
        uid: &uid,
        generation: document.generation,
        created_at: u64::try_from(document.created_at).unwrap_or(0),
        body: exists.then_some(&document.body),
    };
    desired.apply(&change).inspect_err(|error| {
        tracing::error!(
            error = error as &dyn std::error::Error,
            "a document is left as it was"
        );
    })
}

#[cfg(test)]
mod tests {
    use hythe_ports::documents::{Identity, NodeId, Put, Transaction, Write};
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn only_a_workload_that_cannot_be_read_is_against_a_start() {
        let folder = tempfile::tempdir().unwrap();
        let node = NodeId("test".to_owned());
        let store = hythe_store::open(hythe_store::Config::new(folder.path(), node)).unwrap();
        let documents: Arc<dyn Documents> = Arc::new(store.clone());
        let spine = Spine::default();
        let write = async |kind: &str| {
            let body = json!({"of": "another version"});
            let put = Put::new(Identity::new(kind, "default", "shop"), body);
            let transaction = Transaction {
                actor: "test".to_owned(),
                owner: "test".to_owned(),
                reason: "test".to_owned(),
                writes: vec![Write::Put(put)],
            };
            store.commit(transaction).await.unwrap();
        };
        write(Route::KIND).await;
        follow(Arc::clone(&documents), &spine).await.unwrap();
        write(Workload::KIND).await;
        let error = follow(documents, &spine).await.err().unwrap();
        let told = format!("{error:#}");
        assert!(
            told.contains("what runs is left alone")
                && told.contains("workload `default.shop` cannot be read"),
            "{told}"
        );
    }
}

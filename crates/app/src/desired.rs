//! The store's documents as the typed desired state that subsystems read.
//!
//! Lists every document once, then follows the changes. A document that cannot be read is left as it was
//! and named in the log: one bad document must not stop the others.

use std::sync::Arc;
use std::time::Duration;

use hythe_model::desired::{AppliedManifest, DocumentChange};
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
/// When the first reading fails.
pub(crate) async fn follow(
    documents: Arc<dyn Documents>,
    spine: &Spine,
) -> Result<Latest<Desired>, ReadError> {
    let first = list(&*documents).await?;
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
                publisher.publish(list(documents).await?);
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
/// from the first page's generation.
async fn list(documents: &dyn Documents) -> Result<Desired, ReadError> {
    let mut desired = Desired {
        generation: documents.generation().await?,
        ..Desired::default()
    };
    for kind in KINDS {
        let mut query = Query::new(kind);
        loop {
            let page = documents.list(query.clone()).await?;
            for document in &page.documents {
                apply(&mut desired, document, true);
            }
            query.after = page.next;
            if page.next.is_none() {
                break;
            }
        }
    }
    Ok(desired)
}

fn take_in(desired: &mut Desired, change: &Change) {
    apply(desired, &change.document, change.op != Op::Delete);
}

fn apply(desired: &mut Desired, document: &Document, exists: bool) {
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
    if let Err(error) = desired.apply(&change) {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "a document is left as it was"
        );
    }
}

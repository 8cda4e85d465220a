//! What every implementation of [`Documents`] must do, as tests.
//!
//! A backend implements [`Backend`] and calls [`store_suite!`](crate::store_suite!) in a test module: each
//! case becomes a test of its own, on an empty store. The cases know only the trait; what a backend keeps on
//! disk, and how, is for its own tests.

pub mod changes;
pub mod concurrency;
pub mod constraints;
pub mod gate;
pub mod model;
pub mod reading;
pub mod writes;

use std::sync::Arc;

use hythe_ports::BoxFuture;
use hythe_ports::documents::{
    Change, CommitError, Committed, Document, Documents, Expect, Identity, Put, Query, Reach, Transaction,
    Write,
};
use serde_json::Value;

use gate::Gate;

/// What the clock of every store opened for the suite says, in milliseconds since 1970.
pub const NOW: i64 = 1_700_000_000_123;

/// A way to get stores.
pub trait Backend: Send + Sync {
    /// Opens a new, empty store whose clock stands at [`NOW`].
    fn open(&self) -> BoxFuture<'_, Opened>;
}

/// A store for one test. What it needs on disk lives as long as this does.
pub struct Opened {
    /// The store, as the node `one` sees it.
    pub documents: Arc<dyn Documents>,
    /// The same store as the node `two` sees it; `None` if a store has one node only.
    pub second_node: Option<Arc<dyn Documents>>,
    /// Where the store's commits must [`pass`](Gate::pass), each after it took its generation and before
    /// anybody can see it.
    pub gate: Arc<Gate>,
    /// Dropped last.
    pub keep: Box<dyn std::any::Any + Send + Sync>,
}

/// Makes a test of every case of the suite, against the stores of a [`Backend`].
#[macro_export]
macro_rules! store_suite {
    ($backend:expr) => {
        $crate::store_suite! { @cases $backend;
            writes::puts_and_gets,
            writes::leaves_alone_what_is_the_same,
            writes::notices_every_difference,
            writes::keeps_expectations,
            writes::is_all_or_nothing,
            writes::refuses_two_writes_of_one_document,
            writes::refuses_what_is_too_large,
            writes::gives_a_new_uid_after_deletion,
            writes::remembers_who_set_what,
            writes::returns_numbers_as_they_were,
            constraints::holds_keys_unique_across_kinds,
            constraints::exchanges_keys,
            constraints::frees_the_keys_of_what_goes,
            constraints::needs_what_is_referred_to,
            constraints::restricts,
            constraints::cascades,
            constraints::cascades_before_it_restricts,
            constraints::does_not_undo_its_own_writes,
            constraints::takes_circles,
            reading::pages,
            reading::filters,
            reading::reaches_here_or_everywhere,
            changes::tells_every_change_in_order,
            changes::never_splits_a_transaction,
            changes::says_when_it_is_too_late,
            changes::says_when_it_is_too_early,
            changes::shows_what_moves_between_nodes,
            changes::wakes_watchers,
            changes::tells_its_history,
            concurrency::lets_one_of_many_win,
            concurrency::misses_nothing_behind_a_slow_commit,
            concurrency::misses_nothing_of_many_writers,
            concurrency::pages_while_others_write,
            concurrency::claims_a_key_once,
        }
        #[test]
        fn agrees_with_the_model() {
            $crate::store_suite::model::agrees(&$backend);
        }
    };
    (@cases $backend:expr; $($module:ident :: $case:ident,)*) => {
        $(
            #[tokio::test]
            async fn $case() {
                let opened = $crate::store_suite::Backend::open(&$backend).await;
                $crate::store_suite::$module::$case(&opened).await;
            }
        )*
    };
}

fn thing(name: &str) -> Identity {
    Identity::new("thing", "", name)
}

fn put(name: &str, body: impl Into<Value>) -> Put {
    Put::new(thing(name), body.into())
}

fn expecting(expect: Expect, mut put: Put) -> Put {
    put.expect = expect;
    put
}

fn transaction(writes: impl IntoIterator<Item = impl Into<Write>>) -> Transaction {
    Transaction {
        actor: "alice".to_owned(),
        owner: "cli".to_owned(),
        reason: "a test".to_owned(),
        writes: writes.into_iter().map(Into::into).collect(),
    }
}

/// Commits what must be accepted.
async fn commit(store: &dyn Documents, writes: impl IntoIterator<Item = impl Into<Write>>) -> Committed {
    store
        .commit(transaction(writes))
        .await
        .expect("an acceptable transaction")
}

/// Commits what must be refused, and returns why.
async fn refusal(store: &dyn Documents, writes: impl IntoIterator<Item = impl Into<Write>>) -> CommitError {
    store
        .commit(transaction(writes))
        .await
        .expect_err("an unacceptable transaction")
}

async fn get(store: &dyn Documents, name: &str) -> Option<Document> {
    store.get("thing", "", name).await.expect("a readable store")
}

/// All documents of a kind, page by page.
async fn everything(store: &dyn Documents, kind: &str, page: usize) -> Vec<Document> {
    let mut query = Query {
        limit: page,
        reach: Reach::Everywhere,
        ..Query::new(kind)
    };
    let mut documents = Vec::new();
    loop {
        let page = store.list(query.clone()).await.expect("a readable store");
        documents.extend(page.documents);
        match page.next {
            Some(next) => query.after = Some(next),
            None => return documents,
        }
    }
}

async fn changes_after(store: &dyn Documents, generation: u64) -> Vec<Change> {
    let changes = store
        .changes_since(generation, Reach::Everywhere, usize::MAX)
        .await;
    changes.expect("changes that are not too old").changes
}

/// Changes as text: `generation op name` each.
fn told(changes: &[Change]) -> Vec<String> {
    let tell = |change: &Change| {
        format!(
            "{} {:?} {}",
            change.generation, change.op, change.document.identity.name
        )
    };
    changes.iter().map(tell).collect()
}

fn names(documents: &[Document]) -> Vec<&str> {
    documents
        .iter()
        .map(|document| document.identity.name.as_str())
        .collect()
}

//! Many at once: races for a document, watchers behind writers, pages among writes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hythe_ports::documents::{
    Change, CommitError, Document, Documents, Expect, Op, Query, Reach, UniqueKey, Write,
};
use serde_json::json;
use tokio::task::JoinSet;

use super::{Opened, changes_after, commit, everything, expecting, get, names, put, told, transaction};

/// The handles there are, in turn.
fn handles(opened: &Opened) -> impl Iterator<Item = Arc<dyn Documents>> {
    let second = opened.second_node.as_ref().unwrap_or(&opened.documents);
    [Arc::clone(&opened.documents), Arc::clone(second)]
        .into_iter()
        .cycle()
}

/// Of all that build on the same generation one wins, and the others learn what they missed.
pub async fn lets_one_of_many_win(opened: &Opened) {
    const WRITERS: usize = 16;
    let store = &*opened.documents;
    let mut current = commit(store, [put("counter", 0)]).await.generation;
    for round in 1..=10 {
        let mut racing = JoinSet::new();
        for (writer, handle) in (0..WRITERS).zip(handles(opened)) {
            let body = json!({"round": round, "writer": writer});
            let write = expecting(Expect::Generation(current), put("counter", body));
            racing.spawn(async move { handle.commit(transaction([write])).await });
        }
        let (mut won, mut lost) = (Vec::new(), Vec::new());
        for result in racing.join_all().await {
            match result {
                Ok(committed) => won.push(committed.generation),
                Err(CommitError::Conflict { actual, .. }) => lost.push(actual),
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(won, [current + 1], "round {round}");
        assert_eq!(lost, [Some(current + 1); WRITERS - 1], "round {round}");
        current = won[0];
    }
}

/// A commit that is slow to appear has a lower number than one that overtakes it only if nobody can see the
/// higher one first.
pub async fn misses_nothing_behind_a_slow_commit(opened: &Opened) {
    let store = &*opened.documents;
    let mut both = handles(opened);
    let mut write = |name: &'static str| {
        let handle = both.next().expect("handles without end");
        tokio::spawn(async move { handle.commit(transaction([put(name, 0)])).await })
    };
    commit(store, [put("first", 0)]).await;
    let mut follower = Follower::new(&opened.documents, 1);
    let held = opened.gate.close();
    let slow = write("slow");
    held.reached().await;
    let quick = write("quick");
    // As often as it takes a backend that lets the second overtake to show it.
    for _ in 0..200 {
        follower.follow().await;
        if quick.is_finished() {
            break;
        }
    }
    drop(held);
    for writer in [slow, quick] {
        writer.await.expect("no panic").expect("acceptable");
    }
    follower.follow_to(3).await;
    let seen: BTreeSet<_> = follower
        .seen
        .iter()
        .map(|change| &change.document.identity.name)
        .collect();
    assert_eq!(seen.len(), 2, "{:?}", told(&follower.seen));
    assert_eq!(follower.seen, changes_after(store, 1).await);
}

/// Whoever follows the changes sees every one of them once and in order, however many write meanwhile.
pub async fn misses_nothing_of_many_writers(opened: &Opened) {
    const WRITERS: usize = 24;
    const WRITES: u64 = 20;
    let mut followers = JoinSet::new();
    for handle in handles(opened).take(4) {
        followers.spawn(async move {
            let mut follower = Follower::new(&handle, 0);
            follower.follow_to(WRITERS as u64 * WRITES).await;
            follower.seen
        });
    }
    let mut writers = JoinSet::new();
    for (writer, handle) in (0..WRITERS).zip(handles(opened)) {
        writers.spawn(async move {
            let mut acknowledged = Vec::new();
            for body in 0..WRITES {
                // Two documents of its own, one of them new each time, and one that all write.
                let fresh = format!("{writer}-{body}");
                let all = put("everybody", format!("{writer} {body}"));
                let writes = [put(&writer.to_string(), body), put(&fresh, body), all];
                acknowledged.push((commit(&*handle, writes).await.generation, fresh));
            }
            acknowledged
        });
    }
    let acknowledged: BTreeMap<_, _> = writers.join_all().await.into_iter().flatten().collect();
    assert_eq!(
        acknowledged.len() as u64,
        WRITERS as u64 * WRITES,
        "a generation was given twice"
    );
    for seen in followers.join_all().await {
        assert_eq!(seen.len(), 3 * acknowledged.len());
        assert!(seen.is_sorted_by_key(|change| change.generation));
        let created = |change: &&Change| change.document.identity.name.contains('-');
        let created = seen.iter().filter(created).map(|change| {
            assert_eq!(change.op, Op::Create);
            (change.generation, change.document.identity.name.clone())
        });
        assert_eq!(created.collect::<BTreeMap<_, _>>(), acknowledged);
    }
}

/// Documents that are there from the first page to the last are listed once, and list and changes together
/// miss nothing.
pub async fn pages_while_others_write(opened: &Opened) {
    let store = &*opened.documents;
    let steady: Vec<_> = (0..60).map(|number| format!("steady-{number:02}")).collect();
    for name in &steady {
        commit(store, [put(name, 0), put(&format!("passing-{name}"), 0)]).await;
    }
    let handle = handles(opened).nth(1).expect("handles without end");
    let busy = tokio::spawn({
        let steady = steady.clone();
        async move {
            for name in &steady {
                let doomed = super::thing(&format!("passing-{name}"));
                let writes = [
                    put(name, 1).into(),
                    Write::delete(doomed),
                    put(&format!("new-{name}"), 0).into(),
                ];
                commit(&*handle, writes).await;
            }
        }
    });
    let mut known: BTreeMap<String, Document> = BTreeMap::new();
    let mut query = Query {
        limit: 7,
        ..Query::new("thing")
    };
    let mut from = None;
    let mut listed = Vec::new();
    loop {
        let page = store.list(query.clone()).await.expect("open");
        from.get_or_insert(page.generation);
        listed.extend(page.documents);
        match page.next {
            Some(next) => query.after = Some(next),
            None => break,
        }
    }
    let found: Vec<_> = names(&listed)
        .into_iter()
        .filter(|name| name.starts_with("steady"))
        .collect();
    assert_eq!(found, steady);
    busy.await.expect("no panic");
    known.extend(
        listed
            .into_iter()
            .map(|document| (document.identity.name.clone(), document)),
    );
    for change in changes_after(store, from.expect("a page")).await {
        let name = change.document.identity.name.clone();
        match change.op {
            Op::Delete => known.remove(&name),
            Op::Create | Op::Update => known.insert(name, change.document),
        };
    }
    let mut actual = everything(store, "thing", 1_000).await;
    actual.sort_by(|a, b| a.identity.cmp(&b.identity));
    assert_eq!(known.into_values().collect::<Vec<_>>(), actual);
}

/// Of all that claim a key one gets it, and all others are told who.
pub async fn claims_a_key_once(opened: &Opened) {
    const CLAIMANTS: usize = 16;
    let mut racing = JoinSet::new();
    for (claimant, handle) in (0..CLAIMANTS).zip(handles(opened)) {
        let mut write = put(&claimant.to_string(), 0);
        write.unique.insert(UniqueKey {
            field: "host".to_owned(),
            value: "x".to_owned(),
        });
        racing.spawn(async move { handle.commit(transaction([write])).await });
    }
    let (mut won, mut lost) = (Vec::new(), BTreeSet::new());
    for result in racing.join_all().await {
        match result {
            Ok(committed) => won.extend(committed.documents.into_iter().flatten()),
            Err(CommitError::NotUnique { existing, .. }) => {
                lost.insert(*existing);
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(won.len(), 1);
    assert_eq!(lost, BTreeSet::from([won[0].identity.clone()]));
    assert!(get(&*opened.documents, &won[0].identity.name).await.is_some());
}

/// A reader that follows as a reconciler would, and keeps what it saw.
struct Follower {
    store: Arc<dyn Documents>,
    generation: u64,
    seen: Vec<Change>,
}

impl Follower {
    fn new(store: &Arc<dyn Documents>, generation: u64) -> Self {
        Self {
            store: Arc::clone(store),
            generation,
            seen: Vec::new(),
        }
    }

    /// Takes in what there is.
    async fn follow(&mut self) {
        loop {
            let answer = self
                .store
                .changes_since(self.generation, Reach::Everywhere, 10)
                .await;
            let answer = answer.expect("recent changes");
            assert!(
                answer
                    .changes
                    .iter()
                    .all(|change| change.generation > self.generation)
            );
            self.seen.extend(answer.changes);
            self.generation = answer.generation;
            if !answer.more {
                return;
            }
        }
    }

    /// Follows, waiting as often as necessary, until it has come to a generation.
    async fn follow_to(&mut self, generation: u64) {
        let mut watched = self.store.watch();
        loop {
            watched.borrow_and_update();
            self.follow().await;
            if self.generation >= generation {
                return;
            }
            watched.changed().await.expect("an open store");
        }
    }
}

//! Following a store: changes, their limits, watchers and the history.

use hythe_ports::documents::{
    ChangesError, HistoryFilter, NodeId, Placement, Put, Reach, Transaction, Write,
};
use serde_json::json;

use super::{NOW, Opened, changes_after, commit, get, put, thing, told, transaction};

/// Every change once, in order, a deletion with what it deleted.
pub async fn tells_every_change_in_order(opened: &Opened) {
    let store = &*opened.documents;
    commit(store, [put("a", 1), put("b", 1)]).await;
    commit(store, [put("a", 2)]).await;
    commit(store, [Write::delete(thing("b")), put("c", 1).into()]).await;
    let changes = changes_after(store, 0).await;
    assert_eq!(
        told(&changes),
        [
            "1 Create a",
            "1 Create b",
            "2 Update a",
            "3 Delete b",
            "3 Create c"
        ]
    );
    assert_eq!(Some(&changes[2].document), get(store, "a").await.as_ref());
    assert_eq!(
        (&changes[3].document.body, changes[3].document.generation),
        (&json!(1), 1)
    );
    assert_eq!(told(&changes_after(store, 2).await), ["3 Delete b", "3 Create c"]);
    assert_eq!(changes_after(store, 3).await, []);
}

/// A limit ends between transactions, and the answer says where to go on.
pub async fn never_splits_a_transaction(opened: &Opened) {
    let store = &*opened.documents;
    commit(store, [put("a", 1)]).await;
    commit(store, [put("b", 1), put("c", 1), put("d", 1)]).await;
    commit(store, [put("e", 1)]).await;
    let rows = [
        (0, 0, 1, true, 1),
        (0, 1, 1, true, 1),
        (0, 2, 4, true, 2),
        (0, 4, 4, true, 2),
        (0, 5, 5, false, 3),
        (0, usize::MAX, 5, false, 3),
        (1, 1, 3, true, 2),
        (2, 1, 1, false, 3),
        (3, 1, 0, false, 3),
    ];
    for (since, limit, count, more, generation) in rows {
        let answer = store
            .changes_since(since, Reach::Here, limit)
            .await
            .expect("recent");
        let found = (answer.changes.len(), answer.more, answer.generation);
        assert_eq!(found, (count, more, generation), "since {since}, limit {limit}");
    }
}

/// What is forgotten is not passed over in silence; what is kept can still be followed.
pub async fn says_when_it_is_too_late(opened: &Opened) {
    let store = &*opened.documents;
    for body in 1..=10 {
        commit(store, [put("a", body)]).await;
    }
    store.compact(4).await.expect("an open store");
    for since in [0, 5] {
        let answer = store.changes_since(since, Reach::Here, 100).await;
        assert!(
            matches!(
                answer,
                Err(ChangesError::TooOld {
                    oldest: 6,
                    generation: 10
                })
            ),
            "{answer:?}"
        );
    }
    assert_eq!(changes_after(store, 6).await.len(), 4);
    assert_eq!(
        store
            .history(100, HistoryFilter::default())
            .await
            .expect("open")
            .len(),
        4
    );
    assert_eq!(
        get(store, "a").await.map(|document| document.body),
        Some(json!(10))
    );
    store.compact(100).await.expect("an open store");
    assert_eq!(changes_after(store, 6).await.len(), 4);
    store.compact(0).await.expect("an open store");
    assert_eq!(changes_after(store, 10).await, []);
    assert_eq!(commit(store, [put("a", 0)]).await.generation, 11);
    assert_eq!(changes_after(store, 10).await.len(), 1);
}

/// A reader that has seen more than there is has seen another store.
pub async fn says_when_it_is_too_early(opened: &Opened) {
    let store = &*opened.documents;
    commit(store, [put("a", 1)]).await;
    for since in [2, u64::MAX] {
        let answer = store.changes_since(since, Reach::Here, 100).await;
        assert!(
            matches!(answer, Err(ChangesError::Ahead { generation: 1 })),
            "{answer:?}"
        );
    }
}

/// For a node, a document that is placed elsewhere is gone, and one that is placed here is new.
pub async fn shows_what_moves_between_nodes(opened: &Opened) {
    let store = &*opened.documents;
    let placed = |body: i32, placement: Placement| Put {
        placement,
        ..put("a", body)
    };
    let local = |node: &str| Placement::Local(NodeId(node.to_owned()));
    for (body, placement) in [
        (1, local("two")),
        (2, local("two")),
        (3, local("one")),
        (4, Placement::Shared),
        (5, local("two")),
        (6, Placement::Shared),
    ] {
        commit(store, [placed(body, placement)]).await;
    }
    commit(store, [placed(7, local("two"))]).await;
    commit(store, [Write::delete(thing("a"))]).await;
    let answer = store.changes_since(0, Reach::Here, 100).await.expect("recent");
    assert_eq!(
        told(&answer.changes),
        [
            "3 Create a",
            "4 Update a",
            "5 Delete a",
            "6 Create a",
            "7 Delete a"
        ]
    );
    assert_eq!(answer.generation, 8);
    let all = "1 Create a,2 Update a,3 Update a,4 Update a,5 Update a,6 Update a,7 Update a,8 Delete a";
    assert_eq!(told(&changes_after(store, 0).await).join(","), all);
    if let Some(second) = opened.second_node.as_deref() {
        let answer = second.changes_since(0, Reach::Here, 100).await.expect("recent");
        let expected =
            "1 Create a,2 Update a,3 Delete a,4 Create a,5 Update a,6 Update a,7 Update a,8 Delete a";
        assert_eq!(told(&answer.changes).join(","), expected);
    }
}

/// A watcher wakes for a commit and for nothing else.
pub async fn wakes_watchers(opened: &Opened) {
    let store = &*opened.documents;
    commit(store, [put("a", 1)]).await;
    let reader = opened.second_node.as_deref().unwrap_or(store);
    let mut watched = reader.watch();
    commit(store, [put("a", 1)]).await;
    commit(store, [put("a", 2)]).await;
    assert_eq!(
        *watched
            .wait_for(|generation| *generation >= 2)
            .await
            .expect("open"),
        2
    );
    commit(store, [put("a", 3)]).await;
    watched.changed().await.expect("open");
    assert_eq!(*watched.borrow_and_update(), 3);
    assert_eq!(changes_after(reader, 2).await.len(), 1);
}

/// Who did what, when and why, newest first.
pub async fn tells_its_history(opened: &Opened) {
    let store = &*opened.documents;
    let by = |actor: &str, reason: &str, writes: Vec<Write>| Transaction {
        actor: actor.to_owned(),
        reason: reason.to_owned(),
        ..transaction(writes)
    };
    for (actor, reason, writes) in [
        ("alice", "first", vec![put("a", 1).into(), put("b", 1).into()]),
        ("bob", "more", vec![put("a", 2).into()]),
        ("alice", "enough", vec![Write::delete(thing("b"))]),
    ] {
        store.commit(by(actor, reason, writes)).await.expect("acceptable");
    }
    let told = async |limit, filter| {
        let entries = store.history(limit, filter).await.expect("open");
        let lines = entries.iter().map(|entry| {
            let changes: Vec<_> = entry
                .changes
                .iter()
                .map(|change| format!("{:?} {}", change.op, change.identity))
                .collect();
            assert_eq!((entry.at, entry.owner.as_str()), (NOW, "cli"));
            format!(
                "{} {} {}: {}",
                entry.generation,
                entry.actor,
                entry.reason,
                changes.join(", ")
            )
        });
        lines.collect::<Vec<_>>()
    };
    let one = "1 alice first: Create thing `a`, Create thing `b`";
    let two = "2 bob more: Update thing `a`";
    let three = "3 alice enough: Delete thing `b`";
    let some = |text: &str| Some(text.to_owned());
    let any = HistoryFilter::default;
    let rows = [
        (100, any(), vec![three, two, one]),
        (2, any(), vec![three, two]),
        (
            100,
            HistoryFilter {
                before: Some(3),
                ..any()
            },
            vec![two, one],
        ),
        (
            100,
            HistoryFilter {
                actor: some("alice"),
                ..any()
            },
            vec![three, one],
        ),
        (
            100,
            HistoryFilter {
                name: some("a"),
                ..any()
            },
            vec![two, one],
        ),
        (
            100,
            HistoryFilter {
                kind: some("thing"),
                name: some("b"),
                ..any()
            },
            vec![three, one],
        ),
        (
            100,
            HistoryFilter {
                kind: some("none"),
                ..any()
            },
            vec![],
        ),
        (
            100,
            HistoryFilter {
                scope: some("none"),
                ..any()
            },
            vec![],
        ),
    ];
    for (limit, filter, expected) in rows {
        assert_eq!(told(limit, filter.clone()).await, expected, "{filter:?}");
    }
}

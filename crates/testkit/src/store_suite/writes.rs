//! One transaction at a time: what a put, a delete and an expectation mean.

use std::collections::BTreeSet;

use hythe_ports::documents::{
    CommitError, Expect, Identity, MAX_DOCUMENT_BYTES, NodeId, OnDelete, Placement, Put, Reference,
    Transaction, UniqueKey, Write,
};
use serde_json::json;

use super::{NOW, Opened, changes_after, commit, expecting, get, put, refusal, thing, transaction};

/// A document comes back whole, by name and by uid, and says when and by what it was written.
pub async fn puts_and_gets(opened: &Opened) {
    let store = &*opened.documents;
    assert_eq!(store.generation().await.expect("open"), 0);
    let first = commit(store, [put("a", json!({"port": 80}))]).await;
    assert_eq!((first.generation, first.changed), (1, true));
    let created = get(store, "a").await.expect("a document");
    assert_eq!(first.documents, [Some(created.clone())]);
    assert_eq!(created.identity, thing("a"));
    assert_eq!(created.body, json!({"port": 80}));
    assert_eq!((created.generation, created.created_generation), (1, 1));
    assert_eq!((created.created_at, created.updated_at), (NOW, NOW));
    assert_eq!(created.uid.get_version_num(), 7);
    assert_eq!(
        store.get_by_uid(created.uid).await.expect("open"),
        Some(created.clone())
    );

    commit(store, [put("b", 1)]).await;
    commit(store, [put("a", json!({"port": 81}))]).await;
    let updated = get(store, "a").await.expect("a document");
    assert_eq!(
        (updated.generation, updated.created_generation, updated.uid),
        (3, 1, created.uid)
    );

    let deleted = commit(store, [Write::delete(thing("a"))]).await;
    assert_eq!((deleted.generation, deleted.documents), (4, vec![Some(updated)]));
    assert_eq!(get(store, "a").await, None);
    assert_eq!(store.get_by_uid(created.uid).await.expect("open"), None);
    assert_eq!(store.generation().await.expect("open"), 4);
}

/// What is already so is not written: no generation, no history, no new owner.
pub async fn leaves_alone_what_is_the_same(opened: &Opened) {
    let store = &*opened.documents;
    commit(store, [put("a", 1), put("b", 1)]).await;
    let same = Transaction {
        owner: "another".to_owned(),
        ..transaction([Write::Put(put("a", 1)), Write::delete(thing("none"))])
    };
    let unchanged = store.commit(same).await.expect("acceptable");
    assert_eq!((unchanged.generation, unchanged.changed), (1, false));
    assert_eq!(unchanged.documents, [get(store, "a").await, None]);
    assert_eq!(
        store.history(10, Default::default()).await.expect("open").len(),
        1
    );

    let partly = commit(store, [put("a", 1), put("b", 2)]).await;
    assert_eq!((partly.generation, partly.changed), (2, true));
    let generation = |index: usize| {
        partly.documents[index]
            .as_ref()
            .map(|document| document.generation)
    };
    assert_eq!((generation(0), generation(1)), (Some(1), Some(2)));
    assert_eq!(changes_after(store, 1).await.len(), 1);
    let nothing = commit(store, Vec::<Write>::new()).await;
    assert_eq!((nothing.generation, nothing.changed), (2, false));
}

/// Everything about a document counts, not only its body; and what is taken away is away.
pub async fn notices_every_difference(opened: &Opened) {
    let store = &*opened.documents;
    let plain = put("a", 1);
    commit(store, [plain.clone(), put("target", 1)]).await;
    let tagged = Put {
        tags: BTreeSet::from(["t".to_owned()]),
        ..plain.clone()
    };
    let key = UniqueKey {
        field: "host".to_owned(),
        value: "a.example".to_owned(),
    };
    let unique = Put {
        unique: BTreeSet::from([key]),
        ..plain.clone()
    };
    let placed = Put {
        placement: Placement::Local(NodeId("one".to_owned())),
        ..plain.clone()
    };
    let reference = Reference {
        field: "to".to_owned(),
        kind: "thing".to_owned(),
        scope: String::new(),
        name: "target".to_owned(),
        on_delete: OnDelete::Restrict,
    };
    let referring = Put {
        references: BTreeSet::from([reference]),
        ..plain.clone()
    };
    for (step, version) in [tagged, unique, placed, referring, plain].into_iter().enumerate() {
        let committed = commit(store, [version.clone()]).await;
        assert_eq!(committed.generation, 2 + step as u64, "{version:?}");
        let kept = get(store, "a").await.expect("a document").to_put();
        assert_eq!(kept, expecting(Expect::Generation(committed.generation), version));
    }
    commit(store, [Write::delete(thing("target"))]).await;
}

/// An expectation that fails refuses the transaction and says what was found.
pub async fn keeps_expectations(opened: &Opened) {
    let store = &*opened.documents;
    commit(store, [put("old", 0)]).await;
    commit(store, [put("a", 0)]).await;
    let rows = [
        ("a", Expect::Any, None),
        ("a", Expect::Present, None),
        ("a", Expect::Generation(2), None),
        ("a", Expect::Absent, Some(Some(2))),
        ("a", Expect::Generation(1), Some(Some(2))),
        ("a", Expect::Generation(3), Some(Some(2))),
        ("new", Expect::Any, None),
        ("new", Expect::Absent, None),
        ("new", Expect::Present, Some(None)),
        ("new", Expect::Generation(0), Some(None)),
    ];
    for (name, expect, conflict) in rows {
        // A body that is there already, and a deletion of nothing, are no writes; they are expectations all
        // the same.
        for body in [0, 1] {
            // What is acceptable must not happen either, so a second write spoils the transaction.
            let spoiler = expecting(Expect::Absent, put("old", 1));
            let write = expecting(expect, put(name, body));
            let refused = refusal(store, [write, spoiler]).await;
            assert_conflict(&refused, name, expect, conflict);
        }
        let Identity {
            kind,
            scope,
            name: deleted,
        } = thing(name);
        let write = Write::Delete {
            kind,
            scope,
            name: deleted,
            expect,
        };
        let refused = refusal(store, [write, expecting(Expect::Absent, put("old", 1)).into()]).await;
        assert_conflict(&refused, name, expect, conflict);
    }
    assert_eq!(store.generation().await.expect("open"), 2);
}

fn assert_conflict(refused: &CommitError, name: &str, expect: Expect, conflict: Option<Option<u64>>) {
    let (name, expect, found) = match conflict {
        Some(found) => (name, expect, found),
        None => ("old", Expect::Absent, Some(1)),
    };
    match refused {
        CommitError::Conflict {
            document,
            expected,
            actual,
        } => {
            assert_eq!((&**document, *expected, *actual), (&thing(name), expect, found));
        }
        other => panic!("{name} {expect}: {other}"),
    }
}

/// A refused transaction leaves no trace, whatever came before the refusal.
pub async fn is_all_or_nothing(opened: &Opened) {
    let store = &*opened.documents;
    commit(store, [put("a", 1), put("b", 1)]).await;
    let watched = store.watch();
    let writes = [
        Write::Put(put("a", 2)),
        Write::delete(thing("b")),
        Write::Put(put("c", 1)),
        Write::Put(expecting(Expect::Absent, put("d", 1))),
        Write::Put(expecting(Expect::Present, put("e", 1))),
    ];
    refusal(store, writes).await;
    assert_eq!(
        get(store, "a").await.map(|document| document.body),
        Some(json!(1))
    );
    assert!(get(store, "b").await.is_some());
    assert_eq!(get(store, "c").await, None);
    assert_eq!(changes_after(store, 1).await, []);
    assert_eq!(*watched.borrow(), 1);
    assert_eq!(commit(store, [put("c", 1)]).await.generation, 2);
}

/// One document, one write: there is no order of writes to think about.
pub async fn refuses_two_writes_of_one_document(opened: &Opened) {
    let store = &*opened.documents;
    let refused = refusal(store, [Write::Put(put("a", 1)), Write::delete(thing("a"))]).await;
    assert!(matches!(refused, CommitError::Repeated { document } if *document == thing("a")));
}

/// A document has a bound, and one below it is accepted.
pub async fn refuses_what_is_too_large(opened: &Opened) {
    let store = &*opened.documents;
    let refused = refusal(store, [put("a", "x".repeat(MAX_DOCUMENT_BYTES))]).await;
    assert!(matches!(refused, CommitError::TooLarge { bytes, .. } if bytes > MAX_DOCUMENT_BYTES));
    let large = "x".repeat(MAX_DOCUMENT_BYTES - 4096);
    commit(store, [put("a", large.clone())]).await;
    assert_eq!(
        get(store, "a").await.map(|document| document.body),
        Some(json!(large))
    );
}

/// The same name is another document after it was gone.
pub async fn gives_a_new_uid_after_deletion(opened: &Opened) {
    let store = &*opened.documents;
    commit(store, [put("a", 1)]).await;
    let first = get(store, "a").await.expect("a document");
    commit(store, [Write::delete(thing("a"))]).await;
    commit(store, [put("a", 1)]).await;
    let second = get(store, "a").await.expect("a document");
    assert_ne!(first.uid, second.uid);
    assert_eq!(second.created_generation, 3);
}

/// A field belongs to whoever changed it last; what a writer repeats stays with the one who set it.
pub async fn remembers_who_set_what(opened: &Opened) {
    let store = &*opened.documents;
    let rows = [
        (
            "file",
            json!({"image": "a:1", "scale": 1, "env": {"A": "1"}}),
            "/env/A=file /image=file /scale=file",
        ),
        (
            "cli",
            json!({"image": "a:1", "scale": 4, "env": {"A": "1"}}),
            "/env/A=file /image=file /scale=cli",
        ),
        (
            "file",
            json!({"image": "a:2", "scale": 4, "env": {"B": "1"}}),
            "/env/B=file /image=file /scale=cli",
        ),
        (
            "auto",
            json!({"image": "a:2", "scale": 4, "env": {"B": "1"}}),
            "/env/B=file /image=file /scale=cli",
        ),
    ];
    for (owner, body, expected) in rows {
        let write = Transaction {
            owner: owner.to_owned(),
            ..transaction([put("a", body)])
        };
        store.commit(write).await.expect("acceptable");
        let owners = get(store, "a").await.expect("a document").owners;
        let shown: Vec<_> = owners
            .iter()
            .map(|(field, owner)| format!("{field}={owner}"))
            .collect();
        assert_eq!(shown.join(" "), expected);
    }
}

/// A document that is read and put back unchanged is unchanged, to the last bit of a number.
pub async fn returns_numbers_as_they_were(opened: &Opened) {
    let store = &*opened.documents;
    let body = json!({
        "floats": [0.1, 1e-7, 1.797_693_134_862_315_7e308, 5e-324, 2.225_073_858_507_201e-308, 122.416_294_033_786_58],
        "integers": [u64::MAX, i64::MIN, 0],
        "text": "\u{0}\u{1f600}\u{fffd} \"\\/",
        "nothing": null,
    });
    commit(store, [put("a", body.clone())]).await;
    let kept = get(store, "a").await.expect("a document");
    assert_eq!(kept.body, body);
    assert!(!commit(store, [kept.to_put()]).await.changed);
}

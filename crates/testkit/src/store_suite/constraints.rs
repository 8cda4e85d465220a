//! Unique keys and references: what documents are to one another.

use std::collections::BTreeSet;

use hythe_ports::documents::{CommitError, Document, Identity, OnDelete, Put, Reference, UniqueKey, Write};

use super::{Opened, commit, get, names, put, refusal, thing};

use OnDelete::{Cascade, Restrict};

fn with_key(mut put: Put, value: &str) -> Put {
    put.unique.insert(UniqueKey {
        field: "host".to_owned(),
        value: value.to_owned(),
    });
    put
}

fn referring(name: &str, to: &[(&str, OnDelete)]) -> Put {
    let references = to.iter().map(|(target, on_delete)| Reference {
        field: format!("to-{target}"),
        kind: "thing".to_owned(),
        scope: String::new(),
        name: (*target).to_owned(),
        on_delete: *on_delete,
    });
    Put {
        references: references.collect(),
        ..put(name, 0)
    }
}

fn gone(documents: &[Document]) -> BTreeSet<&str> {
    names(documents).into_iter().collect()
}

/// A key competes with every document that has the same field, of whatever kind, and with nothing else.
pub async fn holds_keys_unique_across_kinds(opened: &Opened) {
    let store = &*opened.documents;
    commit(store, [with_key(put("a", 0), "x"), with_key(put("b", 0), "y")]).await;
    let other_kind = with_key(Put::new(Identity::new("other", "s", "c"), 0.into()), "x");
    match refusal(store, [other_kind]).await {
        CommitError::NotUnique {
            document,
            field,
            value,
            existing,
        } => {
            assert_eq!((field.as_str(), value.as_str()), ("host", "x"));
            assert_eq!(
                (*document, *existing),
                (Identity::new("other", "s", "c"), thing("a"))
            );
        }
        other => panic!("{other}"),
    }
    let mut other_field = put("c", 0);
    other_field.unique.insert(UniqueKey {
        field: "path".to_owned(),
        value: "x".to_owned(),
    });
    commit(store, [other_field]).await;
    let both = refusal(store, [with_key(put("d", 0), "z"), with_key(put("e", 0), "z")]).await;
    assert!(matches!(both, CommitError::NotUnique { .. }), "{both}");
    // Keeping one's own key is no conflict with oneself.
    commit(store, [with_key(put("a", 1), "x")]).await;
    commit(store, [with_key(with_key(put("a", 1), "x"), "z")]).await;
}

/// Keys are judged by the state after the transaction.
pub async fn exchanges_keys(opened: &Opened) {
    let store = &*opened.documents;
    commit(store, [with_key(put("a", 0), "x"), with_key(put("b", 0), "y")]).await;
    commit(store, [with_key(put("a", 0), "y"), with_key(put("b", 0), "x")]).await;
    let taken = refusal(store, [with_key(put("c", 0), "x")]).await;
    assert!(matches!(taken, CommitError::NotUnique { existing, .. } if *existing == thing("b")));
}

/// A key is free once its document gives it up or goes, by itself or in a cascade.
pub async fn frees_the_keys_of_what_goes(opened: &Opened) {
    let store = &*opened.documents;
    commit(
        store,
        [
            with_key(put("a", 0), "x"),
            with_key(put("b", 0), "y"),
            put("parent", 0),
        ],
    )
    .await;
    commit(store, [put("a", 0), with_key(put("new", 0), "x")]).await;
    commit(
        store,
        [Write::delete(thing("b")), with_key(put("newer", 0), "y").into()],
    )
    .await;
    commit(store, [with_key(referring("child", &[("parent", Cascade)]), "z")]).await;
    commit(
        store,
        [
            Write::delete(thing("parent")),
            with_key(put("newest", 0), "z").into(),
        ],
    )
    .await;
}

/// A reference needs its target, which may come in the same transaction.
pub async fn needs_what_is_referred_to(opened: &Opened) {
    let store = &*opened.documents;
    match refusal(store, [referring("a", &[("b", Restrict)])]).await {
        CommitError::ReferenceMissing {
            document,
            field,
            target,
        } => {
            assert_eq!(
                (*document, field.as_str(), *target),
                (thing("a"), "to-b", thing("b"))
            );
        }
        other => panic!("{other}"),
    }
    commit(store, [referring("a", &[("b", Restrict)]), put("b", 0)]).await;
    let missing = refusal(
        store,
        [
            Write::delete(thing("b")),
            referring("c", &[("b", Cascade)]).into(),
        ],
    )
    .await;
    assert!(matches!(
        missing,
        CommitError::ReferenceMissing { .. } | CommitError::StillReferenced { .. }
    ));
}

/// What is needed stays, until nobody needs it.
pub async fn restricts(opened: &Opened) {
    let store = &*opened.documents;
    commit(store, [put("b", 0), referring("a", &[("b", Restrict)])]).await;
    match refusal(store, [Write::delete(thing("b"))]).await {
        CommitError::StillReferenced { document, by, field } => {
            assert_eq!((*document, *by, field.as_str()), (thing("b"), thing("a"), "to-b"));
        }
        other => panic!("{other}"),
    }
    commit(store, [Write::delete(thing("b")), Write::delete(thing("a"))]).await;
    commit(store, [put("b", 0), referring("a", &[("b", Restrict)])]).await;
    commit(store, [Write::delete(thing("b")), put("a", 0).into()]).await;
    assert!(get(store, "a").await.is_some());
}

/// What needs it goes with it, and what needs that.
pub async fn cascades(opened: &Opened) {
    let store = &*opened.documents;
    let writes = [
        put("root", 0),
        referring("branch", &[("root", Cascade)]),
        referring("leaf", &[("branch", Cascade)]),
        referring("twice", &[("branch", Cascade), ("root", Cascade)]),
        put("apart", 0),
    ];
    commit(store, writes).await;
    let committed = commit(store, [Write::delete(thing("root"))]).await;
    assert_eq!(
        gone(&committed.cascaded),
        BTreeSet::from(["branch", "leaf", "twice"])
    );
    for name in ["root", "branch", "leaf", "twice"] {
        assert_eq!(get(store, name).await, None);
    }
    assert!(get(store, "apart").await.is_some());
    let history = store.history(1, Default::default()).await.expect("open");
    assert_eq!(history[0].changes.len(), 4);
}

/// What goes anyway holds nothing back; what stays does, wherever in the cascade it is.
pub async fn cascades_before_it_restricts(opened: &Opened) {
    let store = &*opened.documents;
    let writes = [
        put("root", 0),
        referring("branch", &[("root", Cascade)]),
        referring("both", &[("root", Restrict), ("branch", Cascade)]),
    ];
    commit(store, writes.clone()).await;
    commit(store, [Write::delete(thing("root"))]).await;
    assert_eq!(get(store, "both").await, None);

    commit(store, writes).await;
    commit(store, [referring("holder", &[("branch", Restrict)])]).await;
    let held = refusal(store, [Write::delete(thing("root"))]).await;
    assert!(matches!(held, CommitError::StillReferenced { by, .. } if *by == thing("holder")));
    assert!(get(store, "both").await.is_some());
}

/// A transaction does not put a document and cascade it away at the same time.
pub async fn does_not_undo_its_own_writes(opened: &Opened) {
    let store = &*opened.documents;
    commit(store, [put("root", 0), referring("branch", &[("root", Cascade)])]).await;
    for leaf in [
        referring("leaf", &[("branch", Cascade)]),
        referring("branch", &[("root", Cascade)]),
    ] {
        let refused = refusal(store, [Write::Put(leaf), Write::delete(thing("root"))]).await;
        assert!(
            matches!(refused, CommitError::ReferenceMissing { .. }),
            "{refused}"
        );
    }
    assert!(get(store, "branch").await.is_some());
}

/// Documents may need each other, or themselves.
pub async fn takes_circles(opened: &Opened) {
    let store = &*opened.documents;
    commit(
        store,
        [
            referring("a", &[("b", Cascade)]),
            referring("b", &[("a", Cascade)]),
        ],
    )
    .await;
    commit(store, [referring("self", &[("self", Restrict)])]).await;
    let committed = commit(store, [Write::delete(thing("a"))]).await;
    assert_eq!(gone(&committed.cascaded), BTreeSet::from(["b"]));
    commit(store, [Write::delete(thing("self"))]).await;
}

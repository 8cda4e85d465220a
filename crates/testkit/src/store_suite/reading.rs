//! Lists: pages, filters and reach.

use std::collections::BTreeSet;

use hythe_ports::documents::{Documents, Identity, NodeId, Placement, Put, Query, Reach, TagFilter};

use super::{Opened, commit, names, put};

async fn listed(store: &dyn Documents, query: Query) -> Vec<String> {
    let page = store.list(query).await.expect("a readable store");
    names(&page.documents).into_iter().map(str::to_owned).collect()
}

/// Pages are in the order of uids, end where there is nothing more, and say from which state they come.
pub async fn pages(opened: &Opened) {
    let store = &*opened.documents;
    let empty = store.list(Query::new("thing")).await.expect("open");
    assert_eq!(
        (empty.documents.len(), empty.next, empty.generation),
        (0, None, 0)
    );
    for name in ["a", "b", "c", "d", "e"] {
        commit(store, [put(name, 0)]).await;
    }
    for (limit, sizes) in [
        (0, vec![1; 5]),
        (2, vec![2, 2, 1]),
        (5, vec![5]),
        (usize::MAX, vec![5]),
    ] {
        let mut query = Query {
            limit,
            ..Query::new("thing")
        };
        let (mut seen, mut found) = (Vec::new(), Vec::new());
        loop {
            let page = store.list(query.clone()).await.expect("open");
            assert_eq!(page.generation, 5);
            found.push(page.documents.len());
            seen.extend(page.documents);
            match page.next {
                Some(next) => query.after = Some(next),
                None => break,
            }
        }
        assert_eq!(found, sizes, "limit {limit}");
        assert_eq!(names(&seen), ["a", "b", "c", "d", "e"]);
        assert!(seen.is_sorted_by_key(|document| document.uid));
    }
}

/// Kind, scope and tags narrow a list.
pub async fn filters(opened: &Opened) {
    let store = &*opened.documents;
    let tagged = |kind: &str, scope: &str, name: &str, tags: &[&str]| Put {
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..Put::new(Identity::new(kind, scope, name), 0.into())
    };
    let writes = [
        tagged("thing", "p", "1", &["x"]),
        tagged("thing", "p", "2", &["x", "y"]),
        tagged("thing", "q", "3", &["y"]),
        tagged("thing", "q", "4", &[]),
        tagged("other", "p", "5", &["x"]),
    ];
    commit(store, writes).await;
    let set = |tags: &[&str]| tags.iter().map(|tag| (*tag).to_owned()).collect::<BTreeSet<_>>();
    let rows = [
        ("thing", None, TagFilter::default(), "1 2 3 4"),
        ("other", None, TagFilter::default(), "5"),
        ("none", None, TagFilter::default(), ""),
        ("thing", Some("p"), TagFilter::default(), "1 2"),
        ("thing", Some("none"), TagFilter::default(), ""),
        ("thing", None, TagFilter::All(set(&["x"])), "1 2"),
        ("thing", None, TagFilter::All(set(&["x", "y"])), "2"),
        ("thing", None, TagFilter::All(set(&["x", "none"])), ""),
        ("thing", None, TagFilter::Any(set(&["x", "y"])), "1 2 3"),
        ("thing", Some("q"), TagFilter::Any(set(&["x", "y", "none"])), "3"),
        ("thing", None, TagFilter::Any(set(&[])), ""),
    ];
    for (kind, scope, tags, expected) in rows {
        let label = format!("{kind} {scope:?} {tags:?}");
        let query = Query {
            scope: scope.map(str::to_owned),
            tags,
            ..Query::new(kind)
        };
        assert_eq!(listed(store, query).await.join(" "), expected, "{label}");
    }
    commit(store, [tagged("thing", "p", "1", &["z"])]).await;
    let query = Query {
        tags: TagFilter::All(set(&["x"])),
        ..Query::new("thing")
    };
    assert_eq!(listed(store, query).await, ["2"]);
}

/// A node lists what is shared and what is its own, unless it asks for more.
pub async fn reaches_here_or_everywhere(opened: &Opened) {
    let store = &*opened.documents;
    let placed = |name: &str, node: &str| Put {
        placement: Placement::Local(NodeId(node.to_owned())),
        ..put(name, 0)
    };
    commit(
        store,
        [put("shared", 0), placed("mine", "one"), placed("theirs", "two")],
    )
    .await;
    assert_eq!(store.node(), &NodeId("one".to_owned()));
    let here = Query::new("thing");
    let everywhere = Query {
        reach: Reach::Everywhere,
        ..here.clone()
    };
    assert_eq!(listed(store, here.clone()).await, ["shared", "mine"]);
    assert_eq!(
        listed(store, everywhere.clone()).await,
        ["shared", "mine", "theirs"]
    );
    if let Some(second) = opened.second_node.as_deref() {
        assert_eq!(second.node(), &NodeId("two".to_owned()));
        assert_eq!(listed(second, here).await, ["shared", "theirs"]);
        assert_eq!(listed(second, everywhere).await, ["shared", "mine", "theirs"]);
    }
}

//! Random transactions, against a model of a few lines that keeps everything in one map.

use std::collections::{BTreeMap, BTreeSet};

use hythe_ports::documents::{
    Change, CommitError, Documents, Expect, Identity, OnDelete, Op, Put, Reach, Reference, UniqueKey, Write,
};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};

use super::{Backend, changes_after, everything, transaction};

/// Checks that a backend and the model come to the same end, whatever is written.
pub fn agrees(backend: &dyn Backend) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime for the test");
    // The failing case is in the message; a file of old failures would be written beside this crate, not the
    // backend's.
    let config = Config {
        cases: 48,
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&vec(vec(write(), 1..4), 1..24), |transactions| {
        runtime.block_on(async {
            let opened = backend.open().await;
            compare(&*opened.documents, transactions).await
        })
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

async fn compare(store: &dyn Documents, transactions: Vec<Vec<Write>>) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    for writes in transactions {
        let expected = model.commit(&writes);
        let actual = store.commit(transaction(writes)).await;
        match (&expected, &actual) {
            (Ok(()), Ok(committed)) => prop_assert_eq!(committed.generation, model.generation),
            (Err(Refusal::Repeated), Err(CommitError::Repeated { .. }))
            | (Err(Refusal::Conflict), Err(CommitError::Conflict { .. })) => {}
            // A transaction may break several rules; which one is named is the backend's choice.
            (Err(Refusal::Broken), Err(error)) => prop_assert!(
                matches!(
                    error,
                    CommitError::NotUnique { .. }
                        | CommitError::ReferenceMissing { .. }
                        | CommitError::StillReferenced { .. }
                ),
                "{error}"
            ),
            _ => prop_assert!(false, "expected {expected:?}, got {actual:?}"),
        }
        prop_assert_eq!(state(store).await, model.state.clone());
    }
    prop_assert_eq!(replay(&changes_after(store, 0).await), model.state);
    prop_assert_eq!(store.generation().await.ok(), Some(model.generation));
    let here = store.changes_since(0, Reach::Here, 1).await;
    prop_assert!(here.is_ok_and(|changes| changes.generation <= model.generation));
    Ok(())
}

/// Documents as puts, each with the generation that wrote it.
type State = BTreeMap<Identity, (u64, Put)>;

async fn state(store: &dyn Documents) -> State {
    let mut state = State::new();
    for kind in KINDS {
        for document in everything(store, kind, 2).await {
            let put = Put {
                expect: Expect::Any,
                ..document.to_put()
            };
            state.insert(document.identity, (document.generation, put));
        }
    }
    state
}

fn replay(changes: &[Change]) -> State {
    let mut state = State::new();
    for Change { op, document, .. } in changes {
        let put = Put {
            expect: Expect::Any,
            ..document.to_put()
        };
        let known = match op {
            Op::Delete => state.remove(&document.identity),
            Op::Create | Op::Update => state.insert(document.identity.clone(), (document.generation, put)),
        };
        assert_eq!(known.is_none(), *op == Op::Create, "{op:?} {}", document.identity);
    }
    state
}

#[derive(Debug)]
enum Refusal {
    Repeated,
    Conflict,
    Broken,
}

#[derive(Default)]
struct Model {
    generation: u64,
    state: State,
}

impl Model {
    fn commit(&mut self, writes: &[Write]) -> Result<(), Refusal> {
        let named: BTreeSet<_> = writes.iter().map(Write::identity).collect();
        if named.len() < writes.len() {
            return Err(Refusal::Repeated);
        }
        if !writes.iter().all(|write| self.meets(write)) {
            return Err(Refusal::Conflict);
        }
        let mut next = self.state.clone();
        for write in writes {
            match write {
                Write::Delete { .. } => drop(next.remove(&write.identity())),
                Write::Put(put) => {
                    let put = Put {
                        expect: Expect::Any,
                        ..put.clone()
                    };
                    let known = next.entry(write.identity()).or_insert((0, put.clone()));
                    if known.0 == 0 || known.1 != put {
                        *known = (self.generation + 1, put);
                    }
                }
            }
        }
        let puts: BTreeSet<_> = named
            .into_iter()
            .filter(|identity| next.contains_key(identity))
            .collect();
        cascade(&mut next, &puts);
        if !holds_together(&next) {
            return Err(Refusal::Broken);
        }
        self.generation += u64::from(next != self.state);
        self.state = next;
        Ok(())
    }

    fn meets(&self, write: &Write) -> bool {
        let actual = self
            .state
            .get(&write.identity())
            .map(|(generation, _)| *generation);
        match write.expect() {
            Expect::Any => true,
            Expect::Absent => actual.is_none(),
            Expect::Present => actual.is_some(),
            Expect::Generation(generation) => actual == Some(generation),
        }
    }
}

/// Removes what needs something that is not there and is content to go with it, until there is no more such
/// thing.
fn cascade(state: &mut State, puts: &BTreeSet<Identity>) {
    loop {
        let lost = |reference: &Reference| {
            reference.on_delete == OnDelete::Cascade && !state.contains_key(&reference.target())
        };
        let goes = |(identity, (_, put)): &(&Identity, &(u64, Put))| {
            !puts.contains(identity) && put.references.iter().any(lost)
        };
        match state.iter().find(goes).map(|(identity, _)| identity.clone()) {
            Some(identity) => state.remove(&identity),
            None => return,
        };
    }
}

/// Whether no key is held twice and no reference is without its target.
fn holds_together(state: &State) -> bool {
    let mut held = BTreeSet::new();
    state.values().all(|(_, put)| {
        put.unique.iter().all(|key| held.insert(key))
            && put
                .references
                .iter()
                .all(|reference| state.contains_key(&reference.target()))
    })
}

const KINDS: [&str; 2] = ["even", "odd"];

fn identity() -> impl Strategy<Value = Identity> {
    let kind = select(KINDS.to_vec());
    (kind, select(vec!["a", "b", "c"])).prop_map(|(kind, name)| Identity::new(kind, "p", name))
}

fn write() -> impl Strategy<Value = Write> {
    prop_oneof![
        4 => put().prop_map(Write::Put),
        1 => (identity(), expect()).prop_map(|(Identity { kind, scope, name }, expect)| {
            Write::Delete { kind, scope, name, expect }
        }),
    ]
}

fn put() -> impl Strategy<Value = Put> {
    let tags = btree_set(select(vec!["t", "u"]).prop_map(str::to_owned), 0..2);
    (
        identity(),
        0..3i32,
        tags,
        btree_set(key(), 0..2),
        btree_set(reference(), 0..2),
        expect(),
    )
        .prop_map(|(identity, body, tags, unique, references, expect)| Put {
            tags,
            unique,
            references,
            expect,
            ..Put::new(identity, body.into())
        })
}

fn key() -> impl Strategy<Value = UniqueKey> {
    (select(vec!["host", "path"]), select(vec!["x", "y", "z"])).prop_map(|(field, value)| UniqueKey {
        field: field.to_owned(),
        value: value.to_owned(),
    })
}

fn reference() -> impl Strategy<Value = Reference> {
    (identity(), select(vec![OnDelete::Restrict, OnDelete::Cascade])).prop_map(
        |(Identity { kind, scope, name }, on_delete)| Reference {
            field: "to".to_owned(),
            kind,
            scope,
            name,
            on_delete,
        },
    )
}

fn expect() -> impl Strategy<Value = Expect> {
    prop_oneof![
        8 => Just(Expect::Any),
        1 => Just(Expect::Absent),
        1 => Just(Expect::Present),
        1 => (0..8u64).prop_map(Expect::Generation),
    ]
}

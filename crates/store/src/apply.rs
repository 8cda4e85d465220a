//! One transaction, inside a database transaction that somebody else begins and ends.
//!
//! First everything is compared with the state before: expectations that fail refuse the transaction, writes
//! that change nothing are set aside, and if none is left no generation is spent. Then the writes happen, and
//! only then the keys and references are judged, by the state that results; so two documents can exchange a
//! key, and a document can go together with all that need it.
//!
//! A cascade is followed to its end before anything can restrict it: what goes anyway does not hold anything
//! back.

use std::collections::BTreeSet;

use hythe_ports::documents::{
    CommitError, Committed, Document, Expect, Identity, MAX_DOCUMENT_BYTES, OnDelete, Op, Placement, Put,
    Transaction, Write,
};
use rusqlite::Connection;
use uuid::{ContextV7, Timestamp, Uuid};

use crate::Clock;
use crate::fault::Failure;
use crate::{ownership, rows};

/// Where times and uids come from.
pub(crate) struct Stamp {
    clock: Clock,
    /// Keeps uids ascending within a millisecond.
    order: ContextV7,
}

impl Stamp {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            order: ContextV7::new(),
        }
    }

    fn uid(&self, at: i64) -> Uuid {
        let at = u64::try_from(at).unwrap_or(0);
        let nanoseconds = u32::try_from(at % 1_000).unwrap_or(0) * 1_000_000;
        Uuid::new_v7(Timestamp::from_unix(&self.order, at / 1_000, nanoseconds))
    }
}

/// Applies a transaction. After a failure the caller rolls back.
pub(crate) fn apply(
    connection: &Connection,
    stamp: &Stamp,
    transaction: &Transaction,
) -> Result<Committed, Failure> {
    refuse_repeated(&transaction.writes)?;
    let steps: Vec<Step<'_>> = transaction
        .writes
        .iter()
        .map(|write| Step::plan(connection, write))
        .collect::<Result<_, _>>()?;
    if steps.iter().all(|step| !step.changes) {
        return Ok(Committed {
            generation: rows::counter(connection)?.generation,
            changed: false,
            documents: steps.into_iter().map(|step| step.before).collect(),
            cascaded: Vec::new(),
        });
    }
    Run::begin(connection, stamp, transaction)?.finish(steps)
}

fn refuse_repeated(writes: &[Write]) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    for write in writes {
        if !seen.insert(write.identity()) {
            return Err(Failure::Refused(CommitError::Repeated {
                document: write.identity().into(),
            }));
        }
    }
    Ok(())
}

/// A write, and what it meets.
struct Step<'t> {
    write: &'t Write,
    before: Option<Document>,
    changes: bool,
}

impl<'t> Step<'t> {
    fn plan(connection: &Connection, write: &'t Write) -> Result<Self, Failure> {
        let identity = write.identity();
        let before = rows::by_identity(connection, &identity)?;
        let actual = before.as_ref().map(|document| document.generation);
        let expected = write.expect();
        if !meets(expected, actual) {
            return Err(Failure::Refused(CommitError::Conflict {
                document: identity.into(),
                expected,
                actual,
            }));
        }
        let changes = match (write, &before) {
            (Write::Put(put), Some(document)) => differs(put, document),
            (Write::Put(_), None) | (Write::Delete { .. }, Some(_)) => true,
            (Write::Delete { .. }, None) => false,
        };
        Ok(Self {
            write,
            before,
            changes,
        })
    }
}

fn meets(expected: Expect, actual: Option<u64>) -> bool {
    match expected {
        Expect::Any => true,
        Expect::Absent => actual.is_none(),
        Expect::Present => actual.is_some(),
        Expect::Generation(generation) => actual == Some(generation),
    }
}

fn differs(put: &Put, document: &Document) -> bool {
    put.body != document.body
        || put.placement != document.placement
        || put.tags != document.tags
        || put.unique != document.unique
        || put.references != document.references
}

/// A transaction that has its generation.
struct Run<'a> {
    connection: &'a Connection,
    stamp: &'a Stamp,
    owner: &'a str,
    generation: u64,
    at: i64,
    /// How many changes are logged.
    logged: usize,
}

impl<'a> Run<'a> {
    fn begin(
        connection: &'a Connection,
        stamp: &'a Stamp,
        transaction: &'a Transaction,
    ) -> Result<Self, Failure> {
        let generation = rows::next_generation(connection)?;
        let at = (stamp.clock)();
        rows::log_transaction(connection, generation, at, transaction)?;
        Ok(Self {
            connection,
            stamp,
            owner: &transaction.owner,
            generation,
            at,
            logged: 0,
        })
    }

    fn finish(mut self, steps: Vec<Step<'_>>) -> Result<Committed, Failure> {
        let mut documents = Vec::with_capacity(steps.len());
        let (mut named, mut gone, mut written) = (BTreeSet::new(), Vec::new(), Vec::new());
        for Step {
            write,
            before,
            changes,
        } in steps
        {
            let after = match write {
                Write::Put(put) => {
                    named.insert(write.identity());
                    if changes {
                        written.push(documents.len());
                        Some(self.put(before.as_ref(), put)?)
                    } else {
                        before
                    }
                }
                Write::Delete { .. } => {
                    if let Some(document) = &before {
                        self.delete(document)?;
                        gone.push(document.identity.clone());
                    }
                    before
                }
            };
            documents.push(after);
        }
        let cascaded = self.cascade(gone, &named)?;
        for document in written.into_iter().filter_map(|index| documents[index].as_ref()) {
            self.judge(document)?;
        }
        Ok(Committed {
            generation: self.generation,
            changed: true,
            documents,
            cascaded,
        })
    }

    fn put(&mut self, before: Option<&Document>, put: &Put) -> Result<Document, Failure> {
        let body = before.map(|document| (&document.body, &document.owners));
        let owners = ownership::carry(body, &put.body, self.owner);
        let document = Document {
            identity: Identity::new(&put.kind, &put.scope, &put.name),
            uid: before
                .as_ref()
                .map_or_else(|| self.stamp.uid(self.at), |document| document.uid),
            generation: self.generation,
            created_generation: before
                .as_ref()
                .map_or(self.generation, |document| document.created_generation),
            created_at: before.map_or(self.at, |document| document.created_at),
            updated_at: self.at,
            placement: put.placement.clone(),
            tags: put.tags.clone(),
            unique: put.unique.clone(),
            references: put.references.clone(),
            owners,
            body: put.body.clone(),
        };
        let text = rows::encode(&document)?;
        if text.len() > MAX_DOCUMENT_BYTES {
            let (document, bytes) = (document.identity.into(), text.len());
            return Err(Failure::Refused(CommitError::TooLarge { document, bytes }));
        }
        rows::write(self.connection, before, &document, &text)?;
        if before
            .as_ref()
            .is_some_and(|before| before.unique != document.unique)
        {
            rows::release(self.connection, document.uid)?;
        }
        let op = if before.is_some() { Op::Update } else { Op::Create };
        let placed = before
            .as_ref()
            .map_or(&document.placement, |before| &before.placement);
        self.log(op, placed, &document, &text)?;
        Ok(document)
    }

    fn delete(&mut self, document: &Document) -> Result<(), Failure> {
        rows::delete(self.connection, document)?;
        self.log(
            Op::Delete,
            &document.placement,
            document,
            &rows::encode(document)?,
        )
    }

    /// Deletes what needs what is gone, and refuses if anything is left that does.
    fn cascade(
        &mut self,
        mut gone: Vec<Identity>,
        named: &BTreeSet<Identity>,
    ) -> Result<Vec<Document>, Failure> {
        let mut cascaded = Vec::new();
        let mut next = 0;
        while let Some(target) = gone.get(next).cloned() {
            for by in rows::referrers(self.connection, &target)? {
                // What this very transaction wants to be there is not silently deleted again.
                if by.on_delete == OnDelete::Restrict || named.contains(&by.identity) {
                    continue;
                }
                // It may refer twice, and be gone the second time.
                if let Some(document) = rows::by_identity(self.connection, &by.identity)? {
                    self.delete(&document)?;
                    gone.push(by.identity);
                    cascaded.push(document);
                }
            }
            next += 1;
        }
        for target in gone {
            if let Some(by) = rows::referrers(self.connection, &target)?.into_iter().next() {
                return Err(Failure::Refused(held_back(by, target, named)));
            }
        }
        Ok(cascaded)
    }

    /// Claims a written document's keys, and looks whether what it refers to exists.
    fn judge(&self, document: &Document) -> Result<(), Failure> {
        self.claim(document)?;
        for reference in &document.references {
            let target = reference.target();
            if !rows::exists(self.connection, &target)? {
                return Err(Failure::Refused(CommitError::ReferenceMissing {
                    document: document.identity.clone().into(),
                    field: reference.field.clone(),
                    target: target.into(),
                }));
            }
        }
        Ok(())
    }

    fn claim(&self, document: &Document) -> Result<(), Failure> {
        for key in &document.unique {
            match rows::claim(self.connection, document.uid, key)? {
                Some(existing) if existing != document.identity => {
                    return Err(Failure::Refused(CommitError::NotUnique {
                        document: document.identity.clone().into(),
                        field: key.field.clone(),
                        value: key.value.clone(),
                        existing: existing.into(),
                    }));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn log(&mut self, op: Op, before: &Placement, document: &Document, text: &str) -> Result<(), Failure> {
        let place = (self.generation, self.logged);
        rows::log_change(self.connection, place, op, before, document, text)?;
        self.logged += 1;
        Ok(())
    }
}

/// Why `by` does not let `target` go: as a document that this transaction names, or as one that it does not
/// know of.
fn held_back(by: rows::Referrer, target: Identity, named: &BTreeSet<Identity>) -> CommitError {
    let named = named.contains(&by.identity);
    let (target, by, field) = (target.into(), by.identity.into(), by.field);
    if named {
        CommitError::ReferenceMissing {
            document: by,
            field,
            target,
        }
    } else {
        CommitError::StillReferenced {
            document: target,
            by,
            field,
        }
    }
}

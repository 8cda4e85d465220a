//! Documents as rows: the statements that read and write one document, its keys and its references.

use std::collections::BTreeSet;

use hythe_ports::documents::{
    Document, Identity, NodeId, OnDelete, Op, Placement, Reference, Transaction, UniqueKey,
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

use crate::fault::Fault;

/// The store's generation and the last one that is forgotten.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counter {
    pub(crate) generation: u64,
    pub(crate) forgotten: u64,
}

pub(crate) fn counter(connection: &Connection) -> Result<Counter, Fault> {
    let mut statement = connection.prepare_cached("SELECT generation, forgotten FROM counter")?;
    let read = |row: &Row<'_>| {
        Ok(Counter {
            generation: row.get(0)?,
            forgotten: row.get(1)?,
        })
    };
    Ok(statement.query_row([], read)?)
}

/// Takes the next generation.
pub(crate) fn next_generation(connection: &Connection) -> Result<u64, Fault> {
    let mut statement =
        connection.prepare_cached("UPDATE counter SET generation = generation + 1 RETURNING generation")?;
    Ok(statement.query_row([], |row| row.get(0))?)
}

/// Forgets what happened up to and including `generation`.
pub(crate) fn forget(connection: &Connection, generation: u64) -> Result<(), Fault> {
    connection
        .prepare_cached("DELETE FROM transactions WHERE generation <= ?")?
        .execute([generation])?;
    connection
        .prepare_cached("UPDATE counter SET forgotten = max(forgotten, ?)")?
        .execute([generation])?;
    Ok(())
}

/// Reads a `document` column.
pub(crate) fn decode(text: &str) -> Result<Document, Fault> {
    Ok(serde_json::from_str(text)?)
}

/// What [`decode`] reads. A document has nothing that JSON cannot say.
pub(crate) fn encode(document: &Document) -> Result<String, Fault> {
    Ok(serde_json::to_string(document)?)
}

pub(crate) fn by_identity(connection: &Connection, identity: &Identity) -> Result<Option<Document>, Fault> {
    let Identity { kind, scope, name } = identity;
    connection
        .prepare_cached("SELECT document FROM documents WHERE kind = ? AND scope = ? AND name = ?")?
        .query_row([kind, scope, name], |row| row.get::<_, String>(0))
        .optional()?
        .map(|text| decode(&text))
        .transpose()
}

pub(crate) fn by_uid(connection: &Connection, uid: Uuid) -> Result<Option<Document>, Fault> {
    connection
        .prepare_cached("SELECT document FROM documents WHERE uid = ?")?
        .query_row([uid.as_bytes()], |row| row.get::<_, String>(0))
        .optional()?
        .map(|text| decode(&text))
        .transpose()
}

pub(crate) fn exists(connection: &Connection, identity: &Identity) -> Result<bool, Fault> {
    let Identity { kind, scope, name } = identity;
    Ok(connection
        .prepare_cached("SELECT 1 FROM documents WHERE kind = ? AND scope = ? AND name = ?")?
        .exists([kind, scope, name])?)
}

/// Writes a document whose JSON is `text`, without its unique keys: see [`claim`].
pub(crate) fn write(
    connection: &Connection,
    before: Option<&Document>,
    document: &Document,
    text: &str,
) -> Result<(), Fault> {
    let Identity { kind, scope, name } = &document.identity;
    let node = node_of(&document.placement);
    match before {
        Some(_) => connection
            .prepare_cached("UPDATE documents SET node = ?, document = ? WHERE uid = ?")?
            .execute(params![node, text, document.uid.as_bytes()])?,
        None => connection
            .prepare_cached(
                "INSERT INTO documents (uid, kind, scope, name, node, document) VALUES (?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![document.uid.as_bytes(), kind, scope, name, node, text])?,
    };
    let none = (BTreeSet::new(), BTreeSet::new());
    let (tags, references) = before.map_or((&none.0, &none.1), |before| (&before.tags, &before.references));
    if *tags != document.tags {
        write_tags(connection, document)?;
    }
    if *references != document.references {
        write_references(connection, document)?;
    }
    Ok(())
}

fn write_tags(connection: &Connection, document: &Document) -> Result<(), Fault> {
    let uid = document.uid.as_bytes();
    connection
        .prepare_cached("DELETE FROM tags WHERE uid = ?")?
        .execute([uid])?;
    let mut insert = connection.prepare_cached("INSERT INTO tags (tag, uid) VALUES (?, ?)")?;
    for tag in &document.tags {
        insert.execute(params![tag, uid])?;
    }
    Ok(())
}

fn write_references(connection: &Connection, document: &Document) -> Result<(), Fault> {
    let uid = document.uid.as_bytes();
    connection
        .prepare_cached("DELETE FROM document_references WHERE uid = ?")?
        .execute([uid])?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO document_references (uid, field, kind, scope, name, cascades) VALUES (?, ?, ?, ?, ?, ?)",
    )?;
    for reference in &document.references {
        let Reference {
            field,
            kind,
            scope,
            name,
            on_delete,
        } = reference;
        insert.execute(params![
            uid,
            field,
            kind,
            scope,
            name,
            *on_delete == OnDelete::Cascade
        ])?;
    }
    Ok(())
}

/// Deletes a document with its tags, keys and references.
pub(crate) fn delete(connection: &Connection, document: &Document) -> Result<(), Fault> {
    connection
        .prepare_cached("DELETE FROM documents WHERE uid = ?")?
        .execute([document.uid.as_bytes()])?;
    Ok(())
}

/// Gives up the unique keys of a document.
pub(crate) fn release(connection: &Connection, uid: Uuid) -> Result<(), Fault> {
    connection
        .prepare_cached("DELETE FROM unique_keys WHERE uid = ?")?
        .execute([uid.as_bytes()])?;
    Ok(())
}

/// Claims a unique key for a document, or names the one that has it.
pub(crate) fn claim(connection: &Connection, uid: Uuid, key: &UniqueKey) -> Result<Option<Identity>, Fault> {
    let UniqueKey { field, value } = key;
    let holder = connection
        .prepare_cached(
            "SELECT kind, scope, name FROM unique_keys JOIN documents USING (uid)
              WHERE field = ? AND value = ?",
        )?
        .query_row([field, value], identity)
        .optional()?;
    if holder.is_none() {
        connection
            .prepare_cached("INSERT INTO unique_keys (field, value, uid) VALUES (?, ?, ?)")?
            .execute(params![field, value, uid.as_bytes()])?;
    }
    Ok(holder)
}

/// A document that refers to another one.
pub(crate) struct Referrer {
    pub(crate) identity: Identity,
    pub(crate) field: String,
    pub(crate) on_delete: OnDelete,
}

/// Who refers to `target`, itself aside.
pub(crate) fn referrers(connection: &Connection, target: &Identity) -> Result<Vec<Referrer>, Fault> {
    let Identity { kind, scope, name } = target;
    let mut statement = connection.prepare_cached(
        "SELECT d.kind, d.scope, d.name, r.field, r.cascades
           FROM document_references r JOIN documents d USING (uid)
          WHERE r.kind = ? AND r.scope = ? AND r.name = ?
          ORDER BY d.uid, r.field, r.cascades",
    )?;
    let rows = statement.query_map([kind, scope, name], |row| {
        let on_delete = if row.get(4)? {
            OnDelete::Cascade
        } else {
            OnDelete::Restrict
        };
        Ok(Referrer {
            identity: identity(row)?,
            field: row.get(3)?,
            on_delete,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Adds a transaction to the history.
pub(crate) fn log_transaction(
    connection: &Connection,
    generation: u64,
    at: i64,
    transaction: &Transaction,
) -> Result<(), Fault> {
    let Transaction {
        actor, owner, reason, ..
    } = transaction;
    connection
        .prepare_cached(
            "INSERT INTO transactions (generation, at, actor, owner, reason) VALUES (?, ?, ?, ?, ?)",
        )?
        .execute(params![generation, at, actor, owner, reason])?;
    Ok(())
}

/// Adds a change to the history; `text` is the document's JSON.
pub(crate) fn log_change(
    connection: &Connection,
    (generation, ordinal): (u64, usize),
    op: Op,
    before: &Placement,
    document: &Document,
    text: &str,
) -> Result<(), Fault> {
    let Identity { kind, scope, name } = &document.identity;
    let (node, node_before) = (node_of(&document.placement), node_of(before));
    connection
        .prepare_cached(
            "INSERT INTO changes (generation, ordinal, op, kind, scope, name, node, node_before, document)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            generation,
            ordinal,
            op_to_text(op),
            kind,
            scope,
            name,
            node,
            node_before,
            text
        ])?;
    Ok(())
}

/// The identity in a row's first three columns.
pub(crate) fn identity(row: &Row<'_>) -> Result<Identity, rusqlite::Error> {
    Ok(Identity {
        kind: row.get(0)?,
        scope: row.get(1)?,
        name: row.get(2)?,
    })
}

/// A `node` column: null for everybody's.
pub(crate) fn node_of(placement: &Placement) -> Option<&str> {
    match placement {
        Placement::Shared => None,
        Placement::Local(NodeId(node)) => Some(node),
    }
}

fn op_to_text(op: Op) -> &'static str {
    match op {
        Op::Create => "create",
        Op::Update => "update",
        Op::Delete => "delete",
    }
}

/// Reads an `op` column.
pub(crate) fn op_from_text(text: &str) -> Result<Op, Fault> {
    match text {
        "create" => Ok(Op::Create),
        "update" => Ok(Op::Update),
        "delete" => Ok(Op::Delete),
        other => Err(Fault::Corrupt(format!("unknown operation `{other}`").into())),
    }
}

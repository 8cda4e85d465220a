//! The readers' questions. Each runs in one read transaction, so that an answer and its generation belong
//! together.

use hythe_ports::documents::{
    Change, Changes, Document, HistoryChange, HistoryEntry, HistoryFilter, MAX_CHANGES, MAX_PAGE, NodeId, Op,
    Page, Query, Reach, TagFilter,
};
use rusqlite::types::Value as Parameter;
use rusqlite::{Connection, Row, params, params_from_iter};

use crate::fault::Fault;
use crate::rows;

/// One page of documents.
pub(crate) fn list(connection: &Connection, node: &NodeId, query: &Query) -> Result<Page, Fault> {
    let limit = query.limit.clamp(1, MAX_PAGE);
    let snapshot = connection.unchecked_transaction()?;
    let (sql, parameters) = select(node, query, limit);
    let mut statement = snapshot.prepare_cached(&sql)?;
    let mut found = statement.query(params_from_iter(parameters))?;
    let mut documents: Vec<Document> = Vec::new();
    let mut next = None;
    while let Some(row) = found.next()? {
        if documents.len() == limit {
            next = documents.last().map(|document| document.uid);
            break;
        }
        documents.push(rows::decode(
            row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?,
        )?);
    }
    Ok(Page {
        documents,
        next,
        generation: rows::counter(&snapshot)?.generation,
    })
}

/// The statement of a list, which asks for one document more than the page holds.
fn select(node: &NodeId, query: &Query, limit: usize) -> (String, Vec<Parameter>) {
    let mut sql = "SELECT document FROM documents WHERE kind = ?".to_owned();
    let mut parameters = vec![Parameter::from(query.kind.clone())];
    let mut also = |condition: &str, parameter: Parameter| {
        sql.push_str(" AND ");
        sql.push_str(condition);
        parameters.push(parameter);
    };
    if let Some(scope) = &query.scope {
        also("scope = ?", scope.clone().into());
    }
    if let Some(after) = query.after {
        also("uid > ?", after.as_bytes().to_vec().into());
    }
    if query.reach == Reach::Here {
        also("(node IS NULL OR node = ?)", node.0.clone().into());
    }
    match &query.tags {
        TagFilter::All(tags) => {
            for tag in tags {
                also("uid IN (SELECT uid FROM tags WHERE tag = ?)", tag.clone().into());
            }
        }
        TagFilter::Any(tags) => also(
            "uid IN (SELECT uid FROM tags WHERE tag IN (SELECT value FROM json_each(?)))",
            serde_json::json!(tags).to_string().into(),
        ),
    }
    sql.push_str(" ORDER BY uid LIMIT ?");
    parameters.push(Parameter::Integer(i64::try_from(limit + 1).unwrap_or(i64::MAX)));
    (sql, parameters)
}

/// What there is to say about the changes after a generation.
pub(crate) enum Answer {
    Changes(Changes),
    TooOld { oldest: u64, generation: u64 },
    Ahead { generation: u64 },
}

/// The changes after `since`, whole generations only.
pub(crate) fn changes_since(
    connection: &Connection,
    node: &NodeId,
    since: u64,
    reach: Reach,
    limit: usize,
) -> Result<Answer, Fault> {
    let limit = limit.clamp(1, MAX_CHANGES);
    let snapshot = connection.unchecked_transaction()?;
    let rows::Counter {
        generation,
        forgotten,
    } = rows::counter(&snapshot)?;
    if since < forgotten {
        return Ok(Answer::TooOld {
            oldest: forgotten,
            generation,
        });
    }
    if since > generation {
        return Ok(Answer::Ahead { generation });
    }
    let mut statement = snapshot.prepare_cached(
        "SELECT generation, op, node, node_before, document FROM changes
          WHERE generation > ? ORDER BY generation, ordinal",
    )?;
    let mut found = statement.query([since])?;
    let (mut changes, mut seen, mut last) = (Vec::new(), 0, since);
    while let Some(row) = found.next()? {
        let of: u64 = row.get(0)?;
        if seen >= limit && of != last {
            return Ok(Answer::Changes(Changes {
                changes,
                generation: last,
                more: true,
            }));
        }
        changes.extend(change(row, of, node, reach)?);
        seen += 1;
        last = of;
    }
    Ok(Answer::Changes(Changes {
        changes,
        generation,
        more: false,
    }))
}

/// A logged change, as one sees it who looks as far as `reach`.
fn change(row: &Row<'_>, generation: u64, node: &NodeId, reach: Reach) -> Result<Option<Change>, Fault> {
    let op = rows::op_from_text(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)?;
    let here = |column| -> Result<bool, Fault> {
        let placed: Option<String> = row.get(column)?;
        Ok(reach == Reach::Everywhere || placed.is_none_or(|placed| placed == node.0))
    };
    let op = match (op, here(3)?, here(2)?) {
        (_, false, false) => return Ok(None),
        (Op::Update, false, true) => Op::Create,
        (Op::Update, true, false) => Op::Delete,
        (op, _, _) => op,
    };
    let document = rows::decode(row.get_ref(4)?.as_str().map_err(rusqlite::Error::from)?)?;
    Ok(Some(Change {
        generation,
        op,
        document,
    }))
}

/// The newest transactions that match.
pub(crate) fn history(
    connection: &Connection,
    limit: usize,
    filter: &HistoryFilter,
) -> Result<Vec<HistoryEntry>, Fault> {
    let HistoryFilter {
        actor,
        kind,
        scope,
        name,
        before,
    } = filter;
    let snapshot = connection.unchecked_transaction()?;
    let mut statement = snapshot.prepare_cached(
        "SELECT generation, at, actor, owner, reason FROM transactions t
          WHERE generation < ?1 AND (?2 IS NULL OR actor = ?2)
            AND ((?3 IS NULL AND ?4 IS NULL AND ?5 IS NULL) OR EXISTS (
                SELECT 1 FROM changes c
                 WHERE c.generation = t.generation AND (?3 IS NULL OR c.kind = ?3)
                   AND (?4 IS NULL OR c.scope = ?4) AND (?5 IS NULL OR c.name = ?5)))
          ORDER BY generation DESC LIMIT ?6",
    )?;
    let before = before.map_or(i64::MAX, |before| i64::try_from(before).unwrap_or(i64::MAX));
    let limit = limit.clamp(1, MAX_PAGE);
    let found = statement.query_map(params![before, actor, kind, scope, name, limit], |row| {
        Ok(HistoryEntry {
            generation: row.get(0)?,
            at: row.get(1)?,
            actor: row.get(2)?,
            owner: row.get(3)?,
            reason: row.get(4)?,
            changes: Vec::new(),
        })
    })?;
    let mut entries = found.collect::<Result<Vec<_>, _>>()?;
    for entry in &mut entries {
        entry.changes = changes_of(&snapshot, entry.generation)?;
    }
    Ok(entries)
}

fn changes_of(connection: &Connection, generation: u64) -> Result<Vec<HistoryChange>, Fault> {
    let mut statement = connection
        .prepare_cached("SELECT kind, scope, name, op FROM changes WHERE generation = ? ORDER BY ordinal")?;
    let mut found = statement.query([generation])?;
    let mut changes = Vec::new();
    while let Some(row) = found.next()? {
        let op = rows::op_from_text(row.get_ref(3)?.as_str().map_err(rusqlite::Error::from)?)?;
        changes.push(HistoryChange {
            identity: rows::identity(row)?,
            op,
        });
    }
    Ok(changes)
}

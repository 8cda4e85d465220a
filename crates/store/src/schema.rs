//! The database file: connections to it and the versions of its schema.
//!
//! `user_version` counts the migrations that were applied. A file that is ahead of this list belongs to a
//! newer binary and is not touched; one that is behind is copied first, then migrated in one transaction. A
//! migration, once released, never changes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::OpenError;
use crate::copy;
use crate::fault::Fault;

/// Every migration, oldest first.
pub(crate) const MIGRATIONS: &[&str] = &[include_str!("schema/0001_documents.sql")];

/// Tells our files from other SQLite files: "HYTH".
const APPLICATION_ID: i32 = 0x4859_5448;
/// How long to wait for a lock inside the database. Only a checkpoint that waits for readers ever does.
const BUSY: Duration = Duration::from_secs(5);
/// What the write-ahead log may keep of its file once its content is in the database.
const LOG_BYTES: u64 = 16 << 20;

/// The connection that writes.
pub(crate) fn writer(path: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = plain(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // The log is synced with every commit, not only before it is copied back.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
    // The writer copies the log back itself, after it has acknowledged.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "cache_size", -16_384)?;
    Ok(connection)
}

/// A connection as SQLite makes it. The file must exist; nothing is written to it yet.
pub(crate) fn plain(path: &Path) -> Result<Connection, rusqlite::Error> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
}

/// A connection that only reads.
pub(crate) fn reader(path: &Path) -> Result<Connection, rusqlite::Error> {
    // Even a reader writes the log's index, so the file is opened for writing and the statements are
    // restricted.
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

/// A connection to a file that nothing may change.
pub(crate) fn inspector(path: &Path) -> Result<Connection, rusqlite::Error> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

fn connect(path: &Path, access: OpenFlags) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Whose file this is, and of which version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Empty,
    Ours(usize),
    Foreign,
}

/// Looks at a file's header.
pub(crate) fn format(connection: &Connection) -> Result<Format, Fault> {
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let application = match number("application_id") {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => {
            return Ok(Format::Foreign);
        }
        application => application?,
    };
    let version = usize::try_from(number("user_version")?);
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(match version {
        Ok(0) if application == 0 && tables == 0 => Format::Empty,
        Ok(version @ 1..) if application == i64::from(APPLICATION_ID) => Format::Ours(version),
        _ => Format::Foreign,
    })
}

/// Brings the file at `path` to the newest version.
pub(crate) fn migrate(
    connection: &mut Connection,
    path: &Path,
    migrations: &[&str],
) -> Result<(), OpenError> {
    let at = |fault: Fault| OpenError::storage(path, fault);
    let found = match format(connection).map_err(at)? {
        Format::Empty => 0,
        Format::Ours(version) => version,
        Format::Foreign => {
            return Err(OpenError::NotAStore {
                path: path.to_owned(),
            });
        }
    };
    let known = migrations.len();
    if found > known {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found,
            known,
        });
    }
    if found > 0 && found < known {
        copy::copy_to(connection, &before_migration(path, found)).map_err(at)?;
    }
    apply(connection, migrations, found).map_err(|error| at(error.into()))
}

/// Where the copy of version `version` is kept.
pub(crate) fn before_migration(path: &Path, version: usize) -> PathBuf {
    copy::beside(path, &format!("version-{version}"))
}

fn apply(connection: &mut Connection, migrations: &[&str], found: usize) -> Result<(), rusqlite::Error> {
    if found == migrations.len() {
        return Ok(());
    }
    if found == 0 {
        // Possible before the first table only.
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    let transaction = connection.transaction()?;
    for migration in &migrations[found..] {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(
        None,
        "user_version",
        i64::try_from(migrations.len()).unwrap_or(i64::MAX),
    )?;
    transaction.commit()
}

//! Copies of the store: taken while it runs, and put back while it does not.
//!
//! A copy is one SQLite file, complete in itself. It appears under its name only when it is whole and synced.
//!
//! Putting one back never lets a generation be used twice: the store goes on after the higher of the two
//! counters with nothing to follow before that, so whoever watched the replaced store is told to list again.
//! What was there is set aside, not deleted.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use hythe_ports::documents::{Cause, MaintenanceError};
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};
use thiserror::Error;

use crate::fault::Fault;
use crate::schema::{self, Format, MIGRATIONS};
use crate::{DATABASE, OpenError, claim_directory, rows};

/// Why a copy was not put back. The store is as it was.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// The data directory cannot be had: most likely a process uses it.
    #[error(transparent)]
    Directory(#[from] OpenError),
    /// The file is no copy of a store.
    #[error("{} is not a copy of a store", path.display())]
    NotAStore {
        /// The file.
        path: PathBuf,
    },
    /// The copy comes from a newer version.
    #[error("{} has schema version {found}, this version knows {known}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema version.
        found: usize,
        /// The newest schema version known here.
        known: usize,
    },
    /// The copy is damaged.
    #[error("{} is damaged", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Cause,
    },
    /// The copy cannot be read, or the data directory not be written.
    #[error("cannot restore {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: Cause,
    },
}

/// Makes `path` a copy of what `connection` sees.
pub(crate) fn backup(connection: &Connection, path: &Path) -> Result<(), MaintenanceError> {
    match path.try_exists() {
        Ok(false) => copy_to(connection, path).map_err(MaintenanceError::from),
        Ok(true) => Err(MaintenanceError::Exists),
        Err(error) => Err(Fault::from(error).into()),
    }
}

/// Makes `path` a copy of what `connection` sees, in place of what is there.
pub(crate) fn copy_to(connection: &Connection, path: &Path) -> Result<(), Fault> {
    let partial = beside(path, "partial");
    let copied = copy_pages(connection, &partial).and_then(|()| {
        File::open(&partial)?.sync_all()?;
        fs::rename(&partial, path)?;
        Ok(sync_directory(path)?)
    });
    if copied.is_err() {
        // It may not even exist; the failure to tell is the first one.
        let _ = fs::remove_file(&partial);
    }
    copied
}

fn copy_pages(from: &Connection, path: &Path) -> Result<(), Fault> {
    create_private(path)?.set_len(0)?;
    let mut to = schema::plain(path)?;
    let pages = Backup::new(from, &mut to)?;
    // All in one step: one read transaction, which holds up no writer.
    match pages.step(-1)? {
        StepResult::Done => {}
        other => return Err(Fault::Io(format!("the copy ended early: {other:?}").into())),
    }
    drop(pages);
    // The copy has no log of its own.
    to.pragma_update(None, "journal_mode", "DELETE")?;
    Ok(())
}

/// Puts the copy at `backup` in the place of the store in `directory`, which no process may be using; the
/// directory need not exist. The copy is validated first, and an earlier store is kept beside it as
/// `store.db.replaced`.
pub fn restore(backup: &Path, directory: &Path) -> Result<(), RestoreError> {
    let failed = |fault: Fault| match fault {
        Fault::Corrupt(source) => RestoreError::Corrupt {
            path: backup.to_owned(),
            source,
        },
        Fault::Full(source) | Fault::Io(source) => RestoreError::Io {
            path: backup.to_owned(),
            source,
        },
    };
    let from = schema::inspector(backup).map_err(|error| failed(error.into()))?;
    refuse_unknown(schema::format(&from).map_err(failed)?, backup)?;
    validate(&from).map_err(failed)?;
    let _lock = claim_directory(directory)?;
    let database = directory.join(DATABASE);
    let incoming = beside(&database, "incoming");
    copy_to(&from, &incoming)
        .and_then(|()| go_on_after(&incoming, newest_generation(&database)))
        .and_then(|()| exchange(&database, &incoming))
        .map_err(failed)
}

fn refuse_unknown(format: Format, path: &Path) -> Result<(), RestoreError> {
    let path = path.to_owned();
    let known = MIGRATIONS.len();
    match format {
        Format::Ours(found) if found > known => Err(RestoreError::Newer { path, found, known }),
        Format::Ours(_) => Ok(()),
        Format::Empty | Format::Foreign => Err(RestoreError::NotAStore { path }),
    }
}

/// Checks the file as SQLite does, and that every document in it can be read.
fn validate(copy: &Connection) -> Result<(), Fault> {
    let verdict: String = copy.pragma_query_value(None, "integrity_check", |row| row.get(0))?;
    if verdict != "ok" {
        return Err(Fault::Corrupt(verdict.into()));
    }
    let mut statement = copy.prepare("SELECT document FROM documents")?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        rows::decode(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?;
    }
    Ok(())
}

/// The generation of the store that is to be replaced; 0 if it cannot be told any more.
fn newest_generation(database: &Path) -> u64 {
    let generation = |path| Ok::<_, Fault>(rows::counter(&schema::plain(path)?)?.generation);
    match database.exists() {
        true => generation(database).unwrap_or(0),
        false => 0,
    }
}

/// Sets the counter beyond both stores' generations, and forgets what led there.
fn go_on_after(incoming: &Path, replaced: u64) -> Result<(), Fault> {
    let connection = schema::plain(incoming)?;
    let sql = "UPDATE counter SET generation = max(generation, ?1) + 1, forgotten = max(generation, ?1) + 1";
    connection.execute(sql, [replaced])?;
    Ok(())
}

/// Sets the old store aside and moves the new one in. The log goes before its database does: a database that
/// met a log not its own would be damaged, whereas one without its newest log is merely older - and is about
/// to be replaced.
fn exchange(database: &Path, incoming: &Path) -> Result<(), Fault> {
    for suffix in ["wal", "shm"] {
        let mut log = database.as_os_str().to_owned();
        log.push(format!("-{suffix}"));
        let mut aside = beside(database, "replaced").into_os_string();
        aside.push(format!("-{suffix}"));
        keep_aside(Path::new(&log), Path::new(&aside))?;
    }
    sync_directory(database)?;
    keep_aside(database, &beside(database, "replaced"))?;
    fs::rename(incoming, database)?;
    Ok(sync_directory(database)?)
}

/// Moves a file that need not exist; without it, an older one in its new place goes all the same.
fn keep_aside(from: &Path, to: &Path) -> io::Result<()> {
    let ignore_missing = |result: io::Result<()>| match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    ignore_missing(fs::remove_file(to))?;
    ignore_missing(fs::rename(from, to))
}

/// Opens a file for its owner alone, creating it if necessary.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
}

/// Makes sure that a crash does not undo what happened to the file's name.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

/// The path with a suffix to its file name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

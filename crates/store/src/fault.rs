//! What can go wrong underneath, and which answer of each group of operations it becomes.
//!
//! A [`Fault`] is the storage's failure and concerns everything that was under way; a [`Failure`] is one
//! transaction's, which may also have been refused for what it says.

use hythe_ports::documents::{Cause, CommitError, MaintenanceError, ReadError};
use rusqlite::{ErrorCode, ffi};
use thiserror::Error;

/// The storage failed.
#[derive(Debug, Error)]
pub(crate) enum Fault {
    #[error("no space left")]
    Full(#[source] Cause),
    #[error("the data is damaged")]
    Corrupt(#[source] Cause),
    #[error("the data cannot be reached")]
    Io(#[source] Cause),
}

/// A transaction failed.
#[derive(Debug)]
pub(crate) enum Failure {
    Refused(CommitError),
    Fault(Fault),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        let extended = error.sqlite_error().map(|error| error.extended_code);
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full(error.into()),
            // The index of the write-ahead log is a file too, and has its own way to say that it cannot grow.
            _ if extended == Some(ffi::SQLITE_IOERR_SHMSIZE) => Self::Full(error.into()),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt(error.into()),
            _ if breaks_a_promise(&error) => Self::Corrupt(error.into()),
            _ => Self::Io(error.into()),
        }
    }
}

/// Whether a row was not what its table promises.
fn breaks_a_promise(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{
        FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, QueryReturnedNoRows, Utf8Error,
    };
    matches!(
        error,
        FromSqlConversionFailure(..)
            | IntegralValueOutOfRange(..)
            | InvalidColumnType(..)
            | QueryReturnedNoRows
            | Utf8Error(..)
    )
}

/// Only stored JSON is ever parsed here.
impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        Self::Corrupt(error.into())
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::Full(error.into()),
            _ => Self::Io(error.into()),
        }
    }
}

impl<F: Into<Fault>> From<F> for Failure {
    fn from(fault: F) -> Self {
        Self::Fault(fault.into())
    }
}

impl From<Fault> for CommitError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Full(cause) => Self::Full(cause),
            Fault::Corrupt(cause) => Self::Corrupt(cause),
            Fault::Io(cause) => Self::Io(cause),
        }
    }
}

impl From<Fault> for ReadError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Corrupt(cause) => Self::Corrupt(cause),
            Fault::Full(cause) | Fault::Io(cause) => Self::Io(cause),
        }
    }
}

impl From<Fault> for MaintenanceError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Full(cause) => Self::Full(cause),
            Fault::Corrupt(cause) => Self::Corrupt(cause),
            Fault::Io(cause) => Self::Io(cause),
        }
    }
}

//! One process per data directory: an advisory lock on a file that names its holder.
//!
//! The kernel drops the lock with the process, however it dies, so there is no stale lock to clean up; a
//! process id left in the file means nothing unless the lock is held.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Held for as long as this lives.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    file: File,
}

impl Drop for DirectoryLock {
    /// Gives the lock up by name. Closing the descriptor is not enough: the lock is kept by every copy of it, and a
    /// child has one between its fork and its exec.
    fn drop(&mut self) {
        // The kernel refuses only what is no descriptor; what it says to this one changes nothing.
        let _ = self.file.unlock();
    }
}

/// Why there is no lock.
#[derive(Debug)]
pub(crate) enum LockError {
    /// Another process holds it; its id, unless it is just about to write it down.
    Held(Option<u32>),
    Io(io::Error),
}

impl From<io::Error> for LockError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl DirectoryLock {
    /// Takes the lock of a directory, or says at once who has it.
    pub(crate) fn take(directory: &Path) -> Result<Self, LockError> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(directory.join("lock"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.take(32).read_to_string(&mut holder)?;
                return Err(LockError::Held(holder.trim().parse().ok()));
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self { file })
    }
}

#[cfg(test)]
mod tests {
    use super::{DirectoryLock, LockError};

    #[test]
    fn a_lock_given_up_is_free_whoever_has_a_copy_of_its_descriptor() {
        let directory = tempfile::tempdir().unwrap();
        let lock = DirectoryLock::take(directory.path()).unwrap();
        // As a child has it before its exec.
        let copy = lock.file.try_clone().unwrap();
        let own = std::process::id();
        assert!(
            matches!(DirectoryLock::take(directory.path()), Err(LockError::Held(pid)) if pid == Some(own))
        );
        drop(lock);
        DirectoryLock::take(directory.path()).unwrap();
        drop(copy);
    }
}

//! Instance numbers, remembered in a small file so that none comes twice.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use hythe_model::FullName;
use hythe_supervisor::IdSource;

/// The numbers used so far, by service: one JSON object, replaced as a whole.
#[derive(Debug)]
pub(crate) struct InstanceIds {
    path: PathBuf,
    used: Mutex<BTreeMap<FullName, u64>>,
}

impl InstanceIds {
    /// Reads the file. A missing one means that nothing was used yet, and an empty one that the machine crashed before the
    /// file was on its disk: then nothing runs that could have a number.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        let used = match std::fs::read(&path) {
            Ok(bytes) if bytes.is_empty() => BTreeMap::new(),
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        Ok(Self {
            path,
            used: Mutex::new(used),
        })
    }
}

impl IdSource for InstanceIds {
    fn last(&self, service: &FullName) -> u64 {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.get(service).copied().unwrap_or(0)
    }

    fn used(&self, numbers: &[(FullName, u64)]) -> io::Result<()> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.extend(numbers.iter().cloned());
        hythe_stdx::write_atomically_unsynced(&self.path, &serde_json::to_vec(&*used)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_outlive_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ids.json");
        let users: FullName = "users".parse().unwrap();
        let ids = InstanceIds::open(path.clone()).unwrap();
        assert_eq!(ids.last(&users), 0);
        ids.used(&[(users.clone(), 3), (users.clone(), 7)]).unwrap();
        assert_eq!(InstanceIds::open(path.clone()).unwrap().last(&users), 7);
        std::fs::write(&path, "").unwrap();
        assert_eq!(InstanceIds::open(path.clone()).unwrap().last(&users), 0);
        std::fs::write(&path, "{").unwrap();
        assert!(InstanceIds::open(path).is_err());
    }
}

//! Lines to a file, from threads that must not wait for a disk.
//!
//! Producers hand over whole batches through a bounded queue; one thread writes them and starts a new file
//! when the current one is full. When the disk cannot keep up, batches are refused and the producer counts
//! what it drops; nobody waits.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Where lines go.
#[derive(Debug, Clone)]
pub struct LineSinkConfig {
    /// The file; older ones get `.1`, `.2`... behind their name.
    pub path: PathBuf,
    /// Size at which a new file starts, bytes.
    pub file_bytes: u64,
    /// How many older files are kept.
    pub older_files: u32,
}

/// The producers' end. Dropping the last clone ends the writer after it has written what it has.
#[derive(Debug, Clone)]
pub struct LineSink {
    batches: SyncSender<Vec<u8>>,
}

/// With batches of up to 64 KiB this bounds what may wait in memory at 16 MiB.
const QUEUE: usize = 256;

impl LineSink {
    /// Opens the file (mode 0600) and starts the writer.
    ///
    /// # Errors
    /// When the file cannot be opened or the thread not started.
    pub fn open(config: LineSinkConfig) -> std::io::Result<Self> {
        let (batches, queue) = sync_channel(QUEUE);
        let file = open(&config.path)?;
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_all(&config, file, &queue))?;
        Ok(Self { batches })
    }

    /// Hands over whole lines. Gives them back when the writer is behind.
    ///
    /// # Errors
    /// The batch, which was not taken.
    pub fn write(&self, batch: Vec<u8>) -> Result<(), Vec<u8>> {
        self.batches.try_send(batch).map_err(|refused| match refused {
            std::sync::mpsc::TrySendError::Full(batch)
            | std::sync::mpsc::TrySendError::Disconnected(batch) => batch,
        })
    }
}

fn write_all(config: &LineSinkConfig, mut file: File, queue: &Receiver<Vec<u8>>) {
    let mut size = file.metadata().map_or(0, |metadata| metadata.size());
    let mut failing = false;
    while let Ok(batch) = queue.recv() {
        if size >= config.file_bytes
            && let Ok(next) = rotate(config)
        {
            (file, size) = (next, 0);
        }
        let written = file.write_all(&batch);
        size += batch.len() as u64;
        if let (Err(error), false) = (&written, failing) {
            tracing::error!(path = %config.path.display(), %error, "the access log cannot be written");
        }
        failing = written.is_err();
    }
}

fn rotate(config: &LineSinkConfig) -> std::io::Result<File> {
    let older = |number: u32| {
        let mut name = config.path.clone().into_os_string();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    for number in (1..config.older_files).rev() {
        let _ = std::fs::rename(older(number), older(number + 1));
    }
    if config.older_files > 0 {
        std::fs::rename(&config.path, older(1))?;
    } else {
        std::fs::remove_file(&config.path)?;
    }
    open(&config.path)
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_rotate_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let config = LineSinkConfig {
            path: path.clone(),
            file_bytes: 10,
            older_files: 2,
        };
        let (batches, queue) = sync_channel(QUEUE);
        for number in 0..5 {
            batches
                .send(format!("line number {number}\n").into_bytes())
                .unwrap();
        }
        drop(batches);
        write_all(&config, open(&path).unwrap(), &queue);
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("access.log"), "line number 4\n");
        assert_eq!(read("access.log.1"), "line number 3\n");
        assert_eq!(read("access.log.2"), "line number 2\n");
        assert!(!folder.path().join("access.log.3").exists());
    }
}

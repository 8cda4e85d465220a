//! What is done to files that nobody writes: compressing them, and deleting those that are too old.
//!
//! Compressing takes long and happens without the lock: the file is read by its own descriptor, the result waits under
//! another name, and takes the place of what it is made of only if that is still there.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hythe_spine::Spine;
use hythe_stdx::unix_ms;

use crate::backwards::Span;
use crate::hub::Hub;
use crate::{gzip, lock, numbered};

/// Time between two looks for files that are too old.
const EVERY: Duration = Duration::from_secs(60);

/// A file that is to be compressed.
#[derive(Debug)]
pub(crate) struct Compression {
    /// The written file of its log.
    pub(crate) base: PathBuf,
    pub(crate) span: Span,
    pub(crate) file: File,
}

/// Works whenever a file was rotated, and from time to time.
pub(crate) fn keep(hub: Arc<Mutex<Hub>>, spine: &Spine) {
    let rotated = lock(&hub).rotated();
    spine.spawn("log files", |shutdown| async move {
        let work = async {
            loop {
                let hub = Arc::clone(&hub);
                if let Err(error) = tokio::task::spawn_blocking(move || tidy(&hub)).await {
                    tracing::error!(%error, "log files are not compressed");
                }
                let _ = tokio::time::timeout(EVERY, rotated.notified()).await;
            }
        };
        shutdown.unless_requested(work).await;
    });
}

/// Does all there is to do now.
pub(crate) fn tidy(hub: &Mutex<Hub>) {
    lock(hub).forget_old(unix_ms());
    loop {
        let next = lock(hub).next_compression();
        let Some(compression) = next else { return };
        let base = compression.base.clone();
        let done = compression
            .write()
            .and_then(|unfinished| lock(hub).take_compressed(&compression, &unfinished));
        if let Err(error) = done {
            tracing::warn!(file = %base.display(), %error, "a log file stays as it is: it cannot be compressed");
            let _ = fs::remove_file(numbered::unfinished(&base));
            return;
        }
    }
}

impl Compression {
    fn write(&self) -> io::Result<PathBuf> {
        let path = numbered::unfinished(&self.base);
        let mut options = OpenOptions::new();
        let mode = self.file.metadata()?.permissions().mode() & 0o777;
        let mut to = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&path)?;
        gzip::compress(&self.file, self.span.len, &mut to)?;
        // The last line is as old as it was.
        to.set_modified(self.file.metadata()?.modified()?)?;
        to.sync_all()?;
        Ok(path)
    }
}

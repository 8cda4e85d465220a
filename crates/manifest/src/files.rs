//! The files beside a manifest: `.env` and environment files.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The largest manifest or environment file, in bytes (4 MiB).
pub const LARGEST_FILE: usize = 4 << 20;

/// Where the files are read from that a manifest names.
pub trait Files {
    /// The text of the file at `path`, which is absolute.
    ///
    /// # Errors
    /// When it cannot be read or is not UTF-8.
    fn read(&self, path: &Path) -> io::Result<String>;
}

/// The files of this machine, up to [`LARGEST_FILE`] each.
#[derive(Debug, Clone, Copy, Default)]
pub struct DiskFiles;

impl Files for DiskFiles {
    fn read(&self, path: &Path) -> io::Result<String> {
        let mut text = String::new();
        let most = LARGEST_FILE as u64;
        let read = File::open(path)?.take(most + 1).read_to_string(&mut text)?;
        if read > LARGEST_FILE {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 4 MiB"));
        }
        Ok(text)
    }
}

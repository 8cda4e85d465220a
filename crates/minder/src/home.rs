//! Where the minder keeps its files below the home folder.

use std::path::{Path, PathBuf};

/// The folder of sockets, locks and the minder's own log; mode 0700.
#[must_use]
pub fn run_folder(home: &Path) -> PathBuf {
    home.join("run")
}

/// The folder of the output segments; mode 0700.
#[must_use]
pub fn raw_folder(home: &Path) -> PathBuf {
    home.join("raw")
}

/// The minder's Unix socket; mode 0600.
#[must_use]
pub fn socket(home: &Path) -> PathBuf {
    run_folder(home).join("minder.sock")
}

/// The file that a running minder holds locked; contains its pid.
#[must_use]
pub fn lock(home: &Path) -> PathBuf {
    run_folder(home).join("minder.lock")
}

/// Where a detached minder's standard error goes.
#[must_use]
pub fn log(home: &Path) -> PathBuf {
    run_folder(home).join("minder.log")
}

//! What a process must be and have before it can mind others.

use std::{
    fs::{DirBuilder, File, Permissions},
    io::{self, Write},
    os::{
        fd::OwnedFd,
        unix::{
            fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
    process::{chdir, getpid, set_child_subreaper, setsid},
    stdio::{dup2_stdin, dup2_stdout},
};

use super::{
    handover::{self, Estate},
    launch::Launcher,
    signals,
};
use crate::home;

/// What the event loop stands on.
pub(super) struct Ground {
    pub(super) home: PathBuf,
    pub(super) listener: UnixListener,
    pub(super) signals: OwnedFd,
    /// Held as long as the minder runs.
    pub(super) lock: File,
}

/// Leaves the old surroundings, takes the home and listens.
pub(super) fn prepare(home: &Path) -> io::Result<(Ground, Launcher)> {
    leave_parent();
    create_folder(home)?;
    let home = home.canonicalize()?;
    for folder in [home::run_folder(&home), home::raw_folder(&home)] {
        create_folder(&folder)?;
        std::fs::set_permissions(&folder, Permissions::from_mode(0o700))
            .map_err(|error| named(&folder, &error))?;
    }
    let lock = lock(&home)?;
    chdir("/")?;
    set_child_subreaper(Some(getpid()))?;
    let signals = signals::watch()?;
    let launcher = Launcher::take_over()?;
    let listener = listen(&home::socket(&home))?;
    dup2_stdin(launcher.null())?;
    dup2_stdout(launcher.null())?;
    Ok((
        Ground {
            home,
            listener,
            signals,
            lock,
        },
        launcher,
    ))
}

/// The same as an earlier binary has left it in this very process.
pub(super) fn take_over(home: &Path, estate: &Estate) -> io::Result<(Ground, Launcher)> {
    let home = home.canonicalize()?;
    let ground = Ground {
        home,
        listener: handover::take(estate.listener).into(),
        signals: signals::watch()?,
        lock: handover::take(estate.lock).into(),
    };
    Ok((ground, Launcher::left(&estate.launcher)?))
}

fn leave_parent() {
    // SAFETY: nothing in this process owns a descriptor yet: `run` is documented to come first.
    unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
    // Whoever leads a session or a group already (started from a shell) cannot and need not start one.
    let _ = setsid();
}

fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| named(path, &error))
}

fn lock(home: &Path) -> io::Result<File> {
    let path = home::lock(home);
    let mut options = File::options();
    let mut file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|error| named(&path, &error))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::AGAIN) => {
            let message = format!("a minder runs for {}", home.display());
            return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
        }
        Err(error) => return Err(named(&path, &error.into())),
    }
    file.set_len(0)?;
    writeln!(file, "{}", getpid())?;
    Ok(file)
}

/// The lock is held, so a socket that is there belongs to a minder that died.
fn listen(path: &Path) -> io::Result<UnixListener> {
    crate::segments::remove(path)?;
    let listener = UnixListener::bind(path).map_err(|error| named(path, &error))?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

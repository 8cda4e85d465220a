//! Starting a minder that outlives whoever starts it.

use std::{
    fs::{DirBuilder, File},
    io::{self, ErrorKind, Read},
    os::{
        fd::AsFd,
        unix::{
            fs::{DirBuilderExt, OpenOptionsExt},
            process::CommandExt,
        },
    },
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use crate::{client::Client, home};

/// How long a minder may take to be reachable.
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts `exe minder --home HOME` in a session of its own and returns when it answers.
///
/// It is nobody's child but init's, its standard error is appended to [`home::log`]. When a minder already runs
/// for this home, the new one gives way and this succeeds all the same.
///
/// # Errors
/// When the program cannot be started, or no minder answers within twenty seconds: its log says why.
pub(crate) fn spawn_detached(exe: &Path, home: &Path) -> io::Result<()> {
    let home = std::path::absolute(home)?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(home::run_folder(&home))?;
    let log = File::options()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(home::log(&home))?;
    let (readiness, its_output) = io::pipe()?;
    let mut command = Command::new(exe);
    command.arg("minder").arg("--home").arg(&home);
    command.stdin(Stdio::null()).stdout(its_output).stderr(log);
    // SAFETY: between fork and exec the closure makes system calls only.
    unsafe { command.pre_exec(leave_session_and_parent) };
    let mut intermediate = command.spawn()?;
    // Holds the writing end, which must be closed here for an end to be seen.
    drop(command);
    intermediate.wait()?;
    await_end(readiness)?;
    match Client::connect(&home) {
        Ok(_) => Ok(()),
        Err(error) => {
            let log = home::log(&home);
            Err(io::Error::other(format!(
                "the minder did not come up, see {}: {error}",
                log.display()
            )))
        }
    }
}

/// The process that comes out of this has no living parent, so that it is reaped by init.
fn leave_session_and_parent() -> io::Result<()> {
    rustix::process::setsid()?;
    // SAFETY: runs in a process that a fork has just made; only system calls follow.
    match unsafe { libc::fork() } {
        0 => Ok(()),
        // SAFETY: leaves without running what belongs to the original process.
        pid if pid > 0 => unsafe { libc::_exit(0) },
        _ => Err(io::Error::last_os_error()),
    }
}

/// A minder closes its standard output when it can be reached, or by dying.
fn await_end(mut readiness: impl Read + AsFd) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let rest = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(rest).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&readiness, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Err(ErrorKind::TimedOut.into()),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        if readiness.read(&mut [0; 64])? == 0 {
            return Ok(());
        }
    }
}

//! Signals of the minder (read from a descriptor, or ignored) and of its children (all at their defaults).

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, FromRawFd, OwnedFd},
    ptr,
};

use rustix::io::Errno;

/// Asks the minder to end its children and itself.
const STOPPING: [i32; 2] = [libc::SIGTERM, libc::SIGINT];

/// Would end the minder for somebody else's reason: a closed terminal, pipe or socket, a file size limit.
const IGNORED: [i32; 3] = [libc::SIGHUP, libc::SIGPIPE, libc::SIGXFSZ];

/// What has come since the last look.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Seen {
    pub(super) child: bool,
    pub(super) stop: bool,
}

/// Ignores what must not hurt and gives a descriptor that is readable when there is something to see.
pub(super) fn watch() -> io::Result<OwnedFd> {
    for signal in IGNORED {
        // SAFETY: ignoring a signal installs no handler.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    let watched = set_of(&[&STOPPING[..], &[libc::SIGCHLD]].concat());
    set_mask(&watched)?;
    // SAFETY: the set is initialised, and -1 asks for a new descriptor.
    let descriptor =
        unsafe { libc::signalfd(-1, &raw const watched, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just opened it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Takes all signals that are waiting.
pub(super) fn take(descriptor: impl AsFd) -> io::Result<Seen> {
    let mut seen = Seen::default();
    let mut record = [0; size_of::<libc::signalfd_siginfo>()];
    loop {
        match rustix::io::read(&descriptor, &mut record) {
            Ok(_) => {}
            Err(Errno::AGAIN) => return Ok(seen),
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        // The record begins with the signal's number.
        let number = record
            .first_chunk()
            .map_or(0, |number| i32::from_ne_bytes(*number));
        seen.child |= number == libc::SIGCHLD;
        seen.stop |= STOPPING.contains(&number);
    }
}

/// Undoes, in a new process, what [`watch`] did and what the minder's own parent may have left.
pub(super) fn reset_in_child() -> Result<(), Errno> {
    for signal in 1..=64 {
        // SAFETY: the default action installs no handler. The few numbers that are refused have it anyway.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    set_mask(&set_of(&[])).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::INVAL))
}

fn set_of(signals: &[i32]) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set before anything reads it.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), *signal);
        }
        set.assume_init()
    }
}

fn set_mask(set: &libc::sigset_t) -> io::Result<()> {
    // SAFETY: the set is initialised, and the old one is not asked for.
    match unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, set, ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

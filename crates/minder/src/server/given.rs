//! The listening socket that a child inherits: descriptor 3, told of as systemd's socket activation does it
//! (`sd_listen_fds(3)`), for programs that take sockets.
//!
//! ```text
//!   minder: socket, bind 127.64.7.9:3000, listen ──► fork ──► LISTEN_PID=<itself>, descriptor 3 ──► exec
//! ```
//!
//! No call of the program is held for that, so it works on every kernel and in every container, and the program may be
//! one that gains rights.
//!
//! The minder keeps no copy, on purpose. The kernel takes connections for a socket as long as anybody has it open: with a
//! copy here, those to a child that has ended would wait for nobody. Without one they are reset at once, and the gateway
//! asks another instance. A child that is started again gets another socket, so there is nothing to hand over to a later
//! binary either.
//!
//! What a child starts has the descriptor too, and the variables; by `LISTEN_PID` it sees that they are not meant for it. A
//! program behind a shell must therefore be executed in its place (`exec`).

use std::{
    ffi::CStr,
    io::Write,
    net::SocketAddr,
    os::fd::{AsRawFd, OwnedFd, RawFd},
};

use rustix::{
    io::{Errno, fcntl_dupfd_cloexec},
    net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt},
    process::getpid,
};

use super::launch::last_errno;

/// The descriptor that a child finds its socket at (`SD_LISTEN_FDS_START`).
const PLACE: RawFd = 3;

/// How many connections may wait; the kernel has a limit of its own (`somaxconn`).
const BACKLOG: i32 = 4096;

/// The longest `LISTEN_PID=<number>` with its end, in bytes.
const VARIABLE: usize = 24;

/// Not yet in its place.
pub(super) struct Given(OwnedFd);

/// The variable that only the new process can know.
pub(super) struct ListenPid([u8; VARIABLE]);

impl Given {
    /// A socket that listens at this very address.
    pub(super) fn listening(address: SocketAddr) -> Result<Self, Errno> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        // Connections of an instance that was there before may linger.
        sockopt::set_socket_reuseaddr(&socket, true)?;
        bind(&socket, &address)?;
        listen(&socket, BACKLOG)?;
        beside(socket).map(Self)
    }

    /// Takes what an environment says of other sockets out of it, and tells of this one.
    pub(super) fn tell(environment: &mut Vec<(String, String)>) {
        environment.retain(|(name, _)| name != "LISTEN_PID" && name != "LISTEN_FDS");
        environment.push(("LISTEN_FDS".to_owned(), "1".to_owned()));
    }

    /// Puts it where the program looks for it. For a process that a fork has just made: system calls only.
    pub(super) fn place(&self) -> Result<(), Errno> {
        // SAFETY: whatever had that number in this process is closed by that. The process still needs its report, its
        // channel and this socket, all of which are `beside` it; what else the minder had open, exec would have closed.
        let placed = unsafe { libc::dup2(self.0.as_raw_fd(), PLACE) };
        if placed == PLACE {
            Ok(())
        } else {
            Err(last_errno())
        }
    }
}

impl ListenPid {
    /// That of the process that calls. Allocates nothing.
    pub(super) fn of_this_process() -> Self {
        let mut text = [0; VARIABLE];
        // It fits, with at least one zero behind it.
        let _ = write!(&mut text[..], "LISTEN_PID={}", getpid());
        Self(text)
    }

    pub(super) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or_default()
    }
}

/// The same descriptor with a number that no socket is given at.
pub(super) fn beside(descriptor: OwnedFd) -> Result<OwnedFd, Errno> {
    if descriptor.as_raw_fd() == PLACE {
        fcntl_dupfd_cloexec(&descriptor, PLACE + 1)
    } else {
        Ok(descriptor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_its_own_number() {
        let variable = ListenPid::of_this_process();
        let expected = format!("LISTEN_PID={}", std::process::id());
        assert_eq!(variable.as_c_str().to_str(), Ok(expected.as_str()));
    }
}

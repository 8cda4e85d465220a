//! A program's own `bind` to the port it was written for, turned to the port that its instance was given.
//!
//! ```text
//!   child: bind(fd, *:3000) ──► the kernel holds the call and asks the minder (seccomp user notification)
//!   minder: takes a copy of the socket, binds it to 127.0.0.1:20123, lets the call return 0
//! ```
//!
//! So many copies of a program with a hard-coded port run side by side, in any language, also behind a script and
//! statically linked: whatever the child starts inherits the filter. Every other call, and a bind to any other port,
//! goes to the kernel as it was. What the program is told of its own address is the truth.
//!
//! This is a convenience and no fence: a program that means to can get around it. Needs Linux 5.9 and the right to
//! look into the child (`ptrace_scope` at most 1); without them programs have to listen on `PORT`.
//!
//! The filter needs `no_new_privs` unless the minder is privileged: `sudo` and the like gain nothing then.

use std::{
    io,
    mem::{MaybeUninit, offset_of, size_of},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    ptr,
};

use rustix::{
    io::Errno,
    net::{SocketType, bind, getsockname, sockopt},
    process::{Pid, PidfdFlags, PidfdGetfdFlags, geteuid, pidfd_getfd, pidfd_open},
    thread::set_no_new_privs,
};

use crate::protocol::Rebind;

/// Of this machine; a 32-bit program on a 64-bit one is left alone.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// Length of the larger of the two addresses, `sockaddr_in6`.
const ADDRESS: usize = 28;

/// Asks in the place of a child, and decides.
pub(super) struct Rebinding {
    notifications: OwnedFd,
    from: u16,
    to: SocketAddr,
}

/// Whether the system has what this needs, as far as it tells beforehand.
pub(super) fn is_possible() -> bool {
    let mut sizes = MaybeUninit::<libc::seccomp_notif_sizes>::uninit();
    // SAFETY: the kernel writes one record of just this size.
    let known = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_GET_NOTIF_SIZES,
            0,
            sizes.as_mut_ptr(),
        )
    };
    known == 0 && may_look_into_children()
}

/// Yama: 1 lets ancestors, 2 the privileged, 3 nobody. Without it users may look into their own.
fn may_look_into_children() -> bool {
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
    let scope = scope
        .ok()
        .and_then(|scope| scope.trim().parse().ok())
        .unwrap_or(0);
    scope < if geteuid().is_root() { 3 } else { 2 }
}

/// Has the kernel ask about every `bind` of this process and of what it starts. For a process that a fork has just
/// made: system calls only.
pub(super) fn install() -> Result<OwnedFd, Errno> {
    let load = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    let equals = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let end = (libc::BPF_RET | libc::BPF_K) as u16;
    let at = |offset: usize| offset as u32;
    let step = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    let mut program = [
        step(load, at(offset_of!(libc::seccomp_data, arch)), 0, 0),
        step(equals, ARCHITECTURE, 0, 3),
        step(load, at(offset_of!(libc::seccomp_data, nr)), 0, 0),
        step(equals, libc::SYS_bind as u32, 0, 1),
        step(end, libc::SECCOMP_RET_USER_NOTIF, 0, 0),
        step(end, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    match listen(&program) {
        Err(Errno::ACCESS) => {
            set_no_new_privs(true)?;
            listen(&program)
        }
        listening => listening,
    }
}

fn listen(program: &libc::sock_fprog) -> Result<OwnedFd, Errno> {
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    // SAFETY: the program is valid for the call, which copies it.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            ptr::from_ref(program),
        )
    };
    let descriptor = i32::try_from(answer).unwrap_or(-1);
    if descriptor < 0 {
        return Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO));
    }
    // SAFETY: the call has just opened it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

impl Rebinding {
    pub(super) fn new(notifications: OwnedFd, rebind: Rebind) -> Self {
        Self {
            notifications,
            from: rebind.from,
            to: rebind.to,
        }
    }

    /// Readable when a call waits, hung up when nobody is left who could make one.
    pub(super) fn notifications(&self) -> &OwnedFd {
        &self.notifications
    }

    /// Answers the call that waits, if it still does.
    pub(super) fn answer(&self) {
        let Some(call) = self.receive() else { return };
        let mut answer = libc::seccomp_notif_resp {
            id: call.id,
            val: 0,
            error: 0,
            flags: 0,
        };
        match self.turn(&call) {
            None => answer.flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
            Some(Ok(())) => {}
            Some(Err(error)) => answer.error = -error.raw_os_error(),
        }
        // SAFETY: the answer is valid for the call, which reads it. That the caller was killed meanwhile is no matter.
        unsafe {
            libc::ioctl(
                self.notifications.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_SEND,
                &raw mut answer,
            )
        };
    }

    fn receive(&self) -> Option<libc::seccomp_notif> {
        // The kernel wants it zeroed.
        let mut call = MaybeUninit::<libc::seccomp_notif>::zeroed();
        let descriptor = self.notifications.as_raw_fd();
        // SAFETY: the kernel writes one record of just this size.
        let outcome = unsafe { libc::ioctl(descriptor, libc::SECCOMP_IOCTL_NOTIF_RECV, call.as_mut_ptr()) };
        // SAFETY: plain numbers, all of which zeroes are valid for.
        (outcome == 0).then(|| unsafe { call.assume_init() })
    }

    /// Binds in the caller's place; `None`: the call is none of ours, or the caller cannot be looked into.
    fn turn(&self, call: &libc::seccomp_notif) -> Option<Result<(), Errno>> {
        let [socket, address, length, ..] = call.data.args;
        let caller = Pid::from_raw(call.pid as i32)?;
        if port(&read_address(caller, address, length)?)? != self.from {
            return None;
        }
        let process = pidfd_open(process_of(caller)?, PidfdFlags::empty()).ok()?;
        let number = i32::try_from(socket & 0xffff_ffff).ok()?;
        let socket = pidfd_getfd(process, number, PidfdGetfdFlags::empty()).ok()?;
        // The caller waits all the while, or it was killed and its number may be another's.
        if !self.waits(call.id) || sockopt::socket_type(&socket) != Ok(SocketType::STREAM) {
            return None;
        }
        Some(self.bind(&socket))
    }

    fn waits(&self, id: u64) -> bool {
        // SAFETY: the kernel reads one number.
        unsafe {
            libc::ioctl(
                self.notifications.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_ID_VALID,
                &raw const id,
            ) == 0
        }
    }

    fn bind(&self, socket: &OwnedFd) -> Result<(), Errno> {
        let to = turned(self.to, sockopt::ipv6_v6only(socket).ok());
        match bind(socket, &to) {
            // A signal had interrupted the caller, who asks again.
            Err(Errno::INVAL) if getsockname(socket).and_then(SocketAddr::try_from) == Ok(to) => Ok(()),
            outcome => outcome,
        }
    }
}

/// Where a socket can be reached like `to`: `only_v6` is what one of IPv6 says of itself. A program that has one socket
/// for each version gets both at the port.
fn turned(to: SocketAddr, only_v6: Option<bool>) -> SocketAddr {
    let ip = match (to.ip(), only_v6) {
        (IpAddr::V4(ip), Some(false)) => ip.to_ipv6_mapped().into(),
        (IpAddr::V4(_), Some(true)) => Ipv6Addr::LOCALHOST.into(),
        (ip, _) => ip,
    };
    SocketAddr::new(ip, to.port())
}

/// The address that a call points to, as far as it is of interest here.
fn read_address(caller: Pid, address: u64, length: u64) -> Option<[u8; ADDRESS]> {
    let mut bytes = [0; ADDRESS];
    let length = usize::try_from(length & 0xffff_ffff).ok()?.min(ADDRESS);
    let here = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: length,
    };
    let there = libc::iovec {
        iov_base: ptr::with_exposed_provenance_mut(usize::try_from(address).ok()?),
        iov_len: length,
    };
    // SAFETY: at most so many bytes are written to `bytes`; the other memory is the caller's, and only read.
    let read = unsafe {
        libc::process_vm_readv(
            caller.as_raw_nonzero().get(),
            &raw const here,
            1,
            &raw const there,
            1,
            0,
        )
    };
    (usize::try_from(read).ok()? == length && length >= size_of::<libc::sockaddr_in>()).then_some(bytes)
}

/// The port of an address of either version.
fn port(address: &[u8; ADDRESS]) -> Option<u16> {
    let [a, b, high, low, ..] = *address;
    let family = i32::from(u16::from_ne_bytes([a, b]));
    matches!(family, libc::AF_INET | libc::AF_INET6).then(|| u16::from_be_bytes([high, low]))
}

/// The process that a thread is of.
fn process_of(thread: Pid) -> Option<Pid> {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    let number = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
    Pid::from_raw(number.trim().parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_is_reached_at_the_port() {
        let to = "127.0.0.1:20123".parse().unwrap();
        for (only_v6, expected) in [
            (None, "127.0.0.1:20123"),
            (Some(false), "[::ffff:127.0.0.1]:20123"),
            (Some(true), "[::1]:20123"),
        ] {
            assert_eq!(turned(to, only_v6), expected.parse().unwrap());
        }
    }

    #[test]
    fn ports_of_addresses() {
        let address = |family: i32| {
            let mut bytes = [0; ADDRESS];
            bytes[..2].copy_from_slice(&u16::try_from(family).unwrap().to_ne_bytes());
            bytes[2..4].copy_from_slice(&3000u16.to_be_bytes());
            bytes
        };
        assert_eq!(port(&address(libc::AF_INET)), Some(3000));
        assert_eq!(port(&address(libc::AF_INET6)), Some(3000));
        assert_eq!(port(&address(libc::AF_UNIX)), None);
    }
}

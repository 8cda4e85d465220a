//! A program's own `bind` to the port it was written for, turned to the address that its instance was given.
//!
//! ```text
//!   child: bind(fd, *:3000) ──► the kernel holds the call and asks the minder (seccomp user notification)
//!   minder: takes a copy of the socket, binds it to 127.64.7.9:3000, lets the call return 0
//! ```
//!
//! The port may be told beforehand, or it is the first one that the child binds; whoever started the child hears which.
//!
//! So many copies of a program with a hard-coded port run side by side, in any language, also behind a script and
//! statically linked: whatever the child starts inherits the filter. Every other call, and a bind to any other port,
//! goes to the kernel as it was. What the program is told of its own address is the truth.
//!
//! This is a convenience and no fence: a program that means to can get around it. Needs Linux 5.9 and the right to
//! look into the child, which is tried once; without them no filter is made, and programs have to listen on `PORT`.
//!
//! The filter needs `no_new_privs` unless the minder is privileged: `sudo` and the like gain nothing then.

use std::{
    io,
    mem::{MaybeUninit, offset_of, size_of},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    ptr,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, retry_on_intr},
    net::{AddressFamily, SocketType, bind, getsockname, socket, sockopt},
    process::{
        Pid, PidfdFlags, PidfdGetfdFlags, Signal, WaitOptions, kill_process, pidfd_getfd, pidfd_open, waitpid,
    },
    thread::set_no_new_privs,
};

use super::{launch::report_pair, turn::Turn};
use crate::protocol::{self, Bound, Rebind};

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
    turn: Turn,
}

/// Whether all of this works here, tried once with a child: a kernel, a container's profile or Yama may be against any
/// part of it. For a process with one thread that waits for no other child yet.
pub(super) fn works() -> bool {
    try_it().unwrap_or(false)
}

fn try_it() -> Result<bool, Errno> {
    let (here, there) = report_pair()?;
    // SAFETY: this process has one thread, and the child makes system calls only.
    let forked = unsafe { libc::fork() };
    let Some(child) = Pid::from_raw(forked) else {
        let turned = bind_as_a_child(&there).is_ok_and(|turned| turned);
        // SAFETY: leaves at once, without running what belongs to the minder.
        unsafe { libc::_exit(i32::from(!turned)) }
    };
    if forked < 0 {
        return Err(Errno::AGAIN);
    }
    drop(there);
    let answered = answer_child(&here);
    if answered.is_none() {
        // It waits for an answer that nobody can give.
        let _ = kill_process(child, Signal::KILL);
    }
    let status = retry_on_intr(|| waitpid(Some(child), WaitOptions::empty()))?;
    Ok(status.is_some_and(|(_, status)| status.exit_status() == Some(0)))
}

/// The trial's port, which no program binds here, and where it goes.
const TRIAL: Rebind = Rebind {
    from: 1,
    to: SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 64, 0, 1)), 0),
};

fn bind_as_a_child(parent: &OwnedFd) -> Result<bool, Errno> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    let notifications = install()?;
    protocol::send(parent, &[0], Some(notifications.as_fd())).map_err(|_| Errno::PIPE)?;
    drop(notifications);
    bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, TRIAL.from)))?;
    let bound = getsockname(&socket).and_then(SocketAddr::try_from)?;
    Ok(bound.ip() == TRIAL.to.ip())
}

/// Answers the one bind of the child, if it comes in time.
fn answer_child(child: &OwnedFd) -> Option<()> {
    let mut descriptors = Vec::new();
    protocol::receive(child, &mut [0], &mut descriptors).ok()?;
    let mut rebinding = Rebinding::new(descriptors.pop()?, Turn::new(TRIAL));
    let second = Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    let mut waiting = [PollFd::new(&rebinding.notifications, PollFlags::IN)];
    let ready = retry_on_intr(|| poll(&mut waiting, Some(&second))).ok()?;
    (ready > 0).then(|| {
        rebinding.answer();
    })
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
    pub(super) fn new(notifications: OwnedFd, turn: Turn) -> Self {
        Self { notifications, turn }
    }

    pub(super) fn turn(&self) -> &Turn {
        &self.turn
    }

    /// Turns nothing any more: what is left of a child that is forgotten has no claim to its address.
    pub(super) fn release(&mut self) {
        self.turn.release();
    }

    /// Readable when a call waits, hung up when nobody is left who could make one.
    pub(super) fn notifications(&self) -> &OwnedFd {
        &self.notifications
    }

    /// Answers the call that waits, if it still does; says what was turned.
    pub(super) fn answer(&mut self) -> Option<Bound> {
        let call = self.receive()?;
        let mut answer = libc::seccomp_notif_resp {
            id: call.id,
            val: 0,
            error: 0,
            flags: 0,
        };
        let turned = self.bind_instead(&call);
        match turned {
            None => answer.flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
            Some(Ok(_)) => {}
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
        turned.and_then(Result::ok)
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
    fn bind_instead(&mut self, call: &libc::seccomp_notif) -> Option<Result<Bound, Errno>> {
        let [socket, address, length, ..] = call.data.args;
        let caller = Pid::from_raw(call.pid as i32)?;
        let asked = asked(&read_address(caller, address, length)?)?;
        if !self.turn.concerns(asked.port()) {
            return None;
        }
        let process = pidfd_open(process_of(caller)?, PidfdFlags::empty()).ok()?;
        let number = i32::try_from(socket & 0xffff_ffff).ok()?;
        let socket = pidfd_getfd(process, number, PidfdGetfdFlags::empty()).ok()?;
        // The caller waits all the while, or it was killed and its number may be another's.
        if !self.waits(call.id) || sockopt::socket_type(&socket) != Ok(SocketType::STREAM) {
            return None;
        }
        Some(self.turn.bind(&socket, asked))
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

/// What a caller wants to bind; nothing if it is no address of IPv4 or IPv6.
fn asked(address: &[u8; ADDRESS]) -> Option<SocketAddr> {
    let [a, b, high, low, rest @ ..] = *address;
    let [
        v4 @ ..,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
    ] = rest;
    let [_, _, _, _, v6 @ .., _, _, _, _] = rest;
    let ip = match i32::from(u16::from_ne_bytes([a, b])) {
        libc::AF_INET => IpAddr::from(v4),
        libc::AF_INET6 => IpAddr::from(v6),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes([high, low])))
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
    fn addresses_as_the_kernel_has_them() {
        let asked = |family: i32, ip: &str| {
            let mut bytes = [0; ADDRESS];
            bytes[..2].copy_from_slice(&u16::try_from(family).unwrap().to_ne_bytes());
            bytes[2..4].copy_from_slice(&3000u16.to_be_bytes());
            match ip.parse().unwrap() {
                IpAddr::V4(ip) => bytes[4..8].copy_from_slice(&ip.octets()),
                IpAddr::V6(ip) => bytes[8..24].copy_from_slice(&ip.octets()),
            }
            super::asked(&bytes)
        };
        for (family, ip) in [
            (libc::AF_INET, "127.0.0.5"),
            (libc::AF_INET6, "::"),
            (libc::AF_INET6, "::ffff:127.0.0.1"),
            (libc::AF_INET6, "::1"),
        ] {
            let expected = SocketAddr::new(ip.parse().unwrap(), 3000);
            assert_eq!(asked(family, ip), Some(expected), "{ip}");
        }
        assert_eq!(asked(libc::AF_UNIX, "::"), None);
    }
}

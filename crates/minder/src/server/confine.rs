//! What a new process is held in before it is the program: control groups, resource limits, a user.
//!
//! In version 2 of control groups it is made in its group (`clone3`); where that call is forbidden, and in version 1,
//! it moves there by writing into descriptors that were opened before the fork.

use std::{collections::BTreeMap, fs::File, os::fd::AsRawFd, path::Path};

use rustix::{
    fs::fchown,
    io::Errno,
    process::{Gid, Pid, Resource, Rlimit, Uid, setrlimit},
    stdio::{stderr, stdout},
    thread::{set_thread_gid, set_thread_groups, set_thread_uid},
};

use super::launch::{bad, last_errno, refusal};
use crate::protocol::{Bounds, Refusal, Spawn, SpawnStep};

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Of the kernel's `struct clone_args`, all fields of 64 bits.
#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Ready for the system calls.
pub(super) struct Confinement {
    birthplace: Option<Birthplace>,
    /// To write into.
    joined: Vec<File>,
    limits: Vec<(Resource, Rlimit)>,
    user: Option<Becoming>,
}

struct Birthplace {
    folder: File,
    processes: File,
}

struct Becoming {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
}

/// Whether a process is in its birthplace already.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Birth {
    There,
    Elsewhere,
}

impl Confinement {
    pub(super) fn of(spawn: &Spawn) -> Result<Self, Refusal> {
        let groups = &spawn.groups;
        let birthplace = groups.birthplace.as_deref().map(|folder| {
            Ok::<_, Refusal>(Birthplace {
                folder: open(folder, File::options().read(true))?,
                processes: processes_of(folder)?,
            })
        });
        let user = spawn.user.as_ref().map(|user| Becoming {
            uid: Uid::from_raw(user.uid),
            gid: Gid::from_raw(user.gid),
            groups: user.groups.iter().copied().map(Gid::from_raw).collect(),
        });
        let joined: Result<_, _> = groups.joined.iter().map(|folder| processes_of(folder)).collect();
        Ok(Self {
            birthplace: birthplace.transpose()?,
            joined: joined?,
            limits: limits_of(spawn)?,
            user,
        })
    }

    /// Makes the new process; `None` in it.
    pub(super) fn fork(&self) -> Result<(Option<Pid>, Birth), Errno> {
        if let Some(birthplace) = &self.birthplace {
            match fork_into(&birthplace.folder) {
                // A container's profile may be against it.
                Err(Errno::NOSYS | Errno::PERM) => {}
                forked => return forked.map(|pid| (pid, Birth::There)),
            }
        }
        // SAFETY: this process has one thread, so the new one finds every lock as it must be.
        let forked = unsafe { libc::fork() };
        if forked < 0 {
            return Err(last_errno());
        }
        Ok((Pid::from_raw(forked), Birth::Elsewhere))
    }

    /// Moves this process into its groups.
    pub(super) fn join(&self, born: Birth) -> Result<(), Errno> {
        let birthplace = self
            .birthplace
            .iter()
            .filter(|_| born == Birth::Elsewhere)
            .map(|birthplace| &birthplace.processes);
        for processes in birthplace.chain(&self.joined) {
            // Itself.
            rustix::io::write(processes, b"0")?;
        }
        Ok(())
    }

    pub(super) fn limit(&self) -> Result<(), Errno> {
        self.limits
            .iter()
            .try_for_each(|(resource, limit)| setrlimit(*resource, *limit))
    }

    /// Gives up the minder's rights. Its output becomes its own, so that it can be opened by name.
    pub(super) fn become_user(&self) -> Result<(), Errno> {
        let Some(user) = &self.user else {
            return Ok(());
        };
        fchown(stdout(), Some(user.uid), None)?;
        fchown(stderr(), Some(user.uid), None)?;
        set_thread_groups(&user.groups)?;
        set_thread_gid(user.gid)?;
        set_thread_uid(user.uid)
    }
}

fn fork_into(group: &File) -> Result<Option<Pid>, Errno> {
    let arguments = CloneArguments {
        flags: CLONE_INTO_CGROUP,
        exit_signal: libc::SIGCHLD as u64,
        cgroup: group.as_raw_fd() as u64,
        ..CloneArguments::default()
    };
    // SAFETY: without a stack and shared memory this is a fork, of a process with one thread; the arguments are valid for
    // the call. What the C library does around its own fork concerns threads and is not needed until exec.
    let forked = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw const arguments,
            size_of::<CloneArguments>(),
        )
    };
    if forked < 0 {
        return Err(last_errno());
    }
    Ok(Pid::from_raw(forked as i32))
}

fn processes_of(folder: &Path) -> Result<File, Refusal> {
    open(&folder.join("cgroup.procs"), File::options().write(true))
}

fn open(path: &Path, options: &std::fs::OpenOptions) -> Result<File, Refusal> {
    options.open(path).map_err(|error| {
        let error = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        refusal((SpawnStep::Groups, error))
    })
}

fn limits_of(spawn: &Spawn) -> Result<Vec<(Resource, Rlimit)>, Refusal> {
    let both = |value| Bounds {
        soft: Some(value),
        hard: Some(value),
    };
    let limits = &spawn.limits;
    let named = [
        ("nofile", limits.descriptors.map(both)),
        ("as", limits.address_space.map(both)),
    ];
    let named = named
        .into_iter()
        .filter_map(|(name, bounds)| Some((name, bounds?)));
    let others = limits
        .resources
        .iter()
        .map(|(name, bounds)| (name.as_str(), *bounds));
    // One value for each: what was lowered once may not be raised again.
    let all: BTreeMap<&str, Bounds> = named.chain(others).collect();
    all.into_iter()
        .map(|(name, bounds)| {
            let limit = Rlimit {
                current: bounds.soft,
                maximum: bounds.hard,
            };
            resource(name)
                .map(|resource| (resource, limit))
                .ok_or_else(|| bad("limits"))
        })
        .collect()
}

fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "as" => Resource::As,
        "core" => Resource::Core,
        "cpu" => Resource::Cpu,
        "data" => Resource::Data,
        "fsize" => Resource::Fsize,
        "locks" => Resource::Locks,
        "memlock" => Resource::Memlock,
        "msgqueue" => Resource::Msgqueue,
        "nice" => Resource::Nice,
        "nofile" => Resource::Nofile,
        "nproc" => Resource::Nproc,
        "rss" => Resource::Rss,
        "rtprio" => Resource::Rtprio,
        "rttime" => Resource::Rttime,
        "sigpending" => Resource::Sigpending,
        "stack" => Resource::Stack,
        _ => return None,
    })
}

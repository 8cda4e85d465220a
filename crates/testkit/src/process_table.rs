//! Which processes have to do with a folder, from `/proc`: so a test can say that nothing is left over, and
//! clean up behind itself when something is.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

/// A process that has to do with a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Program and arguments, separated by spaces.
    pub command: String,
}

/// Every process that was started in `folder` or below, or names it in its arguments or environment. The
/// process that asks is left out.
pub fn processes_of(folder: &Path) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != std::process::id())
        .filter_map(|pid| process_of(folder, pid))
        .collect()
}

/// Sends a signal; `false` when the process is gone.
pub fn signal(pid: u32, signal: Signal) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
}

/// Whether anything of a process runs; one that has ended and was not waited for is none. The first thread may
/// have ended before others, which then still hold sockets and locks.
pub fn is_alive(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    let mut stats = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("stat")).ok());
    let has_ended = |stat: &str| {
        stat.rsplit_once(')')
            .is_none_or(|(_, rest)| rest.starts_with(" Z") || rest.starts_with(" X"))
    };
    stats.any(|stat| !has_ended(&stat))
}

fn process_of(folder: &Path, pid: u32) -> Option<Process> {
    let place = PathBuf::from(format!("/proc/{pid}"));
    let cmdline = fs::read(place.join("cmdline"))
        .ok()
        .filter(|text| !text.is_empty())?;
    let names = |text: &[u8]| contains(text, folder.as_os_str().as_bytes());
    let concerned = fs::read_link(place.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
        || names(&cmdline)
        || fs::read(place.join("environ")).is_ok_and(|environ| names(&environ));
    let command = String::from_utf8_lossy(&cmdline).replace('\0', " ");
    concerned.then(|| Process {
        pid,
        command: command.trim_end().to_owned(),
    })
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

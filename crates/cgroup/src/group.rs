//! One instance's group: a folder in each hierarchy that it is in.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::places::Version;
use crate::{Controller, GroupError, Limits};

/// Over what time CPU is counted, microseconds.
const PERIOD_US: u64 = 100_000;
/// The longest that the kernel takes; for less CPU than it measures in the usual one.
const LONGEST_PERIOD_US: u64 = 1_000_000;

/// Limits of memory and swap together, and of swap.
const OF_SWAP: [&str; 2] = ["memory.memsw.limit_in_bytes", "memory.swap.max"];

/// How long processes that were killed may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often what goes on starting processes is killed before it is left alone for now. One round is enough unless
/// the kernel can neither kill nor freeze a group.
const ROUNDS: usize = 100;

/// The group of one instance. It may be gone from any hierarchy, and then has nothing in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    folders: Vec<(PathBuf, Version)>,
}

/// What the processes of a group use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// Who they are.
    pub processes: Vec<i32>,
    /// CPU time of all that ever were in it, microseconds, where it is counted.
    pub cpu_us: Option<u64>,
}

impl Group {
    /// The one that has these folders.
    pub fn of_folders(folders: impl IntoIterator<Item = PathBuf>) -> Self {
        let with_version = |folder: PathBuf| {
            let second = folder.join("cgroup.controllers").exists();
            let version = if second { Version::Two } else { Version::One };
            (folder, version)
        };
        Self {
            folders: folders.into_iter().map(with_version).collect(),
        }
    }

    pub(crate) fn add(&mut self, folder: PathBuf, version: Version) {
        self.folders.push((folder, version));
    }

    /// Whether it is in no hierarchy.
    pub fn is_empty(&self) -> bool {
        self.folders.is_empty()
    }

    /// The folder in which a process can be born.
    pub fn birthplace(&self) -> Option<&Path> {
        let second = self.folders.iter().find(|(_, version)| *version == Version::Two);
        second.map(|(folder, _)| folder.as_path())
    }

    /// The folders that a process has to join by itself.
    pub fn joined(&self) -> impl Iterator<Item = &Path> {
        let first = self
            .folders
            .iter()
            .filter(|(_, version)| *version == Version::One);
        first.map(|(folder, _)| folder.as_path())
    }

    /// Kills everything in it.
    pub fn kill(&self) {
        if let Some(folder) = self.birthplace()
            && write_existing(&folder.join("cgroup.kill"), "1").is_ok()
        {
            return;
        }
        for _ in 0..ROUNDS {
            // Whoever is frozen starts nothing while the others are killed.
            self.freeze(true);
            let processes = self.processes();
            for pid in processes.iter().copied().filter_map(Pid::from_raw) {
                // It may have ended just now.
                let _ = kill_process(pid, Signal::KILL);
            }
            self.freeze(false);
            if processes.is_empty() {
                return;
            }
            wait_for(&processes, Instant::now() + Duration::from_millis(100));
        }
    }

    /// Kills what is in it and takes it away. Blocks until that has ended, a few seconds at most; says whether it has.
    pub fn end(&self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.kill();
            let left = self.processes();
            wait_for(&left, deadline);
            if self.remove() {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            pause();
        }
    }

    /// Takes it away if nothing is in it; says whether it is gone. Takes the folder of all instances with it when this
    /// was the last.
    pub fn remove(&self) -> bool {
        let gone = |folder: &Path| match fs::remove_dir(folder) {
            Ok(()) => true,
            Err(error) => error.kind() == ErrorKind::NotFound,
        };
        let left = self.folders.iter().filter(|(folder, _)| !gone(folder)).count();
        for (folder, _) in &self.folders {
            // Not empty as long as there are other instances.
            let _ = folder.parent().map(fs::remove_dir);
        }
        left == 0
    }

    /// Its folders.
    pub fn folders(&self) -> impl Iterator<Item = &Path> {
        self.folders.iter().map(|(folder, _)| folder.as_path())
    }

    /// The processes in it, by number.
    pub fn processes(&self) -> Vec<i32> {
        let Some((folder, _)) = self.folders.first() else {
            return Vec::new();
        };
        let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// What it uses; `None` if it is not there.
    pub fn usage(&self) -> Option<Use> {
        let processes = self.processes();
        let cpu_us = self
            .birthplace()
            .and_then(|folder| number(&folder.join("cpu.stat"), "usage_usec"));
        (!processes.is_empty()).then_some(Use { processes, cpu_us })
    }

    /// Its limit in bytes, if the kernel killed any of its processes for using more memory.
    pub fn out_of_memory(&self) -> Option<u64> {
        self.folders.iter().find_map(|(folder, version)| {
            let (events, limit) = match version {
                Version::One => ("memory.oom_control", "memory.limit_in_bytes"),
                Version::Two => ("memory.events", "memory.max"),
            };
            let kills = number(&folder.join(events), "oom_kill").filter(|kills| *kills > 0);
            kills.and_then(|_| fs::read_to_string(folder.join(limit)).ok()?.trim().parse().ok())
        })
    }

    fn freeze(&self, frozen: bool) {
        for (folder, version) in &self.folders {
            let (file, value) = match (version, frozen) {
                (Version::One, true) => ("freezer.state", "FROZEN"),
                (Version::One, false) => ("freezer.state", "THAWED"),
                (Version::Two, true) => ("cgroup.freeze", "1"),
                (Version::Two, false) => ("cgroup.freeze", "0"),
            };
            // Only one of them has it, if any.
            let _ = write_existing(&folder.join(file), value);
        }
    }
}

/// Writes those of `limits` that are a hierarchy's.
pub(crate) fn limit(
    folder: &Path,
    version: Version,
    controllers: &[Controller],
    limits: &Limits,
) -> Result<(), GroupError> {
    for (file, value) in files(version, limits, controllers) {
        let path = folder.join(file);
        match fs::write(&path, value) {
            // A kernel without swap has nothing to limit.
            Err(_) if OF_SWAP.contains(&file) && !path.exists() => {}
            written => written.map_err(|error| GroupError::new(&path, error))?,
        }
    }
    Ok(())
}

/// File names and what goes into them, in order: memory and swap cannot be limited to less than memory.
fn files(version: Version, limits: &Limits, controllers: &[Controller]) -> Vec<(&'static str, String)> {
    let has = |controller| controllers.contains(&controller);
    let mut files = Vec::new();
    if let Some(bytes) = limits.memory_bytes.filter(|_| has(Controller::Memory)) {
        files.extend(match version {
            Version::One => [
                ("memory.limit_in_bytes", bytes.to_string()),
                (OF_SWAP[0], bytes.to_string()),
            ],
            Version::Two => [("memory.max", bytes.to_string()), (OF_SWAP[1], "0".to_owned())],
        });
    }
    if let Some(millis) = limits.cpu_millis.filter(|_| has(Controller::Cpu)) {
        let (quota, period) = quota(millis);
        match version {
            Version::One => files.extend([
                ("cpu.cfs_period_us", period.to_string()),
                ("cpu.cfs_quota_us", quota.to_string()),
            ]),
            Version::Two => files.push(("cpu.max", format!("{quota} {period}"))),
        }
    }
    if let Some(pids) = limits.pids.filter(|_| has(Controller::Pids)) {
        files.push(("pids.max", pids.to_string()));
    }
    files
}

/// How many microseconds of CPU in how many: the kernel takes a millisecond at least.
fn quota(cpu_millis: u64) -> (u64, u64) {
    let period = if cpu_millis < 10 {
        LONGEST_PERIOD_US
    } else {
        PERIOD_US
    };
    (cpu_millis.saturating_mul(period / 1000), period)
}

fn write_existing(path: &Path, value: &str) -> io::Result<()> {
    if path.exists() {
        return fs::write(path, value);
    }
    Err(ErrorKind::NotFound.into())
}

/// The number behind a word in a file of words and numbers.
fn number(path: &Path, word: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let mut pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs.find_map(|(name, number)| (name == word).then(|| number.trim().parse().ok())?)
}

/// What has ended leaves its group a moment later, and in version 1 nobody is told when.
#[expect(clippy::disallowed_methods, reason = "there is nothing to wait for")]
fn pause() {
    std::thread::sleep(Duration::from_millis(1));
}

fn wait_for(processes: &[i32], deadline: Instant) {
    for pid in processes.iter().copied().filter_map(Pid::from_raw) {
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
            continue;
        };
        let rest = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(rest).ok();
        // Interrupted or not: the caller looks again.
        let _ = poll(&mut [PollFd::new(&process, PollFlags::IN)], timeout.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_as_the_kernel_takes_them() {
        let all = Limits {
            cpu_millis: Some(1500),
            memory_bytes: Some(64 << 20),
            pids: Some(20),
        };
        let little = Limits {
            cpu_millis: Some(1),
            ..Limits::default()
        };
        let of = |version, limits: &Limits| {
            files(version, limits, &Controller::ALL)
                .into_iter()
                .map(|(file, value)| format!("{file} {value}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            of(Version::One, &all),
            [
                "memory.limit_in_bytes 67108864",
                "memory.memsw.limit_in_bytes 67108864",
                "cpu.cfs_period_us 100000",
                "cpu.cfs_quota_us 150000",
                "pids.max 20"
            ]
        );
        assert_eq!(
            of(Version::Two, &all),
            [
                "memory.max 67108864",
                "memory.swap.max 0",
                "cpu.max 150000 100000",
                "pids.max 20"
            ]
        );
        assert_eq!(of(Version::Two, &little), ["cpu.max 1000 1000000"]);
        assert!(files(Version::One, &all, &[]).is_empty());
    }
}

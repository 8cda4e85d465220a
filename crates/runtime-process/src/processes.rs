//! What the kernel tells of processes: who belongs together, what they use, and waiting for their end.

use std::fs;
use std::time::{Duration, Instant};

use hythe_supervisor::runtime::Usage;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// One process, as `/proc/<pid>/stat` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) group: i32,
    pub(crate) session: i32,
    /// Clock ticks since boot: with the pid, names a process for good.
    pub(crate) start_time: u64,
    /// Of its own and of its children that have ended, clock ticks.
    cpu_ticks: u64,
    resident_pages: u64,
    ended: bool,
}

/// A process, if it lives.
pub(crate) fn process(pid: i32) -> Option<Process> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse(&text).filter(|process| !process.ended)
}

/// All that live.
pub(crate) fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| process(entry.ok()?.file_name().to_str()?.parse().ok()?))
        .collect()
}

/// What a process and everything below it uses; `None` if it is not that process any more. Descendants whose
/// parent has ended are not found: only a look at every process of the machine would tell them.
pub(crate) fn usage_of_tree(pid: i32, start_time: u64) -> Option<Usage> {
    let root = process(pid).filter(|root| root.start_time == start_time)?;
    Some(sum(&tree(root)))
}

/// What the processes of a control group use.
pub(crate) fn usage_of_all(group: &hythe_cgroup::Use) -> Usage {
    let processes: Vec<Process> = group.processes.iter().copied().filter_map(process).collect();
    let usage = sum(&processes);
    Usage {
        cpu_us: group.cpu_us.unwrap_or(usage.cpu_us),
        ..usage
    }
}

fn sum(processes: &[Process]) -> Usage {
    let tick_us = 1_000_000 / rustix::param::clock_ticks_per_second();
    let page_size = rustix::param::page_size() as u64;
    let mut usage = Usage::default();
    for process in processes {
        usage.cpu_us += process.cpu_ticks * tick_us;
        usage.memory_bytes += process.resident_pages * page_size;
        usage.waited_us += waited_us(process.pid);
    }
    usage
}

/// How long the first thread of a process was ready to run and did not: the second number, nanoseconds, of a list that
/// some kernels do not have.
fn waited_us(pid: i32) -> u64 {
    let list = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    let waited: Option<u64> = list
        .split_ascii_whitespace()
        .nth(1)
        .and_then(|ns| ns.parse().ok());
    waited.unwrap_or(0) / 1_000
}

/// Waits until a process has ended, `deadline` at the latest.
pub(crate) fn wait_for_end(pid: i32, deadline: Instant) {
    let Some(Ok(process)) = Pid::from_raw(pid).map(|pid| pidfd_open(pid, PidfdFlags::empty())) else {
        return;
    };
    let rest = deadline.saturating_duration_since(Instant::now());
    let timeout = Timespec::try_from(rest.max(Duration::from_millis(1))).ok();
    // Interrupted or not: the caller looks again.
    let _ = poll(&mut [PollFd::new(&process, PollFlags::IN)], timeout.as_ref());
}

fn tree(root: Process) -> Vec<Process> {
    let every = if fs::exists(children_file(root.pid, root.pid)).unwrap_or(false) {
        None
    } else {
        Some(all())
    };
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        match &every {
            None => found.extend(children(parent.pid).into_iter().filter_map(process)),
            Some(every) => found.extend(every.iter().filter(|process| process.parent == parent.pid)),
        }
        next += 1;
    }
    found
}

fn children(pid: i32) -> Vec<i32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let of_thread = |entry: fs::DirEntry| {
        let thread = entry.file_name().to_str()?.parse().ok()?;
        fs::read_to_string(children_file(pid, thread)).ok()
    };
    let lists: Vec<String> = threads.flatten().filter_map(of_thread).collect();
    lists
        .iter()
        .flat_map(|list| list.split_ascii_whitespace())
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

fn children_file(pid: i32, thread: i32) -> String {
    format!("/proc/{pid}/task/{thread}/children")
}

/// Fields are counted from the last `)`: the name before it may hold anything.
fn parse(stat: &str) -> Option<Process> {
    let pid = stat.split_once(' ')?.0.parse().ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |number: usize| fields.get(number - 3)?.parse::<i64>().ok();
    let count = |field: usize| number(field).map(|value| u64::try_from(value).unwrap_or(0));
    Some(Process {
        pid,
        parent: number(4)?.try_into().ok()?,
        group: number(5)?.try_into().ok()?,
        session: number(6)?.try_into().ok()?,
        start_time: count(22)?,
        cpu_ticks: count(14)? + count(15)? + count(16)? + count(17)?,
        resident_pages: count(24)?,
        ended: matches!(*fields.first()?, "Z" | "X"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines() {
        let line = "42 (a ) b) S 7 41 40 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0 12345 999 55 18446744073709551615";
        let expected = Process {
            pid: 42,
            parent: 7,
            group: 41,
            session: 40,
            start_time: 12345,
            cpu_ticks: 100,
            resident_pages: 55,
            ended: false,
        };
        assert_eq!(parse(line), Some(expected));
        assert!(parse(&line.replace(" S ", " Z ")).unwrap().ended);
        for bad in ["", "42", "42 (x) S", "x (x) S 1 2 3"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn this_process_uses_something() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let this = process(pid).unwrap();
        assert!(all().iter().any(|process| process.pid == pid));
        assert!(usage_of_tree(pid, this.start_time).unwrap().memory_bytes > 100_000);
        assert_eq!(usage_of_tree(pid, this.start_time + 1), None);
    }
}

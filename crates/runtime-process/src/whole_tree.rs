//! Killing everything that a run started, whatever that did to get away.
//!
//! With a control group the kernel knows. Without one, more than the process group that the minder kills is looked for:
//! children of the minder that carry the instance's name in their environment (whoever loses its parent becomes a child
//! of the minder, also after `setsid`), and all that descends from these or from the main process. Found ones are stopped
//! before any is killed, so that they start nothing meanwhile. What forked away twice *and* wiped its environment is only
//! found through a group.

use std::collections::BTreeMap;
use std::fs;

use hythe_model::InstanceId;
use rustix::process::{Pid, Signal, kill_process};

use crate::processes::{self, Process};
use crate::runs::Run;
use crate::shared::Shared;

/// How often it is looked for more: somebody who starts processes faster than that is killed as far as it was found.
const ROUNDS: usize = 100;

/// Kills all of a run.
pub(crate) fn kill(shared: &Shared, run: &Run) {
    let group = shared.group_of(&run.name);
    if group.is_empty() {
        kill_found(shared, run);
    } else {
        group.kill();
    }
}

fn kill_found(shared: &Shared, run: &Run) {
    let others = shared.runs.processes();
    let is_stray = |process: &Process| {
        process.parent == shared.minder_pid()
            && !others.contains(&process.pid)
            && belongs_to(process.pid, &run.instance)
    };
    let is_main = |process: &Process| run.process == Some((process.pid, process.start_time));
    let is_root = |process: &Process| is_main(process) || is_stray(process);
    let mut found = BTreeMap::new();
    for _ in 0..ROUNDS {
        let all = processes::all();
        let before = found.len();
        for process in descendants(&all, is_root) {
            if found.insert(process.pid, process.start_time).is_none() {
                signal(process.pid, Signal::STOP);
            }
        }
        if found.len() == before {
            break;
        }
    }
    for (pid, start_time) in found {
        let same = processes::process(pid).is_some_and(|process| process.start_time == start_time);
        if same {
            signal(pid, Signal::KILL);
        }
    }
}

/// Those that `is_root`, and all below them.
fn descendants(all: &[Process], is_root: impl Fn(&Process) -> bool) -> Vec<Process> {
    let mut found: Vec<Process> = all.iter().filter(|process| is_root(process)).copied().collect();
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        let known = |process: &Process| found.iter().any(|found| found.pid == process.pid);
        let children: Vec<Process> = all
            .iter()
            .filter(|process| process.parent == parent.pid && !known(process))
            .copied()
            .collect();
        found.extend(children);
        next += 1;
    }
    found
}

/// Whether it was started by, or for, an instance.
fn belongs_to(pid: i32, instance: &InstanceId) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let entry = format!("HYTHE_INSTANCE={instance}");
    environment
        .split(|byte| *byte == 0)
        .any(|variable| variable == entry.as_bytes())
}

fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        // It may have ended just now.
        let _ = kill_process(pid, signal);
    }
}

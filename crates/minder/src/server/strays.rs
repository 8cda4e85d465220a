//! What children left behind: this process is a subreaper, so whoever lost its parent among their descendants is its own
//! child then, whichever group and session it has gone to.
//!
//! While children run nobody here knows which of them a stray came from; the server does that. But when everything is to
//! end, strays are to end as well.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

use super::minder::Minder;

impl Minder {
    /// Children of this process that nobody asked for. None where the kernel does not list children.
    pub(super) fn strays(&self) -> Vec<Pid> {
        let this = std::process::id();
        let listed = fs::read_to_string(format!("/proc/{this}/task/{this}/children")).unwrap_or_default();
        listed
            .split_ascii_whitespace()
            .filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
            .filter(|pid| !self.is_known(*pid))
            .collect()
    }

    pub(super) fn signal_strays(&self, signal: Signal) {
        for pid in self.strays() {
            // Nobody but this process reaps it, so the number is its own.
            let _ = kill_process(pid, signal);
        }
    }

    fn is_known(&self, pid: Pid) -> bool {
        self.launched_server == Some(pid) || self.children.iter().any(|child| child.is_running_as(pid))
    }
}

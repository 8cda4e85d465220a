//! The processes a run starts: found, measured and ended through `/proc`.
//!
//! The run makes itself the *subreaper* of everything below it, so that a program that detaches (as the
//! minder does) stays a descendant. At any time there is one long-lived helper, the backend, and one
//! candidate: whatever else lives below us belongs to the candidate. Dropping [`ProcessTree`] ends all of
//! it, which covers errors, panics and Ctrl-C alike. After `kill -9` of the run itself, programs end by the
//! death signal they were started with, and only one that detached can stay behind.

use std::fs;
use std::io;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, set_parent_process_death_signal,
    wait,
};
use tokio::time::{Instant, sleep};

/// How long a program may take to end by itself.
const GRACE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(5);

/// Everything this process started.
pub(crate) struct ProcessTree {
    helpers: Vec<Pid>,
}

impl ProcessTree {
    /// Takes charge of all that is started from now on, by whomever below us.
    pub(crate) fn take_charge() -> Result<Self> {
        set_child_subreaper(Some(getpid())).context("cannot become a subreaper")?;
        Ok(Self { helpers: Vec::new() })
    }

    /// Starts a program that lives as long as the run and is never measured.
    pub(crate) fn start_helper(&mut self, command: &mut Command) -> Result<Pid> {
        let pid = self.start(command)?;
        self.helpers.push(pid);
        Ok(pid)
    }

    /// Starts the candidate.
    pub(crate) fn start(&self, command: &mut Command) -> Result<Pid> {
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        Ok(Pid::from_child(&child))
    }

    /// The candidate's processes, whatever it calls them.
    pub(crate) fn candidate(&self) -> Result<Vec<Pid>> {
        let mut pids = descendants(getpid())?;
        pids.retain(|pid| !self.helpers.contains(pid));
        Ok(pids)
    }

    /// Asks the candidate to end, waits, and insists after [`GRACE`].
    pub(crate) async fn end_candidate(&self) -> Result<()> {
        let deadline = Instant::now() + GRACE;
        signal_all(&self.candidate()?, Signal::TERM);
        loop {
            reap();
            let left = self.candidate()?;
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                signal_all(&left, Signal::KILL);
            }
            sleep(POLL).await;
        }
    }
}

impl Drop for ProcessTree {
    fn drop(&mut self) {
        // Each turn ends at least one child of ours; orphans become children of ours and get their turn.
        while let Ok(pids) = descendants(getpid()) {
            signal_all(&pids, Signal::KILL);
            if pids.is_empty() || wait(WaitOptions::empty()).is_err() {
                break;
            }
        }
        reap();
    }
}

/// Makes this process end when the one that started it does, even by `kill -9`.
pub(crate) fn end_with_parent() -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("cannot ask for a death signal")
}

/// True while the process exists and has not ended.
pub(crate) fn is_alive(pid: Pid) -> bool {
    read_stat(pid).is_ok_and(|stat| !stat.ended)
}

/// CPU time the processes have used so far, user and system, all threads.
pub(crate) fn cpu_time(pids: &[Pid]) -> Result<Duration> {
    let mut ticks = 0;
    for &pid in pids {
        let stat = read_stat(pid)?;
        if stat.ended {
            bail!("process {pid} ended while it was measured");
        }
        ticks += stat.cpu_ticks;
    }
    Ok(Duration::from_secs_f64(
        ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
    ))
}

/// Memory of the processes in bytes, with what they share counted once (PSS).
pub(crate) fn memory(pids: &[Pid]) -> Result<u64> {
    pids.iter()
        .map(|&pid| {
            let path = format!("/proc/{pid}/smaps_rollup");
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
            parse_pss(&text).with_context(|| format!("{path} has no Pss line"))
        })
        .sum()
}

fn descendants(of: Pid) -> Result<Vec<Pid>> {
    let family = all_processes()?;
    let mut found = vec![of];
    let mut visited = 0;
    while let Some(&parent) = found.get(visited) {
        found.extend(
            family
                .iter()
                .filter(|(_, their_parent)| *their_parent == parent.as_raw_pid())
                .map(|(pid, _)| *pid),
        );
        visited += 1;
    }
    found.remove(0);
    Ok(found)
}

/// Every process that has not ended, with its parent's number.
fn all_processes() -> Result<Vec<(Pid, i32)>> {
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc").context("cannot read /proc")? {
        let name = entry.context("cannot read /proc")?.file_name();
        let pid = name
            .to_str()
            .and_then(|name| name.parse().ok())
            .and_then(Pid::from_raw);
        // One that ends while we look is no longer of interest.
        let stat = pid.and_then(|pid| read_stat(pid).ok()).filter(|stat| !stat.ended);
        processes.extend(pid.zip(stat).map(|(pid, stat)| (pid, stat.parent)));
    }
    Ok(processes)
}

fn signal_all(pids: &[Pid], signal: Signal) {
    for &pid in pids {
        // Only descendants of ours, unreaped, so the number cannot be another's; gone already is fine.
        let _ = kill_process(pid, signal);
    }
}

fn reap() {
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
}

#[derive(Debug, PartialEq)]
struct Stat {
    parent: i32,
    cpu_ticks: u64,
    ended: bool,
}

fn read_stat(pid: Pid) -> Result<Stat> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    parse_stat(&text)
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
        .with_context(|| path)
}

/// Fields are counted from behind the name, which stands in brackets and may itself hold brackets and spaces.
fn parse_stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        cpu_ticks: ticks(11)? + ticks(12)?,
        ended: matches!(*fields.first()?, "Z" | "X"),
    })
}

fn parse_pss(text: &str) -> Option<u64> {
    let kilobytes = text
        .lines()
        .find_map(|line| line.strip_prefix("Pss:"))?
        .trim()
        .strip_suffix("kB")?;
    Some(kilobytes.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines() {
        let tail = "1 5 5 0 -1 4194560 100 0 0 0 17 25 3 4 20 0 1 0 99 0 0";
        for (text, expected) in [
            (
                format!("7 (nginx) S {tail}"),
                Some(Stat {
                    parent: 1,
                    cpu_ticks: 42,
                    ended: false,
                }),
            ),
            (
                format!("7 (a) b (c)) Z {tail}"),
                Some(Stat {
                    parent: 1,
                    cpu_ticks: 42,
                    ended: true,
                }),
            ),
            ("7 (short) S 1 5".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(parse_stat(&text), expected, "{text}");
        }
    }

    #[test]
    fn pss_lines() {
        assert_eq!(
            parse_pss("55d0-7ffe ---p 00000000 [rollup]\nRss:   9000 kB\nPss:    1024 kB\n"),
            Some(1_048_576)
        );
        assert_eq!(parse_pss("Pss_Anon: 3 kB\n"), None);
    }

    #[test]
    fn own_process_is_alive_and_uses_memory() {
        assert!(is_alive(getpid()));
        assert!(memory(&[getpid()]).unwrap() > 0);
        assert!(cpu_time(&[getpid()]).is_ok());
    }
}

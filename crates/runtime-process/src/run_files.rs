//! Notes on disk about what runs, for the case that the minder dies: which processes were its children.
//!
//! One file for each run, written when it has started and removed when its output has been taken over. Losing
//! one with the machine does no harm: the processes are then gone as well, which the boot id tells. A process
//! is a leftover when it is in the group *and* the session of a run; the group's leader must also have the
//! start time that was noted. What has left both (a daemon) is found by the control group of the run, if it had one.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hythe_cgroup::Group;
use hythe_model::{FullName, InstanceId};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};

use crate::output::NewRun;
use crate::processes::{self, Process};

/// How long leftovers may take to end: after the SIGTERM they got when the minder died, and after SIGKILL.
const PATIENCE: Duration = Duration::from_secs(2);

/// The folder of these files.
#[derive(Debug)]
pub(crate) struct RunFiles {
    folder: PathBuf,
    boot: String,
}

/// What is noted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunFile {
    pub(crate) run: String,
    pub(crate) instance: InstanceId,
    pub(crate) service: FullName,
    pid: i32,
    start_time: u64,
    session: i32,
    boot: String,
    /// The folders of its control group.
    #[serde(default)]
    groups: Vec<PathBuf>,
}

impl RunFiles {
    pub(crate) fn open(home: &Path) -> io::Result<Self> {
        let folder = home.join("run/instances");
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Ok(Self {
            folder,
            boot: boot.trim().to_owned(),
        })
    }

    /// Notes a run that was started by a minder.
    pub(crate) fn write(
        &self,
        new: &NewRun<'_>,
        (pid, start_time): (i32, u64),
        minder: i32,
        group: &Group,
    ) -> io::Result<()> {
        let file = RunFile {
            run: new.run.to_owned(),
            instance: new.instance.clone(),
            service: new.service.clone(),
            pid,
            start_time,
            session: processes::process(minder).map_or(0, |minder| minder.session),
            boot: self.boot.clone(),
            groups: group.folders().map(Path::to_owned).collect(),
        };
        let (path, temporary) = (self.path(new.run), self.folder.join(format!("{}.new", new.run)));
        fs::write(&temporary, serde_json::to_vec(&file)?)?;
        fs::rename(&temporary, path)
    }

    pub(crate) fn remove(&self, run: &str) {
        if let Err(error) = fs::remove_file(self.path(run))
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(run, %error, "the note about a run cannot be removed");
        }
    }

    /// All notes. What cannot be read is no note.
    pub(crate) fn all(&self) -> io::Result<Vec<RunFile>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "json")
                && let Ok(bytes) = fs::read(&path)
                && let Ok(file) = serde_json::from_slice(&bytes)
            {
                files.push(file);
            }
        }
        Ok(files)
    }

    /// Ends what is left of runs that have no minder any more. Blocks, four seconds at most.
    pub(crate) fn end_leftovers(&self, files: &[RunFile]) {
        let files: Vec<&RunFile> = files.iter().filter(|file| file.boot == self.boot).collect();
        if files.is_empty() {
            return;
        }
        wait_for_all(&leftovers(&files));
        let stubborn = leftovers(&files);
        let groups: BTreeSet<i32> = stubborn.iter().map(|process| process.group).collect();
        for group in groups.into_iter().filter_map(Pid::from_raw) {
            tracing::warn!(
                group = group.as_raw_nonzero(),
                "killing what is left of an instance whose minder died"
            );
            // It may have ended just now.
            let _ = kill_process_group(group, Signal::KILL);
        }
        wait_for_all(&stubborn);
        for file in files {
            Group::of_folders(file.groups.iter().cloned()).end();
        }
    }

    fn path(&self, run: &str) -> PathBuf {
        self.folder.join(format!("{run}.json"))
    }
}

impl RunFile {
    fn owns(&self, process: &Process) -> bool {
        let known = if process.pid == self.pid {
            process.start_time == self.start_time
        } else {
            process.session == self.session
        };
        known && process.group == self.pid
    }
}

fn leftovers(files: &[&RunFile]) -> Vec<Process> {
    let mut processes = processes::all();
    processes.retain(|process| files.iter().any(|file| file.owns(process)));
    processes
}

fn wait_for_all(processes: &[Process]) {
    let deadline = Instant::now() + PATIENCE;
    processes
        .iter()
        .for_each(|process| processes::wait_for_end(process.pid, deadline));
}

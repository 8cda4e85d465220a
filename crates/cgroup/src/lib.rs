//! The kernel's control groups: what holds an instance together, and to its limits.
//!
//! ```text
//!   /proc/<pid>/mountinfo, cgroup ──► hierarchies and the place of <pid> in each ──► base
//!                                                                                     │
//!   base/hythe-<home>/<instance>/    a folder for each instance ◄── made before its first process is
//!       memory.max, cpu.max, pids.max     its limits
//!       cgroup.kill                       ends everything in it, whatever it did to hide
//!       memory.events                     whether it was killed for memory
//! ```
//!
//! In version 2 there is one hierarchy and an instance is born in its group, which costs nothing. In version 1 there is
//! one for each controller, and moving into it costs milliseconds: only those are used that a limit needs, and one that
//! can end everything: the hierarchy of version 2 that such systems mount beside them, else the freezer.
//!
//! Groups lie below the group of the minder, so that limits set on Hythe hold for what it runs. Version 2 allows that
//! only where the group was given to us (delegated); a privileged Hythe that was given none uses the top, as container
//! runtimes do. Processes in a group whose children have limits are not allowed either: they are moved to a group of
//! their own, `hythe-server`, beside the instances.
//!
//! Files of groups are small and written at once by the kernel, so everything here blocks, and not for long.
//!
//! Deliberately left out: reservations, IO, CPU sets, and changing limits under a running instance.

mod group;
mod places;
#[cfg(test)]
mod tests;

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

pub use group::{Group, Use};

use crate::places::{Place, Version};

/// Where processes go that may not stay in a group with limited children.
const OWN_PROCESSES: &str = "hythe-server";

/// What a group may use at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Thousandths of a core.
    pub cpu_millis: Option<u64>,
    /// Bytes, swap included.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u32>,
}

/// Who enforces a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Controller {
    /// Memory.
    Memory,
    /// CPU time.
    Cpu,
    /// The number of processes and threads.
    Pids,
}

/// A group could not be made, or not be given a limit.
#[derive(Debug, thiserror::Error)]
#[error("control group {}", path.display())]
pub struct GroupError {
    /// The folder, or the file in it.
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// The groups of one Hythe.
#[derive(Debug, Clone, Default)]
pub struct Cgroups {
    hierarchies: Vec<Hierarchy>,
}

/// One hierarchy that can be used.
#[derive(Debug, Clone)]
struct Hierarchy {
    /// Of all instances.
    folder: PathBuf,
    version: Version,
    /// What it can limit.
    limits: Vec<Controller>,
    /// Used for every instance, since all of one can be ended through it.
    ends: bool,
}

impl Cgroups {
    /// What can be used on this machine by children of `pid`. `name` tells the groups of this Hythe from others'.
    pub fn discover(pid: i32, name: &str) -> Self {
        Self::discover_in(Path::new("/proc"), pid, name)
    }

    fn discover_in(proc: &Path, pid: i32, name: &str) -> Self {
        let read = |file: &str| fs::read_to_string(proc.join(file)).unwrap_or_default();
        let places = places::of(&read("self/mountinfo"), &read(&format!("{pid}/cgroup")));
        let mut hierarchies: Vec<Hierarchy> = places
            .iter()
            .filter_map(|place| Hierarchy::at(place, name))
            .collect();
        let second = |hierarchy: &Hierarchy| hierarchy.version == Version::Two;
        if hierarchies.iter().any(second) {
            hierarchies.retain(|hierarchy| second(hierarchy) || !hierarchy.limits.is_empty());
            hierarchies
                .iter_mut()
                .for_each(|hierarchy| hierarchy.ends = second(hierarchy));
        }
        Self { hierarchies }
    }

    /// Whether nothing of this kind is there for us.
    pub fn is_empty(&self) -> bool {
        self.hierarchies.is_empty()
    }

    /// Those of `limits` that nobody enforces here.
    pub fn unenforced(&self, limits: &Limits) -> Vec<Controller> {
        let can = |controller| {
            self.hierarchies
                .iter()
                .any(|hierarchy| hierarchy.limits.contains(&controller))
        };
        limits.asked().filter(|controller| !can(*controller)).collect()
    }

    /// Makes the group of an instance, with its limits as far as they can be enforced.
    ///
    /// # Errors
    /// When the kernel refuses the group or one of its limits; then there is none.
    pub fn create(&self, instance: &str, limits: &Limits) -> Result<Group, GroupError> {
        let wanted = |hierarchy: &&Hierarchy| {
            hierarchy.ends || limits.asked().any(|asked| hierarchy.limits.contains(&asked))
        };
        let mut group = Group::default();
        for hierarchy in self.hierarchies.iter().filter(wanted) {
            let made = hierarchy
                .make(instance, limits)
                .map(|folder| group.add(folder, hierarchy.version));
            if let Err(error) = made {
                group.add(hierarchy.folder.join(instance), hierarchy.version);
                group.remove();
                return Err(error);
            }
        }
        Ok(group)
    }

    /// The group of an instance as it was made earlier.
    pub fn find(&self, instance: &str) -> Group {
        let mut group = Group::default();
        for hierarchy in &self.hierarchies {
            let folder = hierarchy.folder.join(instance);
            if folder.is_dir() {
                group.add(folder, hierarchy.version);
            }
        }
        group
    }

    /// The names of all instances that have a group.
    pub fn instances(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .hierarchies
            .iter()
            .filter_map(|hierarchy| fs::read_dir(&hierarchy.folder).ok())
            .flat_map(Iterator::flatten)
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl Limits {
    fn asked(&self) -> impl Iterator<Item = Controller> + use<> {
        let asked = [
            self.memory_bytes.map(|_| Controller::Memory),
            self.cpu_millis.map(|_| Controller::Cpu),
            self.pids.map(|_| Controller::Pids),
        ];
        asked.into_iter().flatten()
    }
}

impl Controller {
    const ALL: [Self; 3] = [Self::Memory, Self::Cpu, Self::Pids];

    /// As the kernel calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Pids => "pids",
        }
    }
}

impl GroupError {
    fn new(path: &Path, source: io::Error) -> Self {
        Self {
            path: path.to_owned(),
            source,
        }
    }
}

impl Hierarchy {
    /// `None` if nothing can be made there, or it would be of no use.
    fn at(place: &Place, name: &str) -> Option<Self> {
        let base = place.base(is_delegated)?;
        access(&base, Access::WRITE_OK | Access::EXEC_OK).ok()?;
        let limits: Vec<Controller> = match place.version {
            Version::One => place.limits(),
            Version::Two => enable(&base).unwrap_or_else(|error| {
                tracing::debug!(base = %base.display(), %error, "this group's children cannot be limited");
                Vec::new()
            }),
        };
        let ends = place.version == Version::Two || place.is_freezer();
        (ends || !limits.is_empty()).then(|| Self {
            folder: base.join(name),
            version: place.version,
            limits,
            ends,
        })
    }

    /// Makes the group of an instance with the limits that are this hierarchy's.
    fn make(&self, instance: &str, limits: &Limits) -> Result<PathBuf, GroupError> {
        let folder = self.folder.join(instance);
        fs::create_dir_all(&folder).map_err(|error| GroupError::new(&folder, error))?;
        if self.version == Version::Two && !self.limits.is_empty() {
            allow(&self.folder, &self.limits).map_err(|error| GroupError::new(&self.folder, error))?;
        }
        group::limit(&folder, self.version, &self.limits, limits)?;
        Ok(folder)
    }
}

/// Has children of `base` limited by everything that `base` has; says by what.
fn enable(base: &Path) -> io::Result<Vec<Controller>> {
    let offered = fs::read_to_string(base.join("cgroup.controllers"))?;
    let mut limits = Controller::ALL.to_vec();
    limits.retain(|controller| {
        offered
            .split_ascii_whitespace()
            .any(|word| word == controller.as_str())
    });
    if limits.is_empty() {
        return Ok(limits);
    }
    match allow(base, &limits) {
        Err(error) if matches!(error.kind(), ErrorKind::ResourceBusy | ErrorKind::Unsupported) => {
            move_processes(base)?;
            allow(base, &limits)?;
        }
        allowed => allowed?,
    }
    Ok(limits)
}

/// Gives the children of `folder` these controllers.
fn allow(folder: &Path, limits: &[Controller]) -> io::Result<()> {
    let file = folder.join("cgroup.subtree_control");
    let given = fs::read_to_string(&file).unwrap_or_default();
    let missing: Vec<String> = limits
        .iter()
        .map(|controller| controller.as_str())
        .filter(|name| !given.split_ascii_whitespace().any(|word| word == *name))
        .map(|name| format!("+{name}"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    fs::write(file, missing.join(" "))
}

/// Moves the processes of `base` into a group of their own. New ones may come meanwhile, so more than once.
fn move_processes(base: &Path) -> io::Result<()> {
    const ROUNDS: usize = 10;
    let own = base.join(OWN_PROCESSES);
    fs::create_dir_all(&own)?;
    for _ in 0..ROUNDS {
        let processes = fs::read_to_string(base.join("cgroup.procs"))?;
        if processes.trim().is_empty() {
            break;
        }
        for process in processes.lines() {
            match fs::write(own.join("cgroup.procs"), process) {
                // It has ended.
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {}
                moved => moved?,
            }
        }
    }
    Ok(())
}

/// As systemd marks the groups that it leaves to others; without privileges, owning one is enough.
fn is_delegated(folder: &Path) -> bool {
    if !rustix::process::geteuid().is_root() {
        return true;
    }
    let marked = |name: &str| {
        let mut value = [0; 8];
        rustix::fs::getxattr(folder, name, &mut value).is_ok_and(|length| value.get(..length) == Some(b"1"))
    };
    marked("trusted.delegate") || marked("user.delegate")
}

//! What is known of instances: each start of one is a *run* with a name of its own.
//!
//! The minder knows runs, the supervisor knows instances. A run's name is never used again, so output and exits
//! of an earlier start cannot be taken for those of a later one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hythe_minder::protocol::{ChildState, ChildStatus, is_name};
use hythe_model::InstanceId;
use hythe_supervisor::runtime::{Bound, Record};

/// The longest part of an instance's id that goes into a run's name, bytes.
const MAX_ID: usize = 100;

/// The table of runs, one for each instance: the last.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    table: Mutex<Table>,
    exited: Condvar,
    last_number: AtomicU64,
}

#[derive(Debug, Default)]
struct Table {
    by_name: BTreeMap<Arc<str>, Run>,
    by_instance: BTreeMap<InstanceId, Arc<str>>,
}

/// One start of an instance.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// What the minder calls it.
    pub(crate) name: Arc<str>,
    pub(crate) instance: InstanceId,
    address: Option<SocketAddr>,
    /// Pid and start time; nothing while the minder has not answered.
    pub(crate) process: Option<(i32, u64)>,
    pub(crate) exited: bool,
}

impl Runs {
    /// A name for a new run at this time, Unix milliseconds.
    pub(crate) fn new_name(&self, instance: &InstanceId, now: u64) -> Arc<str> {
        let next = |last: u64| Some(now.max(last + 1));
        let last = self
            .last_number
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        let number = now.max(last.unwrap_or_default() + 1);
        let id: String = instance
            .0
            .chars()
            .map(|letter| if is_letter(letter) { letter } else { '_' })
            .collect();
        format!("{}.{number}", &id[..id.len().min(MAX_ID)]).into()
    }

    /// A run is about to be started.
    pub(crate) fn begin(&self, name: &Arc<str>, record: &Record) {
        self.table().insert(Run::new(name, record));
    }

    /// It was started.
    pub(crate) fn started(&self, name: &str, process: (i32, u64)) {
        if let Some(run) = self.table().by_name.get_mut(name) {
            run.process = Some(process);
        }
    }

    /// It has exited; says which instance that was.
    pub(crate) fn exited(&self, name: &str) -> Option<InstanceId> {
        let mut table = self.table();
        let run = table.by_name.get_mut(name)?;
        run.exited = true;
        self.exited.notify_all();
        Some(run.instance.clone())
    }

    /// Waits until a run has exited, `patience` at most; says whether it has.
    pub(crate) fn wait_for_exit(&self, name: &str, patience: Duration) -> bool {
        let runs = |table: &mut Table| table.by_name.get(name).is_some_and(|run| !run.exited);
        let waited = self.exited.wait_timeout_while(self.table(), patience, runs);
        let (table, _) = waited.unwrap_or_else(PoisonError::into_inner);
        table.by_name.get(name).is_none_or(|run| run.exited)
    }

    /// It is gone, or was never started.
    pub(crate) fn remove(&self, name: &str) {
        self.table().remove(name);
    }

    /// Takes over what the minder has. Names the runs of which there is a later one of the same instance.
    pub(crate) fn adopt(&self, children: &[(ChildStatus, Record)]) -> Vec<Arc<str>> {
        let mut table = self.table();
        *table = Table::default();
        // In the order they were started: the last one of an instance stays.
        children
            .iter()
            .filter_map(|(child, record)| table.insert(Run::of(child, record)))
            .collect()
    }

    /// Nothing runs any more.
    pub(crate) fn clear(&self) {
        *self.table() = Table::default();
        self.exited.notify_all();
    }

    /// The last run of an instance.
    pub(crate) fn of(&self, instance: &InstanceId) -> Option<Run> {
        let table = self.table();
        table.by_name.get(table.by_instance.get(instance)?).cloned()
    }

    /// The run of this name.
    pub(crate) fn get(&self, name: &str) -> Option<Run> {
        self.table().by_name.get(name).cloned()
    }

    /// Whether there is a run of this name.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.table().by_name.contains_key(name)
    }

    /// The main processes of all of them.
    pub(crate) fn processes(&self) -> BTreeSet<i32> {
        let table = self.table();
        let processes = table.by_name.values().filter_map(|run| run.process);
        processes.map(|(pid, _)| pid).collect()
    }

    /// Where instances were told to listen.
    pub(crate) fn addresses(&self) -> BTreeSet<SocketAddr> {
        self.table()
            .by_name
            .values()
            .filter_map(|run| run.address)
            .collect()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Adds a run and removes an earlier one of the same instance, which is returned.
    fn insert(&mut self, run: Run) -> Option<Arc<str>> {
        let earlier = self
            .by_instance
            .insert(run.instance.clone(), Arc::clone(&run.name));
        if let Some(earlier) = &earlier {
            self.by_name.remove(earlier);
        }
        self.by_name.insert(Arc::clone(&run.name), run);
        earlier
    }

    fn remove(&mut self, name: &str) {
        let Some(run) = self.by_name.remove(name) else {
            return;
        };
        if self
            .by_instance
            .get(&run.instance)
            .is_some_and(|current| **current == *name)
        {
            self.by_instance.remove(&run.instance);
        }
    }
}

impl Run {
    fn new(name: &Arc<str>, record: &Record) -> Self {
        Self {
            name: Arc::clone(name),
            instance: record.id.clone(),
            address: record.address,
            process: None,
            exited: false,
        }
    }

    fn of(child: &ChildStatus, record: &Record) -> Self {
        Self {
            process: Some((child.pid, child.start_time)),
            exited: matches!(child.state, ChildState::Exited(_)),
            ..Self::new(&child.id.as_str().into(), record)
        }
    }
}

/// Where a child listens, in the supervisor's words.
pub(crate) fn bound_of(bound: hythe_minder::protocol::Bound) -> Bound {
    Bound {
        asked: bound.asked,
        address: bound.to,
    }
}

fn is_letter(letter: char) -> bool {
    is_name(letter.encode_utf8(&mut [0; 4]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_new_and_fit() {
        let runs = Runs::default();
        let name = |id: &str, now| runs.new_name(&InstanceId(id.into()), now);
        assert_eq!(&*name("users-1", 1000), "users-1.1000");
        assert_eq!(&*name("users-1", 1000), "users-1.1001");
        assert_eq!(&*name("a~é-1", 10), "a__-1.1002");
        assert_eq!(&*name("users-1", 5000), "users-1.5000");
        assert!(is_name(&name(&"x".repeat(140), u64::MAX - 1)));
    }
}

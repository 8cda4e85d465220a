//! What the minder knows of a child, and the table of them.

use std::{collections::BTreeMap, fs, path::Path, rc::Rc};

use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitStatus, kill_process, kill_process_group, test_kill_process_group},
};

use super::{
    handover::{ChildLeft, OutputLeft},
    launch::Launched,
    output::Output,
    segment_writer::{SegmentLimits, SegmentWriter},
    slots::Slots,
    unix_ms,
};
use crate::protocol::{
    Bound, ChildState, ChildStatus, ControlGroups, Event, Exit, Refusal, Spawn, Spawned, Stream,
};

/// A child, running or not yet forgotten.
pub(super) struct Child {
    serial: u64,
    id: Rc<str>,
    pid: Pid,
    start_time: u64,
    state: ChildState,
    pub(super) label: serde_json::Value,
    outputs: [Output; 2],
    /// Its first bind that was turned.
    pub(super) bound: Option<Bound>,
    /// Subscribers who have not been told of that.
    pub(super) bound_news: Slots,
    /// It has said that it is ready.
    pub(super) ready: bool,
    /// Subscribers who have not been told of that.
    pub(super) ready_news: Slots,
    groups: ControlGroups,
    /// Subscribers who have not been told of its exit.
    pub(super) exit_news: Slots,
}

/// All children by their serial.
#[derive(Default)]
pub(super) struct Children {
    by_serial: BTreeMap<u64, Child>,
    last_serial: u64,
}

/// The outputs of a child that is about to be started.
pub(super) struct Outputs(Rc<str>, [Output; 2]);

impl Outputs {
    pub(super) fn prepare(folder: &Rc<Path>, spawn: &Spawn) -> std::io::Result<Self> {
        let id: Rc<str> = spawn.id.as_str().into();
        let limits = SegmentLimits {
            segment: spawn.segment_limit,
            unread: spawn.unread_limit,
        };
        let output = |stream| {
            let writer = SegmentWriter::adopt(folder.clone(), id.clone(), stream, limits)?;
            Ok::<_, std::io::Error>(Output::new(stream, writer))
        };
        let [out, err] = Stream::ALL;
        let outputs = [output(out)?, output(err)?];
        Ok(Self(id, outputs))
    }
}

impl Children {
    pub(super) fn insert(
        &mut self,
        outputs: Outputs,
        launched: Launched,
        label: serde_json::Value,
        groups: ControlGroups,
    ) -> &mut Child {
        self.last_serial += 1;
        let Outputs(id, mut outputs) = outputs;
        for (output, pipe) in outputs.iter_mut().zip(launched.pipes) {
            output.attach(pipe);
        }
        self.by_serial.entry(self.last_serial).or_insert(Child {
            serial: self.last_serial,
            id,
            pid: launched.pid,
            start_time: launched.start_time,
            state: ChildState::Running {},
            label,
            outputs,
            bound: None,
            bound_news: Slots::default(),
            ready: false,
            ready_news: Slots::default(),
            groups,
            exit_news: Slots::default(),
        })
    }

    /// Takes in one that an earlier binary has left.
    pub(super) fn insert_left(&mut self, folder: &Rc<Path>, left: ChildLeft) -> std::io::Result<()> {
        let id: Rc<str> = left.id.as_str().into();
        let output = |stream, left: OutputLeft| {
            let limits = SegmentLimits {
                segment: left.segment_limit,
                unread: left.unread_limit,
            };
            // What is on a disk that cannot be read is not worth the child.
            let writer = SegmentWriter::adopt(folder.clone(), id.clone(), stream, limits)
                .unwrap_or_else(|_| SegmentWriter::new(folder.clone(), id.clone(), stream, limits));
            Output::left(stream, writer, left)
        };
        let ([out, err], [out_left, err_left]) = (Stream::ALL, left.outputs);
        let outputs = [output(out, out_left), output(err, err_left)];
        let pid = Pid::from_raw(left.pid).ok_or(Errno::INVAL)?;
        let child = Child {
            serial: left.serial,
            id,
            pid,
            start_time: left.start_time,
            state: left.state,
            label: left.label,
            outputs,
            bound: left.bound,
            bound_news: Slots::default(),
            ready: left.ready,
            ready_news: Slots::default(),
            groups: left.groups,
            exit_news: Slots::default(),
        };
        self.by_serial.insert(left.serial, child);
        Ok(())
    }

    pub(super) fn last_serial(&self) -> u64 {
        self.last_serial
    }

    pub(super) fn go_on_after(&mut self, serial: u64) {
        self.last_serial = self.last_serial.max(serial);
    }

    pub(super) fn len(&self) -> usize {
        self.by_serial.len()
    }

    pub(super) fn running(&self) -> usize {
        self.by_serial.values().filter(|child| child.is_running()).count()
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.by_serial.values().any(|child| &*child.id == id)
    }

    pub(super) fn get(&mut self, serial: u64) -> Option<&mut Child> {
        self.by_serial.get_mut(&serial)
    }

    pub(super) fn named(&mut self, id: &str) -> Result<&mut Child, Refusal> {
        let found = self.by_serial.values_mut().find(|child| &*child.id == id);
        found.ok_or_else(|| Refusal::NoChild { id: id.to_owned() })
    }

    pub(super) fn running_as(&mut self, pid: Pid) -> Option<&mut Child> {
        self.by_serial.values_mut().find(|child| child.is_running_as(pid))
    }

    pub(super) fn remove(&mut self, serial: u64) {
        self.by_serial.remove(&serial);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Child> {
        self.by_serial.values()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Child> {
        self.by_serial.values_mut()
    }

    pub(super) fn after(&self, serial: u64) -> impl Iterator<Item = &Child> {
        self.by_serial
            .range(serial.saturating_add(1)..)
            .map(|(_, child)| child)
    }
}

impl Child {
    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    /// For a later binary.
    pub(super) fn to_leave(&self) -> ChildLeft {
        ChildLeft {
            serial: self.serial,
            id: self.id.to_string(),
            pid: self.pid.as_raw_nonzero().get(),
            start_time: self.start_time,
            state: self.state,
            label: self.label.clone(),
            outputs: self.outputs.each_ref().map(Output::to_leave),
            bound: self.bound,
            ready: self.ready,
            groups: self.groups.clone(),
        }
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.state, ChildState::Running {})
    }

    pub(super) fn is_running_as(&self, pid: Pid) -> bool {
        self.pid == pid && self.is_running()
    }

    pub(super) fn output(&mut self, stream: Stream) -> &mut Output {
        let [out, err] = &mut self.outputs;
        match stream {
            Stream::Out => out,
            Stream::Err => err,
        }
    }

    pub(super) fn outputs(&self) -> &[Output; 2] {
        &self.outputs
    }

    pub(super) fn outputs_mut(&mut self) -> &mut [Output; 2] {
        &mut self.outputs
    }

    /// Notes how its main process has ended.
    pub(super) fn exited(&mut self, status: WaitStatus, subscribers: Slots) {
        let (code, signal) = (status.exit_status(), status.terminating_signal());
        self.state = ChildState::Exited(Exit {
            code,
            signal,
            at_ms: unix_ms(),
        });
        self.exit_news = subscribers;
    }

    pub(super) fn signal(&self, signal: Signal, group: bool) -> Result<(), Refusal> {
        let outcome = match (group, self.is_running()) {
            (true, _) => self.signal_group(signal),
            (false, true) => kill_process(self.pid, signal),
            (false, false) => Err(Errno::SRCH),
        };
        outcome.map_err(|error| match error {
            Errno::SRCH => Refusal::ChildEnded {
                id: self.id.to_string(),
            },
            other => Refusal::Failed {
                what: "signal".into(),
                errno: other.raw_os_error(),
            },
        })
    }

    /// Signals whoever is left in its process group.
    pub(super) fn signal_group(&self, signal: Signal) -> Result<(), Errno> {
        if self.number_was_reused() {
            return Err(Errno::SRCH);
        }
        kill_process_group(self.pid, signal)
    }

    pub(super) fn group_exists(&self) -> bool {
        !self.number_was_reused() && test_kill_process_group(self.pid).is_ok()
    }

    /// Removes its control groups, and the folder they are in after the last. With the server this is done earlier.
    pub(super) fn remove_groups(&self) {
        let ControlGroups { birthplace, joined } = &self.groups;
        for folder in birthplace.iter().chain(joined) {
            // They are not empty, or not there any more.
            let _ = fs::remove_dir(folder);
            let _ = folder.parent().map(fs::remove_dir);
        }
    }

    /// The kernel gives a number to nobody while a group bears it. So once the child has been reaped, a process
    /// of that number means that the group is gone.
    fn number_was_reused(&self) -> bool {
        !self.is_running() && Path::new(&format!("/proc/{}", self.pid)).exists()
    }

    pub(super) fn spawned(&self) -> Spawned {
        let [out_start, err_start] = self.outputs.each_ref().map(|output| output.status().end);
        Spawned {
            pid: self.pid.as_raw_nonzero().get(),
            start_time: self.start_time,
            out_start,
            err_start,
            rebinds: false,
        }
    }

    pub(super) fn status(&self) -> ChildStatus {
        let [out, err] = self.outputs.each_ref().map(Output::status);
        ChildStatus {
            serial: self.serial,
            id: self.id.to_string(),
            pid: self.pid.as_raw_nonzero().get(),
            start_time: self.start_time,
            label: self.label.clone(),
            state: self.state,
            out,
            err,
            bound: self.bound,
            ready: self.ready,
        }
    }

    /// What one subscriber has not been told, one thing at a time.
    pub(super) fn take_news(&mut self, slot: usize) -> Option<Event> {
        if let Some(bound) = self.bound
            && self.bound_news.take(slot)
        {
            return Some(Event::Bound {
                id: self.id.to_string(),
                pid: self.pid.as_raw_nonzero().get(),
                bound,
            });
        }
        if self.ready && self.ready_news.take(slot) {
            return Some(Event::Ready {
                id: self.id.to_string(),
                pid: self.pid.as_raw_nonzero().get(),
            });
        }
        if let ChildState::Exited(exit) = self.state
            && self.exit_news.take(slot)
        {
            return Some(Event::Exited {
                id: self.id.to_string(),
                pid: self.pid.as_raw_nonzero().get(),
                exit,
            });
        }
        self.outputs
            .iter_mut()
            .find_map(|output| output.take_news(slot, &self.id))
    }

    /// Everything that is unforgotten and unconsumed is news to a new subscriber.
    pub(super) fn welcome(&mut self, slot: usize, binds: bool) {
        if binds && self.bound.is_some() {
            self.bound_news.insert(slot);
        }
        if binds && self.ready {
            self.ready_news.insert(slot);
        }
        if !self.is_running() {
            self.exit_news.insert(slot);
        }
        for output in self.outputs.iter_mut().filter(|output| output.has_unconsumed()) {
            output.news.insert(slot);
        }
    }

    /// Nothing is owed to a connection that is gone.
    pub(super) fn part(&mut self, slot: usize) {
        self.exit_news.remove(slot);
        self.bound_news.remove(slot);
        self.ready_news.remove(slot);
        for output in &mut self.outputs {
            output.news.remove(slot);
            output.unacknowledged.remove(slot);
        }
    }
}

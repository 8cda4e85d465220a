//! A home with a minder, a client and a subscription, and what tests ask of them.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use hythe_minder::{
    client::{Client, ClientError, Events, spawn_detached},
    home,
    protocol::{Bound, ChildStatus, Event, Exit, Refusal, Spawn, Stream},
    segments::SegmentReader,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::sockopt::{Timeout, set_socket_timeout},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};

/// The minder alone.
pub(crate) const EXE: &str = env!("CARGO_BIN_EXE_hythe-minder-alone");

/// How long anything may take before a test fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct World {
    folder: tempfile::TempDir,
    pub(crate) client: Client,
    events: Option<Events>,
    exits: BTreeMap<String, Exit>,
    bound: BTreeMap<String, Bound>,
    ready: BTreeSet<String>,
    closed: BTreeSet<(String, Stream)>,
}

impl World {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        spawn_detached(EXE.as_ref(), folder.path()).unwrap();
        let client = Client::connect(folder.path()).unwrap();
        let events = Some(subscribe(folder.path()));
        Self {
            folder,
            client,
            events,
            exits: BTreeMap::new(),
            bound: BTreeMap::new(),
            ready: BTreeSet::new(),
            closed: BTreeSet::new(),
        }
    }

    pub(crate) fn home(&self) -> &Path {
        self.folder.path()
    }

    /// Lets go of the event connection, as a killed server does, and of all that was heard.
    pub(crate) fn disconnect(&mut self) {
        self.events = None;
        self.exits.clear();
        self.closed.clear();
        self.bound.clear();
        self.ready.clear();
    }

    pub(crate) fn reconnect(&mut self) {
        self.client = Client::connect(self.home()).unwrap();
        self.events = Some(subscribe(self.home()));
    }

    /// Starts another minder for the same home.
    pub(crate) fn restart(&mut self) {
        self.disconnect();
        spawn_detached(EXE.as_ref(), self.home()).unwrap();
        self.reconnect();
    }

    pub(crate) fn child(&mut self, id: &str) -> ChildStatus {
        self.client
            .list()
            .unwrap()
            .into_iter()
            .find(|child| child.id == id)
            .unwrap()
    }

    pub(crate) fn refusal<T: std::fmt::Debug>(
        &mut self,
        call: impl FnOnce(&mut Client) -> Result<T, ClientError>,
    ) -> Refusal {
        match call(&mut self.client) {
            Err(ClientError::Refused(refusal)) => refusal,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    pub(crate) fn exit_of(&mut self, id: &str) -> Exit {
        while !self.exits.contains_key(id) {
            self.hear();
        }
        self.exits[id]
    }

    pub(crate) fn bound_of(&mut self, id: &str) -> Bound {
        while !self.bound.contains_key(id) {
            self.hear();
        }
        self.bound[id]
    }

    pub(crate) fn await_ready(&mut self, id: &str) {
        while !self.ready.contains(id) {
            self.hear();
        }
    }

    pub(crate) fn await_closed(&mut self, id: &str, stream: Stream) {
        let key = (id.to_owned(), stream);
        while !self.closed.contains(&key) {
            self.hear();
        }
    }

    /// All of a stream, once it has ended.
    pub(crate) fn output(&mut self, id: &str, stream: Stream) -> String {
        self.await_closed(id, stream);
        read_from(&mut SegmentReader::open(&home::raw_folder(self.home()), id, stream, 0).unwrap())
    }

    /// The first line of standard output, once it is there.
    pub(crate) fn first_line(&mut self, id: &str) -> String {
        self.await_line(id, |_| true)
    }

    /// What it has written until now.
    pub(crate) fn output_so_far(&mut self, id: &str) -> String {
        let mut reader = SegmentReader::open(&home::raw_folder(self.home()), id, Stream::Out, 0).unwrap();
        read_from(&mut reader)
    }

    /// The first line of its output that `wanted` accepts.
    pub(crate) fn await_line(&mut self, id: &str, wanted: impl Fn(&str) -> bool) -> String {
        let mut reader = SegmentReader::open(&home::raw_folder(self.home()), id, Stream::Out, 0).unwrap();
        let mut text = String::new();
        loop {
            text += &read_from(&mut reader);
            let mut lines = text
                .split_inclusive('\n')
                .filter_map(|line| line.strip_suffix('\n'));
            if let Some(line) = lines.find(|line| wanted(line)) {
                return line.to_owned();
            }
            self.hear();
        }
    }

    /// Forgets what was heard of a child.
    pub(crate) fn forget(&mut self, id: &str) {
        self.exits.remove(id);
        self.closed.retain(|(closed, _)| closed != id);
    }

    pub(crate) fn fifo(&self, name: &str) -> PathBuf {
        let path = self.home().join(name);
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        path
    }

    /// The processes whose parent is the minder, zombies among them.
    pub(crate) fn children_of_minder(&self) -> Vec<i32> {
        let pid = self.client.hello().pid;
        let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }

    /// Waits until the process is no zombie either.
    pub(crate) fn await_reaped(&mut self, pid: i32) {
        wait_for_end(pid);
        self.until(|| !Path::new(&format!("/proc/{pid}")).exists());
    }

    /// Goes on asking the minder until something has become true.
    pub(crate) fn until_child(&mut self, id: &str, is_true: impl Fn(&ChildStatus) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_true(&self.child(id)) {
            assert!(Instant::now() < deadline, "not in time: {:?}", self.child(id));
        }
    }

    /// Gives the minder one turn after the other until something has become true.
    pub(crate) fn until(&mut self, is_true: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_true() {
            assert!(Instant::now() < deadline, "not in time");
            self.client.list().unwrap();
        }
    }

    fn hear(&mut self) {
        let events = self.events.as_mut().unwrap();
        match events
            .next()
            .expect("the minder ended")
            .expect("an event in time")
        {
            Event::Exited { id, exit, .. } => {
                assert_eq!(self.exits.insert(id, exit), None, "told twice");
            }
            Event::Output {
                id, stream, closed, ..
            } => {
                events.acknowledge(&id, stream);
                if closed {
                    self.closed.insert((id, stream));
                }
            }
            Event::Ready { id, .. } => assert!(self.ready.insert(id), "told twice"),
            Event::Bound { id, bound, .. } => {
                assert_eq!(self.bound.insert(id, bound), None, "told twice");
            }
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let Ok(mut client) = Client::connect(self.home()) else {
            return;
        };
        for child in client.list().unwrap_or_default() {
            let _ = client.signal(&child.id, libc::SIGKILL, true);
        }
        if client.shutdown(true).is_ok() {
            let _ = client.await_end();
        }
    }
}

fn subscribe(home: &Path) -> Events {
    let events = Events::subscribe(home).unwrap();
    set_socket_timeout(&events, Timeout::Recv, Some(PATIENCE)).unwrap();
    events
}

/// A shell with a script, whose `$0` is the id.
pub(crate) fn shell(id: &str, script: &str) -> Spawn {
    Spawn::new(id, ["/bin/sh", "-c", script, id].map(Into::into).to_vec())
}

/// What is there to be read now.
pub(crate) fn read_from(reader: &mut SegmentReader) -> String {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match reader.read(&mut buffer).unwrap() {
            0 => return String::from_utf8(bytes).unwrap(),
            read => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}

pub(crate) fn kill(pid: i32, signal: i32) {
    kill_process(
        Pid::from_raw(pid).unwrap(),
        Signal::from_named_raw(signal).unwrap(),
    )
    .unwrap();
}

pub(crate) fn wait_for_end(pid: i32) {
    let timeout = Timespec::try_from(PATIENCE).unwrap();
    assert!(ends_within(pid, &timeout), "process {pid} goes on");
}

pub(crate) fn has_ended(pid: i32) -> bool {
    ends_within(pid, &Timespec::default())
}

fn ends_within(pid: i32, timeout: &Timespec) -> bool {
    let Ok(process) = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()) else {
        return true;
    };
    poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(timeout)).unwrap() > 0
}

pub(crate) fn open_descriptors(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

pub(crate) fn private_kib(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let private = text
        .lines()
        .filter(|line| line.starts_with("Private_Clean:") || line.starts_with("Private_Dirty:"));
    private
        .map(|line| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap())
        .sum()
}

/// A port that nobody listened on a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

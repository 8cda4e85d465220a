//! What the runtime's handle, its connection's task and the minder's thread share.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hythe_cgroup::{Cgroups, Group};
use hythe_minder::protocol::{self, Guarded, Stream};
use hythe_model::Exit;
use hythe_stdx::StableHash;
use hythe_supervisor::runtime::RuntimeEvent;
use tokio::sync::mpsc;

use crate::addresses::Addresses;
use crate::commands::Commands;
use crate::output::Output;
use crate::runs::Runs;

/// How many exits a subscriber may leave unread: as many as a minder has children.
const EVENT_QUEUE: usize = hythe_minder::protocol::MAX_CHILDREN;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) home: PathBuf,
    pub(crate) exe: PathBuf,
    /// What every process gets beside its own environment.
    pub(crate) inherited: BTreeMap<String, String>,
    pub(crate) commands: Commands,
    pub(crate) runs: Runs,
    pub(crate) output: Output,
    /// Streams whose news have been read.
    pub(crate) acknowledged: mpsc::Sender<(String, Stream)>,
    /// 0 while there is none.
    pub(crate) minder: AtomicI32,
    /// Whether the minder can turn binds.
    pub(crate) rebinds: AtomicBool,
    /// Whether it knows Node's channel.
    pub(crate) channels: AtomicBool,
    /// Whether it can turn binds to a port that nobody knows.
    pub(crate) learns: AtomicBool,
    /// Whether the minder can confine what it starts.
    pub(crate) confines: AtomicBool,
    /// Whether it can give what it starts a socket.
    pub(crate) gives_sockets: AtomicBool,
    /// The control groups below the minder's.
    pub(crate) cgroups: Mutex<Arc<Cgroups>>,
    /// The minder was asked to end: no other is started.
    pub(crate) closed: AtomicBool,
    /// How this server is started again when it dies, if it is to be.
    pub(crate) guarded: Mutex<Option<Guarded>>,
    pub(crate) addresses: Mutex<Addresses>,
    pub(crate) subscribers: Mutex<Vec<mpsc::Sender<RuntimeEvent>>>,
}

impl Shared {
    pub(crate) fn addresses(&self) -> MutexGuard<'_, Addresses> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn guarded(&self) -> MutexGuard<'_, Option<Guarded>> {
        self.guarded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn cgroups(&self) -> Arc<Cgroups> {
        let cgroups = self.cgroups.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&cgroups)
    }

    /// Looks for the control groups that children of the minder can be in.
    pub(crate) fn find_cgroups(&self, minder: i32) {
        let hash = StableHash::default()
            .with(self.home.as_os_str().as_bytes())
            .finish();
        let cgroups = Cgroups::discover(minder, &format!("hythe-{hash:016x}"));
        *self.cgroups.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(cgroups);
    }

    /// The control group of a run; an empty one if it has none.
    pub(crate) fn group_of(&self, run: &str) -> Group {
        self.cgroups().find(run)
    }

    /// How a run ended, in the supervisor's words.
    pub(crate) fn exit_of(&self, run: &str, exit: protocol::Exit) -> Exit {
        let exit = Exit {
            code: exit.code,
            signal: exit.signal,
            at: exit.at_ms,
            out_of_memory: None,
        };
        Exit {
            out_of_memory: (!exit.is_success())
                .then(|| self.group_of(run).out_of_memory())
                .flatten(),
            ..exit
        }
    }

    /// The minder's process id; 0 while there is none.
    pub(crate) fn minder_pid(&self) -> i32 {
        self.minder.load(Ordering::Relaxed)
    }

    /// An instance's environment on top of what every process gets.
    pub(crate) fn complete(&self, mut environment: BTreeMap<String, String>) -> BTreeMap<String, String> {
        for (name, value) in &self.inherited {
            environment.entry(name.clone()).or_insert_with(|| value.clone());
        }
        environment
    }

    /// A new subscriber.
    pub(crate) fn subscribe(&self) -> mpsc::Receiver<RuntimeEvent> {
        let (sender, receiver) = mpsc::channel(EVENT_QUEUE);
        self.subscribers().push(sender);
        receiver
    }

    /// Tells every subscriber. One that has left or is too far behind is dropped, which ends its events.
    pub(crate) fn tell(&self, event: &RuntimeEvent) {
        self.subscribers()
            .retain(|subscriber| subscriber.try_send(event.clone()).is_ok());
    }

    /// Tells every subscriber that events may have been missed, as the last one it gets.
    pub(crate) fn tell_lost(&self) {
        self.tell(&RuntimeEvent::Lost);
        self.subscribers().clear();
    }

    fn subscribers(&self) -> MutexGuard<'_, Vec<mpsc::Sender<RuntimeEvent>>> {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

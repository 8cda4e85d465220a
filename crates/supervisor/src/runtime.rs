//! The seam to whatever runs instances: processes today, containers and pods later.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use hythe_model::workload::{Limits, NodeChannel, RunAs};
use hythe_model::{Exit, FullName, InstanceId, Revision};
use hythe_ports::BoxFuture;
use serde::{Deserialize, Serialize};

/// Runs instances and remembers them across the server's own death.
pub trait Runtime: Send + Sync {
    /// Starts an instance. Its record is kept with it and comes back from [`Runtime::list`].
    fn start(&self, spec: StartSpec) -> BoxFuture<'_, Result<Started, RuntimeError>>;
    /// Every instance this runtime has: running ones, and ended ones until they are forgotten. What an
    /// earlier server started is there too.
    fn list(&self) -> BoxFuture<'_, Result<Vec<Found>, RuntimeError>>;
    /// Replaces what is remembered with an instance.
    fn record<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<(), RuntimeError>>;
    /// Sends a signal to the main process, or to everything the instance started.
    fn signal<'a>(
        &'a self,
        id: &'a InstanceId,
        signal: i32,
        group: bool,
    ) -> BoxFuture<'a, Result<(), RuntimeError>>;
    /// Asks an instance to end, in the way that its record tells.
    fn ask_to_end<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<(), RuntimeError>>;
    /// Forgets an ended instance and kills everything that is left of it.
    fn forget<'a>(&'a self, id: &'a InstanceId) -> BoxFuture<'a, Result<(), RuntimeError>>;
    /// A free address for an instance; not given out twice while it is in use. With the program's own port if it has one
    /// and the runtime can have it listen there; with port 0 if nobody knows the port yet. `None`: the runtime has no say
    /// in where it listens.
    fn allocate_address(&self, listens: Listens) -> BoxFuture<'_, Result<Option<SocketAddr>, RuntimeError>>;
    /// Runs a command to its end with the instance's environment and folder (a health check) and says
    /// whether it exited with 0; killed, with all it started, when the future is dropped.
    fn probe(&self, command: ProbeSpec) -> BoxFuture<'_, Result<ProbeResult, RuntimeError>>;
    /// Which of these limits nobody would enforce here, and why, for people.
    fn unenforced(&self, limits: &Limits) -> Vec<String>;
    /// CPU and memory of an instance's whole process tree; `None` if it does not run.
    fn usage(&self, id: &InstanceId) -> Option<Usage>;
    /// Exits, as they happen. Ends after [`RuntimeEvent::Lost`]; call [`Runtime::list`] again then.
    fn events(&self) -> tokio::sync::mpsc::Receiver<RuntimeEvent>;
}

/// What to start.
#[derive(Debug, Clone)]
pub struct StartSpec {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Folder.
    pub working_dir: PathBuf,
    /// Complete environment.
    pub environment: BTreeMap<String, String>,
    /// Where the program listens, if not as it is told: it gets the address of its record instead, where the runtime can
    /// do that.
    pub listens: Listens,
    /// What it may use at most; as far as that can be enforced.
    pub limits: Limits,
    /// Who it runs as; nobody else if that cannot be.
    pub user: Option<RunAs>,
    /// It is Node, which gets its channel to whoever started it.
    pub channel: Option<NodeChannel>,
    /// Kept with the instance.
    pub record: Record,
}

/// Where a program listens, as far as that is known before its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listens {
    /// Nowhere that matters.
    Nowhere,
    /// Where it is told, in `PORT`.
    AsTold,
    /// At this port, whatever it is told. `shared`: the gateway listens there too, on every address.
    On {
        /// The port.
        port: u16,
        /// Whether the gateway has it too.
        shared: bool,
    },
    /// At the first port that it binds, which the gateway then has too.
    Somewhere,
    /// With a socket that it inherits.
    Given {
        /// The socket's port, if that can be had.
        port: u16,
    },
}

/// A listening socket that was turned to an instance's own address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// Where the program meant to listen.
    pub asked: SocketAddr,
    /// Where it does.
    pub address: SocketAddr,
}

/// What a later server needs to adopt an instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Id.
    pub id: InstanceId,
    /// Service.
    pub service: FullName,
    /// Place among the copies.
    pub slot: u32,
    /// Revision.
    pub revision: Revision,
    /// Where it listens; port 0: not known when this was written.
    pub address: Option<SocketAddr>,
    /// Whether the gateway listens for it where it meant to.
    #[serde(default)]
    pub publish: bool,
    /// Restarts so far.
    pub restarts: u32,
    /// Unix milliseconds of the start.
    pub started_at: u64,
    /// Whether it has been ready: an adopted instance that was serving goes on serving at once.
    pub ready: bool,
    /// Whether it was being stopped.
    pub stopping: bool,
    /// Signal and grace for stopping it once its workload is gone from the desired state.
    pub stop_signal: i32,
    /// Milliseconds.
    pub stop_grace_period_ms: u64,
    /// In which way it is asked to stop.
    #[serde(default)]
    pub stop_by: StopBy,
}

/// In which way an instance is asked to stop.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopBy {
    /// By its stop signal.
    #[default]
    Signal,
    /// By a message over its channel; by the signal if it cannot be told.
    Message(String),
    /// As a worker of Node's cluster, which ends when nothing is left to do; by the signal soon after that if it does not.
    Disconnect,
}

/// A started instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// Process id.
    pub pid: u32,
}

/// An instance that a runtime has.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// What was remembered.
    pub record: Record,
    /// Process id.
    pub pid: u32,
    /// How it ended, if it did.
    pub exit: Option<Exit>,
    /// Where it meant to listen, if it has bound that.
    pub bound: Option<Bound>,
    /// Whether it has said that it is ready.
    pub said_ready: bool,
}

/// A health check command.
#[derive(Debug, Clone)]
pub struct ProbeSpec {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Folder.
    pub working_dir: PathBuf,
    /// Complete environment.
    pub environment: BTreeMap<String, String>,
    /// Who it runs as.
    pub user: Option<RunAs>,
}

/// How a health check command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeResult {
    /// Exit code 0.
    pub success: bool,
    /// The end of its output, 1 KiB at most, for people.
    pub output: String,
}

/// Use of resources by an instance's process tree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time since the start, microseconds.
    pub cpu_us: u64,
    /// How long its processes were ready to run and had to wait for a core, microseconds; zero where nobody counts that.
    pub waited_us: u64,
    /// Resident memory, bytes.
    pub memory_bytes: u64,
}

impl Usage {
    /// For how long a core was wanted since the start, microseconds.
    pub(crate) fn wanted_us(self) -> u64 {
        self.cpu_us.saturating_add(self.waited_us)
    }
}

/// Something happened to an instance.
#[derive(Debug, Clone, PartialEq)]
pub enum RuntimeEvent {
    /// Its main process ended.
    Exited {
        /// Which.
        id: InstanceId,
        /// The process that ended.
        pid: u32,
        /// How.
        exit: Exit,
    },
    /// It has bound the port that it meant to listen on.
    Bound {
        /// Which.
        id: InstanceId,
        /// Its main process.
        pid: u32,
        /// From where to where.
        bound: Bound,
    },
    /// It has said over its channel that it is ready.
    SaidReady {
        /// Which.
        id: InstanceId,
        /// Its main process.
        pid: u32,
    },
    /// Events may have been missed (the minder died or was restarted).
    Lost,
}

/// Why a runtime could not do something.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The program could not be started.
    #[error("start `{program}` in {}", folder.display())]
    Start {
        /// Program.
        program: String,
        /// Folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The instance is not there.
    #[error("there is no instance `{0}`")]
    Unknown(InstanceId),
    /// The runtime itself does not answer.
    #[error("the {runtime} runtime does not answer")]
    Unreachable {
        /// Which.
        runtime: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Every port of the range is taken.
    #[error("no free port between {0} and {1}")]
    NoFreePort(u16, u16),
}

//! What this node runs for one service: a program, its copies, its health, how it is replaced.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use hythe_stdx::StableHash;
use serde::{Deserialize, Serialize};

use crate::log_rules::LogRules;
use crate::name::Name;

/// What to run, resolved: paths absolute, variables interpolated, the environment complete but for what
/// Hythe adds to each instance (`PORT`, `HYTHE_INSTANCE`, `NODE_APP_INSTANCE`, `HYTHE_GATEWAY_URL`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// The program and its arguments; never empty.
    pub command: Vec<String>,
    /// Where it starts; absolute.
    pub working_dir: PathBuf,
    /// Its environment.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Variables that differ between copies: the copy at place 0 gets this number, each further one the next.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub numbered: BTreeMap<String, u64>,
    /// Where the application listens when run by hand; each instance gets an address of its own, whose port it is told
    /// in `PORT`. `None`: it does not listen, so it has no endpoint.
    #[serde(default)]
    pub port: Option<u16>,
    /// How a copy comes to listen at its own address.
    #[serde(default)]
    pub listens: ListensBy,
    /// The gateway listens, for every client of this machine and others, where the program means to: on `port`, or on
    /// the first port that it binds if there is none. Its copies stand behind that.
    #[serde(default)]
    pub publish: bool,
    /// How many copies.
    #[serde(default)]
    pub replicas: Replicas,
    /// The load decides how many, between bounds; `replicas` then has no say.
    #[serde(default)]
    pub autoscale: Option<Autoscale>,
    /// No copy runs after so much time without a request; the next request waits until one does.
    #[serde(default)]
    pub sleep_after_ms: Option<u64>,
    /// What happens when a copy exits.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// The signal that asks a copy to stop, by number (15, SIGTERM).
    #[serde(default = "sigterm")]
    pub stop_signal: i32,
    /// How long after the stop signal the whole process group is killed (Compose: 10 s).
    #[serde(default = "ten_seconds")]
    pub stop_grace_period_ms: u64,
    /// It is Node, which gets its channel to whoever started it.
    #[serde(default)]
    pub channel: Option<NodeChannel>,
    /// It says `ready` over its channel when it is, within `ready_after_ms` (3 s); after that it counts as ready.
    #[serde(default)]
    pub says_ready: bool,
    /// It is asked to stop by this message over its channel, not by the signal.
    #[serde(default)]
    pub stop_message: Option<String>,
    /// How it is known to be ready; `None`: its port accepts connections; without a port, it has
    /// run for a second.
    #[serde(default)]
    pub healthcheck: Option<HealthCheck>,
    /// How long a copy has to run to be ready, where nothing can be asked of it (1 s).
    #[serde(default)]
    pub ready_after_ms: Option<u64>,
    /// What must be there before a copy starts, by service name in the same project.
    #[serde(default)]
    pub depends_on: BTreeMap<Name, Dependency>,
    /// How copies are replaced when the revision changes.
    #[serde(default)]
    pub update: UpdatePolicy,
    /// Limits per copy.
    #[serde(default)]
    pub limits: Limits,
    /// What becomes of its output.
    #[serde(default, skip_serializing_if = "LogRules::is_usual")]
    pub logs: LogRules,
    /// What tools remember about it; no meaning here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Who it runs as; `None`: who Hythe runs as.
    #[serde(default)]
    pub user: Option<RunAs>,
    /// What an exit means and when the next start comes, where that is not Hythe's own way.
    #[serde(default)]
    pub restart_rules: RestartRules,
    /// A copy whose processes together use more resident memory than this, in bytes, twice in a row is replaced.
    #[serde(default)]
    pub memory_restart_bytes: Option<u64>,
    /// A cron expression ([`crate::Schedule`]): every copy is replaced, one after another, whenever it comes due.
    #[serde(default)]
    pub cron_restart: Option<String>,
    /// Files whose change replaces every copy.
    #[serde(default)]
    pub watch: Option<Watch>,
    /// What a copy that has been ready must go on passing; one that fails is stopped and started again. `healthcheck`
    /// only takes it out of traffic.
    #[serde(default)]
    pub liveness: Option<HealthCheck>,
    /// `hythe stop`: keep the service, run no copy.
    #[serde(default)]
    pub stopped: bool,
    /// Raised by `hythe restart`: a new revision of the same thing.
    #[serde(default)]
    pub restarts_asked: u64,
}

/// How a copy comes to listen at its own address, which it is told in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListensBy {
    /// Its own bind to the workload's port, at whatever address, goes there where the system can do that; elsewhere as
    /// [`ListensBy::Port`].
    #[default]
    Auto,
    /// It binds what `PORT` says.
    Port,
    /// It inherits a socket that listens there already (`LISTEN_FDS`); needs the workload's port.
    Socket,
}

/// What Node's channel is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeChannel {
    /// Messages (`process.send`).
    Messages,
    /// Messages, and each copy is a worker of Node's cluster: it listens and ends as one.
    Cluster,
}

/// How many copies run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Replicas {
    /// A number; 0 keeps the service without a copy. At most 1,000.
    Count(u32),
    /// One per core of this machine.
    Max,
}

/// By what, and between which numbers, a service grows and shrinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Autoscale {
    /// Never fewer, but for sleep; at least 1.
    pub min: u32,
    /// Never more; at least `min`.
    pub max: u32,
    /// What one copy should carry.
    pub target: ScaleTarget,
    /// How long a lower number must have been enough before copies go.
    pub cooldown_ms: u64,
}

/// What one copy should carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScaleTarget {
    /// So many requests in flight; at least 1.
    InFlight(u32),
    /// So many percent of a core; at least 1.
    Cpu(u32),
}

/// Compose's `restart`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartPolicy {
    /// An exit is final.
    No,
    /// Whatever the exit code.
    Always,
    /// As `Always`, and a service stopped by hand stays stopped (ours always do).
    UnlessStopped,
    /// After a non-zero exit or a signal, `max_retries` times if given.
    #[default]
    OnFailure,
    /// As [`RestartPolicy::OnFailure`], this many times in a row.
    OnFailureAtMost(u32),
}

/// What an exit means and when the next start comes. What is `None` is as the supervisor has it for everybody.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestartRules {
    /// An exit with one of these codes is final whatever [`RestartPolicy`] says, and counts as completed.
    #[serde(default)]
    pub stop_exit_codes: Vec<i32>,
    /// An exit sooner than this after the start is a quick one (1 s).
    #[serde(default)]
    pub min_uptime_ms: Option<u64>,
    /// This many quick exits in a row, and there is no further start (16; without end if `backoff_ms` is given).
    #[serde(default)]
    pub max_quick_exits: Option<u32>,
    /// The same time before each restart.
    #[serde(default)]
    pub delay_ms: Option<u64>,
    /// The time before the first restart; each further one waits half as long again, 15 s at most, until a process
    /// was up for 30 s. Wins over `delay_ms`.
    #[serde(default)]
    pub backoff_ms: Option<u64>,
}

/// Which files are watched; [`Watch::filter`] tells which of their changes count.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// Files, and folders with all that is in them, relative to the working folder. None: the working folder.
    #[serde(default)]
    pub paths: Vec<PathBuf>,
    /// Globs, or regular expressions as `/.../`, of what is left out. None: hidden files and `node_modules`.
    #[serde(default)]
    pub ignore: Vec<String>,
    /// Only files that end so, such as `js`. None: all.
    #[serde(default)]
    pub extensions: Vec<String>,
    /// How long nothing may change before a burst of changes is over. Less than 50 ms counts as 50 ms.
    #[serde(default)]
    pub delay_ms: u64,
}

/// How an instance is known to be ready and alive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// What is tried.
    pub probe: Probe,
    /// Time between two tries once healthy (Compose: 30 s).
    pub interval_ms: u64,
    /// A try that takes longer has failed (Compose: 30 s).
    pub timeout_ms: u64,
    /// Failures in a row that make it unhealthy (Compose: 3).
    pub retries: u32,
    /// Failures in this time after the start do not count (Compose: 0).
    pub start_period_ms: u64,
    /// Time between tries until it was healthy once.
    pub start_interval_ms: u64,
}

/// One try of a health check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// GET of this path on the instance's port answers 200 to 399.
    Http(String),
    /// The instance's port accepts a connection.
    Tcp,
    /// This command, run with the instance's environment and folder, exits with 0.
    Command(Vec<String>),
}

/// Compose's `depends_on` entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    /// When the dependency counts as there.
    pub condition: Condition,
    /// Restart this service after the dependency was restarted by hand or updated.
    #[serde(default)]
    pub restart: bool,
    /// `false`: only warn when it is missing or fails.
    #[serde(default = "yes")]
    pub required: bool,
}

/// Compose's dependency conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// At least one instance was started.
    ServiceStarted,
    /// At least one instance is ready.
    ServiceHealthy,
    /// It ran and exited with 0.
    ServiceCompletedSuccessfully,
}

/// Compose's `deploy.update_config`, with our default of start-first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdatePolicy {
    /// Start the new before stopping the old, or after.
    pub order: UpdateOrder,
    /// `parallelism`: how many instances are replaced at a time; with start-first, how many run above
    /// the wished number (`max_surge`). At least 1.
    pub max_surge: u32,
    /// Pause between two batches.
    pub delay_ms: u64,
    /// How long a new instance may take to become ready before the update has failed.
    pub ready_timeout_ms: u64,
}

/// Which goes first in an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateOrder {
    /// New ready, then old stopped: nothing is lost.
    StartFirst,
    /// Old stopped, then new started: for what cannot run twice.
    StopFirst,
}

/// What a copy may use at most: Compose's `deploy.resources.limits` and `ulimits`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Thousandths of a core.
    #[serde(default)]
    pub cpu_millis: Option<u64>,
    /// Bytes.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    #[serde(default)]
    pub pids: Option<u32>,
    /// Of each of its processes. Left out where there are none, so that revisions of old stay what they were.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ulimits: BTreeMap<Ulimit, Bounds>,
}

/// What the kernel limits for each process, in the words of `getrlimit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the manual page of getrlimit has them")]
pub enum Ulimit {
    As,
    Core,
    Cpu,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}

/// A limit of a process; `None`: there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// What holds.
    pub soft: Option<u64>,
    /// How far the process may raise that itself.
    pub hard: Option<u64>,
}

/// Compose's `user`: each a name or a number, looked up on the machine that starts a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunAs {
    /// The user.
    pub user: String,
    /// Its group; `None`: the user's own, with all others that it is in.
    #[serde(default)]
    pub group: Option<String>,
}

/// What an instance is made of, as a short hash: instances of another revision are replaced.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl Workload {
    /// A workload with Compose's defaults.
    pub fn new(command: Vec<String>, working_dir: PathBuf) -> Self {
        Self {
            command,
            working_dir,
            environment: BTreeMap::new(),
            numbered: BTreeMap::new(),
            port: None,
            listens: ListensBy::default(),
            publish: false,
            replicas: Replicas::default(),
            autoscale: None,
            sleep_after_ms: None,
            restart: RestartPolicy::default(),
            stop_signal: sigterm(),
            stop_grace_period_ms: ten_seconds(),
            channel: None,
            says_ready: false,
            stop_message: None,
            healthcheck: None,
            ready_after_ms: None,
            depends_on: BTreeMap::new(),
            update: UpdatePolicy::default(),
            limits: Limits::default(),
            logs: LogRules::default(),
            labels: BTreeMap::new(),
            user: None,
            restart_rules: RestartRules::default(),
            memory_restart_bytes: None,
            cron_restart: None,
            watch: None,
            liveness: None,
            stopped: false,
            restarts_asked: 0,
        }
    }

    /// Hashes what a running instance was started from. How many there are, how they are probed, stopped,
    /// restarted and replaced can change under a running instance and is left out.
    pub fn revision(&self) -> Revision {
        let made_of = (
            &self.command,
            &self.working_dir,
            &self.environment,
            self.port,
            self.listens,
            &self.limits,
            self.restarts_asked,
        );
        let bytes = serde_json::to_vec(&made_of).unwrap_or_default();
        let mut hash = StableHash::default().with(&bytes);
        // What came later counts where it is used, so that a newer binary does not replace what an older one started.
        if self.publish {
            hash = hash.with(b"publish");
        }
        if let Some(user) = &self.user {
            hash = hash.with(b"user").with(user.to_string().as_bytes());
        }
        if let Some(channel) = self.channel {
            hash = hash.with(format!("channel {channel:?}").as_bytes());
        }
        for (name, first) in &self.numbered {
            hash = hash.with(name.as_bytes()).with(&first.to_le_bytes());
        }
        Revision(hash.finish())
    }
}

impl Default for Replicas {
    fn default() -> Self {
        Self::Count(1)
    }
}

impl Replicas {
    /// The number on a machine with `cores`.
    pub fn on(self, cores: usize) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Max => u32::try_from(cores).unwrap_or(u32::MAX).max(1),
        }
    }
}

impl Default for UpdatePolicy {
    fn default() -> Self {
        Self {
            order: UpdateOrder::StartFirst,
            max_surge: 1,
            delay_ms: 0,
            ready_timeout_ms: 60_000,
        }
    }
}

impl Ulimit {
    /// As `getrlimit` calls it, in small letters and without what all begin with.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::As => "as",
            Self::Core => "core",
            Self::Cpu => "cpu",
            Self::Data => "data",
            Self::Fsize => "fsize",
            Self::Locks => "locks",
            Self::Memlock => "memlock",
            Self::Msgqueue => "msgqueue",
            Self::Nice => "nice",
            Self::Nofile => "nofile",
            Self::Nproc => "nproc",
            Self::Rss => "rss",
            Self::Rtprio => "rtprio",
            Self::Rttime => "rttime",
            Self::Sigpending => "sigpending",
            Self::Stack => "stack",
        }
    }
}

impl fmt::Display for RunAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.group {
            Some(group) => write!(f, "{}:{group}", self.user),
            None => f.write_str(&self.user),
        }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

fn sigterm() -> i32 {
    15
}

fn ten_seconds() -> u64 {
    10_000
}

fn yes() -> bool {
    true
}

//! What server and minder say to each other over the Unix stream socket.
//!
//! A frame is a length (four bytes, big-endian, at most [`MAX_FRAME`]) and that many bytes of JSON. The client
//! sends [`Request`]s and gets one [`Answer`] for each, in order; the first must be [`Request::Hello`]. After
//! [`Request::Subscribe`] the connection carries [`Event`]s towards the client, and the client may send
//! nothing more than [`Request::Acknowledge`], which has no answer.
//!
//! A descriptor travels as `SCM_RIGHTS` beside the first byte of its frame.
//!
//! Evolution: fields are added with a default and unknown ones are ignored, so old and new minders and servers
//! understand each other; [`VERSION`] rises only when that is not enough, and the client decides
//! whether it can speak to an older minder.

mod descriptors;
mod frames;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use descriptors::{receive, send};
pub use frames::{Decoder, FrameError, encode};

/// The version of the protocol that this crate speaks.
pub const VERSION: u32 = 1;

/// The longest frame in bytes, without its length prefix.
pub const MAX_FRAME: usize = 1024 * 1024;

/// The longest label in bytes of JSON: a page of children must fit into a frame.
pub const MAX_LABEL: usize = 16 * 1024;

/// How many children one answer to [`Request::List`] holds at most.
pub const PAGE_CHILDREN: usize = 32;

/// How many children, running or not yet forgotten, a minder holds at most.
pub const MAX_CHILDREN: usize = 4096;

/// How many sockets a minder keeps at most.
pub const MAX_SOCKETS: usize = 1024;

/// How many connections a minder serves at once; more are closed as they come.
pub const MAX_CONNECTIONS: usize = 32;

/// Where a new segment file begins unless [`Spawn::segment_limit`] says otherwise, in bytes.
pub const DEFAULT_SEGMENT_LIMIT: u64 = 8 * 1024 * 1024;

/// How much unconsumed output of one stream is kept unless [`Spawn::unread_limit`] says otherwise, in bytes.
pub const DEFAULT_UNREAD_LIMIT: u64 = 256 * 1024 * 1024;

/// One request of a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Opens the conversation; answered by [`Reply::Hello`].
    Hello {
        /// The client's [`VERSION`].
        version: u32,
    },
    /// Starts a child; answered by [`Reply::Spawned`].
    Spawn(Box<Spawn>),
    /// Sends a signal to a child.
    Signal {
        /// The child.
        id: String,
        /// The signal's number.
        signal: i32,
        /// To its whole process group, also when the child itself has exited.
        group: bool,
    },
    /// Asks for children; answered by [`Reply::Children`].
    List {
        /// Only those with a larger [`ChildStatus::serial`]: zero to begin, then the page's last.
        after: u64,
    },
    /// Replaces a child's label.
    Label {
        /// The child.
        id: String,
        /// At most [`MAX_LABEL`] bytes.
        label: serde_json::Value,
    },
    /// Drops an exited child from the table and closes its pipes; what still writes to them gets SIGPIPE.
    Forget {
        /// The child.
        id: String,
        /// Also deletes its segment files.
        discard_output: bool,
    },
    /// Tells that output has been read: segments wholly before the offset are deleted.
    Consumed {
        /// The child.
        id: String,
        /// Which output.
        stream: Stream,
        /// The first offset not yet read.
        up_to: u64,
    },
    /// Keeps the socket that comes with this frame.
    KeepSocket {
        /// A name as of [`is_name`].
        name: String,
        /// Replaces a kept socket of this name instead of refusing.
        replace: bool,
    },
    /// Asks for a duplicate of a kept socket; answered by [`Reply::Socket`].
    TakeSocket {
        /// Its name.
        name: String,
    },
    /// Closes a kept socket.
    DropSocket {
        /// Its name.
        name: String,
    },
    /// Asks for the names of the kept sockets; answered by [`Reply::Sockets`].
    ListSockets {},
    /// Has the process that asks started again whenever it dies; `None`: no more. One process is guarded, the last
    /// one that asked.
    Guard {
        /// How.
        server: Option<Box<Guarded>>,
    },
    /// Asks a child to end over its channel ([`Spawn::channel`]).
    Part {
        /// The child.
        id: String,
        /// In which words.
        farewell: Farewell,
    },
    /// Starts another server, and guards that one from now on ([`Hello::hands_over`]).
    Replace {
        /// How.
        server: Box<Guarded>,
        /// Started instead if that one ends before it has asked to be guarded itself.
        fallback: Option<Box<Guarded>>,
    },
    /// Goes on as another binary in the same process, with everything there is. The connection ends then; the answer is
    /// a refusal. The binary must take over: see [`crate::server::HANDOVER_VERSION`].
    HandOver {
        /// The program, absolute.
        exe: PathBuf,
    },
    /// Ends the minder; refused while children run, unless forced.
    Shutdown {
        /// Ends the children first: SIGTERM to their groups, SIGKILL after ten seconds.
        force: bool,
    },
    /// Turns this connection into one that carries events.
    Subscribe {
        /// Also [`Event::Bound`] and [`Event::Ready`], which older clients do not know.
        #[serde(default)]
        binds: bool,
    },
    /// Asks for the next [`Event::Output`] of this stream; has no answer.
    Acknowledge {
        /// The child.
        id: String,
        /// Which output.
        stream: Stream,
    },
}

/// What to start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spawn {
    /// The child's name for every later request; as of [`is_name`], and not in use.
    pub id: String,
    /// The program and its arguments. Without a slash the program is looked up in the `PATH` of `env`.
    pub argv: Vec<String>,
    /// The working folder, absolute.
    pub cwd: PathBuf,
    /// The complete environment.
    pub env: Vec<(String, String)>,
    /// Kept and given back in [`ChildStatus::label`]; never looked into. At most [`MAX_LABEL`] bytes of JSON.
    #[serde(default)]
    pub label: serde_json::Value,
    /// Resource limits; what is not set is inherited from the minder.
    #[serde(default)]
    pub limits: Limits,
    /// The file mode creation mask; what is not set is inherited from the minder.
    #[serde(default)]
    pub umask: Option<u32>,
    /// Turns the program's own binds.
    #[serde(default)]
    pub rebind: Option<Rebind>,
    /// It is Node, which gets its channel to whoever started it ([`Hello::channels`]).
    #[serde(default)]
    pub channel: Option<NodeChannel>,
    /// Where a socket listens that it inherits as descriptor 3, with `LISTEN_FDS` and `LISTEN_PID` in its environment
    /// ([`Hello::gives_sockets`]). TCP only.
    #[serde(default)]
    pub socket: Option<SocketAddr>,
    /// Which control groups it is in; what is not set is inherited from the minder.
    #[serde(default)]
    pub groups: ControlGroups,
    /// Who it is; inherited from the minder if not set.
    #[serde(default)]
    pub user: Option<User>,
    /// A segment file ends at this many bytes; at least one.
    #[serde(default = "default_segment_limit")]
    pub segment_limit: u64,
    /// Output of one stream that is unconsumed beyond this many bytes loses its oldest segment.
    #[serde(default = "default_unread_limit")]
    pub unread_limit: u64,
}

/// Which bind of a child, and of whatever it starts, is turned to another address. TCP only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebind {
    /// A bind to this port, at whatever address, is turned. 0: to the first port that is bound, which it stays with then
    /// ([`Hello::learns`]).
    pub from: u16,
    /// Where it goes. Port 0: to the port that was asked for, shared with whoever listens on every address
    /// ([`Hello::learns`]).
    pub to: SocketAddr,
}

/// Node's channel to its parent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeChannel {
    /// It is a worker of Node's cluster, with this number; [`Spawn::rebind`] tells where its servers listen.
    #[serde(default)]
    pub worker: Option<u64>,
}

/// Words that ask a child to end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Farewell {
    /// A worker of Node's cluster closes its servers and ends when nothing is left to do.
    Disconnect,
    /// The program gets this message.
    Message(String),
}

/// A bind that was turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// What the program asked for.
    pub asked: SocketAddr,
    /// What it got.
    pub to: SocketAddr,
}

/// How the server is started again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guarded {
    /// The program, with a path, and its arguments.
    pub argv: Vec<String>,
    /// The complete environment.
    pub env: Vec<(String, String)>,
    /// Its standard output and error are appended here; absolute.
    pub log: PathBuf,
}

/// Resource limits of a child.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The number of descriptors, soft and hard alike.
    #[serde(default)]
    pub descriptors: Option<u64>,
    /// The address space in bytes, soft and hard alike.
    #[serde(default)]
    pub address_space: Option<u64>,
    /// Any other, by the name that `getrlimit` has for it: `core`, `nofile`. These win over those above.
    #[serde(default)]
    pub resources: BTreeMap<String, Bounds>,
}

/// A resource limit; without a number there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// What holds.
    pub soft: Option<u64>,
    /// How far the child may raise that itself.
    pub hard: Option<u64>,
}

/// The control groups of a child, by their folders. They are removed when the minder ends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlGroups {
    /// Of version 2: it is made in it.
    #[serde(default)]
    pub birthplace: Option<PathBuf>,
    /// Of version 1: it moves there before it is the program.
    #[serde(default)]
    pub joined: Vec<PathBuf>,
}

/// Who a child is, by number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The user.
    pub uid: u32,
    /// Its first group,
    pub gid: u32,
    /// and all others.
    #[serde(default)]
    pub groups: Vec<u32>,
}

/// Which output of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// What the minder says to a request.
pub type Answer = Result<Reply, Refusal>;

/// The answer to a request that was carried out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Nothing more to say.
    Done {},
    /// Who answers.
    Hello(Hello),
    /// The new process.
    Spawned(Spawned),
    /// A page of children in the order they were started.
    Children {
        /// At most [`PAGE_CHILDREN`].
        children: Vec<ChildStatus>,
        /// Whether another page follows.
        more: bool,
    },
    /// The socket comes with this frame.
    Socket {},
    /// The names of the kept sockets, sorted.
    Sockets {
        /// The names.
        names: Vec<String>,
    },
}

/// Who the minder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The minder's process id.
    pub pid: i32,
    /// The protocol version that it speaks.
    pub version: u32,
    /// When it started, in milliseconds since 1970.
    pub started_at_ms: u64,
    /// Whether binds can be turned on this system.
    #[serde(default)]
    pub rebinds: bool,
    /// Whether it knows [`Request::Guard`].
    #[serde(default)]
    pub guards: bool,
    /// Whether it knows binds to a port that nobody has told it: zeroes in [`Rebind`].
    #[serde(default)]
    pub learns: bool,
    /// Whether it knows [`Spawn::channel`] and [`Request::Part`].
    #[serde(default)]
    pub channels: bool,
    /// Whether it knows [`Request::HandOver`] and [`Request::Replace`].
    #[serde(default)]
    pub hands_over: bool,
    /// Whether it knows [`Spawn::groups`], [`Spawn::user`] and [`Limits::resources`].
    #[serde(default)]
    pub confines: bool,
    /// Whether it knows [`Spawn::socket`].
    #[serde(default)]
    pub gives_sockets: bool,
}

/// A process that was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spawned {
    /// Its process id, which is also its process group.
    pub pid: i32,
    /// Its start time in clock ticks since boot (field 22 of `/proc/<pid>/stat`).
    pub start_time: u64,
    /// Where its standard output begins: not zero if segments of this id were there already.
    pub out_start: u64,
    /// Where its standard error begins.
    pub err_start: u64,
    /// Whether binds are turned as was asked: not every kernel can.
    #[serde(default)]
    pub rebinds: bool,
}

/// What is known of a child.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChildStatus {
    /// Rises with every start.
    pub serial: u64,
    /// The name given at the start.
    pub id: String,
    /// Its process id, which is also its process group.
    pub pid: i32,
    /// Its start time in clock ticks since boot.
    pub start_time: u64,
    /// The label as given or replaced.
    pub label: serde_json::Value,
    /// Whether it runs.
    pub state: ChildState,
    /// Standard output.
    pub out: StreamStatus,
    /// Standard error.
    pub err: StreamStatus,
    /// Its first bind that was turned.
    #[serde(default)]
    pub bound: Option<Bound>,
    /// It has said over its channel that it is ready.
    #[serde(default)]
    pub ready: bool,
}

/// Whether a child runs, and how it ended if not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChildState {
    /// Its main process has not ended.
    Running {},
    /// Its main process has ended and was reaped.
    Exited(Exit),
}

/// How a process ended. Exactly one of `code` and `signal` is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// What it passed to exit, 0 to 255.
    pub code: Option<i32>,
    /// The signal that killed it.
    pub signal: Option<i32>,
    /// When it was reaped, in milliseconds since 1970.
    pub at_ms: u64,
}

/// How far one output of a child has come. Offsets count bytes from the stream's beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamStatus {
    /// The oldest offset still in a segment file.
    pub start: u64,
    /// The offset after the newest byte.
    pub end: u64,
    /// The first offset not reported as consumed.
    pub consumed: u64,
    /// Bytes deleted unconsumed because of the limit.
    pub dropped: u64,
    /// No more will come: every writer has closed the pipe.
    pub closed: bool,
    /// The error that keeps bytes in the pipe (a full disk, say); tried again every second.
    pub stalled_errno: Option<i32>,
}

/// What happened, told to subscribers. Nothing is queued: a subscriber that is slow or late gets the newest
/// state of what it has not been told, and on subscribing whatever is unforgotten and unconsumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A child's main process has ended; all it wrote itself is in the segments, unless the disk refuses it.
    Exited {
        /// The child.
        id: String,
        /// Its process id.
        pid: i32,
        /// How it ended.
        exit: Exit,
    },
    /// A child's bind was turned, the first of those of its port.
    Bound {
        /// The child.
        id: String,
        /// Its process id.
        pid: i32,
        /// From where to where.
        bound: Bound,
    },
    /// A child has said over its channel that it is ready.
    Ready {
        /// The child.
        id: String,
        /// Its process id.
        pid: i32,
    },
    /// Output has come, or has ended. The next one for the same stream comes after an acknowledgement.
    Output {
        /// The child.
        id: String,
        /// Which output.
        stream: Stream,
        /// The offset at which the newest segment begins.
        segment: u64,
        /// The offset after the newest byte.
        end: u64,
        /// No more will come.
        closed: bool,
    },
}

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The frame was not a request; the connection is closed after this.
    #[error("malformed request: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: String,
    },
    /// The connection did not begin with hello; it is closed after this.
    #[error("hello must come first")]
    HelloFirst {},
    /// A name that cannot be a file name.
    #[error("name {name:?} is not 1 to 128 of A-Z a-z 0-9 . _ -")]
    BadName {
        /// The name, shortened.
        name: String,
    },
    /// A field that cannot be used.
    #[error("unusable {field}")]
    BadField {
        /// Its name.
        field: String,
    },
    /// No such child.
    #[error("no child {id}")]
    NoChild {
        /// The child.
        id: String,
    },
    /// The id is in use, also by an exited child that is not forgotten.
    #[error("child {id} exists")]
    ChildExists {
        /// The child.
        id: String,
    },
    /// The child must have exited for this.
    #[error("child {id} is running")]
    ChildRunning {
        /// The child.
        id: String,
    },
    /// The child, or its whole group, has ended.
    #[error("child {id} has ended")]
    ChildEnded {
        /// The child.
        id: String,
    },
    /// The process could not be started.
    #[error("{step} failed: {}", std::io::Error::from_raw_os_error(*errno))]
    SpawnFailed {
        /// What failed.
        step: SpawnStep,
        /// The operating system's error number.
        errno: i32,
    },
    /// The system refused something else.
    #[error("{what} failed: {}", std::io::Error::from_raw_os_error(*errno))]
    Failed {
        /// What was tried.
        what: String,
        /// The operating system's error number.
        errno: i32,
    },
    /// The child has no channel, or does not listen to it.
    #[error("{id} cannot be told anything")]
    NoChannel {
        /// The child.
        id: String,
    },
    /// No such kept socket.
    #[error("no socket {name}")]
    NoSocket {
        /// The socket.
        name: String,
    },
    /// The name is in use and `replace` was not asked for.
    #[error("socket {name} exists")]
    SocketExists {
        /// The socket.
        name: String,
    },
    /// The frame should have come with a socket.
    #[error("no socket came with the request")]
    MissingSocket {},
    /// A bound of this module is reached.
    #[error("too many {what}")]
    TooMany {
        /// Of what.
        what: String,
    },
    /// A shutdown without force while children run.
    #[error("{running} children are running")]
    ChildrenRunning {
        /// How many.
        running: usize,
    },
    /// The minder is ending and starts nothing more.
    #[error("the minder is stopping")]
    Stopping {},
}

/// The step at which starting a process failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpawnStep {
    /// Making the pipes.
    Pipe,
    /// Making the process.
    Fork,
    /// Its process group, parent-death signal and standard descriptors.
    Prepare,
    /// Its resource limits.
    Limits,
    /// Its control groups.
    Groups,
    /// Becoming its user.
    User,
    /// Changing to its working folder.
    Chdir,
    /// Listening in its place, and giving it the socket.
    Socket,
    /// Executing the program.
    Exec,
}

impl Spawn {
    /// A child with an empty environment in `/` and the default limits.
    #[must_use]
    pub fn new(id: impl Into<String>, argv: Vec<String>) -> Self {
        Self {
            id: id.into(),
            argv,
            cwd: PathBuf::from("/"),
            env: Vec::new(),
            label: serde_json::Value::Null,
            limits: Limits::default(),
            umask: None,
            rebind: None,
            channel: None,
            socket: None,
            groups: ControlGroups::default(),
            user: None,
            segment_limit: DEFAULT_SEGMENT_LIMIT,
            unread_limit: DEFAULT_UNREAD_LIMIT,
        }
    }
}

impl Stream {
    /// Both, standard output first.
    pub const ALL: [Self; 2] = [Self::Out, Self::Err];

    /// As in segment file names.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::Err => "err",
        }
    }
}

impl std::fmt::Display for SpawnStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Pipe => "pipe",
            Self::Fork => "fork",
            Self::Prepare => "preparing the process",
            Self::Limits => "setting limits",
            Self::Groups => "entering its control groups",
            Self::User => "becoming its user",
            Self::Chdir => "chdir",
            Self::Socket => "listening at its address",
            Self::Exec => "exec",
        })
    }
}

/// Whether a text can name a child or a socket: 1 to 128 of `A-Z a-z 0-9 . _ -`.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=128).contains(&text.len()) && text.bytes().all(allowed)
}

fn default_segment_limit() -> u64 {
    DEFAULT_SEGMENT_LIMIT
}

fn default_unread_limit() -> u64 {
    DEFAULT_UNREAD_LIMIT
}

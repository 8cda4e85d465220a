//! Services as operating system processes, through the minder.
//!
//! ```text
//!   supervisor ── Runtime ──► ProcessRuntime ── jobs ──► one thread ── requests ──► minder ──► processes
//!                                   ▲                                                 │
//!   logs ◄── OutputEvent ──── a task that listens ◄─────────── events ────────────────┘
//! ```
//!
//! The minder owns the processes and remembers each with its [`Record`]; this crate remembers nothing that
//! matters. A server that starts connects, asks what there is and goes on: what an earlier server started is
//! adopted, with exits that nobody saw. When the minder itself dies, its children die with it (they are told
//! to by the kernel, and what is left is killed by the notes in `run/instances`), subscribers get
//! [`RuntimeEvent::Lost`], and a new minder is started.
//!
//! An exit may be told before the start that it ends has been answered: whoever listens compares pids.
//!
//! Everything an instance started ends with it. Where there are control groups, each run has one of its own
//! ([`hythe_cgroup`]), which also enforces its limits; elsewhere its processes are looked for one by one.
//!
//! Deliberately left out: when to start, stop or restart what (the supervisor's), and lines of output (the logs').
//!
//! [`Record`]: hythe_supervisor::runtime::Record
//! [`RuntimeEvent::Lost`]: hythe_supervisor::runtime::RuntimeEvent::Lost

mod addresses;
mod commands;
mod confinement;
mod link;
mod output;
mod probe;
mod processes;
mod program;
mod requests;
mod run_files;
mod runs;
mod runtime;
mod shared;
mod user;
mod whole_tree;

use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex};

use hythe_minder::client::{Client, ClientError};
use hythe_minder::home;
use hythe_minder::protocol::{Refusal, Stream};
use hythe_spine::Spine;
use hythe_supervisor::runtime::RuntimeError;
use tokio::sync::mpsc;

use crate::addresses::Addresses;
use crate::commands::{Commands, Connection};
use crate::output::Output;
use crate::requests::unreachable;
use crate::run_files::RunFiles;
use crate::runs::Runs;
use crate::shared::Shared;

pub use hythe_minder::protocol::Guarded;
pub use link::ConnectError;
pub use output::OutputEvent;

/// How many streams may wait to be acknowledged; more are acknowledged when they are read next.
const ACKNOWLEDGEMENT_QUEUE: usize = 4096;

/// Where things are.
#[derive(Debug, Clone)]
pub struct Config {
    /// The data directory, in which the minder has `run` and `raw`.
    pub home: PathBuf,
    /// The program that is a minder when called as `exe minder --home HOME`.
    pub exe: PathBuf,
    /// Ports given to instances.
    pub port_range: RangeInclusive<u16>,
    /// What every process gets beside its own environment, which wins: where programs are, who the user is.
    /// No part of a revision, so another shell's `PATH` replaces nobody.
    pub inherited: BTreeMap<String, String>,
}

/// Runs instances as processes. Clones are handles on the same minder.
#[derive(Debug, Clone)]
pub struct ProcessRuntime {
    shared: Arc<Shared>,
}

/// Why the minder was not ended.
#[derive(Debug, thiserror::Error)]
pub enum ShutdownError {
    /// Instances run, and ending them was not asked for.
    #[error("{count} instances are running")]
    StillRunning {
        /// How many.
        count: usize,
    },
    /// It does not answer.
    #[error("end the minder")]
    Talk(#[source] RuntimeError),
}

impl Config {
    /// The usual range: 20000 to 32767, below the ports of outgoing connections.
    pub fn new(home: PathBuf, exe: PathBuf) -> Self {
        Self {
            home,
            exe,
            port_range: 20000..=32767,
            inherited: BTreeMap::new(),
        }
    }
}

impl ProcessRuntime {
    /// Connects to the minder, starting one if none answers, and adopts what it has. Needs a tokio runtime.
    ///
    /// The second value tells where output is; what is not read waits for a later server's reader.
    ///
    /// # Errors
    /// When no minder answers and none can be started.
    pub async fn connect(
        config: Config,
        spine: &Spine,
    ) -> Result<(Self, mpsc::Receiver<OutputEvent>), ConnectError> {
        let (acknowledged, read) = mpsc::channel(ACKNOWLEDGEMENT_QUEUE);
        let home = config.home.clone();
        let prepared = prepare(config, acknowledged);
        let (shared, output) = prepared.map_err(|source| ConnectError::Prepare { home, source })?;
        let shared = Arc::new(shared);
        let session = link::connect(&shared).await?;
        let for_task = Arc::clone(&shared);
        spine.spawn("minder events", |shutdown| {
            link::keep(for_task, session, read, shutdown)
        });
        Ok((Self { shared }, output))
    }

    /// Says that everything before an address of a raw stream has been read and may be deleted. Never blocks.
    pub fn consumed(&self, run: &str, stream: Stream, up_to: u64) {
        // Either may be dropped when too many wait: the next one of the same stream says the same and more.
        let _ = self.shared.acknowledged.try_send((run.to_owned(), stream));
        if self.shared.runs.contains(run) {
            let run = run.to_owned();
            self.shared.commands.submit_unimportant(move |connection| {
                requests::consumed(connection, &run, stream, up_to);
            });
        }
    }

    /// Says that an ended run's segments have been read and deleted. Never blocks for long.
    pub fn released(&self, run: &str) {
        self.shared.output.released(run);
    }

    /// Has a listening socket kept beyond this process's life; replaces one of the same name.
    ///
    /// # Errors
    /// When the minder does not answer, or the name is not 1 to 128 of `A-Z a-z 0-9 . _ -`.
    pub async fn keep_listener(&self, name: &str, socket: &impl AsFd) -> Result<(), RuntimeError> {
        let socket = socket.as_fd().try_clone_to_owned().map_err(unreachable)?;
        let name = name.to_owned();
        self.ask(move |connection| connection.ask(|client| client.keep_socket(&name, &socket, true)))
            .await
    }

    /// Duplicates of the kept sockets whose names begin with `prefix`, by name.
    ///
    /// # Errors
    /// When the minder does not answer.
    pub async fn take_listeners(&self, prefix: &str) -> Result<Vec<(String, OwnedFd)>, RuntimeError> {
        let prefix = prefix.to_owned();
        self.ask(move |connection| requests::take_listeners(connection, &prefix))
            .await
    }

    /// Stops keeping a socket; that there is none of this name is no error.
    ///
    /// # Errors
    /// When the minder does not answer.
    pub async fn drop_listener(&self, name: &str) -> Result<(), RuntimeError> {
        let name = name.to_owned();
        let request =
            move |connection: &mut Connection| match connection.ask(|client| client.drop_socket(&name)) {
                Err(ClientError::Refused(Refusal::NoSocket { .. })) => Ok(()),
                answer => answer,
            };
        self.ask(request).await
    }

    /// Has the minder, and each later one, start this process again when it dies; `None`: no more.
    ///
    /// # Errors
    /// When the minder does not answer.
    pub async fn guard(&self, server: Option<Guarded>) -> Result<(), RuntimeError> {
        self.shared.guarded().clone_from(&server);
        self.ask(move |connection| connection.ask(|client| link::guard(client, server)))
            .await
    }

    /// Has the minder go on as another binary. Whoever has a connection to it connects again.
    ///
    /// # Errors
    /// When it is an older one that cannot do that, cannot execute the program, or does not answer.
    pub async fn hand_over_minder(&self, exe: PathBuf) -> Result<(), RuntimeError> {
        let home = self.shared.home.clone();
        self.ask(move |_| {
            let client = Client::connect(&home)?;
            if !client.hello().hands_over {
                return Err(ClientError::Refused(Refusal::Failed {
                    what: "taking over from this older minder, which only `hythe server stop` ends,"
                        .to_owned(),
                    errno: rustix::io::Errno::OPNOTSUPP.raw_os_error(),
                }));
            }
            client.hand_over(&exe)?;
            Client::connect(&home).map(drop)
        })
        .await
    }

    /// Has no later connection ask for a guard over this process: another one takes over. Returns when every connection
    /// that was being made is made.
    ///
    /// # Errors
    /// When the thread that talks to the minder has ended.
    pub async fn leave_guard(&self) -> Result<(), RuntimeError> {
        *self.shared.guarded() = None;
        self.run(|_| Ok(())).await
    }

    /// The minder's process id, while there is one.
    pub fn minder_pid(&self) -> Option<u32> {
        u32::try_from(self.shared.minder_pid())
            .ok()
            .filter(|pid| *pid > 0)
    }

    /// Ends the minder and waits for its end; with `force`, every instance before it (SIGTERM, then SIGKILL
    /// after ten seconds). The runtime can do nothing more after that.
    ///
    /// # Errors
    /// When instances run and `force` was not given, or the minder does not answer.
    pub async fn shutdown_minder(&self, force: bool) -> Result<(), ShutdownError> {
        let shared = Arc::clone(&self.shared);
        let ended = self.ask(move |connection| {
            shared.closed.store(true, Ordering::Release);
            let answer = connection.ask(|client| client.shutdown(force));
            shared.closed.store(answer.is_ok(), Ordering::Release);
            answer?;
            connection
                .take()
                .map_or(Ok(()), hythe_minder::client::Client::await_end)
        });
        ended.await.map_err(|error| match still_running(&error) {
            Some(count) => ShutdownError::StillRunning { count },
            None => ShutdownError::Talk(error),
        })
    }

    async fn ask<T: Send + 'static>(
        &self,
        request: impl FnOnce(&mut Connection) -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T, RuntimeError> {
        self.run(move |connection| request(connection).map_err(unreachable))
            .await
    }

    async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> Result<T, RuntimeError> + Send + 'static,
    ) -> Result<T, RuntimeError> {
        self.shared
            .commands
            .submit(job)
            .await
            .await
            .map_err(unreachable)?
    }
}

/// Has the minder of a home start another server, which it guards from then on; the fallback if that one does not come to
/// serve. Blocks.
///
/// # Errors
/// When the minder does not answer, or cannot start it.
pub fn replace_server(home: &Path, server: Guarded, fallback: Guarded) -> Result<(), ClientError> {
    Client::connect(home)?.replace(server, Some(fallback))
}

fn prepare(
    config: Config,
    acknowledged: mpsc::Sender<(String, Stream)>,
) -> io::Result<(Shared, mpsc::Receiver<OutputEvent>)> {
    let home = std::path::absolute(&config.home)?;
    let (output, output_events) = Output::new(&home::raw_folder(&home), RunFiles::open(&home)?);
    let shared = Shared {
        home,
        exe: config.exe,
        inherited: config.inherited,
        commands: Commands::start()?,
        runs: Runs::default(),
        output,
        acknowledged,
        minder: AtomicI32::new(0),
        rebinds: AtomicBool::new(false),
        learns: AtomicBool::new(false),
        channels: AtomicBool::new(false),
        confines: AtomicBool::new(false),
        gives_sockets: AtomicBool::new(false),
        cgroups: Mutex::default(),
        closed: AtomicBool::new(false),
        guarded: Mutex::default(),
        addresses: Mutex::new(Addresses::new(config.port_range)),
        subscribers: Mutex::default(),
    };
    Ok((shared, output_events))
}

fn still_running(error: &RuntimeError) -> Option<usize> {
    let RuntimeError::Unreachable { source, .. } = error else {
        return None;
    };
    match source.downcast_ref()? {
        ClientError::Refused(Refusal::ChildrenRunning { running }) => Some(*running),
        _ => None,
    }
}

//! A home with a minder, a runtime and what tests ask of them.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hythe_logs::{Logs, Offsets, Progress, RunOutput};
use hythe_minder::client::Client;
use hythe_model::workload::Limits;
use hythe_model::{Exit, InstanceId, Revision};
use hythe_runtime_process::{Config, OutputEvent, ProcessRuntime};
use hythe_spine::Spine;
use hythe_supervisor::runtime::{
    Found, Listens, Record, Runtime, RuntimeError, RuntimeEvent, StartSpec, Started, StopBy,
};
use hythe_testkit::control_groups;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::sync::mpsc;

/// How long anything may take before a test fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(60);

/// One server.
pub(crate) struct Server {
    pub(crate) runtime: ProcessRuntime,
    pub(crate) output: mpsc::Receiver<OutputEvent>,
    pub(crate) events: mpsc::Receiver<RuntimeEvent>,
    pub(crate) spine: Spine,
}

/// The data directory; its minder ends with it, and what that has started.
pub(crate) struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) async fn server(&self) -> Server {
        let exe = env!("CARGO_BIN_EXE_hythe-runtime-process-minder");
        let spine = Spine::default();
        let config = Config::new(self.path().to_owned(), exe.into());
        let (runtime, output) = ProcessRuntime::connect(config, &spine).await.unwrap();
        let events = runtime.events();
        Server {
            runtime,
            output,
            events,
            spine,
        }
    }

    /// Names of the files in one of its folders.
    pub(crate) fn files(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path().join(folder)).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

/// Whoever may still start a minder here has vanished before.
impl Drop for Home {
    fn drop(&mut self) {
        if let Ok(minder) = Client::connect(self.path()) {
            end(minder);
        }
        control_groups::remove(self.path());
    }
}

/// Ends a minder with its children, and waits for that.
fn end(mut minder: Client) {
    for child in minder.list().unwrap_or_default() {
        let _ = minder.signal(&child.id, Signal::KILL.as_raw(), true);
    }
    if minder.shutdown(true).is_ok() {
        let _ = minder.await_end();
    }
}

impl Server {
    pub(crate) async fn start(&self, id: &str, script: &str) -> u32 {
        self.try_start(shell(id, script)).await.unwrap().pid
    }

    pub(crate) async fn try_start(&self, spec: StartSpec) -> Result<Started, RuntimeError> {
        in_time(self.runtime.start(spec)).await
    }

    pub(crate) async fn exit_of(&mut self, id: &str) -> Exit {
        loop {
            match in_time(self.events.recv()).await.unwrap() {
                RuntimeEvent::Exited { id: exited, exit, .. } if exited == instance(id) => return exit,
                RuntimeEvent::Exited { .. } | RuntimeEvent::Bound { .. } | RuntimeEvent::SaidReady { .. } => {
                }
                RuntimeEvent::Lost => panic!("the minder was lost"),
            }
        }
    }

    pub(crate) async fn list(&self) -> Vec<Found> {
        in_time(self.runtime.list()).await.unwrap()
    }

    /// The next event about output that `wanted` accepts.
    pub(crate) async fn output(&mut self, mut wanted: impl FnMut(&OutputEvent) -> bool) -> OutputEvent {
        loop {
            let event = in_time(self.output.recv()).await.unwrap();
            if wanted(&event) {
                return event;
            }
        }
    }

    /// What runs, as soon as there is another minder instead of one that has died.
    pub(crate) async fn list_anew(&self) -> Vec<Found> {
        in_time(async {
            loop {
                // The first attempt may meet the old minder's last breath.
                if let Ok(found) = self.runtime.list().await {
                    return found;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    /// Ends as a killed server does: without a word to anybody.
    pub(crate) async fn vanish(self) {
        assert!(self.spine.stop(PATIENCE).await);
    }
}

pub(crate) async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap()
}

pub(crate) async fn until(mut condition: impl FnMut() -> bool) {
    in_time(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

pub(crate) fn instance(id: &str) -> InstanceId {
    InstanceId(id.into())
}

pub(crate) fn record(id: &str, address: Option<SocketAddr>) -> Record {
    Record {
        id: instance(id),
        service: "users".parse().unwrap(),
        slot: 0,
        revision: Revision(7),
        address,
        publish: false,
        restarts: 2,
        started_at: 1000,
        ready: true,
        stopping: false,
        stop_signal: 15,
        stop_grace_period_ms: 1000,
        stop_by: StopBy::Signal,
    }
}

pub(crate) fn shell(id: &str, script: &str) -> StartSpec {
    StartSpec {
        listens: Listens::Nowhere,
        channel: None,
        limits: Limits::default(),
        user: None,
        command: ["sh", "-c", script].map(str::to_owned).into(),
        working_dir: "/".into(),
        environment: environment(),
        record: record(id, None),
    }
}

pub(crate) fn environment() -> BTreeMap<String, String> {
    [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into()
}

/// Whether a process lives; one that only waits to be reaped does not.
pub(crate) fn lives(pid: u32) -> bool {
    let exists = test_kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap()).is_ok();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    exists && !stat.contains(") Z ")
}

pub(crate) fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
}

/// Ignores SIGTERM and has a child that does so too; writes both pids to files.
const STUBBORN: &str = "trap '' TERM; sleep 1000 & echo $! > child; echo $$ > main; wait; wait";

pub(crate) async fn start_stubborn(home: &Home, server: &Server, id: &str) -> [u32; 2] {
    let spec = StartSpec {
        working_dir: home.path().to_owned(),
        ..shell(id, STUBBORN)
    };
    server.try_start(spec).await.unwrap();
    let read = |name: &str| {
        fs::read_to_string(home.path().join(name))
            .ok()?
            .trim()
            .parse()
            .ok()
    };
    until(|| read("main").is_some()).await;
    [read("main").unwrap(), read("child").unwrap()]
}

/// As the server's composition does it.
pub(crate) fn collect(home: &Home, server: &mut Server) -> Arc<Logs> {
    let config = hythe_logs::Config::new(home.path().join("logs"), home.path().join("raw"));
    let runtime = server.runtime.clone();
    let progress = move |progress| match progress {
        Progress::Consumed { run, stream, up_to } => runtime.consumed(&run, stream, up_to),
        Progress::Released { run } => runtime.released(&run),
    };
    let logs = Arc::new(
        Logs::open(
            config,
            hythe_spine::constant(hythe_model::Desired::default()),
            progress,
            &server.spine,
        )
        .unwrap(),
    );
    let mut events = std::mem::replace(&mut server.output, tokio::sync::mpsc::channel(1).1);
    let for_task = Arc::clone(&logs);
    server.spine.spawn("output", |shutdown| async move {
        while let Some(Some(event)) = shutdown.unless_requested(events.recv()).await {
            match event {
                OutputEvent::Began {
                    run,
                    instance,
                    service,
                    slot,
                    out_from,
                    err_from,
                    adopted,
                } => {
                    let from = Offsets {
                        out: out_from,
                        err: err_from,
                    };
                    for_task.attach(RunOutput {
                        run,
                        instance,
                        service,
                        slot,
                        from,
                        resumed: adopted,
                    });
                }
                OutputEvent::Wrote {
                    run,
                    stream,
                    closed_at,
                } => for_task.wake(&run, stream, closed_at),
                OutputEvent::Ended { run } => for_task.detach(&run),
            }
        }
    });
    logs
}

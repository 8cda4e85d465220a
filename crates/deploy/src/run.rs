//! Plans on real hosts: phase by phase, several hosts at once, undone where one fails.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;

use hythe_dialect_pm2::deploy::{Host, Target};

use crate::connection::Connection;
use crate::history::History;
use crate::plan::{Operation, Step, plan};
use crate::process::Signals;
use crate::trouble::Trouble;
use crate::worker::Worker;

/// What is to be done, and what hosts are told about it.
#[derive(Debug, Clone)]
pub struct Job {
    /// Where.
    pub target: Target,
    /// The target's name in the file.
    pub environment: String,
    /// The ecosystem file, from the folder of a release.
    pub file: String,
    /// The folder here: it is uploaded if there is no repository, and local hooks run in it.
    pub folder: PathBuf,
    /// When, in letters and digits; part of the names of new releases.
    pub time: String,
    /// Who, for others who find the target locked.
    pub holder: String,
}

/// Hears what happens, from several hosts at once.
pub trait Report: Sync {
    /// A host begins with something.
    fn step(&self, host: &str, words: &str);
    /// A line of output of what it does.
    fn output(&self, host: &str, line: &str);
    /// Whether the user wants no further step. What has switched is then put back.
    fn is_interrupted(&self) -> bool;
}

/// Why an operation was not done.
#[derive(Debug)]
pub struct Failed {
    /// Each host that failed, and why.
    pub hosts: Vec<(String, Trouble)>,
    /// Hosts that had switched and run what they ran before.
    pub undone: Vec<String>,
    /// Hosts that had switched and could not be put back.
    pub stuck: Vec<(String, Trouble)>,
    /// Whether the release is live all the same: only what follows has failed.
    pub is_live: bool,
}

/// Does an operation on all hosts. `local` runs first, once all hosts are connected.
///
/// # Errors
/// Something failed. What was current before is then current again, but on hosts that are [`Failed::stuck`].
pub fn run(job: &Job, operation: Operation, report: &dyn Report) -> Result<(), Failed> {
    let sockets = sockets().map_err(|trouble| Failed::before("this machine", trouble))?;
    let plan = plan(operation, &job.target);
    let mut workers = connect(job, report, &sockets, Signals::Ours)?;
    if operation == Operation::Deploy {
        run_local_hook(job, report)?;
    }
    let all = |workers: &mut [Worker<'_>], steps: &[Step]| {
        each(workers, job.target.max_parallel, OnFailure::Stop, |worker| {
            worker.perform(steps)
        })
    };
    let mut failed = all(&mut workers, &plan.prepare);
    if failed.is_empty() {
        failed = all(&mut workers, &plan.activate);
    }
    if !failed.is_empty() {
        return Err(undo(&mut workers, job, failed));
    }
    // The release works. What is left to note is not worth going back for, and nobody's failure is another's.
    let failed = each(&mut workers, job.target.max_parallel, OnFailure::GoOn, |worker| {
        worker.finish(&plan.finish)
    });
    Failed::unless_empty(failed).map_err(|failed| Failed {
        is_live: true,
        ..failed
    })
}

/// What each host has, in the order of the target.
///
/// # Errors
/// Some host does not tell.
pub fn look(job: &Job, report: &dyn Report) -> Result<Vec<(Host, History)>, Failed> {
    let sockets = sockets().map_err(|trouble| Failed::before("this machine", trouble))?;
    let mut workers = connect(job, report, &sockets, Signals::Everyones)?;
    let failed = each(
        &mut workers,
        job.target.max_parallel,
        OnFailure::Stop,
        Worker::look,
    );
    Failed::unless_empty(failed)?;
    let histories = workers.into_iter().map(|worker| worker.history.clone());
    Ok(job.target.hosts.iter().cloned().zip(histories).collect())
}

/// Runs a command in the current release of all hosts.
///
/// # Errors
/// It fails on some host.
pub fn execute(job: &Job, command: &str, report: &dyn Report) -> Result<(), Failed> {
    let sockets = sockets().map_err(|trouble| Failed::before("this machine", trouble))?;
    let mut workers = connect(job, report, &sockets, Signals::Everyones)?;
    let failed = each(&mut workers, job.target.max_parallel, OnFailure::Stop, |worker| {
        worker.execute(command)
    });
    Failed::unless_empty(failed)
}

impl Failed {
    fn before(host: &str, trouble: Trouble) -> Self {
        Self::of(vec![(host.to_owned(), trouble)])
    }

    fn of(hosts: Vec<(String, Trouble)>) -> Self {
        Self {
            hosts,
            undone: Vec::new(),
            stuck: Vec::new(),
            is_live: false,
        }
    }

    fn unless_empty(hosts: Vec<(String, Trouble)>) -> Result<(), Self> {
        match hosts.is_empty() {
            true => Ok(()),
            false => Err(Self::of(hosts)),
        }
    }
}

/// A folder for sockets, for this user only.
fn sockets() -> Result<tempfile::TempDir, Trouble> {
    tempfile::Builder::new()
        .prefix("hythe-")
        .tempdir()
        .map_err(|source| Trouble::Program {
            program: "ssh without a temporary folder",
            source,
        })
}

fn connect<'j>(
    job: &'j Job,
    report: &'j dyn Report,
    sockets: &tempfile::TempDir,
    signals: Signals,
) -> Result<Vec<Worker<'j>>, Failed> {
    let mut places: Vec<Place<'_>> = job
        .target
        .hosts
        .iter()
        .enumerate()
        .map(|(index, host)| Place {
            index,
            host,
            worker: None,
        })
        .collect();
    let failed = each(&mut places, job.target.max_parallel, OnFailure::Stop, |place| {
        let socket = sockets.path().join(place.index.to_string());
        let connection = Connection::open(place.host, &job.target, &socket, &job.folder, signals)?;
        place.worker = Some(Worker::new(job, report, place.host.to_string(), connection));
        Ok(())
    });
    Failed::unless_empty(failed)?;
    Ok(places.into_iter().filter_map(|place| place.worker).collect())
}

/// A host that is about to be connected.
struct Place<'j> {
    index: usize,
    host: &'j Host,
    worker: Option<Worker<'j>>,
}

fn run_local_hook(job: &Job, report: &dyn Report) -> Result<(), Failed> {
    let Some(hook) = &job.target.hooks.pre_deploy_local else {
        return Ok(());
    };
    let local = |trouble| Failed::before("this machine", trouble);
    let connection = Connection::here(&job.folder).map_err(local)?;
    let mut worker = Worker::new(job, report, "this machine".to_owned(), connection);
    worker.run_local(hook).map_err(local)
}

/// Puts back all that have switched.
fn undo(workers: &mut [Worker<'_>], job: &Job, hosts: Vec<(String, Trouble)>) -> Failed {
    let mut switched: Vec<&mut Worker<'_>> = workers
        .iter_mut()
        .filter(|worker| worker.has_switched())
        .collect();
    let stuck = each(
        &mut switched,
        job.target.max_parallel,
        OnFailure::GoOn,
        |worker| worker.undo(),
    );
    let is_stuck = |host: &str| stuck.iter().any(|(name, _)| name == host);
    let undone = switched
        .iter()
        .map(|worker| worker.host.clone())
        .filter(|host| !is_stuck(host))
        .collect();
    Failed {
        undone,
        stuck,
        ..Failed::of(hosts)
    }
}

/// Something that has to do with one host.
pub(crate) trait OfHost: Send {
    /// Its name for people.
    fn host(&self) -> String;
}

impl OfHost for Place<'_> {
    fn host(&self) -> String {
        self.host.to_string()
    }
}

impl<T: OfHost> OfHost for &mut T {
    fn host(&self) -> String {
        (**self).host()
    }
}

/// Whether items are begun after one has failed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OnFailure {
    Stop,
    GoOn,
}

/// Works on items, `limit` at once. The failures.
fn each<T: OfHost>(
    items: &mut [T],
    limit: usize,
    on_failure: OnFailure,
    work: impl Fn(&mut T) -> Result<(), Trouble> + Sync,
) -> Vec<(String, Trouble)> {
    let threads = limit.min(items.len());
    let queue = Mutex::new(items.iter_mut());
    let failures = Mutex::new(Vec::new());
    let locked = || failures.lock().unwrap_or_else(PoisonError::into_inner);
    let next = || {
        let stops = on_failure == OnFailure::Stop && !locked().is_empty();
        let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.next().filter(|_| !stops)
    };
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(item) = next() {
                    if let Err(trouble) = work(item) {
                        locked().push((item.host(), trouble));
                    }
                }
            });
        }
    });
    failures.into_inner().unwrap_or_else(PoisonError::into_inner)
}

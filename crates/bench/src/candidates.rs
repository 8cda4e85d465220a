//! The proxies that are compared: one thread each, logs off, connections kept alive on both sides, everything
//! it writes in a folder of its own.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use rustix::process::Pid;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::certificate::Certificate;
use crate::hythe_server::{self, Server};
use crate::processes::{ProcessTree, is_alive};
use crate::{peers, probe};

/// How long a proxy may take to answer for the first time.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Also how finely starts are timed.
const POLL: Duration = Duration::from_millis(1);
/// How much of a failed program's output is shown.
const OUTPUT_LINES: usize = 20;

/// A proxy to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Candidate {
    /// Copies bytes without looking: the practical limit
    Relay,
    /// Hythe with one route and no access log
    Plain,
    /// Hythe with 1,000 routes, metrics and a JSON access log
    Full,
    /// Hythe with 10 routes and no access log
    Ten,
    /// Hythe with 10,000 routes and no access log
    TenThousand,
    /// Debian's nginx, one worker
    Nginx,
    /// Debian's HAProxy, one thread
    Haproxy,
    /// express and http-proxy from npm, one process
    Node,
}

impl Candidate {
    /// All of them, in the order of the table.
    pub(crate) const ALL: [Self; 8] = [
        Self::Relay,
        Self::Plain,
        Self::Full,
        Self::Ten,
        Self::TenThousand,
        Self::Nginx,
        Self::Haproxy,
        Self::Node,
    ];

    /// The name in the table.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Plain => "hythe plain",
            Self::Full => "hythe full",
            Self::Ten => "hythe 10 routes",
            Self::TenThousand => "hythe 10,000 routes",
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
            Self::Node => "Node.js gateway",
        }
    }

    /// True for the rows that need the hythe binary.
    pub(crate) fn is_hythe(self) -> bool {
        self.manifest_routes().is_some()
    }

    /// How many routes a Hythe row has.
    fn manifest_routes(self) -> Option<usize> {
        match self {
            Self::Plain => Some(1),
            Self::Full => Some(1000),
            Self::Ten => Some(10),
            Self::TenThousand => Some(10_000),
            Self::Relay | Self::Nginx | Self::Haproxy | Self::Node => None,
        }
    }

    /// What the load asks for; every candidate leads it to the backend.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Full | Self::Ten | Self::TenThousand => hythe_server::ROUTED_PATH,
            _ => "/",
        }
    }
}

/// What the candidates have in common.
pub(crate) struct Site {
    /// The core a candidate is pinned to.
    pub(crate) core: usize,
    /// The backend to proxy to.
    pub(crate) backend: SocketAddr,
    /// This binary, for the relay.
    pub(crate) this_binary: PathBuf,
    /// The hythe binary.
    pub(crate) hythe: PathBuf,
    /// What is served over TLS.
    pub(crate) certificate: Certificate,
}

/// Where a candidate listens, and the folder for all it writes.
pub(crate) struct Listens<'a> {
    /// In clear.
    pub(crate) address: SocketAddr,
    /// For TLS.
    pub(crate) tls_address: SocketAddr,
    /// Its own.
    pub(crate) folder: &'a Path,
}

/// A candidate that answers.
pub(crate) struct Running {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Where it listens for TLS, if it does.
    pub(crate) tls_address: SocketAddr,
    _home: TempDir,
}

/// Starts a candidate and waits until a request through it is answered with 200.
pub(crate) async fn start(candidate: Candidate, site: &Site, processes: &ProcessTree) -> Result<Running> {
    let home = tempfile::Builder::new().prefix("hythe-bench-").tempdir()?;
    let address = probe::free_address()?;
    let tls_address = probe::free_address()?;
    let listens = Listens {
        address,
        tls_address,
        folder: home.path(),
    };
    let pid = match candidate {
        Candidate::Plain | Candidate::Full | Candidate::Ten | Candidate::TenThousand => {
            start_hythe(candidate, site, &listens, processes).await?
        }
        Candidate::Relay => start_quietly(&mut peers::relay(site, &listens), home.path(), processes)?,
        Candidate::Nginx => start_quietly(&mut peers::nginx(site, &listens)?, home.path(), processes)?,
        Candidate::Haproxy => start_quietly(&mut peers::haproxy(site, &listens)?, home.path(), processes)?,
        Candidate::Node => start_quietly(&mut peers::node(site, &listens)?, home.path(), processes)?,
    };
    until_answered(
        address,
        candidate.path(),
        |status| status == 200,
        pid,
        home.path(),
    )
    .await
    .with_context(|| format!("{} does not work", candidate.title()))?;
    Ok(Running {
        address,
        tls_address,
        _home: home,
    })
}

async fn start_hythe(
    candidate: Candidate,
    site: &Site,
    listens: &Listens<'_>,
    processes: &ProcessTree,
) -> Result<Pid> {
    let server = Server::new(
        &site.hythe,
        listens.folder,
        listens.address,
        candidate == Candidate::Full,
    )?
    .with_tls(listens.tls_address);
    let pid = start_quietly(&mut server.command(Some(site.core)), listens.folder, processes)?;
    until_answered(listens.address, "/", |_| true, pid, listens.folder).await?;
    let routes = candidate.manifest_routes().unwrap_or(1);
    let manifests = hythe_server::manifests(site.backend, routes, &site.certificate);
    server.apply_all(&manifests).await?;
    Ok(pid)
}

/// Starts a program whose output goes to a file, shown only when it fails.
pub(crate) fn start_quietly(command: &mut Command, home: &Path, processes: &ProcessTree) -> Result<Pid> {
    let output = File::create(output_file(home)).context("cannot keep the output")?;
    command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output);
    processes.start(command)
}

/// Waits for an answer with an accepted status from a program started with [`start_quietly`].
pub(crate) async fn until_answered(
    address: SocketAddr,
    path: &str,
    accepted: impl Fn(u16) -> bool,
    pid: Pid,
    home: &Path,
) -> Result<()> {
    let deadline = Instant::now() + START_LIMIT;
    loop {
        let status = probe::status(address, path).await;
        if status.is_some_and(&accepted) {
            return Ok(());
        }
        if !is_alive(pid) {
            bail!("it ended at once, with this output:\n{}", last_output(home));
        }
        if Instant::now() > deadline {
            bail!(
                "no proper answer within {} s, status {status:?}, output:\n{}",
                START_LIMIT.as_secs(),
                last_output(home)
            );
        }
        sleep(POLL).await;
    }
}

/// The last lines a program wrote.
fn last_output(home: &Path) -> String {
    let bytes = fs::read(output_file(home)).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(OUTPUT_LINES)..].join("\n")
}

fn output_file(home: &Path) -> PathBuf {
    home.join("output.log")
}

//! The proxies that are compared, and how each is set up: one thread, logs off, connections kept alive on
//! both sides, everything it writes in a folder of its own.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use rustix::process::{Pid, geteuid};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::hythe_server::{self, Server};
use crate::probe;
use crate::processes::{ProcessTree, is_alive};
use crate::programs::pinned;

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
    /// Debian's nginx, one worker
    Nginx,
    /// Debian's HAProxy, one thread
    Haproxy,
}

impl Candidate {
    /// All of them, in the order of the table.
    pub(crate) const ALL: [Self; 5] = [Self::Relay, Self::Plain, Self::Full, Self::Nginx, Self::Haproxy];

    /// The name in the table.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Plain => "hythe plain",
            Self::Full => "hythe full",
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
        }
    }

    /// True for the rows that need the hythe binary.
    pub(crate) fn is_hythe(self) -> bool {
        matches!(self, Self::Plain | Self::Full)
    }

    /// What the load asks for; every candidate leads it to the backend.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Full => hythe_server::FULL_PATH,
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
}

/// A candidate that answers.
pub(crate) struct Running {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    _home: TempDir,
}

/// Starts a candidate and waits until a request through it is answered with 200.
pub(crate) async fn start(candidate: Candidate, site: &Site, processes: &ProcessTree) -> Result<Running> {
    let home = tempfile::Builder::new().prefix("hythe-bench-").tempdir()?;
    let address = probe::free_address()?;
    let pid = match candidate {
        Candidate::Relay => {
            let mut command = pinned(site.core, &site.this_binary);
            command.args([
                "relay",
                "--listen",
                &address.to_string(),
                "--upstream",
                &site.backend.to_string(),
            ]);
            start_quietly(&mut command, home.path(), processes)?
        }
        Candidate::Nginx => start_quietly(&mut nginx(site, address, home.path())?, home.path(), processes)?,
        Candidate::Haproxy => {
            start_quietly(&mut haproxy(site, address, home.path())?, home.path(), processes)?
        }
        Candidate::Plain | Candidate::Full => {
            let server = Server::new(&site.hythe, home.path(), address, candidate == Candidate::Full)?;
            let pid = start_quietly(&mut server.command(Some(site.core)), home.path(), processes)?;
            until_answered(address, "/", |_| true, pid, home.path()).await?;
            let manifest = match candidate {
                Candidate::Full => hythe_server::full_manifest(site.backend),
                _ => hythe_server::plain_manifest(site.backend),
            };
            server.apply(&manifest).await?;
            pid
        }
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
    Ok(Running { address, _home: home })
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

fn nginx(site: &Site, address: SocketAddr, home: &Path) -> Result<Command> {
    // Its workers give up root unless told otherwise, and then could not write into our folder.
    let user = if geteuid().is_root() { "user root;" } else { "" };
    let folder = home.display();
    let backend = site.backend;
    let config = format!(
        "{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    tcp_nodelay on;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream backend {{
        server {backend};
        keepalive 64;
        keepalive_timeout 600s;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {address};
        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
        }}
    }}
}}
"
    );
    let file = home.join("nginx.conf");
    fs::write(&file, config)?;
    let mut command = pinned(site.core, "nginx");
    command
        .arg("-e")
        .arg("stderr")
        .arg("-p")
        .arg(home)
        .arg("-c")
        .arg(file);
    Ok(command)
}

fn haproxy(site: &Site, address: SocketAddr, home: &Path) -> Result<Command> {
    let backend = site.backend;
    let config = format!(
        "global
    nbthread 1
    maxconn 4096
defaults
    mode http
    option http-keep-alive
    http-reuse always
    timeout connect 5s
    timeout client 600s
    timeout server 600s
frontend front
    bind {address}
    default_backend back
backend back
    server backend {backend}
"
    );
    let file = home.join("haproxy.cfg");
    fs::write(&file, config)?;
    let mut command = pinned(site.core, "haproxy");
    command.arg("-db").arg("-f").arg(file);
    Ok(command)
}

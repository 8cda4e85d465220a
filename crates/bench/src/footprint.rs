//! What Hythe costs beside requests: memory at rest, the time of a client command, the time of a start.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Pid;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::candidates::{Site, start_quietly, until_answered};
use crate::hythe_server::{Server, listed_manifest};
use crate::probe;
use crate::processes::{ProcessTree, memory};
use crate::series::Series;

/// How often `hythe ls` is run.
const LISTS: usize = 50;
/// How often the server is started.
const STARTS: usize = 10;
/// How long the server is left alone before its memory is looked at.
const REST: Duration = Duration::from_secs(2);

/// The figures.
pub(crate) struct Footprint {
    /// Memory of the idle server and everything it started, in MB (PSS).
    pub(crate) memory_mb: Series,
    /// Wall time of a whole `hythe ls` with 100 services, in ms.
    pub(crate) list_ms: Series,
    /// From starting `hythe server run`, with something applied earlier, to the first answer through it, in ms.
    pub(crate) ready_ms: Series,
}

/// Measures them, one after the other.
pub(crate) async fn measure(site: &Site, processes: &ProcessTree) -> Result<Footprint> {
    let subject = Subject::new(site, processes)?;

    let pid = subject.start()?;
    subject.until(|_| true, pid).await?;
    subject.server.apply(&listed_manifest(site.backend)).await?;
    subject.until(|status| status == 200, pid).await?;
    sleep(REST).await;
    let memory_mb = vec![memory(&processes.candidate()?)? as f64 / 1e6];

    let mut list_ms = Vec::new();
    for _ in 0..LISTS {
        let started = Instant::now();
        subject.server.ask(&["ls"]).await?;
        list_ms.push(millis_since(started));
    }
    processes.end_candidate().await?;

    let mut ready_ms = Vec::new();
    for _ in 0..STARTS {
        let started = Instant::now();
        let pid = subject.start()?;
        subject.until(|status| status == 200, pid).await?;
        ready_ms.push(millis_since(started));
        processes.end_candidate().await?;
    }

    let series = |values| Series::new(values).context("nothing was measured");
    Ok(Footprint {
        memory_mb: series(memory_mb)?,
        list_ms: series(list_ms)?,
        ready_ms: series(ready_ms)?,
    })
}

struct Subject<'a> {
    server: Server,
    proxy: SocketAddr,
    home: TempDir,
    processes: &'a ProcessTree,
}

impl<'a> Subject<'a> {
    fn new(site: &Site, processes: &'a ProcessTree) -> Result<Self> {
        let home = tempfile::Builder::new().prefix("hythe-bench-").tempdir()?;
        let proxy = probe::free_address()?;
        let server = Server::new(&site.hythe, home.path(), proxy, false)?;
        Ok(Self {
            server,
            proxy,
            home,
            processes,
        })
    }

    fn start(&self) -> Result<Pid> {
        start_quietly(&mut self.server.command(None), self.home.path(), self.processes)
    }

    async fn until(&self, accepted: impl Fn(u16) -> bool, pid: Pid) -> Result<()> {
        until_answered(self.proxy, "/", accepted, pid, self.home.path())
            .await
            .context("the hythe server does not work")
    }
}

fn millis_since(started: Instant) -> f64 {
    started.elapsed().as_secs_f64() * 1000.0
}

//! Memory of kept-alive connections on which nothing happens.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::candidates::{self, Candidate, Site};
use crate::processes::{ProcessTree, memory};

/// How many connections.
pub(crate) const CONNECTIONS: usize = 10_000;
/// How long the candidate is left alone before its memory is looked at.
const REST: Duration = Duration::from_secs(2);
/// Descriptors beside the connections.
const SPARE: u64 = 512;

/// Those compared. HAProxy insists on two descriptors for each, which many machines do not allow it.
pub(crate) const CANDIDATES: [Candidate; 2] = [Candidate::Plain, Candidate::Nginx];

/// Bytes of the candidate's memory (PSS) per idle connection that has been used once.
pub(crate) async fn measure(candidate: Candidate, site: &Site, processes: &ProcessTree) -> Result<f64> {
    allow_descriptors(CONNECTIONS as u64 + SPARE)?;
    let running = candidates::start(candidate, site, processes).await?;
    let mut connections = open(running.address, 64).await?;
    sleep(REST).await;
    let before = memory(&processes.candidate()?)?;
    connections.extend(open(running.address, CONNECTIONS).await?);
    sleep(REST).await;
    let after = memory(&processes.candidate()?)?;
    drop(connections);
    processes.end_candidate().await?;
    Ok(after.saturating_sub(before) as f64 / CONNECTIONS as f64)
}

fn allow_descriptors(wanted: u64) -> Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    ensure!(
        maximum.is_none_or(|maximum| maximum >= wanted),
        "needs {wanted} descriptors: raise the limit with `ulimit -Hn {wanted}`"
    );
    let current = Some(wanted);
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).context("cannot raise the limit of descriptors")
}

/// Opens connections one after the other, each used for one request.
async fn open(address: SocketAddr, count: usize) -> Result<Vec<TcpStream>> {
    let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = [0; 2048];
        let read = stream.read(&mut answer).await?;
        ensure!(
            answer.starts_with(b"HTTP/1.1 200") && answer[..read].ends_with(b"\n"),
            "not a proper answer: {}",
            String::from_utf8_lossy(&answer[..read])
        );
        connections.push(stream);
    }
    Ok(connections)
}

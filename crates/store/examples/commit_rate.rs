//! Measures commits per second, one after the other and from many tasks at once, and what one costs at the
//! median and the tail.
//!
//! ```sh
//! cargo run --release -p hythe-store --example commit_rate -- [DIRECTORY]
//! ```
//!
//! The directory decides which disk is measured; without one it is a temporary directory.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use hythe_ports::documents::{Documents, Identity, NodeId, Put, Transaction};
use hythe_store::{Config, Store};
use serde_json::json;

const MEASURED: Duration = Duration::from_secs(5);

fn main() -> Result<(), Box<dyn Error>> {
    let home = match std::env::args_os().nth(1) {
        Some(directory) => tempfile::tempdir_in(directory)?,
        None => tempfile::tempdir()?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    for (tasks, documents) in [(1, 100), (64, 100), (1, usize::MAX), (64, usize::MAX)] {
        let directory = home.path().join(format!("{tasks}-{documents}"));
        runtime.block_on(measure(&directory, tasks, documents))?;
    }
    Ok(())
}

/// Has `tasks` tasks update `documents` documents in turn; with as many documents as commits, each commit
/// creates one.
async fn measure(directory: &Path, tasks: usize, documents: usize) -> Result<(), Box<dyn Error>> {
    let store = hythe_store::open(Config::new(directory, NodeId("bench".to_owned())))?;
    let started = Instant::now();
    let mut writers = tokio::task::JoinSet::new();
    for task in 0..tasks {
        writers.spawn(write(
            store.clone(),
            task,
            documents / tasks.min(documents),
            started + MEASURED,
        ));
    }
    let mut latencies = Vec::new();
    while let Some(written) = writers.join_next().await {
        latencies.extend(written??);
    }
    let elapsed = started.elapsed();
    latencies.sort_unstable();
    let at = |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize];
    let rate = latencies.len() as f64 / elapsed.as_secs_f64();
    let what = if documents == usize::MAX {
        "creating"
    } else {
        "updating"
    };
    println!(
        "{what}, {tasks:>2} tasks: {rate:>7.0}/s, median {:?}, p99 {:?}",
        at(0.5),
        at(0.99)
    );
    store.close().await;
    Ok(())
}

async fn write(
    store: Store,
    task: usize,
    documents: usize,
    until: Instant,
) -> Result<Vec<Duration>, hythe_ports::documents::CommitError> {
    let mut latencies = Vec::new();
    for number in 0_usize.. {
        let identity = Identity::new("service", "default", format!("{task}-{}", number % documents));
        let body =
            json!({"image": "users:1.2", "scale": number, "env": {"A": "x".repeat(300)}, "ports": [80]});
        let transaction = Transaction {
            actor: "bench".to_owned(),
            owner: "cli".to_owned(),
            reason: "measuring".to_owned(),
            writes: vec![Put::new(identity, body).into()],
        };
        let asked = Instant::now();
        store.commit(transaction).await?;
        latencies.push(asked.elapsed());
        if Instant::now() > until {
            break;
        }
    }
    Ok(latencies)
}

//! Killed at any moment, a store has lost nothing that it had acknowledged.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use hythe_ports::documents::{Documents, NodeId, Reach};
use hythe_store::{Config, OpenError};

use super::{child, open};

const ROUNDS: u64 = 12;

#[tokio::test]
async fn every_acknowledged_write_survives_kill_9() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("store");
    let mut acknowledged = BTreeMap::new();
    for round in 0..ROUNDS {
        acknowledged.extend(write_until_killed(&directory, fastrand::usize(1..200)));
        let store = open(&directory);
        let (mut since, mut written) = (0, BTreeMap::new());
        loop {
            let answer = store.changes_since(since, Reach::Here, 1_000).await.unwrap();
            let changes = answer.changes.into_iter();
            written.extend(changes.map(|change| (change.generation, change.document.identity.name)));
            since = answer.generation;
            if !answer.more {
                break;
            }
        }
        for (generation, name) in &acknowledged {
            assert_eq!(
                written.get(generation),
                Some(name),
                "round {round}: generation {generation} is lost"
            );
            assert!(
                store.get("thing", "", name).await.unwrap().is_some(),
                "round {round}: {name} is lost"
            );
        }
    }
}

/// Has a child write until it has acknowledged `count` writes, sees that nobody else can open its store,
/// kills it, and returns all that it acknowledged before it died.
fn write_until_killed(directory: &Path, count: usize) -> Vec<(u64, String)> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    child::configure(&mut command, directory, 8, u64::MAX);
    let mut process = command
        .args(child::ARGUMENTS)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let mut lines = lines.filter_map(|line| child::acknowledged(&line));
    let mut acknowledged: Vec<_> = lines.by_ref().take(count).collect();
    let refused = hythe_store::open(Config::new(directory, NodeId("two".to_owned())))
        .err()
        .unwrap();
    assert!(
        matches!(refused, OpenError::InUse { pid, .. } if pid == Some(process.id())),
        "{refused}"
    );
    process.kill().unwrap();
    acknowledged.extend(lines);
    process.wait().unwrap();
    assert!(acknowledged.len() >= count, "the child ended by itself");
    acknowledged
}

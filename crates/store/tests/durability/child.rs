//! The process that writes, and says what was acknowledged.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{commit, open, put};

const DIRECTORY: &str = "HYTHE_STORE_TEST_DIRECTORY";
const WRITERS: &str = "HYTHE_STORE_TEST_WRITERS";
const WRITES: &str = "HYTHE_STORE_TEST_WRITES";

/// Arguments that make the test binary a child and nothing else.
pub(crate) const ARGUMENTS: [&str; 4] = ["child::writes", "--exact", "--nocapture", "--test-threads=1"];

/// Lets a command be a child with a store, which has `writers` tasks write `writes` documents each.
pub(crate) fn configure(command: &mut Command, directory: &Path, writers: usize, writes: u64) {
    command
        .env(DIRECTORY, directory)
        .env(WRITERS, writers.to_string())
        .env(WRITES, writes.to_string())
        .env("RUST_BACKTRACE", "0");
}

/// What a line of the child's output acknowledges: a generation and the document it wrote.
pub(crate) fn acknowledged(line: &str) -> Option<(u64, String)> {
    // The test harness may have written the beginning of the first line.
    let (generation, name) = line.split_once("acknowledged ")?.1.split_once(' ')?;
    Some((generation.parse().ok()?, name.to_owned()))
}

#[tokio::test]
async fn writes() {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else {
        return;
    };
    let number = |name| std::env::var(name).unwrap().parse::<u64>().unwrap();
    let (writers, writes) = (number(WRITERS), number(WRITES));
    let store = open(&directory);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..writers {
        let store = store.clone();
        tasks.spawn(async move {
            for _ in 0..writes {
                let name = format!("{}-{:x}", std::process::id(), fastrand::u64(..));
                let committed = commit(&store, put(&name, name.repeat(10))).await.unwrap();
                // One write(2), complete or not at all in the pipe.
                println!("acknowledged {} {name}", committed.generation);
            }
        });
    }
    tasks.join_all().await;
}

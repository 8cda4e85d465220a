//! A full disk refuses writes, loses nothing, and is forgotten once there is space.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hythe_ports::documents::{CommitError, Documents, Query};

use super::{commit, open, put};

#[tokio::test]
async fn a_full_disk_is_survived() {
    let home = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(home.path());
    let directory = disk.0.join("store");
    let filler = disk.0.join("filler");
    fs::write(&filler, vec![0; 1 << 20]).unwrap();
    let store = open(&directory);

    let mut kept = Vec::new();
    let refused = loop {
        let name = kept.len().to_string();
        match commit(&store, put(&name, "x".repeat(20_000))).await {
            Ok(_) => kept.push(name),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, CommitError::Full(_)), "{refused}");
    assert!(!kept.is_empty());
    // What is large fails again and again; nothing that was acknowledged is lost, and reading goes on.
    for _ in 0..10 {
        let again = commit(&store, put("large", "x".repeat(2_000_000))).await;
        assert!(matches!(again, Err(CommitError::Full(_))), "{again:?}");
    }
    assert_holds(&store, &kept).await;

    fs::remove_file(&filler).unwrap();
    commit(&store, put("after", 1)).await.unwrap();
    kept.push("after".to_owned());
    assert_holds(&store, &kept).await;

    // Full once more, and this time the process does not outlive it.
    while commit(&store, put(&format!("more {}", kept.len()), "x".repeat(20_000)))
        .await
        .is_ok()
    {
        kept.push(format!("more {}", kept.len()));
    }
    store.close().await;
    drop(store);
    let store = open(&directory);
    assert_holds(&store, &kept).await;
}

/// One that does not fit takes down none of those that share its sync.
#[tokio::test]
async fn a_full_disk_is_full_only_for_what_does_not_fit() {
    let home = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(home.path());
    let store = open(&disk.0.join("store"));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..16 {
        let store = store.clone();
        let body = if number == 7 {
            "x".repeat(3_000_000)
        } else {
            "small".to_owned()
        };
        tasks.spawn(async move { (number, commit(&store, put(&number.to_string(), body)).await) });
    }
    for (number, result) in tasks.join_all().await {
        match result {
            Ok(_) => assert_ne!(number, 7),
            Err(error) => assert!(
                number == 7 && matches!(error, CommitError::Full(_)),
                "{number}: {error}"
            ),
        }
    }
}

async fn assert_holds(store: &hythe_store::Store, names: &[String]) {
    let page = store.list(Query::new("thing")).await.unwrap();
    let found: Vec<_> = page
        .documents
        .into_iter()
        .map(|document| document.identity.name)
        .collect();
    assert_eq!(found, names);
}

/// A file system of 2.5 MB, until dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(parent: &Path) -> Self {
        let at = parent.join("disk");
        fs::create_dir(&at).unwrap();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=2560k,mode=0700", "tmpfs"])
            .arg(&at);
        assert!(
            mount.status().unwrap().success(),
            "mounting a small disk takes root"
        );
        Self(at)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the store in it may still be open when a test fails.
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(
            unmounted.is_ok_and(|status| status.success()),
            "{} stays mounted",
            self.0.display()
        );
    }
}

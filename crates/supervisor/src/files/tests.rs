//! Real files, and a clock that runs ahead whenever nothing happens.

use std::fs;
use std::path::Path;

use hythe_model::workload::Watch;
use hythe_model::{Desired, Entry, Workload};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::*;

struct Watching {
    folder: TempDir,
    watches: FileWatches,
    events: mpsc::Receiver<Event>,
}

fn desired(folder: &Path, watch: Option<Watch>, stopped: bool) -> Desired {
    let mut spec = Workload::new(vec!["app".to_owned()], folder.to_owned());
    (spec.watch, spec.stopped) = (watch, stopped);
    let entry = Entry {
        uid: String::new(),
        generation: 1,
        created_at: 0,
        spec,
    };
    let mut desired = Desired::default();
    Arc::make_mut(&mut desired.workloads).insert("users".parse().unwrap(), Arc::new(entry));
    desired
}

impl Watching {
    /// Watches a folder with these files, and is sure to do so.
    async fn new(files: &[&str], watch: Watch) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            write(folder.path(), file);
        }
        let (report, events) = mpsc::channel(16);
        let mut watching = Self {
            watches: FileWatches::new(report),
            folder,
            events,
        };
        watching
            .watches
            .keep(&desired(watching.folder.path(), Some(watch), false));
        watching
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    async fn told(&mut self) -> String {
        match self.events.recv().await.unwrap() {
            Event::FilesChanged { what, .. } => what,
            Event::NotWatched { why, .. } => why,
            other => panic!("{other:?}"),
        }
    }
}

fn write(folder: &Path, file: &str) {
    let path = folder.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, file).unwrap();
}

/// A tree that is watched, read at once.
fn tree(folder: &Path, watch: &Watch) -> Tree {
    Tree::plant(folder, watch).unwrap()
}

fn changes(tree: &mut Tree) -> Vec<String> {
    assert_eq!(tree.read().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    let mut changes = Vec::new();
    while let Some(path) = tree.take_change().unwrap() {
        changes.push(path.display().to_string());
    }
    changes.dedup();
    changes
}

fn paths(paths: &[&str]) -> Watch {
    Watch {
        paths: paths.iter().map(PathBuf::from).collect(),
        ..Watch::default()
    }
}

#[test]
fn what_changes_below_a_folder_is_told_and_what_is_left_out_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for file in ["app.js", "src/a.js", ".git/HEAD", "node_modules/b/index.js"] {
        write(at, file);
    }
    let mut tree = tree(at, &Watch::default());
    assert_eq!(changes(&mut tree), [""; 0]);
    for file in [
        "app.js",
        "src/a.js",
        ".git/HEAD",
        "node_modules/b/index.js",
        "src/.a.swp",
    ] {
        write(at, file);
    }
    assert_eq!(changes(&mut tree), ["app.js", "src/a.js"]);
    fs::rename(at.join("src/a.js"), at.join("src/c.js")).unwrap();
    fs::remove_file(at.join("app.js")).unwrap();
    assert_eq!(changes(&mut tree), ["src/a.js", "src/c.js", "app.js"]);
}

#[test]
fn folders_that_appear_are_watched_with_what_they_hold() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let mut tree = tree(at, &Watch::default());
    write(at, "new/deep/a.js");
    write(at, "node_modules/b.js");
    assert_eq!(changes(&mut tree), ["new/deep/a.js"]);
    write(at, "new/deep/b.js");
    assert_eq!(changes(&mut tree), ["new/deep/b.js"]);
    fs::rename(at.join("new"), at.join("old")).unwrap();
    let mut moved = changes(&mut tree);
    moved.sort();
    assert_eq!(moved, ["new", "old/deep/a.js", "old/deep/b.js"]);
    fs::remove_dir_all(at.join("old")).unwrap();
    assert!(!changes(&mut tree).is_empty());
}

#[test]
fn a_file_is_watched_also_when_it_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, "conf/app.conf");
    let mut tree = tree(at, &paths(&["./conf/app.conf"]));
    write(at, "conf/other.conf");
    assert_eq!(changes(&mut tree), [""; 0]);
    write(at, "conf/app.conf.tmp");
    fs::rename(at.join("conf/app.conf.tmp"), at.join("conf/app.conf")).unwrap();
    assert_eq!(changes(&mut tree), ["conf/app.conf"]);
    write(at, "conf/app.conf");
    assert_eq!(changes(&mut tree), ["conf/app.conf"]);
}

#[test]
fn extensions_and_patterns_choose() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::create_dir_all(at.join("src/generated")).unwrap();
    let watch = Watch {
        ignore: vec!["generated".to_owned()],
        extensions: vec!["js".to_owned()],
        ..paths(&["src"])
    };
    let mut tree = tree(at, &watch);
    for file in [
        "app.js",
        "src/a.js",
        "src/a.css",
        "src/generated/b.js",
        "src/.c.js",
    ] {
        write(at, file);
    }
    assert_eq!(changes(&mut tree), ["src/a.js", "src/.c.js"]);
}

#[test]
fn a_folder_that_is_not_there_or_goes_away_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let why = Tree::plant(at, &paths(&["src"])).err().unwrap();
    assert!(why.contains("src: No such file"), "{why}");
    write(at, "src/a.js");
    let mut tree = tree(at, &paths(&["src"]));
    fs::remove_dir_all(at.join("src")).unwrap();
    let _ = tree.read();
    assert_eq!(tree.take_change(), Ok(Some(PathBuf::from("src/a.js"))));
    let why = tree.take_change().unwrap_err();
    assert!(why.ends_with("src is gone"), "{why}");
}

/// The first time of watching says nothing, so there is a change until it is told.
async fn until_told(watching: &mut Watching, file: &str) -> String {
    loop {
        write(watching.path(), file);
        let waited = tokio::time::timeout(Duration::from_secs(60), watching.told()).await;
        if let Ok(told) = waited {
            return told;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_one_event() {
    let mut watching = Watching::new(&["a.js"], Watch::default()).await;
    assert_eq!(until_told(&mut watching, "a.js").await, "a.js changed");
    let at = watching.path().to_owned();
    for file in ["b.js", "c.js", "a.js", "b.js"] {
        write(&at, file);
    }
    assert_eq!(watching.told().await, "b.js and 2 others changed");
    write(&at, "c.js.tmp");
    fs::rename(at.join("c.js.tmp"), at.join("c.js")).unwrap();
    assert_eq!(watching.told().await, "c.js.tmp and another file changed");
    assert!(watching.events.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_watched_is_told_once_and_tried_again() {
    let mut watching = Watching::new(&[], paths(&["src"])).await;
    let told = watching.told().await;
    assert!(
        told.starts_with("cannot watch files: ") && told.contains("src: No such file"),
        "{told}"
    );
    assert_eq!(until_told(&mut watching, "src/a.js").await, "src/a.js changed");
    fs::remove_dir_all(watching.path().join("src")).unwrap();
    assert_eq!(watching.told().await, "src/a.js changed");
    let gone = watching.told().await;
    assert!(gone.ends_with("src is gone"), "{gone}");
}

#[tokio::test(start_paused = true)]
async fn nobody_watches_for_a_service_that_is_stopped_or_gone() {
    let mut watching = Watching::new(&["a.js"], Watch::default()).await;
    assert_eq!(until_told(&mut watching, "a.js").await, "a.js changed");
    let at = watching.path().to_owned();
    watching.watches.keep(&desired(&at, Some(Watch::default()), true));
    assert!(watching.watches.tasks.is_empty());
    watching
        .watches
        .keep(&desired(&at, Some(Watch::default()), false));
    assert_eq!(watching.watches.tasks.len(), 1);
    watching.watches.keep(&Desired::default());
    assert!(watching.watches.tasks.is_empty());
}

//! The control groups of a home, so that a test can look into them and say that none is left.

use std::fs;
use std::path::{Path, PathBuf};

use hythe_stdx::StableHash;

/// The folders of control groups that are a home's, one for each hierarchy.
pub fn groups_of(home: &Path) -> Vec<PathBuf> {
    let hash = StableHash::default().with(home.as_os_str().as_encoded_bytes());
    let name = format!("hythe-{:016x}", hash.finish());
    let mut all = Vec::new();
    folders_below(Path::new("/sys/fs/cgroup"), &mut all);
    all.retain(|folder| folder.ends_with(&name));
    all
}

/// What files of this name say in the control groups of a home's instances; nothing of those that come and go.
pub fn read_all(home: &Path, file: &str) -> Vec<String> {
    let mut instances = Vec::new();
    for group in groups_of(home) {
        folders_below(&group, &mut instances);
    }
    let text = |folder: PathBuf| fs::read_to_string(folder.join(file)).ok();
    instances.into_iter().filter_map(text).collect()
}

/// Removes them, if nobody is in them any more.
pub fn remove(home: &Path) {
    for group in groups_of(home) {
        let mut folders = vec![group.clone()];
        folders_below(&group, &mut folders);
        for folder in folders.iter().rev() {
            // What cannot be removed is in use; whoever looks finds it.
            let _ = fs::remove_dir(folder);
        }
    }
}

fn folders_below(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        found.push(entry.path());
        folders_below(&entry.path(), found);
    }
}

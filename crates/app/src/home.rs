//! The data directory.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use anyhow::Context;

/// Makes the folders that are not there, readable by their owner only.
pub(crate) fn prepare(home: &Path) -> anyhow::Result<()> {
    for folder in [home, &home.join("run"), &home.join("raw"), &home.join("logs")] {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("make the folder {}", folder.display()))?;
    }
    Ok(())
}

/// Who this node is among those that share a store; made up once and kept.
pub(crate) fn node_id(home: &Path) -> anyhow::Result<String> {
    let path = home.join("node-id");
    match fs::read_to_string(&path) {
        Ok(id) if !id.trim().is_empty() => Ok(id.trim().to_owned()),
        Ok(_) => make_node_id(&path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make_node_id(&path),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

fn make_node_id(path: &Path) -> anyhow::Result<String> {
    let id = uuid::Uuid::new_v4().to_string();
    hythe_stdx::write_atomically(path, id.as_bytes()).with_context(|| format!("write {}", path.display()))?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_stays_who_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let first = node_id(folder.path()).unwrap();
        assert_eq!(node_id(folder.path()).unwrap(), first);
    }
}

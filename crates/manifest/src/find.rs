//! Which file is meant by a folder or a path.

use std::path::{Path, PathBuf};

/// The names of a manifest in its folder, the first one first.
const NAMES: [&str; 2] = ["hythe.yaml", "hythe.yml"];

/// Why there is no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// The path leads to nothing.
    #[error("`{0}` does not exist")]
    Missing(PathBuf),
    /// The folder holds no manifest.
    #[error("no manifest in `{0}`: looked for hythe.yaml and hythe.yml")]
    NotInFolder(PathBuf),
    /// Both names are there, and they may differ.
    #[error("both hythe.yaml and hythe.yml are in `{0}`; name the one that is meant")]
    Two(PathBuf),
}

/// The manifest at `path`: a file as it is, or the one in a folder.
///
/// # Errors
/// When there is none, or two.
pub fn find(path: &Path) -> Result<PathBuf, FindError> {
    if path.is_file() {
        return Ok(path.to_owned());
    }
    if !path.is_dir() {
        return Err(FindError::Missing(path.to_owned()));
    }
    let mut found = NAMES
        .iter()
        .map(|name| path.join(name))
        .filter(|candidate| candidate.is_file());
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(FindError::NotInFolder(path.to_owned())),
        (Some(_), Some(_)) => Err(FindError::Two(path.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert_eq!(find(path), Err(FindError::NotInFolder(path.to_owned())));
        assert_eq!(find(&path.join("no")), Err(FindError::Missing(path.join("no"))));
        std::fs::write(path.join("hythe.yml"), "").unwrap();
        assert_eq!(find(path), Ok(path.join("hythe.yml")));
        std::fs::write(path.join("hythe.yaml"), "").unwrap();
        assert_eq!(find(path), Err(FindError::Two(path.to_owned())));
        assert_eq!(find(&path.join("hythe.yaml")), Ok(path.join("hythe.yaml")));
    }
}

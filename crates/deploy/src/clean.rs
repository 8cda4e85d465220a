//! Whether what is deployed is what lies here: hosts fetch what was committed and pushed.

use std::path::Path;
use std::process::{Command, Stdio};

/// Why hosts would get something else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unclean {
    /// Files differ from the last commit.
    #[error("there are changes that are not committed")]
    Uncommitted,
    /// Commits are only here.
    #[error("there are commits that are not pushed")]
    Unpushed,
}

/// Looks at the work tree around `folder`. Where there is none, or no branch to compare with, there is nothing to say.
///
/// # Errors
/// Hosts would get something else than what is here.
pub fn clean(folder: &Path) -> Result<(), Unclean> {
    let said = |words: &[&str]| said_by_git(folder, words).is_some_and(|text| !text.trim().is_empty());
    if said(&["status", "--porcelain", "--untracked-files=no"]) {
        return Err(Unclean::Uncommitted);
    }
    match said(&["rev-list", "--max-count=1", "@{upstream}..HEAD"]) {
        true => Err(Unclean::Unpushed),
        false => Ok(()),
    }
}

fn said_by_git(folder: &Path, words: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(words)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

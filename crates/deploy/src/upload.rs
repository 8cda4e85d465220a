//! The local folder as an archive, by the system's `tar`.
//!
//! In a work tree of git it is what git knows or would add; elsewhere it is everything. Either way `.deployignore`
//! leaves out more: one pattern of `tar --exclude` a line.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

/// Patterns that are read of `.deployignore`.
const PATTERNS: usize = 1_000;

/// Writes the archive of `folder`. The error is a text for people.
pub(crate) fn archive(folder: &Path, to: &mut dyn Write) -> Result<(), String> {
    let listed = listed(folder).map_err(|error| format!("list {}: {error}", folder.display()))?;
    let mut tar = tar(folder, listed.is_some()).map_err(|error| format!("run tar: {error}"))?;
    let (names, archive, complaints) = (tar.stdin.take(), tar.stdout.take(), tar.stderr.take());
    let (sent, complaints) = thread::scope(|scope| {
        scope.spawn(move || names.map(|mut names| names.write_all(&listed.unwrap_or_default())));
        let complaints = scope.spawn(move || {
            let mut text = String::new();
            let _ = complaints.map(|from| from.take(4_096).read_to_string(&mut text));
            text
        });
        let sent = archive.map_or(Ok(0), |mut archive| io::copy(&mut archive, to));
        (sent, complaints.join().unwrap_or_default())
    });
    let status = tar.wait().map_err(|error| format!("wait for tar: {error}"))?;
    match (status.success(), sent) {
        (false, _) => Err(format!("tar: {}", complaints.trim())),
        (true, Err(error)) => Err(error.to_string()),
        (true, Ok(_)) => Ok(()),
    }
}

fn tar(folder: &Path, from_list: bool) -> io::Result<Child> {
    let mut command = Command::new("tar");
    command.args(["-czf", "-", "--exclude=.git"]);
    command.args(
        patterns(folder)
            .iter()
            .map(|pattern| format!("--exclude={pattern}")),
    );
    command.arg("-C").arg(folder);
    match from_list {
        true => command.args(["--no-recursion", "--null", "--verbatim-files-from", "-T", "-"]),
        false => command.arg("."),
    };
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

fn patterns(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join(".deployignore")).unwrap_or_default();
    let lines = text.lines().map(|line| line.trim().trim_end_matches('/'));
    let patterns = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    patterns.take(PATTERNS).map(str::to_owned).collect()
}

/// The files of a work tree, each with a null character behind it; `None` if it is none.
fn listed(folder: &Path) -> io::Result<Option<Vec<u8>>> {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .stdin(Stdio::null())
        .output();
    let output = match output {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        output => output?,
    };
    if !output.status.success() {
        return Ok(None);
    }
    let mut names: Vec<&[u8]> = output.stdout.split(|byte| *byte == 0).collect();
    names.sort_unstable();
    names.dedup();
    let mut listed = Vec::new();
    for name in names {
        // What was deleted and not committed is still on git's list.
        let path = folder.join(OsStr::from_bytes(name));
        if !name.is_empty() && path.symlink_metadata().is_ok() {
            listed.extend_from_slice(name);
            listed.push(0);
        }
    }
    Ok(Some(listed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut bytes = Vec::new();
        archive(folder, &mut bytes).expect("an archive");
        let mut tar = Command::new("tar")
            .arg("-tzf-")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tar");
        let mut stdin = tar.stdin.take().expect("its input");
        stdin.write_all(&bytes).expect("it reads");
        drop(stdin);
        let output = tar.wait_with_output().expect("it ends").stdout;
        let text = String::from_utf8_lossy(&output).into_owned();
        let mut names: Vec<_> = text
            .lines()
            .filter(|name| !name.ends_with('/'))
            .map(|name| name.trim_start_matches("./").to_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn an_archive_has_what_belongs_to_the_app() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        };
        write("app.js", "1");
        write("-x file", "2");
        write("node_modules/a.js", "3");
        write("notes/b.md", "4");
        write(".deployignore", "# not there\n*.md\n");
        assert_eq!(
            names(folder.path()),
            ["-x file", ".deployignore", "app.js", "node_modules/a.js"]
        );

        let git = |words: &[&str]| {
            let status = Command::new("git")
                .arg("-C")
                .arg(folder.path())
                .args(words)
                .status();
            assert!(status.expect("git").success());
        };
        git(&["init", "--quiet"]);
        write(".gitignore", "node_modules\n");
        write("gone.js", "5");
        git(&["add", "gone.js"]);
        std::fs::remove_file(folder.path().join("gone.js")).expect("a file");
        assert_eq!(
            names(folder.path()),
            ["-x file", ".deployignore", ".gitignore", "app.js"]
        );
    }
}

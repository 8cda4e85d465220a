//! Finding a program before it is started, so that what is wrong can be said plainly.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// Where programs are looked up when the environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The file that `execvp` would execute for `program` in `folder`.
///
/// # Errors
/// With a message that names the program or the folder: not found, or not executable.
pub(crate) fn find(
    program: &str,
    environment: &BTreeMap<String, String>,
    folder: &Path,
) -> io::Result<PathBuf> {
    if !folder.is_dir() {
        return Err(io::Error::new(ErrorKind::NotFound, "the folder does not exist"));
    }
    if program.is_empty() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "the command is empty"));
    }
    if program.contains('/') {
        return executable(program, &folder.join(program))?
            .ok_or_else(|| not_found(format!("program `{program}` was not found")));
    }
    let path = environment.get("PATH").map_or(DEFAULT_PATH, String::as_str);
    let mut refused = None;
    for entry in path.split(':') {
        match executable(program, &folder.join(entry).join(program)) {
            Ok(Some(file)) => return Ok(file),
            Ok(None) => {}
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.unwrap_or_else(|| not_found(format!("program `{program}` was not found in PATH"))))
}

/// Why a file that was found could not be executed.
pub(crate) fn explain(program: &str, error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::NotFound => not_found(format!("the interpreter that `{program}` names was not found")),
        _ => error,
    }
}

fn executable(program: &str, file: &Path) -> io::Result<Option<PathBuf>> {
    if !file.is_file() {
        return Ok(None);
    }
    if access(file, Access::EXEC_OK).is_err() {
        return Err(io::Error::new(
            ErrorKind::PermissionDenied,
            format!("`{program}` is not executable"),
        ));
    }
    Ok(Some(file.to_owned()))
}

fn not_found(message: String) -> io::Error {
    io::Error::new(ErrorKind::NotFound, message)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn as_execvp_does_and_says_why_not() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        fs::create_dir_all(folder.join("bin/dir")).unwrap();
        for (name, mode) in [("bin/tool", 0o755), ("bin/text", 0o644), ("here", 0o755)] {
            fs::write(folder.join(name), "").unwrap();
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        for (program, path, expected) in [
            ("tool", Some("/nowhere:bin"), Ok("bin/tool")),
            ("here", Some("bin:"), Ok("here")),
            ("./bin/tool", Some(""), Ok("bin/tool")),
            ("sh", None, Ok("/usr/bin/sh")),
            ("toool", Some("bin"), Err("program `toool` was not found in PATH")),
            ("text", Some("bin"), Err("`text` is not executable")),
            ("dir", Some("bin"), Err("program `dir` was not found in PATH")),
            ("./tool", None, Err("program `./tool` was not found")),
            ("", None, Err("the command is empty")),
        ] {
            let environment = path
                .map(|path| ("PATH".to_owned(), path.to_owned()))
                .into_iter()
                .collect();
            let found = find(program, &environment, folder);
            match expected {
                Ok(file) => {
                    let expected = folder.join(file).canonicalize().unwrap();
                    assert_eq!(found.unwrap().canonicalize().unwrap(), expected, "{program}");
                }
                Err(message) => assert_eq!(found.unwrap_err().to_string(), message),
            }
        }
        let nowhere = find("sh", &BTreeMap::new(), &folder.join("nowhere"));
        assert_eq!(nowhere.unwrap_err().to_string(), "the folder does not exist");
    }
}

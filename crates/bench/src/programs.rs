//! Running other programs.

use std::ffi::OsStr;
use std::process::Command;

/// Where Debian keeps servers, which is not on the path of ordinary users.
const SERVER_FOLDERS: &str = "/usr/local/sbin:/usr/sbin:/sbin";

/// A command that also finds servers.
pub(crate) fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:{SERVER_FOLDERS}"));
    command
}

/// A command that runs `name` on one core only, with all threads it will have, and ends it when this process
/// is gone: even after `kill -9`, when nothing here can clean up.
pub(crate) fn pinned(core: usize, name: impl AsRef<OsStr>) -> Command {
    let mut command = program("setpriv");
    command
        .args(["--pdeathsig", "TERM", "taskset", "--cpu-list"])
        .arg(core.to_string())
        .arg(name);
    command
}

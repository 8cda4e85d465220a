//! Ecosystem files that are JavaScript, evaluated by the user's own interpreter in a child process.
//!
//! A fixed loader imports the file, so CommonJS, ES modules, and functions (also asynchronous) that give the
//! object all work. The answer comes back as JSON through a piece of memory that stands in for the child's
//! stdin: no pipe to fill up, nothing on disk, and whatever the file reads from stdin is simply empty. What
//! it prints goes to our stderr. The environment is inherited, as such files read it; no user text ever
//! passes through a shell.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::json5;
use crate::node::Node;

const LOADER: &str = include_str!("loader.js");
/// In the order of preference, each with how it takes code.
const INTERPRETERS: [(&str, &str); 3] = [("node", "-e"), ("bun", "-e"), ("deno", "eval")];

/// How JavaScript is evaluated.
#[derive(Debug, Clone)]
pub struct Evaluator {
    /// Folders where `node`, `bun` and `deno` are looked for, in the form of `PATH`.
    pub path: OsString,
    /// After this the child and all of its process group are killed.
    pub timeout: Duration,
    /// The most bytes of JSON that a file may export.
    pub largest: usize,
}

/// Why JavaScript gave no value.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// Nothing can evaluate it.
    #[error(
        "{file} is JavaScript, and neither node, bun nor deno is on PATH: install one, or use JSON or YAML"
    )]
    NoInterpreter {
        /// The file.
        file: PathBuf,
    },
    /// The child or what it needs could not be made.
    #[error("cannot evaluate {file} with {interpreter}")]
    Start {
        /// The file.
        file: PathBuf,
        /// The program.
        interpreter: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It took too long and was killed.
    #[error("{file} was killed after {} ms: it must export its value at once", timeout.as_millis())]
    TimedOut {
        /// The file.
        file: PathBuf,
        /// The time it had.
        timeout: Duration,
    },
    /// It threw, or exports nothing that can be used.
    #[error("{file} cannot be evaluated: {message}")]
    Failed {
        /// The file.
        file: PathBuf,
        /// What the interpreter says, in several lines.
        message: String,
    },
    /// The process ended without an answer.
    #[error("{file} ended the process that evaluates it ({status}) before it exported anything")]
    Ended {
        /// The file.
        file: PathBuf,
        /// How it ended.
        status: ExitStatus,
    },
}

impl Default for Evaluator {
    /// This process's `PATH`, 10 seconds, 16 MiB.
    fn default() -> Self {
        Self {
            path: std::env::var_os("PATH").unwrap_or_default(),
            timeout: Duration::from_secs(10),
            largest: 16 << 20,
        }
    }
}

impl Evaluator {
    /// What `file` (absolute) exports. Blocks for as long as that takes, at most the timeout.
    pub(crate) fn evaluate(&self, file: &Path) -> Result<Node, EvaluateError> {
        let Some((interpreter, flag)) = self.interpreter() else {
            return Err(EvaluateError::NoInterpreter { file: file.into() });
        };
        let start_error = |source| EvaluateError::Start {
            file: file.into(),
            interpreter: interpreter.clone(),
            source,
        };
        let mut answer = memory().map_err(start_error)?;
        let mut child = self
            .command(&interpreter, flag, file, &answer)
            .and_then(|mut command| command.spawn())
            .map_err(start_error)?;
        let status = wait(&mut child, self.timeout)
            .map_err(start_error)?
            .ok_or(EvaluateError::TimedOut {
                file: file.into(),
                timeout: self.timeout,
            })?;
        let text = read(&mut answer, self.largest).map_err(start_error)?;
        understand(file, status, &text)
    }

    fn interpreter(&self) -> Option<(PathBuf, &'static str)> {
        INTERPRETERS.iter().find_map(|(name, flag)| {
            let found = std::env::split_paths(&self.path)
                .map(|folder| folder.join(name))
                .find(|program| is_executable(program))?;
            Some((found, *flag))
        })
    }

    fn command(&self, interpreter: &Path, flag: &str, file: &Path, answer: &File) -> io::Result<Command> {
        let mut command = Command::new(interpreter);
        command
            .args([flag, LOADER])
            .arg(self.largest.to_string())
            .arg(file)
            .current_dir(file.parent().unwrap_or(Path::new("/")))
            .stdin(answer.try_clone()?)
            .stdout(Stdio::from(io::stderr().as_fd().try_clone_to_owned()?))
            .process_group(0);
        Ok(command)
    }
}

fn is_executable(program: &Path) -> bool {
    std::fs::metadata(program).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

fn memory() -> io::Result<File> {
    Ok(File::from(memfd_create("hythe-ecosystem", MemfdFlags::CLOEXEC)?))
}

/// `None` if it had to be killed. The child is reaped in any case.
fn wait(child: &mut Child, timeout: Duration) -> io::Result<Option<ExitStatus>> {
    let pid = Pid::from_child(child);
    let ended = pidfd_open(pid, PidfdFlags::empty())
        .and_then(|pidfd| becomes_readable(pidfd.as_fd(), timeout))
        .inspect_err(|_| kill(pid));
    if let Ok(false) = ended {
        kill(pid);
    }
    let status = child.wait()?;
    Ok(ended?.then_some(status))
}

/// The group, as it may have children; one that is gone already needs nothing.
fn kill(group: Pid) {
    let _ = kill_process_group(group, Signal::KILL);
}

fn becomes_readable(descriptor: BorrowedFd<'_>, timeout: Duration) -> rustix::io::Result<bool> {
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|_| rustix::io::Errno::INVAL)?;
        match poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&left)) {
            Err(rustix::io::Errno::INTR) => {}
            polled => return Ok(polled? > 0),
        }
    }
}

/// At most `largest` bytes and the few of the loader's own; more than that is no JSON and fails as such.
fn read(answer: &mut File, largest: usize) -> io::Result<String> {
    answer.rewind()?;
    let mut bytes = Vec::new();
    answer
        .take(largest.max(64 << 10) as u64)
        .read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn understand(file: &Path, status: ExitStatus, text: &str) -> Result<Node, EvaluateError> {
    let failed = |message: &str| EvaluateError::Failed {
        file: file.into(),
        message: message.to_owned(),
    };
    if text.is_empty() {
        return Err(EvaluateError::Ended {
            file: file.into(),
            status,
        });
    }
    let (answer, _) = json5::parse(text).map_err(|problem| failed(&format!("its answer is {problem}")))?;
    if let Some(message) = answer.get("error").and_then(Node::text) {
        return Err(failed(message));
    }
    let value = answer.get("value").ok_or_else(|| failed("it exports nothing"))?;
    Ok(value.clone().without_places())
}

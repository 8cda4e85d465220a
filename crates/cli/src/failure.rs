//! How a verb ends: exit codes and what is said about them.

use std::fmt;
use std::io;

/// What the process exits with. Documented in `--help` and `docs/cli.md`; never renumbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// It failed.
    Failed = 1,
    /// The command line or the manifest is wrong; nothing was done.
    Usage = 2,
    /// What was named does not exist.
    NotFound = 3,
    /// Done, but services did not become ready.
    NotReady = 4,
    /// It took too long.
    TimedOut = 5,
    /// No server is running.
    NoServer = 6,
    /// Interrupted by a signal before it was done.
    Interrupted = 130,
}

/// Every exit code with its meaning, for help and documents.
pub(crate) const EXIT_CODES: [(u8, &str); 8] = [
    (0, "done"),
    (1, "failed"),
    (2, "the command line or the manifest is wrong; nothing was done"),
    (3, "what was named does not exist"),
    (
        4,
        "done, but services did not become ready; what served before goes on",
    ),
    (5, "it took too long"),
    (6, "no server is running"),
    (130, "interrupted before it was done"),
];

/// Why a verb did not do what it was asked to.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Exit code.
    pub(crate) exit: Exit,
    /// What went wrong, on which thing; empty when it was said already.
    pub(crate) message: String,
    /// What to do.
    pub(crate) hint: Option<String>,
}

/// What a verb comes to.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// A failure with its message.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            hint: None,
        }
    }

    /// Says what to do about it.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A failure that was already told in full.
    pub(crate) fn told(exit: Exit) -> Self {
        Self::new(exit, "")
    }
}

/// A reader who left early (`hythe ls | head -1`) is no failure: nothing is said, and the exit code is that of
/// a failure that nobody looks at.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let message = if error.kind() == io::ErrorKind::BrokenPipe {
            String::new()
        } else {
            error.to_string()
        };
        Self::new(Exit::Failed, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

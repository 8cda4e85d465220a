//! What goes wrong between here and a host, and what to do about it.

use std::io;

/// Why a host did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// A program of this machine cannot be run.
    #[error("cannot run {program}")]
    Program {
        /// Its name.
        program: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// There is no connection.
    #[error("{message}")]
    Unreachable {
        /// What ssh says.
        message: String,
        /// What to do.
        hint: Option<&'static str>,
    },
    /// The connection ended while it was needed.
    #[error("the connection was lost")]
    Lost,
    /// The host refuses.
    #[error("{0}")]
    Refused(String),
    /// A step failed.
    #[error("{step} failed {end}")]
    Step {
        /// Which.
        step: String,
        /// `with exit code 1`.
        end: String,
        /// The last lines of its output.
        tail: Vec<String>,
    },
    /// The files of this machine could not be sent.
    #[error("cannot upload this folder: {0}")]
    Upload(String),
    /// There is no such release.
    #[error("there is no release {0} before the current one")]
    NoRelease(usize),
    /// A release's folder is gone.
    #[error("{0} was uploaded and is gone, so it cannot be made again")]
    Gone(String),
    /// The user does not want to go on.
    #[error("interrupted")]
    Interrupted,
}

impl Trouble {
    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Unreachable { hint, .. } => *hint,
            Self::Refused(reason) if reason.ends_with("is not set up on this host") => {
                Some("run `hythe deploy ... setup` first")
            }
            Self::Program { program: "ssh", .. } => Some("install it (Debian package openssh-client)"),
            _ => None,
        }
    }

    /// From what ssh wrote before it gave up.
    pub(crate) fn of_ssh(complaints: &[String]) -> Self {
        let all = complaints.join("\n");
        let known = KNOWN.iter().find(|(sign, _)| all.contains(sign));
        let line = known
            .and_then(|(sign, _)| complaints.iter().rev().find(|line| line.contains(sign)))
            .or(complaints.last());
        Self::Unreachable {
            message: line.map_or_else(
                || "ssh gave up without a word".to_owned(),
                |line| line.trim().to_owned(),
            ),
            hint: known.map(|(_, hint)| *hint),
        }
    }
}

/// What ssh says, and what to do then.
const KNOWN: [(&str, &str); 8] = [
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "find out why the host has another key; when it is right, `ssh-keygen -R HOST` forgets the old one",
    ),
    (
        "Host key verification failed",
        "its key is not known here: connect once by hand (`ssh HOST`) and compare the fingerprint",
    ),
    (
        "Permission denied",
        "no key is accepted there: check `user` and `key`, or add the key to the agent (`ssh-add`)",
    ),
    (
        "Could not resolve hostname",
        "check `host`: it is a name, an address, or an alias in ~/.ssh/config",
    ),
    (
        "Connection refused",
        "nothing listens there: check `port`, and that sshd runs",
    ),
    (
        "timed out",
        "the host does not answer: check `host`, `port` and firewalls",
    ),
    (
        "No route to host",
        "the host is off, or its network cannot be reached from here",
    ),
    (
        "too long for Unix domain socket",
        "set TMPDIR to a folder with a shorter path",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ssh_says_becomes_advice() {
        let rows = [
            (
                "No ED25519 host key is known for h.\nHost key verification failed.",
                "connect once by hand",
            ),
            (
                "@@@\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
                "another key",
            ),
            ("u@h: Permission denied (publickey).", "no key is accepted"),
            (
                "ssh: Could not resolve hostname h: Name or service not known",
                "check `host`",
            ),
            (
                "ssh: connect to host h port 22: Connection refused",
                "check `port`",
            ),
            (
                "ssh: connect to host h port 22: Connection timed out",
                "does not answer",
            ),
        ];
        for (said, hint) in rows {
            let lines: Vec<String> = said.lines().map(str::to_owned).collect();
            let trouble = Trouble::of_ssh(&lines);
            let told = trouble.hint().unwrap_or_default();
            assert!(told.contains(hint), "{said}: {told}");
            assert!(said.contains(&trouble.to_string()), "{said}: {trouble}");
        }
        assert_eq!(Trouble::of_ssh(&["odd".to_owned()]).to_string(), "odd");
        assert!(Trouble::of_ssh(&[]).hint().is_none());
    }
}

//! A target of `deploy`: which hosts, what they get, and which hooks run on the way.
//!
//! Keys may be written with hyphens, underscores or in camelCase (`post-deploy`, `post_deploy`, `postDeploy`).
//! Beside PM2's there are `keep_releases`, `shared`, `max_parallel` and `health_check`. A target is read when it
//! is deployed to and not with its file, so that a mistake in it never keeps an app from starting.
//!
//! Values stay what the file says: `~` of a key is the reader's home and `~` of a path the host's, and both are
//! resolved where that home is known.

mod read;
mod values;

use crate::environment::Variables;
use crate::node::Node;
use crate::problem::{Problem, Severity};

use self::read::Reader;

/// Where an app goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// At least one; none twice.
    pub hosts: Vec<Host>,
    /// The private key's file; a leading `~` is the home of whoever deploys.
    pub key: Option<String>,
    /// Options of ssh, `Name=value` each.
    pub ssh_options: Vec<String>,
    /// Whether hosts may use the keys of whoever deploys.
    pub forward_agent: bool,
    /// Whether hooks get a terminal.
    pub needs_tty: bool,
    /// What is deployed.
    pub source: Source,
    /// The folder on the host; what begins with no `/` is below the host's home.
    pub path: String,
    /// What hooks find in their environment; names in capitals.
    pub env: Variables,
    /// What runs on the way.
    pub hooks: Hooks,
    /// How many releases stay on a host, at least 1.
    pub keep_releases: usize,
    /// Paths that all releases have in common, below the release; a folder may end in `/`.
    pub shared: Vec<String>,
    /// How many hosts are worked on at once, at least 1.
    pub max_parallel: usize,
    /// What must succeed before a release counts as deployed.
    pub health_check: Option<HealthCheck>,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Host {
    /// Whom to log in as; `None`: ssh decides.
    pub user: Option<String>,
    /// Its name, address, or alias in `~/.ssh/config`. Begins with no hyphen.
    pub name: String,
    /// Where its sshd listens; `None`: ssh decides.
    pub port: Option<u16>,
}

/// What is deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A commit that the host itself fetches.
    Git {
        /// What `git fetch` takes.
        repo: String,
        /// A branch (with `origin/` or without), a tag or a commit.
        reference: String,
        /// Only the last few commits are fetched.
        shallow: bool,
    },
    /// The folder of whoever deploys.
    Upload,
}

/// Texts that a shell runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hooks {
    /// On the host, before its folders are made. May name a local file with the text.
    pub pre_setup: Option<String>,
    /// On the host, when everything is there.
    pub post_setup: Option<String>,
    /// Where `deploy` is called.
    pub pre_deploy_local: Option<String>,
    /// On the host, in the release that is current, before anything changes.
    pub pre_deploy: Option<String>,
    /// On the host, in the new release once it is current; `None`: the apps of the file are started.
    pub post_deploy: Option<String>,
}

/// What shows that a release works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// A URL, or else a command; both asked on the host.
    pub check: String,
    /// How often it is asked at most, at least 1.
    pub tries: u32,
    /// Time between two tries, in whole seconds.
    pub interval_s: u64,
}

/// A target as it stands in the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Written(Node);

impl Written {
    pub(crate) fn new(node: &Node) -> Self {
        Self(node.clone())
    }

    /// What it says, with every problem; `None` if one of them is an error. `environment` is its name in the file.
    pub fn read(&self, environment: &str) -> (Option<Target>, Vec<Problem>) {
        let Some(entries) = self.0.map() else {
            let message = format!("must be a map, not {}", self.0.shown());
            let problem = Problem::error(self.0.place.clone(), message);
            return (None, vec![problem.field(format!("deploy.{environment}"))]);
        };
        let mut reader = Reader::new(environment, entries);
        let target = reader.target(&self.0);
        let mut problems = reader.finish();
        problems.sort_by_key(|problem| problem.place.as_ref().map(|place| place.span.start));
        let failed = problems.iter().any(|problem| problem.severity == Severity::Error);
        (target.filter(|_| !failed), problems)
    }
}

impl std::fmt::Display for Host {
    /// `user@name:port`, as far as they are given.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match self.port {
            Some(port) if self.name.contains(':') => write!(f, "[{}]:{port}", self.name),
            Some(port) => write!(f, "{}:{port}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

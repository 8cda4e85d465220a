//! A configuration file with what belongs to it: its prefix, its pid file, its data directory.

use std::path::{Path, PathBuf};

use hythe_dialect_nginx::{Configuration, Disk, Verdict, check, load};

use super::options::Options;
use crate::failure::{Exit, Failure, Outcome};
use crate::terminal::complain;

const PREFIX: &str = "/usr/share/nginx";
const FILE: &str = "/etc/nginx/nginx.conf";
const PID: &str = "/run/nginx.pid";

/// Where things are.
pub(crate) struct Site {
    pub(crate) file: PathBuf,
    prefix: PathBuf,
    /// The directives of `-g`.
    globals: String,
    /// Whether the prefix was given.
    own_prefix: bool,
    /// The data directory, if it was given.
    home: Option<PathBuf>,
}

/// A configuration as it was read, and what nginx says of it.
pub(crate) struct Reading {
    pub(crate) configuration: Configuration,
    pub(crate) verdict: Verdict,
}

impl Site {
    pub(crate) fn of(options: &Options, home: Option<PathBuf>) -> Outcome<Self> {
        let given = options.prefix.as_deref();
        let prefix = std::path::absolute(given.unwrap_or(PREFIX))?;
        let file = match (&options.file, given) {
            // nginx: relative to the prefix.
            (Some(file), Some(_)) => prefix.join(file),
            (Some(file), None) => std::path::absolute(file)?,
            (None, Some(_)) => prefix.join("conf/nginx.conf"),
            (None, None) => PathBuf::from(FILE),
        };
        Ok(Self {
            file,
            prefix,
            globals: options.directives.clone(),
            own_prefix: given.is_some(),
            home: home.or_else(from_environment),
        })
    }

    pub(crate) fn read(&self) -> Reading {
        Reading::of(&self.file, &self.globals)
    }

    pub(crate) fn pid_file(&self, reading: &Reading) -> PathBuf {
        match reading.setting("pid") {
            Some(path) => self.prefix.join(path),
            None if self.own_prefix => self.prefix.join("logs/nginx.pid"),
            None => PathBuf::from(PID),
        }
    }

    /// The data directory of the server that runs this: a folder beside the pid file unless one was given.
    pub(crate) fn home(&self, reading: &Reading) -> PathBuf {
        let beside = || self.pid_file(reading).with_extension("hythe");
        self.home.clone().unwrap_or_else(beside)
    }
}

impl Reading {
    pub(crate) fn of(file: &Path, globals: &str) -> Self {
        let configuration = load(&Disk, file, globals);
        let verdict = check(&configuration, &Disk);
        Self {
            configuration,
            verdict,
        }
    }

    /// The first word of a directive outside of all blocks.
    pub(crate) fn setting(&self, name: &str) -> Option<&str> {
        self.configuration.setting(name)
    }

    /// What is wrong, as nginx tells it.
    pub(crate) fn complain(&self) {
        for warning in &self.verdict.warnings {
            complain(format_args!("nginx: [warn] {warning}"));
        }
        if let Some(mistake) = &self.verdict.error {
            complain(format_args!("nginx: [emerg] {mistake}"));
        }
    }
}

fn from_environment() -> Option<PathBuf> {
    let home = std::env::var_os("HYTHE_HOME")?;
    (!home.is_empty()).then(|| PathBuf::from(home))
}

/// Tells nginx's verdict lines. `quiet`: nothing where nothing is wrong.
///
/// # Errors
/// When nginx would not start with it; that was told then.
pub(crate) fn told(reading: &Reading, file: &Path, quiet: bool) -> Outcome {
    reading.complain();
    let file = file.display();
    if reading.verdict.error.is_some() {
        complain(format_args!("nginx: configuration file {file} test failed"));
        return Err(Failure::told(Exit::Failed));
    }
    if !quiet {
        complain(format_args!("nginx: the configuration file {file} syntax is ok"));
        complain(format_args!(
            "nginx: configuration file {file} test is successful"
        ));
    }
    Ok(())
}

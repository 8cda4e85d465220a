//! One app as its file, its flags or its Procfile describe it.

mod defaults;
mod read;
mod remembered;
mod types;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::environment::Variables;

pub(crate) use read::{AppReader, read, variables};
pub use types::{Account, ExecMode, FilterEnv, Instances, Interpreter, LogFile, LogType, Pattern, Watch};

/// An app with PM2's fields under PM2's names; units are added to names where PM2 leaves them out. Paths are
/// as they were written: relative ones start at [`App::cwd`], and that one where the command line runs.
///
/// An app is remembered as JSON ([`App::remembered`]), without its environments: their values are secrets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default = "remembered::nothing")]
pub struct App {
    /// A path, or a shell command if [`App::interpreter`] says so. Never empty.
    pub script: String,
    /// By default the script's file name without its extension, or the whole shell command.
    pub name: String,
    /// Goes before the name, with a colon.
    pub name_prefix: Option<String>,
    /// A group that can be selected as one (`default`).
    pub namespace: String,
    /// Where it starts; `None`: where the command line runs.
    pub cwd: Option<PathBuf>,
    /// The script's arguments.
    pub args: Vec<String>,
    /// What runs the script, if it was said or the extension tells; `None`: the script itself if it is a
    /// binary, else node.
    #[serde(with = "remembered::interpreter")]
    pub interpreter: Option<Interpreter>,
    /// Arguments of the interpreter, before the script.
    pub node_args: Vec<String>,
    /// As it was said; [`App::exec_mode`] is what holds.
    pub wanted_mode: Option<ExecMode>,
    /// How many, if it was said; otherwise one.
    pub instances: Option<Instances>,
    /// The variable that is one more in each further instance.
    pub increment_var: Option<String>,
    /// The variable that holds an instance's number (`NODE_APP_INSTANCE`).
    pub instance_var: String,
    /// Becomes `PORT` of the environment.
    pub port: Option<u16>,
    /// `env`, as texts.
    #[serde(skip)]
    pub env: Variables,
    /// `env_<name>` by name.
    #[serde(skip)]
    pub environments: BTreeMap<String, Variables>,
    /// What of the shell's environment is left out.
    pub filter_env: FilterEnv,
    /// The name gets `-<environment>` at its end.
    pub append_env_to_name: bool,
    /// What is watched for changes.
    pub watch: Watch,
    /// What is not; `None`: hidden files and `node_modules`.
    pub ignore_watch: Option<Vec<Pattern>>,
    /// Only files with these extensions (without a point) are watched; empty: all. A flag, not a field.
    pub ext: Vec<String>,
    /// Time between a change and the restart, in milliseconds (0).
    pub watch_delay_ms: u64,
    /// Options of the library that PM2 watches with, as they are.
    pub watch_options: Map<String, Json>,
    /// It is started again when it exits, also with 0 (true).
    pub autorestart: bool,
    /// It is started when its file is (true).
    pub autostart: bool,
    /// Exits with these codes are final.
    pub stop_exit_codes: Vec<i32>,
    /// An exit before this time is a failed start, in milliseconds; at least 100 (1,000).
    pub min_uptime_ms: u64,
    /// Failed starts until it is given up (16).
    pub max_restarts: u64,
    /// Time before a restart, in milliseconds (0).
    pub restart_delay_ms: u64,
    /// The first of growing times before restarts, in milliseconds.
    pub exp_backoff_restart_delay_ms: Option<u64>,
    /// It is reloaded when it uses more memory than this, in bytes.
    pub max_memory_restart_bytes: Option<u64>,
    /// When it is restarted, as cron has it; not checked here.
    pub cron_restart: Option<String>,
    /// Time between the stop signal and the kill, in milliseconds (1,600).
    pub kill_timeout_ms: u64,
    /// Time between looks whether it has stopped, in milliseconds (100).
    pub kill_retry_time_ms: u64,
    /// It is asked to stop by a message and not by a signal.
    pub shutdown_with_message: bool,
    /// Its descendants are stopped too (true).
    pub treekill: bool,
    /// It says itself when it is ready.
    pub wait_ready: bool,
    /// How long it may take to listen or to be ready, in milliseconds (3,000).
    pub listen_timeout_ms: u64,
    /// Where its output goes.
    pub out_file: LogFile,
    /// Where its errors go.
    pub error_file: LogFile,
    /// Where both go together; disabled unless it was said.
    pub log_file: LogFile,
    /// As it was said; [`App::merges_logs`] is what holds.
    pub merge_logs: Option<bool>,
    /// Nothing is logged.
    pub disable_logs: bool,
    /// Lines begin with a time.
    pub time: bool,
    /// The form of that time, in the letters of dayjs.
    pub log_date_format: Option<String>,
    /// The form of lines.
    pub log_type: LogType,
    /// Where the process id is written.
    pub pid_file: Option<PathBuf>,
    /// Whom it runs as.
    pub uid: Option<Account>,
    /// The group it runs as.
    pub gid: Option<Account>,
    /// It is started although the same script runs already.
    pub force: bool,
}

impl App {
    /// An app with PM2's defaults. A script with a space in it is a shell command.
    pub fn new(script: impl Into<String>) -> Self {
        let mut app = Self::bare(script);
        app.settle();
        app
    }

    /// As [`App::new`], without what follows from the script.
    pub(crate) fn bare(script: impl Into<String>) -> Self {
        defaults::app(script.into())
    }

    /// Gives the name and the interpreter that follow from the script, where none was said.
    pub(crate) fn settle(&mut self) {
        if self.interpreter.is_none() {
            self.interpreter = Interpreter::of_script(&self.script);
        }
        if self.name.is_empty() {
            self.name = match self.interpreter {
                Some(Interpreter::Shell) => self.script.clone(),
                _ => defaults::name(&self.script),
            };
        }
    }

    /// How instances share a port: as it was said, else cluster if `instances` was said (even 1) and node or
    /// bun runs the script. A script of an unknown kind counts as node's; set [`App::interpreter`] where it
    /// is a binary.
    pub fn exec_mode(&self) -> ExecMode {
        let for_cluster = self.interpreter.as_ref().is_none_or(Interpreter::can_cluster);
        match self.wanted_mode {
            Some(mode) => mode,
            None if self.instances.is_some() && for_cluster => ExecMode::Cluster,
            None => ExecMode::Fork,
        }
    }

    /// How many instances run on a machine with `cores`; at least 1.
    pub fn instances_on(&self, cores: usize) -> u32 {
        self.instances.map_or(1, |instances| instances.on(cores))
    }

    /// Whether instances write to the same files: as it was said, else in fork mode.
    pub fn merges_logs(&self) -> bool {
        self.merge_logs.unwrap_or(self.exec_mode() == ExecMode::Fork)
    }

    /// The name of its processes under an environment (`--env`): `<prefix>:<name>-<environment>`, each part
    /// as far as the app asks for it.
    pub fn process_name(&self, environment: Option<&str>) -> String {
        let prefix = self.name_prefix.as_ref();
        let mut name = prefix.map_or_else(String::new, |prefix| format!("{prefix}:"));
        name.push_str(&self.name);
        if let Some(environment) = environment.filter(|_| self.append_env_to_name) {
            name.push('-');
            name.push_str(environment);
        }
        name
    }
}

/// A name in the form that it has in names of files: whatever is no ASCII letter, digit, `.` or `-` becomes
/// `-`.
pub fn file_name(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') {
                c
            } else {
                '-'
            }
        })
        .collect()
}

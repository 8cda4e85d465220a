//! The flags of `start` and its relatives that say something about an app.
//!
//! They are turned into the fields of a file and read by the same table, so a flag takes what the field
//! takes. What is to be started, and what only concerns a verb (`--attach`, `--no-daemon`, `--update-env`),
//! is the command line's own.

use clap::Args;

use crate::app::{App, AppReader};
use crate::node::{Entry, Node, Value};
use crate::problem::{Problem, Severity};

/// Flags of an app, to be flattened into a command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Options {
    /// Name of the app
    #[arg(short, long)]
    pub name: Option<String>,
    /// Group that the app belongs to
    #[arg(long)]
    pub namespace: Option<String>,
    /// Folder to start in
    #[arg(long, value_name = "PATH")]
    pub cwd: Option<String>,
    /// Program that runs the script, or `none`
    #[arg(long, value_name = "PROGRAM")]
    pub interpreter: Option<String>,
    /// Arguments of the interpreter, as one text
    #[arg(
        long,
        visible_alias = "interpreter-args",
        value_name = "ARGS",
        allow_hyphen_values = true
    )]
    pub node_args: Option<String>,
    /// Instances: a number, `max` or 0 for one per core, -1 for one less
    #[arg(short, long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub instances: Option<String>,
    /// Start in fork mode
    #[arg(short = 'x', long)]
    pub execute_command: bool,
    /// Environment of the file to use (`env_<NAME>`)
    #[arg(long, value_name = "NAME")]
    pub env: Option<String>,
    /// Only these apps of the file
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Leave out variables whose names contain this; `true` for all
    #[arg(long, value_name = "PART")]
    pub filter_env: Vec<String>,
    /// Restart on changes of files, of these or of the folder
    #[arg(long, value_name = "PATH", num_args = 0..=1, default_missing_value = "true")]
    pub watch: Option<String>,
    /// Files and folders that are not watched
    #[arg(long, value_name = "PATHS")]
    pub ignore_watch: Option<String>,
    /// Watch only files with these extensions
    #[arg(long, value_name = "EXTENSIONS", value_delimiter = ',')]
    pub ext: Vec<String>,
    /// Time between a change and the restart: seconds, or with `ms`
    #[arg(long, value_name = "TIME")]
    pub watch_delay: Option<String>,
    /// Do not start the app again when it exits
    #[arg(long)]
    pub no_autorestart: bool,
    /// Do not start the app now
    #[arg(long)]
    pub no_autostart: bool,
    /// Exit codes that are final
    #[arg(long, value_name = "CODES", num_args = 1.., value_delimiter = ',')]
    pub stop_exit_codes: Vec<String>,
    /// An exit before this time is a failed start
    #[arg(long, value_name = "TIME")]
    pub min_uptime: Option<String>,
    /// Failed starts until the app is given up
    #[arg(long, value_name = "NUMBER")]
    pub max_restarts: Option<String>,
    /// Time before a restart
    #[arg(long, value_name = "MS")]
    pub restart_delay: Option<String>,
    /// First of the growing times before restarts
    #[arg(long, value_name = "MS")]
    pub exp_backoff_restart_delay: Option<String>,
    /// Reload the app when it uses more memory (`200M`)
    #[arg(long, value_name = "SIZE")]
    pub max_memory_restart: Option<String>,
    /// When to restart the app, as cron has it
    #[arg(short, long = "cron-restart", visible_alias = "cron", value_name = "PATTERN")]
    pub cron_restart: Option<String>,
    /// Time between the stop signal and the kill
    #[arg(short, long, value_name = "MS")]
    pub kill_timeout: Option<String>,
    /// Ask the app to stop by a message, not by a signal
    #[arg(long)]
    pub shutdown_with_message: bool,
    /// Do not stop the descendants of the app
    #[arg(long)]
    pub no_treekill: bool,
    /// Wait for the app to say that it is ready
    #[arg(long)]
    pub wait_ready: bool,
    /// How long the app may take to be ready
    #[arg(long, value_name = "MS")]
    pub listen_timeout: Option<String>,
    /// File for the app's output
    #[arg(short, long, value_name = "PATH")]
    pub output: Option<String>,
    /// File for the app's errors
    #[arg(short, long, value_name = "PATH")]
    pub error: Option<String>,
    /// File for both
    #[arg(short, long, value_name = "PATH", num_args = 0..=1, default_missing_value = "true")]
    pub log: Option<String>,
    /// The same files for all instances
    #[arg(long)]
    pub merge_logs: bool,
    /// Log nothing
    #[arg(long)]
    pub disable_logs: bool,
    /// Begin lines of logs with the time
    #[arg(long)]
    pub time: bool,
    /// Form of that time
    #[arg(long, value_name = "FORMAT")]
    pub log_date_format: Option<String>,
    /// Form of logged lines: `json` or `raw`
    #[arg(long, value_name = "TYPE")]
    pub log_type: Option<String>,
    /// File for the process id
    #[arg(short, long = "pid", value_name = "PATH")]
    pub pid_file: Option<String>,
    /// User to run as
    #[arg(long, value_name = "USER")]
    pub uid: Option<String>,
    /// Group to run as
    #[arg(long, value_name = "GROUP")]
    pub gid: Option<String>,
    /// Start although the same script runs already
    #[arg(short, long)]
    pub force: bool,
    /// Flags that are accepted and have no effect
    #[command(flatten)]
    pub ignored: Ignored,
    /// Arguments of the script
    #[arg(last = true, value_name = "ARGS")]
    pub args: Vec<String>,
}

/// PM2's flags that have no effect here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Ignored {
    /// No effect
    #[arg(long, hide = true)]
    pub source_map_support: bool,
    /// No effect
    #[arg(long, hide = true)]
    pub disable_source_map_support: bool,
    /// No effect
    #[arg(long, hide = true)]
    pub no_vizion: bool,
    /// No effect
    #[arg(long, hide = true)]
    pub no_pmx: bool,
    /// No effect
    #[arg(long, hide = true)]
    pub no_automation: bool,
    /// No effect
    #[arg(long, hide = true)]
    pub trace: bool,
    /// No effect
    #[arg(long, hide = true)]
    pub disable_trace: bool,
    /// No effect
    #[arg(long, hide = true)]
    pub v8: bool,
    /// No effect
    #[arg(long, hide = true)]
    pub event_loop_inspector: bool,
    /// No effect
    #[arg(long, hide = true)]
    pub deep_monitoring: bool,
    /// No effect
    #[arg(short, long, hide = true)]
    pub write: bool,
}

impl Options {
    /// The app of a script and these flags, with warnings and notes.
    ///
    /// # Errors
    /// Every flag with a value that its field cannot have.
    pub fn app(&self, script: &str) -> Result<(App, Vec<Problem>), Vec<Problem>> {
        let mut app = App::bare(script);
        let problems = self.apply_to(&mut app, script)?;
        app.settle();
        Ok((app, problems))
    }

    /// Puts the given flags over what a file says of `app`, and returns warnings and notes.
    ///
    /// # Errors
    /// Every flag with a value that its field cannot have; the app stays as it was.
    pub fn override_app(&self, app: &mut App) -> Result<Vec<Problem>, Vec<Problem>> {
        let mut changed = app.clone();
        let problems = self.apply_to(&mut changed, &app.name)?;
        *app = changed;
        Ok(problems)
    }

    /// Whether `--only` keeps an app of a file.
    pub fn keeps(&self, app: &App) -> bool {
        self.only.is_empty() || self.only.contains(&app.name)
    }

    fn apply_to(&self, app: &mut App, called: &str) -> Result<Vec<Problem>, Vec<Problem>> {
        let entries = self.entries();
        let mut reader = AppReader::new(&entries, called.to_owned());
        reader.fill(app);
        if !self.ext.is_empty() {
            let bare = |extension: &String| extension.trim_start_matches('.').to_owned();
            app.ext = self.ext.iter().map(bare).collect();
        }
        let problems = reader.finish();
        let failed = problems.iter().any(|problem| problem.severity == Severity::Error);
        if failed { Err(problems) } else { Ok(problems) }
    }

    /// The flags that are given, as fields of a file.
    fn entries(&self) -> Vec<Entry> {
        let watch_delay = self.watch_delay.as_deref().map(in_milliseconds);
        let texts = self.texts();
        let texts = texts
            .into_iter()
            .chain([("watch_delay", watch_delay.as_deref())])
            .filter_map(|(field, text)| Some(entry(field, Value::Text(text?.to_owned()))));
        let lists = self
            .lists()
            .into_iter()
            .filter(|(_, list)| !list.is_empty())
            .map(|(field, list)| entry(field, texts_of(list)));
        let flags = self
            .flags()
            .into_iter()
            .filter(|(_, given, _)| *given)
            .map(|(field, _, value)| entry(field, Value::Flag(value)));
        texts.chain(lists).chain(flags).collect()
    }

    fn texts(&self) -> Vec<(&'static str, Option<&str>)> {
        [
            ("name", &self.name),
            ("namespace", &self.namespace),
            ("cwd", &self.cwd),
            ("exec_interpreter", &self.interpreter),
            ("node_args", &self.node_args),
            ("instances", &self.instances),
            ("watch", &self.watch),
            ("ignore_watch", &self.ignore_watch),
            ("min_uptime", &self.min_uptime),
            ("max_restarts", &self.max_restarts),
            ("restart_delay", &self.restart_delay),
            ("exp_backoff_restart_delay", &self.exp_backoff_restart_delay),
            ("max_memory_restart", &self.max_memory_restart),
            ("cron_restart", &self.cron_restart),
            ("kill_timeout", &self.kill_timeout),
            ("listen_timeout", &self.listen_timeout),
            ("out_file", &self.output),
            ("error_file", &self.error),
            ("log_file", &self.log),
            ("log_date_format", &self.log_date_format),
            ("log_type", &self.log_type),
            ("pid_file", &self.pid_file),
            ("uid", &self.uid),
            ("gid", &self.gid),
        ]
        .into_iter()
        .map(|(field, text)| (field, text.as_deref()))
        .collect()
    }

    fn lists(&self) -> [(&'static str, &[String]); 3] {
        [
            ("args", &self.args),
            ("filter_env", &self.filter_env),
            ("stop_exit_codes", &self.stop_exit_codes),
        ]
    }

    /// Each with whether it is given, and the value it then has.
    fn flags(&self) -> [(&'static str, bool, bool); 21] {
        let ignored = &self.ignored;
        [
            ("execute_command", self.execute_command, true),
            ("autorestart", self.no_autorestart, false),
            ("autostart", self.no_autostart, false),
            ("shutdown_with_message", self.shutdown_with_message, true),
            ("treekill", self.no_treekill, false),
            ("wait_ready", self.wait_ready, true),
            ("merge_logs", self.merge_logs, true),
            ("disable_logs", self.disable_logs, true),
            ("time", self.time, true),
            ("force", self.force, true),
            ("source_map_support", ignored.source_map_support, true),
            (
                "disable_source_map_support",
                ignored.disable_source_map_support,
                true,
            ),
            ("vizion", ignored.no_vizion, false),
            ("pmx", ignored.no_pmx, false),
            ("automation", ignored.no_automation, false),
            ("trace", ignored.trace, true),
            ("disable_trace", ignored.disable_trace, true),
            ("v8", ignored.v8, true),
            ("event_loop_inspector", ignored.event_loop_inspector, true),
            ("deep_monitoring", ignored.deep_monitoring, true),
            ("write", ignored.write, true),
        ]
    }
}

fn entry(field: &str, value: Value) -> Entry {
    Entry {
        key: field.to_owned(),
        place: None,
        value: Node::bare(value),
    }
}

fn texts_of(list: &[String]) -> Value {
    let text = |text: &String| Node::bare(Value::Text(text.clone()));
    Value::List(list.iter().map(text).collect())
}

/// This one flag counts in seconds where it has no unit.
fn in_milliseconds(delay: &str) -> String {
    match delay.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds >= 0.0 => {
            format!("{}", (seconds * 1_000.0).round())
        }
        _ => delay.to_owned(),
    }
}

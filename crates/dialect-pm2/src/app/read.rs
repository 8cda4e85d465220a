//! From a map of a file, or of flags, to an [`App`].

use std::collections::HashMap;

use super::{App, ExecMode, Interpreter};
use crate::convert::{self, Converted};
use crate::environment::Variables;
use crate::fields::{Key, nearest};
use crate::node::{Entry, Node};
use crate::problem::{Place, Problem, Severity};

/// The app that `node` describes, the `number`th of its file (from 1); `None` if something is an error.
pub(crate) fn read(node: &Node, number: usize, problems: &mut Vec<Problem>) -> Option<App> {
    let Some(entries) = node.map() else {
        let message = format!("must be a map, not {}", node.shown());
        let problem = Problem::error(node.place.clone(), message);
        problems.push(Problem {
            app: Some(format!("number {number}")),
            ..problem
        });
        return None;
    };
    let mut reader = AppReader::new(entries, format!("number {number}"));
    let mut app = App::bare(String::new());
    reader.fill(&mut app);
    reader.require_script(node.place.clone());
    let found = reader.finish();
    let failed = found.iter().any(|problem| problem.severity == Severity::Error);
    problems.extend(found);
    (!failed).then(|| {
        app.settle();
        app
    })
}

/// Reads fields, each by its table of names, and collects what is wrong.
pub(crate) struct AppReader<'n> {
    fields: HashMap<&'static str, &'n Entry>,
    environments: Vec<(&'n str, &'n Entry)>,
    /// How problems call the app.
    app: String,
    problems: Vec<Problem>,
}

impl<'n> AppReader<'n> {
    /// `app`: how problems call it if no field names it.
    pub(crate) fn new(entries: &'n [Entry], app: String) -> Self {
        let mut reader = Self {
            fields: HashMap::new(),
            environments: Vec::new(),
            app,
            problems: Vec::new(),
        };
        entries.iter().for_each(|entry| reader.take(entry));
        let named = ["name", "script"]
            .iter()
            .find_map(|field| convert::text(&reader.fields.get(field)?.value).ok());
        reader.app = named.unwrap_or(reader.app);
        reader
    }

    /// Overwrites what the map has a field for; null and an empty text are
    /// the same as no field, except that null is no file for logs.
    pub(crate) fn fill(&mut self, app: &mut App) {
        self.fill_program(app);
        self.fill_environment(app);
        self.fill_restarts(app);
        self.fill_stop(app);
        self.fill_logs(app);
        self.remark(app);
    }

    /// All problems, in the order of the file as far as it has places.
    pub(crate) fn finish(mut self) -> Vec<Problem> {
        for problem in &mut self.problems {
            problem.app = Some(self.app.clone());
        }
        self.problems
            .sort_by_key(|problem| problem.place.as_ref().map(|place| place.span.start));
        self.problems
    }

    fn take(&mut self, entry: &'n Entry) {
        match Key::of(&entry.key) {
            Key::Environment(name) => self.environments.push((name, entry)),
            Key::Ignored => self.tell(Severity::Note, entry, "is accepted and has no effect here"),
            Key::Unknown => {
                let help = nearest(&entry.key).map(|name| format!("did you mean `{name}`?"));
                self.tell(
                    Severity::Warning,
                    entry,
                    "is no field of an app and has no effect",
                );
                if let Some(last) = self.problems.last_mut() {
                    last.help = help;
                }
            }
            Key::Field(name) => self.take_field(name, entry),
        }
    }

    /// Where a field is given under several names, its main one wins, then the first.
    fn take_field(&mut self, name: &'static str, entry: &'n Entry) {
        let (kept, dropped) = match self.fields.get(name) {
            Some(before) if entry.key == name => (entry, Some(*before)),
            Some(before) => (*before, Some(entry)),
            None => (entry, None),
        };
        self.fields.insert(name, kept);
        if let Some(dropped) = dropped {
            let message = format!("is another name of `{}`, which is given too and wins", kept.key);
            self.tell(Severity::Warning, dropped, message);
        }
    }

    fn fill_program(&mut self, app: &mut App) {
        self.set("script", &mut app.script, convert::text);
        self.set("name", &mut app.name, convert::text);
        self.set("name_prefix", &mut app.name_prefix, some(convert::text));
        self.set("namespace", &mut app.namespace, convert::text);
        self.set("cwd", &mut app.cwd, some(convert::path));
        self.set("args", &mut app.args, convert::arguments);
        self.set(
            "exec_interpreter",
            &mut app.interpreter,
            some(convert::interpreter),
        );
        self.set("node_args", &mut app.node_args, convert::arguments);
        self.set("instances", &mut app.instances, some(convert::instances));
        let mut as_command = false;
        self.set("execute_command", &mut as_command, convert::flag);
        if as_command {
            app.wanted_mode = Some(ExecMode::Fork);
        }
        self.set("exec_mode", &mut app.wanted_mode, some(convert::mode));
        self.set("uid", &mut app.uid, some(convert::account));
        self.set("gid", &mut app.gid, some(convert::account));
        self.set("force", &mut app.force, convert::flag);
    }

    fn fill_environment(&mut self, app: &mut App) {
        self.set("increment_var", &mut app.increment_var, some(convert::text));
        self.set("instance_var", &mut app.instance_var, convert::text);
        self.set("port", &mut app.port, some(convert::port));
        self.set("filter_env", &mut app.filter_env, convert::filter_env);
        self.set("append_env_to_name", &mut app.append_env_to_name, convert::flag);
        if let Some(entry) = self.fields.get("env").copied() {
            app.env = variables(entry, &mut self.problems);
        }
        for (name, entry) in std::mem::take(&mut self.environments) {
            let variables = variables(entry, &mut self.problems);
            app.environments.insert(name.to_owned(), variables);
        }
    }

    fn fill_restarts(&mut self, app: &mut App) {
        self.set("watch", &mut app.watch, convert::watch);
        self.set("ignore_watch", &mut app.ignore_watch, some(convert::patterns));
        self.set("watch_delay", &mut app.watch_delay_ms, convert::milliseconds);
        self.set("watch_options", &mut app.watch_options, convert::object);
        self.set("autorestart", &mut app.autorestart, convert::flag);
        self.set("autostart", &mut app.autostart, convert::flag);
        self.set("stop_exit_codes", &mut app.stop_exit_codes, convert::exit_codes);
        self.set("min_uptime", &mut app.min_uptime_ms, convert::uptime);
        self.set("max_restarts", &mut app.max_restarts, convert::count);
        self.set("restart_delay", &mut app.restart_delay_ms, convert::milliseconds);
        let backoff = &mut app.exp_backoff_restart_delay_ms;
        self.set("exp_backoff_restart_delay", backoff, convert::delay);
        self.set(
            "max_memory_restart",
            &mut app.max_memory_restart_bytes,
            convert::size,
        );
        self.set("cron_restart", &mut app.cron_restart, convert::cron);
    }

    fn fill_stop(&mut self, app: &mut App) {
        self.set("kill_timeout", &mut app.kill_timeout_ms, convert::milliseconds);
        self.set(
            "kill_retry_time",
            &mut app.kill_retry_time_ms,
            convert::milliseconds,
        );
        self.set(
            "shutdown_with_message",
            &mut app.shutdown_with_message,
            convert::flag,
        );
        self.set("treekill", &mut app.treekill, convert::flag);
        self.set("wait_ready", &mut app.wait_ready, convert::flag);
        self.set(
            "listen_timeout",
            &mut app.listen_timeout_ms,
            convert::milliseconds,
        );
    }

    fn fill_logs(&mut self, app: &mut App) {
        self.set_also_null("out_file", &mut app.out_file, convert::log_file);
        self.set_also_null("error_file", &mut app.error_file, convert::log_file);
        self.set_also_null("log_file", &mut app.log_file, convert::combined_log);
        self.set("merge_logs", &mut app.merge_logs, some(convert::flag));
        self.set("disable_logs", &mut app.disable_logs, convert::flag);
        self.set("time", &mut app.time, convert::flag);
        self.set("log_date_format", &mut app.log_date_format, some(convert::text));
        self.set("log_type", &mut app.log_type, convert::log_type);
        self.set("pid_file", &mut app.pid_file, some(convert::path));
    }

    /// What is taken as PM2 takes it, though it can hardly be meant.
    fn remark(&mut self, app: &App) {
        let instances = self.fields.get("instances").copied();
        if let Some(entry) = instances.filter(|entry| is_odd_count(&entry.value)) {
            let message = format!("is {}, which stands for all cores", entry.value.shown());
            self.tell(Severity::Warning, entry, message);
        }
        let interpreter = app
            .interpreter
            .clone()
            .or_else(|| Interpreter::of_script(&app.script));
        let shell = interpreter == Some(Interpreter::Shell);
        if let Some(entry) = self
            .fields
            .get("args")
            .copied()
            .filter(|_| shell && !app.args.is_empty())
        {
            let message = "has no effect, as a script with a space in it is a shell command";
            self.tell(Severity::Warning, entry, message);
            if let Some(last) = self.problems.last_mut() {
                last.help = Some("write the arguments into `script`".to_owned());
            }
        }
    }

    fn require_script(&mut self, place: Option<Place>) {
        if self
            .fields
            .get("script")
            .is_none_or(|entry| is_absent(&entry.value))
        {
            let problem = Problem::error(place, "is missing: every app needs the path of what to run");
            self.problems.push(problem.field("script"));
        }
    }

    fn set<T>(&mut self, field: &'static str, slot: &mut T, convert: impl Fn(&Node) -> Converted<T>) {
        if self.fields.get(field).is_some_and(|entry| !entry.value.is_null()) {
            self.set_also_null(field, slot, convert);
        }
    }

    fn set_also_null<T>(
        &mut self,
        field: &'static str,
        slot: &mut T,
        convert: impl Fn(&Node) -> Converted<T>,
    ) {
        let Some(entry) = self.fields.get(field).filter(|entry| !is_empty(&entry.value)) else {
            return;
        };
        match convert(&entry.value) {
            Ok(value) => *slot = value,
            Err(message) => {
                let problem = Problem::error(entry.value.place.clone(), message);
                self.problems.push(problem.field(field));
            }
        }
    }

    fn tell(&mut self, severity: Severity, entry: &Entry, message: impl Into<String>) {
        let problem = Problem::new(severity, entry.place.clone(), message);
        self.problems.push(problem.field(&entry.key));
    }
}

/// As PM2 does, an empty text is taken for no value.
fn is_empty(node: &Node) -> bool {
    node.text() == Some("")
}

fn is_absent(node: &Node) -> bool {
    node.is_null() || is_empty(node)
}

fn some<T>(convert: impl Fn(&Node) -> Converted<T>) -> impl Fn(&Node) -> Converted<Option<T>> {
    move |node| convert(node).map(Some)
}

/// A text that is neither a number nor `max`.
fn is_odd_count(node: &Node) -> bool {
    let text = node.text().filter(|text| *text != "max" && !text.is_empty());
    text.is_some_and(|text| text.trim().parse::<f64>().is_err())
}

/// A map of variables as texts; each that cannot be one is a problem.
pub(crate) fn variables(entry: &Entry, problems: &mut Vec<Problem>) -> Variables {
    let node = &entry.value;
    let Some(entries) = node.map() else {
        if !node.is_null() {
            // A text may hold secrets.
            let given = node.text().map_or_else(|| node.shown(), |_| "a text".to_owned());
            let message = format!("must be a map of variables, not {given}");
            problems.push(Problem::error(node.place.clone(), message).field(&entry.key));
        }
        return Variables::new();
    };
    let mut variables = Variables::new();
    for variable in entries {
        let value = variable.value.variable();
        let bad_name = variable.key.is_empty() || variable.key.contains(['=', '\0']);
        if bad_name || value.contains('\0') {
            let what = if bad_name {
                "cannot be the name of a variable"
            } else {
                "has a zero byte in its value"
            };
            let problem = Problem::error(variable.place.clone(), what);
            problems.push(problem.field(format!("{}.{}", entry.key, variable.key)));
        }
        variables.insert(variable.key.clone(), value);
    }
    variables
}

//! What Hythe runs for an app.
//!
//! PM2's meaning is kept where Hythe has the same thing, under Hythe's own name for it. What it does better stands: a
//! program that listens is reached through the gateway at the port it was written for, in fork mode too, so that every
//! app can be replaced without losing a request. What only PM2 knows (a namespace, its mode) is kept as labels.
//!
//! Variables of a terminal session ([`OF_A_SESSION`]) do not go into an app's environment: the same command from another
//! terminal is not another app.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hythe_model::workload::{NodeChannel, Replicas, RestartPolicy, RestartRules, RunAs, Watch};
use hythe_model::{LogRules, Name, Workload};

use crate::app::{
    Account, App, ExecMode, Instances, Interpreter, LogFile, LogType, Pattern, Watch as AppWatch, file_name,
};
use crate::ecosystem::Ecosystem;
use crate::environment::{self, Sources, Variables};
use crate::problem::{Problem, Severity};

/// Labels of a workload that was an app of PM2.
pub mod label {
    /// The app's name as it was given.
    pub const NAME: &str = "pm2.name";
    /// Its namespace.
    pub const NAMESPACE: &str = "pm2.namespace";
    /// `cluster_mode` or `fork_mode`.
    pub const EXEC_MODE: &str = "pm2.exec_mode";
    /// The script's path.
    pub const SCRIPT: &str = "pm2.pm_exec_path";
    /// What runs it; `none` for a program.
    pub const INTERPRETER: &str = "pm2.exec_interpreter";
    /// The script's arguments, as a list in JSON.
    pub const ARGS: &str = "pm2.args";
    /// The interpreter's arguments, as a list in JSON.
    pub const NODE_ARGS: &str = "pm2.node_args";
    /// Everything that was said about the app but its environment, as [`App::remembered`](crate::App::remembered) has
    /// it.
    pub const APP: &str = "pm2.app";
    /// When the app was started first, Unix milliseconds.
    pub const CREATED_AT: &str = "pm2.created_at";
}

/// Variables that belong to a terminal's session and to no app.
pub const OF_A_SESSION: [&str; 19] = [
    "_",
    "COLORTERM",
    "COLUMNS",
    "LINES",
    "LS_COLORS",
    "NODE_CHANNEL_FD",
    "NODE_CHANNEL_SERIALIZATION_MODE",
    "NODE_UNIQUE_ID",
    "OLDPWD",
    "PWD",
    "SHLVL",
    "SSH_AUTH_SOCK",
    "SSH_CLIENT",
    "SSH_CONNECTION",
    "SSH_TTY",
    "TERM",
    "TERM_PROGRAM",
    "WINDOWID",
    "XDG_SESSION_ID",
];

/// The signal that PM2 stops with, SIGINT.
const STOP_SIGNAL: i32 = 2;

/// Where an app is started from.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// The folder of the command line; absolute.
    pub folder: &'a Path,
    /// Its environment.
    pub shell: &'a Variables,
    /// The file that the app is of.
    pub file: Option<&'a Ecosystem>,
    /// The chosen environment (`--env`).
    pub chosen: Option<&'a str>,
    /// How many instances "one per core" means for those that leave some cores out.
    pub cores: usize,
}

/// An app as a service.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// The service's name: the app's, with `-` for what names do not have.
    pub name: Name,
    /// What is run.
    pub workload: Workload,
    /// What is not as PM2 would have it.
    pub problems: Vec<Problem>,
}

/// The service that `app` is.
///
/// # Errors
/// Why it cannot be run: its script is missing, or what runs it.
pub fn plan(app: &App, around: &Surroundings<'_>) -> Result<Planned, Box<Problem>> {
    let refuse = |mut problem: Box<Problem>| {
        problem.app = Some(app.name.clone());
        problem
    };
    let folder = match &app.cwd {
        Some(cwd) => around.folder.join(cwd),
        None => around.folder.to_owned(),
    };
    let merged = environment::started(&Sources {
        shell: around.shell,
        app,
        file: around.file,
        chosen: around.chosen,
    });
    let program = program(app, &folder, &merged.variables).map_err(refuse)?;
    let name = service_name(&app.process_name(around.chosen)).map_err(refuse)?;
    let mut workload = Workload::new(program.command, folder);
    workload.environment = of_the_app(merged.variables);
    buffer_no_output(&program.interpreter, &mut workload.environment);
    workload.numbered = numbered(app, &workload.environment);
    workload.publish = true;
    workload.replicas = replicas(app, around.cores);
    workload.restart = if app.autorestart {
        RestartPolicy::Always
    } else {
        RestartPolicy::No
    };
    workload.stop_signal = STOP_SIGNAL;
    workload.stop_grace_period_ms = app.kill_timeout_ms;
    workload.stopped = !app.autostart;
    workload.update.max_surge = if workload.replicas == Replicas::Count(1) {
        1
    } else {
        2
    };
    workload.update.ready_timeout_ms = workload.update.ready_timeout_ms.max(app.listen_timeout_ms);
    workload.ready_after_ms = (app.exec_mode() == ExecMode::Cluster).then_some(app.listen_timeout_ms);
    workload.channel = channel(app, &program.interpreter);
    workload.says_ready = app.wait_ready && workload.channel.is_some();
    if workload.says_ready {
        workload.ready_after_ms = Some(app.listen_timeout_ms);
    }
    workload.stop_message =
        (app.shutdown_with_message && workload.channel.is_some()).then(|| "shutdown".to_owned());
    restart_rules(app, &mut workload);
    workload.user = user(app);
    workload.logs = logs(app, &workload.working_dir);
    workload.labels = labels(app, around.chosen, &program.script, &program.interpreter);
    let problems = merged.unknown.map(|chosen| unknown_environment(app, &chosen));
    Ok(Planned {
        name,
        workload,
        problems: problems.into_iter().collect(),
    })
}

/// The name of a service for what PM2 would call `name`.
///
/// # Errors
/// When nothing of it can stand in a name.
pub fn service_name(name: &str) -> Result<Name, Box<Problem>> {
    let plain = file_name(name).replace('.', "-");
    let plain = plain.trim_matches('-');
    plain.parse().map_err(|_| {
        let message = format!("`{name}` has nothing that a service's name can be made of");
        Box::new(Problem::error(None, message).field("name"))
    })
}

/// What is executed.
struct Program {
    command: Vec<String>,
    script: String,
    interpreter: String,
}

fn program(app: &App, folder: &Path, variables: &Variables) -> Result<Program, Box<Problem>> {
    let path = variables.get("PATH").map(String::as_str);
    if app.interpreter == Some(Interpreter::Shell) {
        let shell = first_of(&["bash", "sh"], path)?;
        return Ok(Program {
            command: vec![shell.clone(), "-c".to_owned(), app.script.clone()],
            script: app.script.clone(),
            interpreter: shell,
        });
    }
    let script = script(app, folder, path)?;
    let interpreter = match &app.interpreter {
        Some(Interpreter::Direct | Interpreter::Shell) => None,
        Some(Interpreter::Program(program)) => Some(program.clone()),
        Some(Interpreter::FirstOf(programs)) => Some(first_of(programs, path)?),
        Some(Interpreter::Node(version)) => return Err(node_by_version(version)),
        None if is_program(Path::new(&script)) => None,
        None => Some(first_of(&["node"], path)?),
    };
    let mut command: Vec<String> = Vec::new();
    if let Some(interpreter) = &interpreter {
        command.push(interpreter.clone());
        command.extend(app.node_args.iter().cloned());
    }
    command.push(script.clone());
    command.extend(app.args.iter().cloned());
    Ok(Program {
        command,
        script,
        interpreter: interpreter.unwrap_or_else(|| "none".to_owned()),
    })
}

/// The script's path, or a program of `PATH` if there is no such file.
fn script(app: &App, folder: &Path, path: Option<&str>) -> Result<String, Box<Problem>> {
    let file = folder.join(&app.script);
    if file.is_file() {
        return Ok(file.display().to_string());
    }
    if !app.script.contains('/')
        && let Some(program) = on_path(&app.script, path)
    {
        return Ok(program.display().to_string());
    }
    let message = format!("is {}, which is not there", file.display());
    let problem = Problem::error(None, message).field("script");
    Err(Box::new(problem.help(
        "paths are relative to `cwd`, or to the folder that the command is run in",
    )))
}

fn first_of(programs: &[&str], path: Option<&str>) -> Result<String, Box<Problem>> {
    let found = programs.iter().find(|program| on_path(program, path).is_some());
    found.map(|program| (*program).to_owned()).ok_or_else(|| {
        let message = format!("is {}, not found on PATH", programs.join(" or "));
        let problem = Problem::error(None, message).field("exec_interpreter");
        Box::new(problem.help("install it, or say with `interpreter` what runs the script"))
    })
}

fn node_by_version(version: &str) -> Box<Problem> {
    let message = format!("is node@{version}: nvm, which knows where that is, is a function of shells");
    let problem = Problem::error(None, message).field("exec_interpreter");
    Box::new(problem.help(format!("give the path, as `nvm which {version}` prints it")))
}

fn on_path(program: &str, path: Option<&str>) -> Option<PathBuf> {
    if program.contains('/') {
        return is_executable(Path::new(program)).then(|| PathBuf::from(program));
    }
    std::env::split_paths(path.unwrap_or_default())
        .map(|folder| folder.join(program))
        .find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    let metadata = file.metadata();
    metadata.is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// A binary, or a script that says itself what runs it.
fn is_program(file: &Path) -> bool {
    let mut magic = [0; 4];
    let read = File::open(file).and_then(|mut file| file.read(&mut magic));
    read.is_ok() && is_executable(file) && (magic == *b"\x7fELF" || magic.starts_with(b"#!"))
}

fn of_the_app(variables: Variables) -> Variables {
    let is_its_own = |name: &str| !OF_A_SESSION.contains(&name) && !name.starts_with("HYTHE_");
    variables
        .into_iter()
        .filter(|(name, _)| is_its_own(name))
        .collect()
}

/// Python keeps lines to itself where nobody looks at them at once.
fn buffer_no_output(interpreter: &str, environment: &mut BTreeMap<String, String>) {
    let program = Path::new(interpreter)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    if program.starts_with("python") {
        environment
            .entry("PYTHONUNBUFFERED".to_owned())
            .or_insert_with(|| "1".to_owned());
    }
}

fn numbered(app: &App, environment: &BTreeMap<String, String>) -> BTreeMap<String, u64> {
    let first = |name: &String| environment.get(name).and_then(|value| value.parse().ok());
    let own = (app.instance_var != "NODE_APP_INSTANCE").then(|| (app.instance_var.clone(), 0));
    let incremented = app
        .increment_var
        .as_ref()
        .map(|name| (name.clone(), first(name).unwrap_or(0)));
    own.into_iter().chain(incremented).collect()
}

fn replicas(app: &App, cores: usize) -> Replicas {
    match app.instances {
        None => Replicas::Count(1),
        Some(Instances::All) => Replicas::Max,
        Some(instances) => Replicas::Count(instances.on(cores)),
    }
}

/// Node has one, which a shell or a package manager in between would take for itself.
fn channel(app: &App, interpreter: &str) -> Option<NodeChannel> {
    let program = Path::new(interpreter)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    match app.exec_mode() {
        _ if !program.starts_with("node") => None,
        ExecMode::Cluster => Some(NodeChannel::Cluster),
        ExecMode::Fork => Some(NodeChannel::Messages),
    }
}

fn restart_rules(app: &App, workload: &mut Workload) {
    workload.restart_rules = RestartRules {
        stop_exit_codes: app.stop_exit_codes.clone(),
        min_uptime_ms: Some(app.min_uptime_ms),
        // PM2 never gives up where it waits ever longer.
        max_quick_exits: match app.exp_backoff_restart_delay_ms {
            Some(_) => None,
            None => Some(u32::try_from(app.max_restarts).unwrap_or(u32::MAX)),
        },
        delay_ms: (app.restart_delay_ms > 0).then_some(app.restart_delay_ms),
        backoff_ms: app.exp_backoff_restart_delay_ms,
    };
    workload.memory_restart_bytes = app.max_memory_restart_bytes;
    workload.cron_restart.clone_from(&app.cron_restart);
    workload.watch = watch(app);
}

fn watch(app: &App) -> Option<Watch> {
    let paths = match &app.watch {
        AppWatch::Off => return None,
        AppWatch::Folder => Vec::new(),
        AppWatch::Paths(paths) => paths.iter().map(PathBuf::from).collect(),
    };
    let pattern = |pattern: &Pattern| match pattern {
        Pattern::Glob(glob) => glob.clone(),
        Pattern::Regex { source, flags } => format!("/{source}/{flags}"),
    };
    Some(Watch {
        paths,
        ignore: app.ignore_watch.iter().flatten().map(pattern).collect(),
        extensions: app.ext.clone(),
        delay_ms: app.watch_delay_ms,
    })
}

/// Lines are always kept by the server too; a file of the user's own is one more place for them.
fn logs(app: &App, folder: &Path) -> LogRules {
    let file = |file: &LogFile| match file {
        LogFile::At(path) => Some(folder.join(path)),
        LogFile::Default | LogFile::Disabled => None,
    };
    let usual_format = || app.time.then(|| "YYYY-MM-DDTHH:mm:ss".to_owned());
    LogRules {
        out_file: file(&app.out_file),
        error_file: file(&app.error_file),
        merged_file: file(&app.log_file),
        per_instance: !app.merges_logs(),
        disabled: app.disable_logs,
        time_format: app.log_date_format.clone().or_else(usual_format),
        json: app.log_type == LogType::Json,
        ..LogRules::default()
    }
}

fn user(app: &App) -> Option<RunAs> {
    let word = |account: &Account| match account {
        Account::Id(id) => id.to_string(),
        Account::Name(name) => name.clone(),
    };
    Some(RunAs {
        user: word(app.uid.as_ref()?),
        group: app.gid.as_ref().map(word),
    })
}

fn labels(app: &App, chosen: Option<&str>, script: &str, interpreter: &str) -> BTreeMap<String, String> {
    let mode = match app.exec_mode() {
        ExecMode::Cluster => "cluster_mode",
        ExecMode::Fork => "fork_mode",
    };
    let list = |words: &[String]| serde_json::json!(words).to_string();
    let script = match app.interpreter {
        Some(Interpreter::Shell) => script.to_owned(),
        // One script has one name, however its path was written.
        _ => Path::new(script)
            .components()
            .collect::<PathBuf>()
            .display()
            .to_string(),
    };
    [
        (label::NAME, app.process_name(chosen)),
        (label::NAMESPACE, app.namespace.clone()),
        (label::EXEC_MODE, mode.to_owned()),
        (label::SCRIPT, script),
        (label::INTERPRETER, interpreter.to_owned()),
        (label::ARGS, list(&app.args)),
        (label::NODE_ARGS, list(&app.node_args)),
        (label::APP, app.remembered()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

fn unknown_environment(app: &App, chosen: &str) -> Problem {
    let message = format!("has no `env_{chosen}`: it gets `env` alone");
    Problem {
        app: Some(app.name.clone()),
        ..Problem::new(Severity::Warning, None, message)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use hythe_model::workload::ListensBy;

    use super::*;

    struct Machine {
        folder: tempfile::TempDir,
        shell: Variables,
    }

    impl Machine {
        /// With `node` and `python3` on its PATH, and some scripts.
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let at = |name: &str| folder.path().join(name);
            fs::create_dir_all(at("bin")).unwrap();
            fs::create_dir_all(at("sub")).unwrap();
            for program in ["bin/node", "bin/python3", "bin/bash", "tool"] {
                fs::write(at(program), "#!/bin/sh\n").unwrap();
                fs::set_permissions(at(program), fs::Permissions::from_mode(0o755)).unwrap();
            }
            for script in ["app.js", "plain", "job.py", "sub/app.js", "app.rb"] {
                fs::write(at(script), "1\n").unwrap();
            }
            let shell = [
                ("PATH", at("bin").display().to_string()),
                ("HOME", "/home".to_owned()),
                ("PWD", "/".to_owned()),
                ("SSH_TTY", "x".to_owned()),
                ("HYTHE_INSTANCE", "x".to_owned()),
            ];
            let shell = shell.map(|(name, value)| (name.to_owned(), value)).into();
            Self { folder, shell }
        }

        fn plan(
            &self,
            app: &App,
            file: Option<&Ecosystem>,
            chosen: Option<&str>,
        ) -> Result<Planned, Box<Problem>> {
            plan(
                app,
                &Surroundings {
                    folder: self.folder.path(),
                    shell: &self.shell,
                    file,
                    chosen,
                    cores: 8,
                },
            )
        }

        /// Relative to its folder.
        fn command(&self, app: &App) -> String {
            let folder = format!("{}/", self.folder.path().display());
            match self.plan(app, None, None) {
                Ok(planned) => planned.workload.command.join(" ").replace(&folder, ""),
                Err(problem) => problem.to_string().replace(&folder, ""),
            }
        }
    }

    #[test]
    fn what_runs_follows_from_script_and_interpreter() {
        let machine = Machine::new();
        let with = |script: &str, change: fn(&mut App)| {
            let mut app = App::new(script);
            change(&mut app);
            app
        };
        for (app, expected) in [
            (App::new("app.js"), "node app.js"),
            (App::new("plain"), "node plain"),
            (App::new("tool"), "tool"),
            (App::new("job.py"), "python3 job.py"),
            (App::new("python3"), "bin/python3"),
            (App::new("npm start"), "bash -c npm start"),
            (
                with("app.js", |app| {
                    app.args = vec!["a b".to_owned(), "-c".to_owned()];
                    app.node_args = vec!["--inspect".to_owned()];
                }),
                "node --inspect app.js a b -c",
            ),
            (
                with("app.js", |app| app.cwd = Some("sub".into())),
                "node sub/app.js",
            ),
            (
                with("app.js", |app| app.interpreter = Some(Interpreter::Direct)),
                "app.js",
            ),
            (
                App::new("gone.js"),
                "app `gone`: `script` is gone.js, which is not there",
            ),
            (
                App::new("app.rb"),
                "app `app`: `exec_interpreter` is ruby, not found on PATH",
            ),
        ] {
            assert_eq!(machine.command(&app), expected);
        }
    }

    #[test]
    fn fields_become_hythes_own() {
        let machine = Machine::new();
        let file = crate::file::parse_json(
            r#"{apps: [{
                name: 'my api.v2', script: 'job.py', instances: -1, namespace: 'shop', autorestart: false,
                kill_timeout: 3000, increment_var: 'PORT', instance_var: 'ID', env: {PORT: 3000, A: 1},
                env_prod: {A: 2}, autostart: false,
            }]}"#,
        );
        let file = file.ecosystem.unwrap();
        let Planned {
            name,
            workload,
            problems,
        } = machine.plan(&file.apps[0], Some(&file), Some("prod")).unwrap();
        assert_eq!(name.as_str(), "my-api-v2");
        assert_eq!(problems, []);
        assert_eq!(workload.replicas, Replicas::Count(7));
        assert_eq!((workload.restart, workload.stopped), (RestartPolicy::No, true));
        assert_eq!((workload.stop_signal, workload.stop_grace_period_ms), (2, 3000));
        assert!(workload.publish && workload.listens == ListensBy::Auto && workload.port.is_none());
        assert_eq!(workload.ready_after_ms, None, "no cluster without node");
        let numbered = [("ID".to_owned(), 0), ("PORT".to_owned(), 3000)];
        assert_eq!(workload.numbered, numbered.into());
        let names: Vec<&str> = workload.environment.keys().map(String::as_str).collect();
        assert_eq!(names, ["A", "HOME", "PATH", "PORT", "PYTHONUNBUFFERED"]);
        assert_eq!(workload.environment["A"], "2");
        assert_eq!(workload.labels[label::NAME], "my api.v2");
        assert_eq!(workload.labels[label::NAMESPACE], "shop");
        assert_eq!(workload.labels[label::EXEC_MODE], "fork_mode");
    }

    #[test]
    fn what_cannot_be_is_said() {
        let machine = Machine::new();
        let planned = machine.plan(&App::new("app.js"), None, Some("nope")).unwrap();
        let said: Vec<String> = planned.problems.iter().map(ToString::to_string).collect();
        assert_eq!(said, ["app `app`: has no `env_nope`: it gets `env` alone"]);
        for (name, expected) in [
            ("@scope/api", "scope-api"),
            ("api:8080", "api-8080"),
            ("ünï", "n"),
        ] {
            assert_eq!(service_name(name).unwrap().as_str(), expected);
        }
        assert!(service_name("...").is_err());
    }
}

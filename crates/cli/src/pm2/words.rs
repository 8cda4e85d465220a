//! What may be typed after `pm2`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use hythe_dialect_pm2::Options;

use crate::arguments::DeployOptions;

/// Shown when nothing that is known was typed.
pub(crate) const USAGE: &str = "usage: pm2 [options] <command>

pm2 -h, --help             all commands and options
pm2 examples               how it is used
pm2 <command> -h           help on one command";

/// `pm2 examples`.
pub(crate) const EXAMPLES: &str = "pm2 start app.js                      run a script
pm2 start app.js -i max               as many instances as there are cores, behind one port
pm2 start ./server.py --name api      whatever it is written in
pm2 start \"npm start\" --name web      a command
pm2 start ecosystem.config.js --env production --only api

pm2 ls                                what runs
pm2 logs api --lines 100              what it prints
pm2 reload all                        replace every instance without losing a request
pm2 scale api +2                      two more instances
pm2 stop api web                      keep them, run none
pm2 delete /^test-/                   forget those whose names match

pm2 save; pm2 resurrect               remember what runs, and start it again";

#[derive(Debug, Parser)]
#[command(
    name = "pm2",
    about = "Runs apps: PM2's command line, spoken by Hythe",
    disable_help_subcommand = true
)]
pub(crate) struct Words {
    /// Say nothing but what was asked for
    #[arg(short, long, global = true)]
    pub(crate) silent: bool,
    /// Lists in their plainest form
    #[arg(short, long, global = true)]
    pub(crate) mini_list: bool,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Start scripts, commands and ecosystem files, or what is known by name, namespace or id
    Start(Box<StartWords>),
    /// Start the apps of a file, or restart those that run
    #[command(name = "startOrRestart")]
    StartOrRestart(Box<StartWords>),
    /// Start the apps of a file, or reload those that run
    #[command(name = "startOrReload")]
    StartOrReload(Box<StartWords>),
    /// The same
    #[command(name = "startOrGracefulReload")]
    StartOrGracefulReload(Box<StartWords>),
    /// Stop apps; they stay known
    Stop(Several),
    /// Replace apps by new instances of them
    Restart(Box<RestartWords>),
    /// The same, without a list at the end
    #[command(alias = "gracefulReload")]
    Reload(Box<RestartWords>),
    /// Stop apps and forget them
    #[command(alias = "del")]
    Delete(Several),
    /// Set how many instances of an app run
    Scale(ScaleWords),
    /// Send a signal to processes
    #[command(name = "sendSignal")]
    SendSignal(SignalWords),
    /// Count restarts from 0 again
    Reset(One),
    /// Start the server, if none runs, and hear from it
    Ping,
    /// Stop and forget all apps, and end the server
    Kill,
    /// Take a new version over
    #[command(alias = "updatePM2")]
    Update,
    /// Print process ids
    Pid(Perhaps),
    /// Print the numbers of an app
    Id(One),
    /// Print the environment of a process
    Env(One),
    /// Show everything about an app
    #[command(alias = "desc", alias = "info", alias = "show")]
    Describe(One),
    /// List what runs
    #[command(alias = "ls", alias = "l", alias = "ps", alias = "status")]
    List(ListWords),
    /// List what runs, as JSON
    Jlist,
    /// List what runs, as node prints objects
    Prettylist,
    /// Show what apps print, and go on with it
    #[command(alias = "log")]
    Logs(LogWords),
    /// Begin logs anew
    Flush(Perhaps),
    /// Open log files again
    #[command(name = "reloadLogs")]
    ReloadLogs,
    /// Remember what runs
    #[command(alias = "dump")]
    Save(Force),
    /// Remember nothing
    Cleardump,
    /// Start what was remembered
    Resurrect,
    /// Serve a folder
    #[command(alias = "expose")]
    Serve(ServeWords),
    /// Watch processes in the terminal
    #[command(visible_aliases = ["dash", "dashboard"])]
    Monit,
    /// Have the server started with the machine
    Startup(StartupWords),
    /// Have it started no more
    Unstartup(StartupWords),
    /// Bring a release to other machines over SSH
    Deploy(DeployOptions),
    /// Write an ecosystem file to begin with
    #[command(alias = "init")]
    Ecosystem(InitWords),
    /// Set a value
    Set(SetWords),
    /// Print values
    Get(GetWords),
    /// Remove a value
    Unset(UnsetWords),
    /// Print or set values
    #[command(alias = "config")]
    Conf(SetWords),
    /// Print completions for bash
    Completion,
    /// Show how it is used
    Examples,
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

#[derive(Debug, Args)]
pub(crate) struct StartWords {
    /// Scripts, commands, ecosystem files, names, namespaces, ids, `all`, or `-` for a configuration on stdin
    #[arg(value_name = "WHAT")]
    pub(crate) what: Vec<String>,
    #[command(flatten)]
    pub(crate) app: Options,
    /// Show what it prints from then on
    #[arg(long)]
    pub(crate) attach: bool,
    /// The same, and remove it at Ctrl-C
    #[arg(long)]
    pub(crate) no_daemon: bool,
    #[command(flatten)]
    pub(crate) environment: EnvironmentWords,
}

#[derive(Debug, Args)]
pub(crate) struct RestartWords {
    /// Names, namespaces, ids, `/regex/`, `all`, ecosystem files, or `-` for a configuration on stdin
    #[arg(required = true, value_name = "WHICH")]
    pub(crate) which: Vec<String>,
    #[command(flatten)]
    pub(crate) app: Options,
    #[command(flatten)]
    pub(crate) environment: EnvironmentWords,
}

/// What happens to the environment of an app that runs.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct EnvironmentWords {
    /// Put the shell's environment over the app's
    #[arg(long)]
    pub(crate) update_env: bool,
    /// Keep variables that a file does not name any more
    #[arg(long)]
    pub(crate) keep_env: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Several {
    /// Names, namespaces, ids, `/regex/`, `all`, ecosystem files, or `-` for a configuration on stdin
    #[arg(required = true, value_name = "WHICH")]
    pub(crate) which: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct One {
    /// A name, a namespace or an id
    #[arg(value_name = "WHICH")]
    pub(crate) which: String,
}

#[derive(Debug, Args)]
pub(crate) struct Perhaps {
    /// A name, a namespace or an id; everything without it
    #[arg(value_name = "WHICH")]
    pub(crate) which: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ScaleWords {
    /// The app
    pub(crate) app: String,
    /// How many; +2 for two more, -1 for one less
    #[arg(allow_negative_numbers = true)]
    pub(crate) number: String,
}

#[derive(Debug, Args)]
pub(crate) struct SignalWords {
    /// By name or number: SIGUSR2, USR2, 12
    pub(crate) signal: String,
    /// A name, a namespace or an id
    #[arg(value_name = "WHICH")]
    pub(crate) which: String,
}

#[derive(Debug, Args)]
pub(crate) struct ListWords {
    /// By a field: name, id, pid, memory, cpu, status or uptime, with `:desc` the other way round
    #[arg(long, value_name = "FIELD:ORDER")]
    pub(crate) sort: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LogWords {
    /// A name, a namespace, an id, `/regex/`; everything without it
    #[arg(value_name = "WHICH")]
    pub(crate) which: Option<String>,
    /// Lines of each stream to begin with
    #[arg(long, value_name = "NUMBER", default_value_t = 15)]
    pub(crate) lines: usize,
    /// End after those
    #[arg(long)]
    pub(crate) nostream: bool,
    /// Only what was printed
    #[arg(long)]
    pub(crate) raw: bool,
    /// A JSON object for each line
    #[arg(long)]
    pub(crate) json: bool,
    /// `key=value` for each line
    #[arg(long)]
    pub(crate) format: bool,
    /// Only errors
    #[arg(long)]
    pub(crate) err: bool,
    /// Only output
    #[arg(long)]
    pub(crate) out: bool,
    /// The time before each line, in this form
    #[arg(long, value_name = "FORMAT", num_args = 0..=1, default_missing_value = "YYYY-MM-DDTHH:mm:ss")]
    pub(crate) timestamp: Option<String>,
    /// Mark this in lines
    #[arg(long, value_name = "TEXT")]
    pub(crate) highlight: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Force {
    /// Also when nothing runs, or what is there was written by PM2 itself
    #[arg(short, long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ServeWords {
    /// The folder
    #[arg(value_name = "PATH", default_value = ".")]
    pub(crate) path: PathBuf,
    /// The port
    #[arg(value_name = "PORT", default_value_t = 8080)]
    pub(crate) port: u16,
    /// Name of the project that it becomes
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Answer with index.html for what is not there
    #[arg(long)]
    pub(crate) spa: bool,
    /// Ask for this name
    #[arg(long, value_name = "NAME", requires = "basic_auth_password")]
    pub(crate) basic_auth_username: Option<String>,
    /// Ask for this password
    #[arg(long, value_name = "PASSWORD", requires = "basic_auth_username")]
    pub(crate) basic_auth_password: Option<String>,
}

/// Of `startup` and `unstartup`.
#[derive(Debug, Args)]
pub(crate) struct StartupWords {
    /// The service manager; it is found out anyway
    pub(crate) platform: Option<String>,
    /// The user who runs the server
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// No effect: the server's own folder is `HYTHE_HOME`
    #[arg(long, hide = true, value_name = "PATH")]
    pub(crate) hp: Option<String>,
    /// Name of the unit
    #[arg(long, value_name = "NAME", default_value = "hythe")]
    pub(crate) service_name: String,
}

#[derive(Debug, Args)]
pub(crate) struct InitWords {
    /// `simple` for the shortest one
    #[arg(value_name = "KIND", value_parser = ["simple"])]
    pub(crate) kind: Option<String>,
    /// Replace the file that is there
    #[arg(short, long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SetWords {
    /// `module:key`
    pub(crate) key: Option<String>,
    /// Its value
    pub(crate) value: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct GetWords {
    /// `module:key`, or `module`; everything without it
    pub(crate) key: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct UnsetWords {
    /// `module:key`, or `module`
    pub(crate) key: String,
}

impl Words {
    /// What was typed, without the program.
    ///
    /// # Errors
    /// When that is not what is defined, or asks for help.
    pub(crate) fn read(words: &[OsString]) -> Result<Self, clap::Error> {
        let words = std::iter::once(OsString::from("pm2")).chain(words.iter().cloned());
        Self::from_arg_matches(&Self::command().try_get_matches_from(words)?)
    }
}

/// A script for bash.
pub(crate) fn completion() -> String {
    let mut script = Vec::new();
    clap_complete::generate(
        clap_complete::Shell::Bash,
        &mut Words::command(),
        "pm2",
        &mut script,
    );
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Verb, clap::error::ErrorKind> {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        Words::read(&words)
            .map(|words| words.verb)
            .map_err(|error| error.kind())
    }

    #[test]
    fn the_definition_is_sound() {
        Words::command().debug_assert();
    }

    #[test]
    fn pm2s_words_are_read() {
        for line in [
            "start app.js -i max --name api -- --port 1 -x",
            "start app.js -n api -f -w --no-daemon --update-env",
            "start - --only a,b",
            "start ecosystem.config.js --env production --attach",
            "start 0 1 /^a/",
            "startOrGracefulReload x.json",
            "stop all",
            "del 1 2",
            "restart api --update-env -i 4",
            "scale api +2",
            "scale api -1",
            "sendSignal SIGUSR2 0",
            "l",
            "ps --sort name:desc",
            "status -m",
            "-s ls",
            "logs",
            "logs /re/ --lines 3 --nostream --timestamp",
            "logs api --timestamp HH:mm --highlight x",
            "save --force",
            "init simple",
            "conf a:b c",
            "serve",
            "serve public 8000 --spa --basic-auth-username me --basic-auth-password x",
            "deploy ecosystem.config.js production exec ls",
            "deploy production --force",
            "pid",
        ] {
            if let Err(kind) = read(line) {
                panic!("{line}: {kind:?}");
            }
        }
        let Ok(Verb::Start(words)) = read("start app.js -i max -- --port 1 -x") else {
            panic!("a start");
        };
        assert_eq!(words.what, ["app.js"]);
        assert_eq!(words.app.args, ["--port", "1", "-x"]);
        assert!(matches!(read("link a b"), Ok(Verb::Other(words)) if words == ["link", "a", "b"]));
    }

    #[test]
    fn what_is_missing_or_unknown_is_refused() {
        use clap::error::ErrorKind;
        for (line, expected) in [
            ("stop", ErrorKind::MissingRequiredArgument),
            ("scale api", ErrorKind::MissingRequiredArgument),
            ("sendSignal SIGHUP", ErrorKind::MissingRequiredArgument),
            ("start app.js --frobnicate", ErrorKind::UnknownArgument),
            ("-h", ErrorKind::DisplayHelp),
        ] {
            assert_eq!(read(line).err(), Some(expected), "{line}");
        }
    }

    #[test]
    fn completions_know_the_verbs() {
        assert!(completion().contains("startOrRestart"));
    }
}

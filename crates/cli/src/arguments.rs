//! What may be typed. Everything that help, the reference and completions say stands here.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand};
use hythe_config::ServerArgs;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "hythe",
    version,
    about = "Runs, finds, balances and fronts a team's services",
    long_about = "Runs, finds, balances and fronts a team's services: one binary, one file, nothing else to operate.\n\n\
        `hythe up` in a folder with a hythe.yaml starts its services and serves them through the gateway; \
        the same command applies every later change without losing a request.",
    after_help = "Exit codes: 0 done, 1 failed, 2 usage or broken manifest, 3 not found, 4 services not ready, \
        5 timeout, 6 no server, 130 interrupted before it was done.",
    disable_help_subcommand = true,
    propagate_version = true
)]
pub(crate) struct Arguments {
    /// The data directory [default: ~/.hythe]
    #[arg(
        long,
        global = true,
        env = "HYTHE_HOME",
        value_name = "FOLDER",
        hide_env = true
    )]
    pub(crate) home: Option<PathBuf>,
    /// The project that names belong to [default: the `name:` of the manifest here, or `default`]
    #[arg(
        short,
        long,
        global = true,
        env = "HYTHE_PROJECT",
        value_name = "PROJECT",
        hide_env = true
    )]
    pub(crate) project: Option<String>,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

impl Arguments {
    /// The definition. PM2's flags stand beside Hythe's, so one of them has no short form here.
    pub(crate) fn definition() -> Command {
        Self::command().mut_subcommand("start", |start| {
            start.mut_arg("pid_file", |flag| flag.short(None))
        })
    }

    /// What was typed.
    ///
    /// # Errors
    /// When that is not what is defined, or asks for help or the version.
    pub(crate) fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        Self::from_arg_matches(&Self::definition().try_get_matches_from(words)?)
    }
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Apply a manifest: start what is new, change what changed, follow the logs
    ///
    /// Starts a server if none runs, applies the manifest and shows the services coming up. What did not
    /// change in the file is not touched; what changed is replaced without losing a request: the new
    /// instance is ready before the old one is drained and stopped. A file with mistakes changes nothing.
    /// Without -d it then follows the logs until Ctrl-C, which stops what this command started and is no
    /// failure: the exit code is 0. If Ctrl-C comes before everything is ready it is 130.
    #[command(
        after_help = "Examples:\n  hythe up\n  hythe up -d examples/directory\n  hythe up -d --dry-run"
    )]
    Up(UpOptions),
    /// Remove a project: stop its services and take its routes away
    #[command(after_help = "Examples:\n  hythe down\n  hythe down -p shop\n  hythe down --all")]
    Down(DownOptions),
    /// List services and their instances
    #[command(
        visible_alias = "ps",
        after_help = "Examples:\n  hythe ls\n  hythe ls --tree\n  hythe ls --json --all-projects"
    )]
    Ls(ListOptions),
    /// Show everything about one service
    #[command(after_help = "Example:\n  hythe describe users")]
    Describe(ServiceOptions),
    /// Show the output of services
    #[command(
        after_help = "Examples:\n  hythe logs\n  hythe logs -f users\n  hythe logs --since 10m users web\n  hythe logs --flush users"
    )]
    Logs(LogOptions),
    /// Replace every instance by a new one, without losing a request
    #[command(
        visible_alias = "reload",
        after_help = "Examples:\n  hythe restart users\n  hythe restart all"
    )]
    Restart(ChangeOptions),
    /// Set how many instances run
    #[command(
        after_help = "Examples:\n  hythe scale users=4\n  hythe scale users 4\n  hythe scale users=max web=2"
    )]
    Scale(ScaleOptions),
    /// Stop services; they stay known and `start` runs them again
    #[command(after_help = "Examples:\n  hythe stop users\n  hythe stop all")]
    Stop(ChangeOptions),
    /// Run stopped services again, or a script, or the apps of an ecosystem file
    ///
    /// A word with a slash, or the name of a file, is a script or an ecosystem file of PM2; any other is a service.
    /// Without a word it is the ecosystem file of this folder. A program that listens at a port of its own is served
    /// there, whatever it is written in and however many instances of it run: each listens at an address that only it
    /// has, and the gateway at the port for all of them. What runs already becomes what is asked for now, without losing
    /// a request.
    #[command(
        after_help = "Examples:\n  hythe start users\n  hythe start all\n  hythe start app.js -i max\n  \
        hythe start ./server.py --name api -- --verbose\n  hythe start \"npm start\" --name web\n  \
        hythe start ecosystem.config.js --env production"
    )]
    Start(Box<StartOptions>),
    /// Write an ecosystem file to begin with: `ecosystem.config.js`
    #[command(after_help = "Examples:\n  hythe ecosystem\n  hythe ecosystem simple; hythe start")]
    Ecosystem(crate::pm2::words::InitWords),
    /// Remove services that no manifest describes: those of `hythe start FILE`
    ///
    /// Their instances end as with `stop`. Services of a manifest are removed there, or all with `hythe down`.
    #[command(after_help = "Examples:\n  hythe delete api\n  hythe delete all")]
    Delete(ChangeOptions),
    /// List routes in the order in which they are tried
    Routes(ReadOptions),
    /// Tell which way a request would take, without sending it
    #[command(
        after_help = "Examples:\n  hythe explain GET http://localhost:8000/users/7\n  \
        hythe explain POST /orders -H 'Host: shop.test'"
    )]
    Explain(ExplainOptions),
    /// Check a manifest and tell every mistake with its place
    ///
    /// A file that ends in `.conf` is nginx's: what nginx would say of it goes to the standard error, with its exit
    /// code 0 or 1, and every directive that does something else here to the standard output.
    ///
    /// A file like `ecosystem.config.js` (also `ecosystem.json`, `.yaml`, `.cjs`, `.mjs`) is PM2's: every mistake in its
    /// apps is told, also what PM2 would drop without a word. JavaScript is evaluated by `node`, `bun` or `deno`.
    #[command(
        after_help = "Examples:\n  hythe check\n  hythe check shop/hythe.yaml\n  hythe check /etc/nginx/nginx.conf\n  \
            hythe check ecosystem.config.js"
    )]
    Check(CheckOptions),
    /// Bring a release to other machines over SSH, as an ecosystem file's `deploy` says
    ///
    /// `setup` makes the folders on each host. Without a verb, each host fetches the commit into a folder of its own,
    /// switches the link `current` to it and runs `post-deploy`; if that fails on any host, all go back to what they
    /// ran before. `revert N` goes back by N releases, `list`, `curr` and `prev` show them, `exec` runs a command in
    /// the current one. Of all this --dry-run only tells. The system's `ssh` connects, with its configuration and keys.
    #[command(
        override_usage = "hythe deploy [OPTIONS] [FILE] <ENV> [setup | update | ref REF | revert N | curr | prev | list | \
            exec COMMAND]",
        after_help = "Examples:\n  hythe deploy ecosystem.config.js production setup\n  \
            hythe deploy ecosystem.config.js production\n  hythe deploy production --ref v1.2 --dry-run\n  \
            hythe deploy production revert 1\n  hythe deploy production exec 'tail -n 3 $SHARED/logs/*.log'"
    )]
    Deploy(DeployOptions),
    /// Take over what another tool was told
    #[command(subcommand)]
    Import(ImportVerb),
    /// Be nginx: its command line, for a configuration of its own
    ///
    /// The same as a link to this program that is called `nginx`: `-t` checks a configuration, `-c` runs it, `-s
    /// reload|quit|stop|reopen` tells the running server; `-h` shows all.
    #[command(
        after_help = "Examples:\n  hythe nginx -t -c /etc/nginx/nginx.conf\n  ln -s hythe nginx; ./nginx -s reload"
    )]
    Nginx {
        /// nginx's own options
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTION")]
        words: Vec<OsString>,
    },
    /// Be PM2: its command line, for the same services
    ///
    /// The same as a link to this program that is called `pm2`: apps and ecosystem files start, stop, reload and scale
    /// under PM2's words, with its selectors, lists and exit codes. `hythe pm2` alone shows all.
    #[command(
        after_help = "Examples:\n  hythe pm2 start app.js -i max\n  hythe pm2 reload all\n  ln -s hythe pm2; ./pm2 ls"
    )]
    Pm2 {
        /// PM2's own words
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORD")]
        words: Vec<OsString>,
    },
    /// Print the JSON Schema of manifests, for editors
    Schema,
    /// List the last changes: who, when, what
    History(HistoryOptions),
    /// Show the platform: server, minder, addresses, generations
    Status(ReadOptions),
    /// Watch services and instances: CPU, memory, requests in flight
    Top(TopOptions),
    /// A dashboard: services, instances, what they use, and their lines as they come
    ///
    /// `?` shows the keys. Restarts, stops, starts and scales the selected service; what takes something away is asked
    /// about first. Needs a terminal of 80 by 24 or more; NO_COLOR is respected.
    Monit(MonitOptions),
    /// The platform's own life
    #[command(subcommand)]
    Server(ServerVerb),
    /// Go on as another binary, without ending anything
    ///
    /// The server and the minder are replaced; services, their connections and requests in flight go on, and no new
    /// connection is refused. A binary that does not come to serve is replaced by the one before. Without a path it is
    /// the binary that is called: `./new/hythe upgrade`.
    #[command(after_help = "Examples:\n  hythe upgrade\n  hythe upgrade /usr/local/bin/hythe")]
    Upgrade(UpgradeOptions),
    /// Have systemd run the server at every boot
    ///
    /// Writes a unit, enables it, and starts it if no server runs; every step is told. A unit of the machine is root's to
    /// write: for anybody else the command that does it is printed, and the exit code is 1. Settings of the server that
    /// are given here, or in the environment, are the unit's.
    #[command(
        after_help = "Examples:\n  hythe startup\n  hythe startup --print --proxy-listen 80\n  \
        sudo hythe startup --run-as deploy --home /home/deploy/.hythe"
    )]
    Startup(Box<StartupOptions>),
    /// Remove what `startup` has written; a server that runs goes on
    Unstartup(UnstartupOptions),
    /// Print completions for a shell
    #[command(after_help = "Example:\n  hythe completions bash > /etc/bash_completion.d/hythe")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Be the parent of service processes
    #[command(hide = true)]
    Minder {
        /// Only print which version of a running minder's things this binary takes over
        #[arg(long)]
        handover: bool,
    },
}

/// `hythe server ...`
#[derive(Debug, Subcommand)]
pub(crate) enum ServerVerb {
    /// Run a server in the foreground
    ///
    /// SIGTERM ends it; services run on, and the next server adopts them. Under systemd (`Type=notify`) it tells when it
    /// serves and when it stops; with `KillMode=process` services outlive a restart of the unit.
    Run(RunOptions),
    /// Start a server in the background, without any service
    Start(ServerArgs),
    /// End the server and the minder; refused while services run
    Stop(StopServerOptions),
}

/// `hythe import ...`
#[derive(Debug, Subcommand)]
pub(crate) enum ImportVerb {
    /// Turn a configuration of nginx into a manifest
    ///
    /// Prints the manifest, and tells on the standard error what nginx would do and Hythe does not.
    #[command(after_help = "Examples:\n  hythe import nginx /etc/nginx/nginx.conf\n  \
        hythe import nginx nginx.conf -o hythe.yaml\n  hythe import nginx nginx.conf --apply")]
    Nginx(ImportOptions),
    /// Start what PM2 saved
    ///
    /// Reads the dump that `pm2 save` wrote, and tells what is started and what of it has no equal here. Apps that PM2
    /// still runs are left to it, unless --take-over ends PM2 first.
    #[command(
        name = "pm2",
        after_help = "Examples:\n  hythe import pm2\n  hythe import pm2 --pm2-home /home/app/.pm2 --take-over"
    )]
    Pm2(ImportPm2Options),
    /// Start the processes of a Procfile
    ///
    /// Each becomes a service, and is told a port of its own in PORT: 5000 for the first, 5100 for the next.
    #[command(after_help = "Example:\n  hythe import procfile Procfile")]
    Procfile(ImportProcfileOptions),
}

#[derive(Debug, Args)]
pub(crate) struct ImportPm2Options {
    /// PM2's folder [default: PM2_HOME, or ~/.pm2]
    #[arg(long = "pm2-home", value_name = "FOLDER")]
    pub(crate) folder: Option<PathBuf>,
    /// End PM2 and what it runs first
    #[arg(long)]
    pub(crate) take_over: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImportProcfileOptions {
    /// The Procfile
    #[arg(default_value = "Procfile", value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) wait: WaitOptions,
}

#[derive(Debug, Args)]
pub(crate) struct DeployOptions {
    /// The file [default: the folder's ecosystem file], the target, what to do [default: update]
    #[arg(required = true, value_name = "WORD")]
    pub(crate) words: Vec<String>,
    /// Another branch, tag or commit than the target's
    #[arg(long = "ref", value_name = "REF")]
    pub(crate) reference: Option<String>,
    /// Only tell what would be done; nothing is connected
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Deploy although there are changes here that are not committed and pushed
    #[arg(short, long, short_alias = 'F')]
    pub(crate) force: bool,
    /// Print JSON (`curr`, `prev`, `list`)
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImportOptions {
    /// The main configuration file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Write the manifest to a file, which must not be there yet
    #[arg(short, long, value_name = "FILE", conflicts_with = "apply")]
    pub(crate) output: Option<PathBuf>,
    /// Apply it to the running server
    #[arg(long)]
    pub(crate) apply: bool,
}

#[derive(Debug, Args)]
pub(crate) struct UpOptions {
    /// A folder with a hythe.yaml, or a manifest
    #[arg(default_value = ".", value_name = "PATH")]
    pub(crate) path: PathBuf,
    /// Return when everything is ready; leave it running
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Only tell what would change
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Apply although the project came from another file that still exists
    #[arg(long)]
    pub(crate) force: bool,
    /// Also run services of this profile; may be repeated, `*` for all
    #[arg(
        long = "profile",
        value_name = "NAME",
        env = "COMPOSE_PROFILES",
        value_delimiter = ',',
        hide_env = true
    )]
    pub(crate) profiles: Vec<String>,
    #[command(flatten)]
    pub(crate) wait: WaitOptions,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WaitOptions {
    /// Return at once instead of when the change is live
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "2m")]
    pub(crate) timeout: String,
    /// Say what was done as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DownOptions {
    /// A folder with a hythe.yaml, or a manifest
    #[arg(value_name = "PATH")]
    pub(crate) path: Option<PathBuf>,
    /// Every project
    #[arg(long, conflicts_with = "path")]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) wait: WaitOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ListOptions {
    /// Of every project
    #[arg(short = 'a', long)]
    pub(crate) all_projects: bool,
    /// Draw the processes of each service, and theirs
    #[arg(long)]
    pub(crate) tree: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ReadOptions {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ServiceOptions {
    /// The service
    pub(crate) service: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LogOptions {
    /// Services; all of the project if none is named
    pub(crate) services: Vec<String>,
    /// Go on with new lines
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only lines of the last while (`10m`), or since a time (`2026-11-21T10:00:00Z`)
    #[arg(long, value_name = "WHEN")]
    pub(crate) since: Option<String>,
    /// At most this many of the last lines [default: 100; all with --since]
    #[arg(short = 'n', long = "lines", value_name = "NUMBER")]
    pub(crate) lines: Option<usize>,
    /// Delete what is kept instead, also of services that run
    #[arg(long, conflicts_with_all = ["follow", "since", "lines", "json"])]
    pub(crate) flush: bool,
    /// Of every project
    #[arg(short = 'a', long)]
    pub(crate) all_projects: bool,
    /// Print one JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ChangeOptions {
    /// Services, or `all` of the project
    #[arg(required = true)]
    pub(crate) services: Vec<String>,
    #[command(flatten)]
    pub(crate) wait: WaitOptions,
}

#[derive(Debug, Args)]
pub(crate) struct StartOptions {
    /// Services, `all` of the project, a script, a command, or an ecosystem file
    #[arg(value_name = "WHAT")]
    pub(crate) what: Vec<String>,
    #[command(flatten)]
    pub(crate) app: hythe_dialect_pm2::Options,
    #[command(flatten)]
    pub(crate) wait: WaitOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ScaleOptions {
    /// `users=4`, `users 4`, `users=max`
    #[arg(required = true, value_name = "SERVICE=NUMBER")]
    pub(crate) wanted: Vec<String>,
    #[command(flatten)]
    pub(crate) wait: WaitOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainOptions {
    /// The request's method
    pub(crate) method: String,
    /// Its URL, or only a path
    pub(crate) url: String,
    /// A header, `name: value`; may be repeated
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    pub(crate) headers: Vec<String>,
    /// The listener it comes in on: `http`, `internal`
    #[arg(long, value_name = "NAME")]
    pub(crate) listener: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckOptions {
    /// A manifest, or a folder with one
    #[arg(default_value = ".", value_name = "FILE")]
    pub(crate) path: PathBuf,
    /// Also check services of this profile; may be repeated, `*` for all
    #[arg(
        long = "profile",
        value_name = "NAME",
        env = "COMPOSE_PROFILES",
        value_delimiter = ',',
        hide_env = true
    )]
    pub(crate) profiles: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryOptions {
    /// How many at most
    #[arg(short = 'n', long = "limit", value_name = "NUMBER", default_value_t = 20)]
    pub(crate) limit: usize,
    /// Of every project
    #[arg(short = 'a', long)]
    pub(crate) all_projects: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TopOptions {
    /// Print once and return
    #[arg(short = '1', long)]
    pub(crate) once: bool,
    /// Of every project
    #[arg(short = 'a', long)]
    pub(crate) all_projects: bool,
    /// Print JSON, once
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MonitOptions {
    /// Of every project
    #[arg(short = 'a', long)]
    pub(crate) all_projects: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RunOptions {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Leave the terminal's session
    #[arg(long, hide = true)]
    pub(crate) detached: bool,
}

#[derive(Debug, Args)]
pub(crate) struct UpgradeOptions {
    /// The other binary
    #[arg(value_name = "BINARY")]
    pub(crate) binary: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct UnitOptions {
    /// A unit of your own user manager, which runs while you are logged in
    #[arg(long)]
    pub(crate) user: bool,
    /// The unit's name
    #[arg(long, value_name = "NAME", default_value = "hythe")]
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct StartupOptions {
    #[command(flatten)]
    pub(crate) unit: UnitOptions,
    /// The user who runs it [default: you]
    #[arg(long, value_name = "USER", conflicts_with = "user")]
    pub(crate) run_as: Option<String>,
    /// Only print the unit
    #[arg(long, visible_alias = "dry-run")]
    pub(crate) print: bool,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct UnstartupOptions {
    #[command(flatten)]
    pub(crate) unit: UnitOptions,
}

#[derive(Debug, Args)]
pub(crate) struct StopServerOptions {
    /// End running services first
    #[arg(long)]
    pub(crate) with_services: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Arguments::definition().debug_assert();
    }
}

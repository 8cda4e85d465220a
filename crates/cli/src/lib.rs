//! The command line: one file for each verb, or for a few that are alike.
//!
//! A verb is a plain function over a blocking client; nothing here starts a runtime, so that `hythe ls`
//! costs a few milliseconds. Running a server or a minder is the binary's business and comes in as
//! [`Hooks`]: this crate knows neither.

mod arguments;
mod change;
mod check;
mod client;
mod completions;
mod deploy;
mod describe;
mod down;
mod explain;
mod failure;
mod follow;
mod history;
mod init;
mod interrupt;
mod listing;
mod manifest_file;
mod monit;
mod nginx;
mod pm2;
mod progress;
mod reference;
mod routes;
mod scope;
mod server;
mod start;
mod startup;
mod status;
mod terminal;
mod top;
mod tree;
mod up;
mod upgrade;
mod wait;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use hythe_config::ServerArgs;
use hythe_manifest::PluginFinding;
use serde_json::{Map, Value};

use crate::arguments::{Arguments, ImportVerb, ServerVerb, Verb};
use crate::client::Client;
use crate::failure::{Exit, Failure, Outcome};
use crate::scope::Scope;
use crate::terminal::Terminal;

pub use reference::reference;

/// What the binary does for the command line.
#[derive(Clone, Copy)]
pub struct Hooks {
    /// Runs a server until it is told to stop; whether the minder starts it again when it dies. The error is a text
    /// for people.
    pub run_server: fn(&ServerArgs, bool) -> Result<(), String>,
    /// Runs a minder in this process.
    pub run_minder: fn(&Path) -> Result<(), String>,
    /// What a plugin's settings say, and what is wrong with them.
    pub check_plugin: fn(&str, &Map<String, Value>) -> Vec<PluginFinding>,
}

/// What every verb has at hand.
pub(crate) struct Context {
    pub(crate) hooks: Hooks,
    pub(crate) home: PathBuf,
    pub(crate) client: Client,
    pub(crate) project: Option<String>,
    pub(crate) out: Terminal,
}

/// Does what the arguments say. A program that is called `nginx` takes nginx's, one that is called `pm2` PM2's.
pub fn run(arguments: impl IntoIterator<Item = OsString>, hooks: Hooks) -> ExitCode {
    let words: Vec<OsString> = arguments.into_iter().collect();
    if let Some(words) = nginx::own_words(&words) {
        return finish(nginx::run(words, None, hooks));
    }
    if let Some(words) = pm2::own_words(&words) {
        return finish(pm2::run(words, None, hooks));
    }
    let arguments = match Arguments::read(words) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are errors to clap, with an exit code of 0.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    finish(dispatch(arguments, hooks))
}

fn finish(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                terminal::complain(format_args!("{} {failure}", terminal::Tone::Bad.paint("error:")));
            }
            ExitCode::from(failure.exit as u8)
        }
    }
}

fn dispatch(arguments: Arguments, hooks: Hooks) -> Outcome {
    let user_folder = std::env::var_os("HOME");
    let home = hythe_config::default_home(arguments.home.as_deref(), user_folder)
        .map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    let client = Client::of(&home);
    let mut context = Context {
        hooks,
        home,
        client,
        project: arguments.project,
        out: Terminal::stdout(),
    };
    match arguments.verb {
        Verb::Up(options) => up::run(&mut context, &options),
        Verb::Down(options) => down::run(&mut context, &options),
        Verb::Ls(options) => listing::run(&mut context, &options),
        Verb::Describe(options) => describe::run(&mut context, &options),
        Verb::Logs(options) => follow::run(&mut context, &options),
        Verb::Restart(options) => change::restart(&mut context, &options),
        Verb::Scale(options) => change::scale(&mut context, &options),
        Verb::Stop(options) => change::stop(&mut context, &options),
        Verb::Start(options) => start::run(&mut context, &options),
        Verb::Delete(options) => change::delete(&mut context, &options),
        Verb::Routes(options) => routes::run(&mut context, &options),
        Verb::Explain(options) => explain::run(&mut context, &options),
        Verb::Check(options) => check::run(&mut context, &options),
        Verb::Deploy(options) => deploy::run(&mut context, &options),
        Verb::Import(ImportVerb::Nginx(options)) => nginx::import::run(&mut context, &options),
        Verb::Import(ImportVerb::Pm2(options)) => pm2::import::run(context, &options),
        Verb::Import(ImportVerb::Procfile(options)) => pm2::import::procfile(context, &options),
        Verb::Nginx { words } => nginx::run(&words, arguments.home, hooks),
        Verb::Ecosystem(words) => pm2::init::write(&mut context.out, &words),
        Verb::Pm2 { words } => pm2::run(&words, arguments.home, hooks),
        Verb::Schema => check::schema(&mut context),
        Verb::History(options) => history::run(&mut context, &options),
        Verb::Status(options) => status::run(&mut context, &options),
        Verb::Top(options) => top::run(&mut context, &options),
        Verb::Server(ServerVerb::Run(options)) => server::run(&context, options),
        Verb::Server(ServerVerb::Start(options)) => server::start(&mut context, &options),
        Verb::Server(ServerVerb::Stop(options)) => server::stop(&mut context, &options),
        Verb::Monit(options) => monit::run(&mut context, &options),
        Verb::Startup(options) => startup::run(&mut context, &options),
        Verb::Unstartup(options) => startup::undo(&mut context, &options),
        Verb::Completions { shell } => completions::run(&mut context, shell),
        Verb::Upgrade(options) => upgrade::run(&mut context, &options),
        Verb::Minder { handover: true } => context
            .out
            .line(hythe_minder::server::HANDOVER_VERSION.to_string()),
        Verb::Minder { handover: false } => {
            (hooks.run_minder)(&context.home).map_err(|error| Failure::new(Exit::Failed, error))
        }
    }
}

impl Context {
    pub(crate) fn scope(&self) -> Outcome<Scope> {
        Scope::resolve(self.project.as_deref(), Path::new("."))
    }

    /// Who asks, for the history.
    pub(crate) fn actor() -> String {
        std::env::var("USER")
            .ok()
            .filter(|user| !user.is_empty())
            .unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
    }
}

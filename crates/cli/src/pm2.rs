//! `pm2`: the command line of PM2, for a program that is called so or as `hythe pm2`.
//!
//! ```text
//! words ─► verb ─► Pm2 ─► native API: services with labels `pm2.*` of the default project
//!                   │
//!                   ├─ processes: services and their instances as PM2 lists them
//!                   └─ ids: the number of each, remembered beside Hythe's data
//! ```
//!
//! Words, selectors, lists, messages and exit codes (0, or 1 for whatever went wrong) are PM2's; what they do is Hythe's:
//! an app is one service, its processes are that service's instances. So all processes of an app are stopped, reloaded
//! and removed together, `reload` and `restart` both replace them one by one without losing a request, and an app whose
//! new version fails goes on with its old one. `PM2_HOME` only says where dumps and settings are.
//!
//! Left out: everything that talks to PM2's company or loads its modules ([`refused`] tells what to do instead).

mod change;
mod check;
mod describe;
mod dump;
mod follow;
mod ids;
pub(crate) mod import;
pub(crate) mod init;
mod inspect;
mod json;
mod list;
mod log_line;
mod processes;
mod refused;
mod restart;
mod serve;
mod settings;
mod signals;
mod start;
pub(crate) mod words;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use hythe_config::ServerArgs;

use crate::arguments::{MonitOptions, StartupOptions, UnitOptions, UnstartupOptions, UpgradeOptions};
use crate::client::{Client, Presence};
use crate::failure::{Exit, Failure, Outcome};
use crate::pm2::ids::Ids;
use crate::pm2::processes::Processes;
use crate::pm2::words::{StartupWords, Verb, Words};
use crate::terminal::{Terminal, Tone, complain};
use crate::{Context, Hooks, deploy, monit, server, startup, upgrade};

pub(crate) use check::{check, is_ecosystem, tell};
pub(crate) use serve::all as answer_sites;

/// The version of PM2 whose words are spoken.
const SPEAKS: &str = "7.0.4";

/// The project whose services are PM2's processes.
const PROJECT: &str = "default";

/// What every verb has at hand.
struct Pm2 {
    context: Context,
    /// `PM2_HOME`.
    folder: PathBuf,
    silent: bool,
}

/// PM2's words, if a program was called `pm2`, or as `hythe pm2`.
pub(crate) fn own_words(words: &[OsString]) -> Option<&[OsString]> {
    let is_pm2 = |word: &OsString| Path::new(word).file_name().is_some_and(|name| name == "pm2");
    match words {
        [program, rest @ ..] if is_pm2(program) => Some(rest),
        [_, verb, rest @ ..] if verb == "pm2" => Some(rest),
        _ => None,
    }
}

/// Does what PM2's words say. `home`: the data directory, where it was given.
pub(crate) fn run(words: &[OsString], home: Option<PathBuf>, hooks: Hooks) -> Outcome {
    let mut out = Terminal::stdout();
    let verb = match words {
        [] => {
            out.line(words::USAGE)?;
            return Err(Failure::told(Exit::Failed));
        }
        [word] if word == "-v" || word == "-V" || word == "--version" => return out.line(SPEAKS),
        words => words,
    };
    let words = match Words::read(verb) {
        Ok(words) => words,
        Err(error) => {
            // Help is an error to clap, with an exit code of 0.
            let _ = error.print();
            return match error.exit_code() {
                0 => Ok(()),
                _ => Err(Failure::told(Exit::Failed)),
            };
        }
    };
    let done = Pm2::new(home, hooks, words.silent).and_then(|mut pm2| pm2.act(words.verb, words.mini_list));
    done.map_err(|failure| {
        if !failure.message.is_empty() {
            complain(format_args!("{} {failure}", Tone::Bad.paint("[PM2][ERROR]")));
        }
        Failure::told(Exit::Failed)
    })
}

impl Pm2 {
    fn new(home: Option<PathBuf>, hooks: Hooks, silent: bool) -> Outcome<Self> {
        let user_folder = std::env::var_os("HOME");
        let given = home.or_else(|| std::env::var_os("HYTHE_HOME").map(PathBuf::from));
        let home = hythe_config::default_home(given.as_deref(), user_folder)
            .map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
        let context = Context {
            hooks,
            client: Client::of(&home),
            home,
            project: Some(PROJECT.to_owned()),
            out: Terminal::stdout(),
        };
        Ok(Self {
            context,
            folder: folder()?,
            silent,
        })
    }

    fn act(&mut self, verb: Verb, mini: bool) -> Outcome {
        match verb {
            Verb::Start(words) => start::start(self, &words),
            Verb::StartOrRestart(words) | Verb::StartOrReload(words) | Verb::StartOrGracefulReload(words) => {
                start::start_or_restart(self, &words)
            }
            Verb::Stop(words) => change::stop(self, &words.which),
            Verb::Restart(words) => restart::restart(self, &words, restart::Way::Restart),
            Verb::Reload(words) => restart::restart(self, &words, restart::Way::Reload),
            Verb::Delete(words) => change::delete(self, &words.which),
            Verb::Scale(words) => change::scale(self, &words),
            Verb::SendSignal(words) => signals::send(self, &words),
            Verb::Reset(words) => change::reset(self, &words.which),
            Verb::Ping => self.ping(),
            Verb::Kill => change::kill(self),
            Verb::Update => self.update(),
            Verb::Pid(words) => describe::pids(self, words.which.as_deref()),
            Verb::Id(words) => describe::ids(self, &words.which),
            Verb::Env(words) => describe::environment(self, &words.which),
            Verb::Describe(words) => describe::describe(self, &words.which),
            Verb::List(words) => list::list(self, &words, mini),
            Verb::Jlist => json::jlist(self),
            Verb::Prettylist => json::prettylist(self),
            Verb::Logs(words) => follow::logs(self, &words),
            Verb::Flush(words) => follow::flush(self, words.which.as_deref()),
            Verb::ReloadLogs => follow::reload(self),
            Verb::Save(words) => dump::save(self, words.force),
            Verb::Cleardump => dump::clear(self),
            Verb::Resurrect => dump::resurrect(self),
            Verb::Serve(words) => serve::serve(self, &words),
            Verb::Monit => monit::run(&mut self.context, &MonitOptions { all_projects: false }),
            Verb::Startup(words) => self.startup(words),
            Verb::Unstartup(words) => startup::undo(
                &mut self.context,
                &UnstartupOptions {
                    unit: unit(words.service_name),
                },
            ),
            Verb::Deploy(options) => deploy::run(&mut self.context, &options),
            Verb::Ecosystem(words) => init::write(&mut self.context.out, &words),
            Verb::Set(words) => settings::set(self, &words),
            Verb::Get(words) => settings::get(self, words.key.as_deref()),
            Verb::Unset(words) => settings::unset(self, &words.key),
            Verb::Conf(words) => settings::conf(self, &words),
            Verb::Completion => self.context.out.raw(&words::completion()),
            Verb::Examples => self.context.out.line(words::EXAMPLES),
            Verb::Other(words) => refused::answer(self, &words),
        }
    }

    /// Says what is done, unless nothing shall be said.
    fn say(&mut self, text: &str) -> Outcome {
        if self.silent {
            return Ok(());
        }
        let mark = Tone::Good.paint("[PM2]");
        self.context.out.line(format!("{mark} {text}"))
    }

    fn warn(&self, text: &str) {
        complain(format_args!("{} {text}", Tone::Busy.paint("[PM2][WARN]")));
    }

    /// Starts a server if none runs.
    fn ensure_server(&mut self) -> Outcome {
        server::ensure(&self.context, &ServerArgs::default()).map(drop)
    }

    /// What runs, with the numbers of all; nothing, if no server does.
    fn processes(&self) -> Outcome<Processes> {
        if self.context.client.presence() == Presence::Absent {
            return Ok(Processes::default());
        }
        let mut ids = Ids::open(&self.context.home)?;
        let processes = Processes::read(&self.context.client, &mut ids)?;
        ids.save()?;
        Ok(processes)
    }

    fn ping(&mut self) -> Outcome {
        self.ensure_server()?;
        self.context.out.line("{ msg: 'pong' }")
    }

    fn startup(&mut self, words: StartupWords) -> Outcome {
        let options = StartupOptions {
            unit: unit(words.service_name),
            run_as: words.user,
            print: false,
            server: ServerArgs::default(),
        };
        startup::run(&mut self.context, &options)
    }

    /// PM2 would save, end, and start everything again; here this program takes over from the one that serves.
    fn update(&mut self) -> Outcome {
        self.ensure_server()?;
        upgrade::run(&mut self.context, &UpgradeOptions { binary: None })
    }
}

/// A unit of the machine's.
fn unit(name: String) -> UnitOptions {
    UnitOptions { user: false, name }
}

/// `PM2_HOME`, or `~/.pm2`.
fn folder() -> Outcome<PathBuf> {
    let given = std::env::var_os("PM2_HOME").filter(|folder| !folder.is_empty());
    let at_home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".pm2"));
    let folder = given.map(PathBuf::from).or_else(at_home).ok_or_else(|| {
        Failure::new(Exit::Usage, "neither PM2_HOME nor HOME is set").hint("set PM2_HOME to a folder")
    })?;
    Ok(std::path::absolute(folder)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_or_a_verb_makes_it_pm2() {
        let own = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            own_words(&words).map(<[OsString]>::len)
        };
        assert_eq!(own(&["/usr/bin/pm2", "ls"]), Some(1));
        assert_eq!(own(&["hythe", "pm2", "start", "a.js"]), Some(2));
        assert_eq!(own(&["pm2"]), Some(0));
        assert_eq!(own(&["hythe", "ls"]), None);
        assert_eq!(
            own(&["hythe", "--home", "x", "pm2", "ls"]),
            None,
            "that way clap reads it"
        );
    }
}

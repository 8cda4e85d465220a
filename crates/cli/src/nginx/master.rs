//! The process that a pid file names: it starts a server, keeps it running and acts on signals as nginx's master does.
//!
//! | signal | what it does |
//! | --- | --- |
//! | HUP | reads the files again; with a mistake in them everything stays as it is |
//! | QUIT | ends when open requests have been answered |
//! | TERM, INT | ends at once |
//! | USR1, WINCH, USR2 | nothing: logs are rotated by the server, and it has no processes of its own to replace |

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use hythe_api::wire::StopServerRequest;
use hythe_config::ServerArgs;
use rustix::process::{Pid, kill_process};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use signal_hook::iterator::Signals;

use super::import;
use super::options::{DETACHED, Options};
use super::site::{Reading, Site};
use crate::client::{Client, Presence};
use crate::failure::{Exit, Failure, Outcome};
use crate::terminal::{Terminal, complain};
use crate::{Context, Hooks, server};

/// How long requests that are open when it quits may take, unless `worker_shutdown_timeout` says so.
const DRAIN: &str = "1h";

/// Starts a server for a configuration: in the background, or here with `daemon off`.
pub(super) fn start(site: &Site, options: &Options, hooks: Hooks) -> Outcome {
    let reading = site.read();
    reading.complain();
    if reading.verdict.error.is_some() {
        return Err(Failure::told(Exit::Failed));
    }
    let mut master = Master::of(site, &reading, hooks);
    if master.context.client.presence() != Presence::Absent {
        let message = format!("a server is running already, see {}", master.pid_file.display());
        return Err(Failure::new(Exit::Failed, message));
    }
    let in_front = reading.setting("daemon").is_some_and(|daemon| daemon == "off");
    if in_front || options.detached {
        if options.detached {
            // Fails only for a group leader, which then stays in its session.
            let _ = rustix::process::setsid();
        }
        master.run(site, reading)
    } else {
        master.in_background()
    }
}

struct Master {
    context: Context,
    pid_file: PathBuf,
    settings: ServerArgs,
}

impl Master {
    fn of(site: &Site, reading: &Reading, hooks: Hooks) -> Self {
        let home = site.home(reading);
        let workers = reading
            .setting("worker_processes")
            .filter(|number| *number != "auto");
        let drain = reading.setting("worker_shutdown_timeout").unwrap_or(DRAIN);
        let node = import::translation(reading, hooks).node;
        let settings = ServerArgs {
            home: home.clone(),
            proxy_listen: vec!["off".to_owned()],
            proxy_tls_listen: vec!["off".to_owned()],
            api_listen: Some("off".to_owned()),
            workers: workers.map(str::to_owned),
            drain_timeout: Some(drain.to_owned()),
            trusted_proxies: node.trusted_proxies,
            real_ip_header: node.real_ip_header,
            real_ip_recursive: Some(switch(node.real_ip_recursive).to_owned()),
            ..ServerArgs::default()
        };
        let client = Client::of(&home);
        Self {
            context: Context {
                hooks,
                home,
                client,
                project: None,
                out: Terminal::stdout(),
            },
            pid_file: site.pid_file(reading),
            settings,
        }
    }

    /// Starts this program again in the background, and waits until it serves.
    fn in_background(&self) -> Outcome {
        prepare(&self.context.home)?;
        let path = self.context.home.join("nginx.log");
        let log = open_log(&path)?;
        let before = log.metadata()?.len();
        let words: Vec<OsString> = std::env::args_os().collect();
        let mut command = Command::new(std::env::current_exe()?);
        match super::own_words(&words) {
            Some(own) => command.arg("nginx").args(own),
            None => command.args(words.iter().skip(1)),
        };
        command.arg(DETACHED);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut child = command.spawn()?;
        let pid = child.id().to_string();
        loop {
            if std::fs::read_to_string(&self.pid_file).is_ok_and(|text| text.trim() == pid) {
                return Ok(());
            }
            if child.try_wait()?.is_some() {
                complain(server::log_since(&path, before));
                return Err(Failure::told(Exit::Failed));
            }
            server::pause();
        }
    }

    fn run(&mut self, site: &Site, reading: Reading) -> Outcome {
        prepare(&self.context.home)?;
        // Before anything that may take long: a signal that comes meanwhile is acted on afterwards.
        let mut signals = Signals::new([
            SIGHUP, SIGQUIT, SIGTERM, SIGINT, SIGCHLD, SIGUSR1, SIGUSR2, SIGWINCH,
        ])?;
        let mut child = server::ensure(&self.context, &self.settings)?.ok_or_else(|| {
            Failure::new(
                Exit::Failed,
                format!("another server uses {}", self.context.home.display()),
            )
        })?;
        if let Err(failure) = self.take(site, &reading).and_then(|()| self.write_pid()) {
            let _ = server::end(&self.context, true, Some(&mut child));
            return Err(failure);
        }
        drop(reading);
        let ended = self.follow(site, &mut child, &mut signals);
        let _ = std::fs::remove_file(&self.pid_file);
        ended
    }

    /// Acts on signals until the server has ended.
    fn follow(&mut self, site: &Site, child: &mut Child, signals: &mut Signals) -> Outcome {
        let mut ending = false;
        for signal in signals.forever() {
            match signal {
                SIGHUP => self.reload(site),
                SIGQUIT => {
                    ending = true;
                    self.ask_to_stop()?;
                }
                SIGTERM | SIGINT => {
                    ending = true;
                    self.ask_to_stop()?;
                    cut_off(child);
                }
                SIGCHLD if child.try_wait()?.is_some() => {
                    if ending {
                        return Ok(());
                    }
                    complain("nginx: [alert] the server has ended unexpectedly, it is started again");
                    if let Some(started) = server::ensure(&self.context, &self.settings)? {
                        *child = started;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes over what the files say now. Mistakes are told, and then nothing changes.
    fn reload(&mut self, site: &Site) {
        let reading = site.read();
        reading.complain();
        if reading.verdict.error.is_some() {
            return;
        }
        if let Err(failure) = self.take(site, &reading) {
            complain(format_args!("nginx: [emerg] {failure}"));
        }
    }

    /// Applies a configuration, and waits until it is served.
    fn take(&mut self, site: &Site, reading: &Reading) -> Outcome {
        let translation = import::translation(reading, self.context.hooks);
        import::tell_losses(&translation.notes);
        let change = import::apply(&self.context, &site.file, &translation)?;
        import::await_live(&mut self.context, &change)
    }

    fn ask_to_stop(&self) -> Outcome {
        let request = StopServerRequest { with_services: true };
        let asked: Outcome<serde_json::Value> = self.context.client.send("POST", "/v1/server/stop", &request);
        match asked {
            Err(failure) if failure.exit == Exit::NoServer => Ok(()),
            asked => asked.map(|_| ()),
        }
    }

    fn write_pid(&self) -> Outcome {
        let path = &self.pid_file;
        hythe_stdx::write_atomically(path, format!("{}\n", std::process::id()).as_bytes()).map_err(|error| {
            Failure::new(
                Exit::Failed,
                format!("open() \"{}\" failed ({error})", path.display()),
            )
        })
    }
}

/// A flag as settings of the server have it.
fn switch(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

/// A signal while it ends: open requests are not waited for.
fn cut_off(child: &Child) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended already.
        let _ = kill_process(pid, rustix::process::Signal::TERM);
    }
}

fn prepare(home: &Path) -> Outcome {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(home)
        .map_err(|error| Failure::new(Exit::Failed, format!("create {}: {error}", home.display())))
}

fn open_log(path: &Path) -> Outcome<File> {
    Ok(OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?)
}

//! `hythe import pm2` and `hythe import procfile`: what was told to another tool, run here.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hythe_dialect_pm2::dump::{self, Dump};
use hythe_dialect_pm2::environment::Variables;
use hythe_dialect_pm2::procfile as dialect;
use hythe_dialect_pm2::workload::Surroundings;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{Pm2, check, list, start};
use crate::arguments::{ImportPm2Options, ImportProcfileOptions};
use crate::failure::{Exit, Failure, Outcome};
use crate::start::{Apps, cores, refused, shell};
use crate::terminal::{Tone, complain};
use crate::{Context, server};

/// The port of the first process of a Procfile, and how far the next one's is.
const FIRST_PORT: u16 = 5_000;
const NEXT_PORT: u16 = 100;
/// How long PM2 may take to end what it runs.
const END: Duration = Duration::from_secs(60);

/// `hythe import pm2`: starts what PM2's dump has, unless PM2 still does.
pub(crate) fn run(context: Context, options: &ImportPm2Options) -> Outcome {
    let folder = match &options.folder {
        Some(folder) => std::path::absolute(folder)?,
        None => super::folder()?,
    };
    let mut pm2 = Pm2 {
        context,
        folder,
        silent: false,
    };
    let path = pm2.folder.join("dump.pm2");
    let dump = read(&path)?;
    show(&mut pm2, &dump)?;
    match Daemon::of(&pm2.folder) {
        Some(daemon) if options.take_over => {
            pm2.context
                .out
                .line(format!("ending PM2, process {}", daemon.pid))?;
            daemon.end()?;
        }
        Some(daemon) => {
            let message = format!(
                "PM2, process {}, still runs these: nothing was started",
                daemon.pid
            );
            return Err(Failure::new(Exit::Failed, message).hint("`--take-over` ends it first"));
        }
        None => {}
    }
    let left_out = start_all(&mut pm2, &dump)?;
    list::show(&mut pm2)?;
    match left_out {
        0 => Ok(()),
        count => Err(Failure::new(
            Exit::Failed,
            format!("{count} of the apps cannot be started here"),
        )),
    }
}

fn read(path: &Path) -> Outcome<Dump> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::new(Exit::NotFound, format!("read {}: {error}", path.display()))
            .hint("`pm2 save` writes it; --pm2-home says where")
    })?;
    let dump = dump::parse(&text)
        .map_err(|problem| Failure::new(Exit::Usage, format!("{}: {}", path.display(), problem.message)));
    match text.contains("\"hythe_saved\"") {
        true => Err(Failure::new(
            Exit::Usage,
            format!("{} is a dump of Hythe's own", path.display()),
        )
        .hint("`hythe pm2 resurrect` starts what it has")),
        false => dump,
    }
}

fn show(pm2: &mut Pm2, dump: &Dump) -> Outcome {
    super::tell(&dump.problems, None);
    for app in &dump.ecosystem.apps {
        pm2.context.out.line(check::in_words(app))?;
    }
    for (name, reason) in &dump.left_out {
        complain(format_args!(
            "{} {name} is left out: {reason}",
            Tone::Busy.paint("!")
        ));
    }
    Ok(())
}

/// How many apps could not be started; the others were.
fn start_all(pm2: &mut Pm2, dump: &Dump) -> Outcome<usize> {
    let shell = Variables::new();
    let mut apps = Apps::default();
    let mut left_out = 0;
    for app in &dump.ecosystem.apps {
        let around = Surroundings {
            folder: &pm2.folder,
            shell: &shell,
            file: Some(&dump.ecosystem),
            chosen: None,
            cores: cores(),
        };
        // Why not was told when it was planned, unless two apps come to one name.
        if let Err(failure) = apps.plan(app, &around) {
            if !failure.message.is_empty() {
                complain(&failure);
            }
            left_out += 1;
        }
    }
    if !apps.order.is_empty() {
        pm2.ensure_server()?;
        start::launch(pm2, apps, false)?;
    }
    Ok(left_out)
}

/// PM2's own process.
struct Daemon {
    pid: u32,
    handle: rustix::fd::OwnedFd,
}

impl Daemon {
    /// The one of this folder, if it runs. A number that another process has by now is none.
    fn of(folder: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(folder.join("pm2.pid")).ok()?;
        let pid: u32 = text.trim().parse().ok()?;
        let handle = pidfd_open(Pid::from_raw(i32::try_from(pid).ok()?)?, PidfdFlags::empty()).ok()?;
        let title = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        is_daemon(&title, folder).then_some(Self { pid, handle })
    }

    /// Has it end what it runs, and itself.
    fn end(&self) -> Outcome {
        pidfd_send_signal(&self.handle, Signal::TERM).map_err(std::io::Error::from)?;
        let deadline = Instant::now() + END;
        while !server::has_ended(self.pid) {
            if Instant::now() >= deadline {
                let message = format!("PM2, process {}, does not end", self.pid);
                return Err(
                    Failure::new(Exit::TimedOut, message).hint("`pm2 kill` of PM2's own may tell why")
                );
            }
            server::pause();
        }
        Ok(())
    }
}

/// `PM2 v7.0.4: God Daemon (/home/app/.pm2)`, or less of that: a process has as much room for its title as the command
/// that started it took.
fn is_daemon(title: &[u8], folder: &Path) -> bool {
    let title = String::from_utf8_lossy(title);
    let title = title.trim_end_matches('\0');
    let Some((program, place)) = title.split_once(": God Daemon (") else {
        return false;
    };
    program.starts_with("PM2 v") && format!("{})", folder.display()).starts_with(place)
}

/// `hythe import procfile`: starts its processes, each with a port of its own.
pub(crate) fn procfile(context: Context, options: &ImportProcfileOptions) -> Outcome {
    let path = std::path::absolute(&options.file)?;
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Failure::new(Exit::NotFound, format!("read {}: {error}", path.display())))?;
    let read = dialect::parse(&text).map_err(|problems| refused(&problems, Some(&path)))?;
    let folder: PathBuf = path.parent().unwrap_or(Path::new("/")).to_owned();
    let shell = shell();
    let mut apps = Apps::default();
    for (mut app, place) in read.into_iter().zip(0_u16..) {
        app.port = Some(port(place));
        let around = Surroundings {
            folder: &folder,
            shell: &shell,
            file: None,
            chosen: None,
            cores: cores(),
        };
        apps.plan(&app, &around)?;
    }
    if apps.order.is_empty() {
        return Err(Failure::new(
            Exit::NotFound,
            format!("{} has no processes", path.display()),
        ));
    }
    let mut context = context;
    crate::start::start(&mut context, apps, &options.wait)
}

fn port(place: u16) -> u16 {
    FIRST_PORT.saturating_add(place.saturating_mul(NEXT_PORT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pm2s_own_process_is_ended() {
        let folder = Path::new("/home/app/.pm2");
        for (title, expected) in [
            ("PM2 v7.0.4: God Daemon (/home/app/.pm2)\0\0", true),
            ("PM2 v7.0.4: God Daemon (/home/ap", true),
            ("PM2 v7.0.4: God Daemon (/root/.pm2)", false),
            ("PM2 v7.0.4: God Daemon (/home/app/.pm2-2)", false),
            ("vim\0PM2 v7", false),
        ] {
            assert_eq!(is_daemon(title.as_bytes(), folder), expected, "{title}");
        }
        assert!(Daemon::of(Path::new("/nonexistent")).is_none());
    }

    #[test]
    fn processes_of_a_procfile_are_a_hundred_ports_apart() {
        assert_eq!([port(0), port(1), port(7)], [5_000, 5_100, 5_700]);
        assert_eq!(port(u16::MAX), u16::MAX);
    }
}

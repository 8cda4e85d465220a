//! What is seen and kept of a deployment: lines with their host before them, and a log of the last one.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use hythe_deploy::{Job, Report};
use hythe_dialect_pm2::file_name;

use crate::Context;
use crate::failure::{Exit, Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::terminal::{Tone, complain};

/// What the log grows to, in bytes; what comes then is only shown.
const LARGEST_LOG: u64 = 16 << 20;

/// Shows lines of several hosts as they come.
pub(super) struct Screen {
    /// Whether steps are shown, and not only output.
    steps: bool,
    /// Whether lines begin with their host.
    named: bool,
    /// Whether lines go to stderr, as something else is the result.
    aside: bool,
    log: Option<Log>,
    interrupt: Interrupt,
}

struct Log {
    path: PathBuf,
    file: Mutex<(File, u64)>,
}

impl Screen {
    /// For what changes hosts: everything is shown and logged, and a signal ends it in an orderly way.
    pub(super) fn for_changes(context: &Context, job: &Job) -> Outcome<Self> {
        let again = AtomicBool::new(false);
        let interrupt = Interrupt::listen(move || {
            if again.swap(true, Ordering::Relaxed) {
                let _ = signal_hook::low_level::emulate_default_handler(signal_hook::consts::SIGINT);
            } else {
                complain(
                    "what runs now is finished, and put back if it has switched; once more to stop at once",
                );
            }
        })?;
        Ok(Self {
            steps: true,
            named: true,
            aside: false,
            log: Some(Log::create(context, job)?),
            interrupt,
        })
    }

    /// For a command: its output, with the hosts' names if there are several.
    pub(super) fn for_output(named: bool) -> Self {
        Self {
            steps: false,
            named,
            aside: false,
            log: None,
            interrupt: Interrupt::never(),
        }
    }

    /// For what only reads.
    pub(super) fn aside() -> Self {
        Self {
            aside: true,
            ..Self::for_output(true)
        }
    }

    /// Says where the log is.
    pub(super) fn tell_log(&self) {
        if let Some(log) = &self.log {
            complain(format_args!("the log is {}", log.path.display()));
        }
    }

    fn show(&self, host: &str, text: &str, mark: &str) {
        let line = match self.named {
            true => format!("{} {mark}{text}", Tone::Strong.paint(host)),
            false => text.to_owned(),
        };
        if self.aside {
            complain(&line);
        } else {
            // Hosts go on when nobody reads.
            let _ = writeln!(anstream::stdout(), "{line}");
        }
        if let Some(log) = &self.log {
            log.write(&format!("{host} {mark}{text}\n"));
        }
    }
}

impl Report for Screen {
    fn step(&self, host: &str, words: &str) {
        if self.steps {
            self.show(host, words, "");
        }
    }

    fn output(&self, host: &str, line: &str) {
        self.show(host, line, "| ");
    }

    fn is_interrupted(&self) -> bool {
        self.interrupt.is_raised()
    }
}

impl Log {
    /// The last deployment of each target is kept. Output of hooks may be secret.
    fn create(context: &Context, job: &Job) -> Outcome<Self> {
        let folder = context.home.join("deploy");
        let path = folder.join(format!("{}.log", file_name(&job.environment)));
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        let file = made.and_then(|()| {
            let _ = std::fs::remove_file(&path);
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
        });
        let file =
            file.map_err(|error| Failure::new(Exit::Failed, format!("write {}: {error}", path.display())))?;
        Ok(Self {
            path,
            file: Mutex::new((file, 0)),
        })
    }

    /// A full disk is no reason to stop in the middle.
    fn write(&self, line: &str) {
        let mut log = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, written) = &mut *log;
        if *written < LARGEST_LOG && file.write_all(line.as_bytes()).is_ok() {
            *written += line.len() as u64;
        }
    }
}

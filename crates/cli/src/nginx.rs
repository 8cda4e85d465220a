//! `nginx`: the command line of nginx, for a program that is called so or as `hythe nginx`.
//!
//! A configuration is checked, translated and run by a server of its own, whose data directory stands beside the pid
//! file. As with nginx there is a process that the pid file names ([`master`]): it keeps the server, and acts on
//! the signals that `-s` sends. A reload is one change of the running server: what has a mistake changes nothing.

pub(crate) mod import;
mod master;
mod options;
mod site;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use hythe_dialect_nginx::Mistake;

use crate::arguments::CheckOptions;
use crate::check::ProblemView;
use crate::failure::{Exit, Failure, Outcome};
use crate::nginx::options::{HELP, Options, Signal};
use crate::nginx::site::{Reading, Site, told};
use crate::terminal::{Terminal, complain};
use crate::{Context, Hooks};

/// The version of nginx whose language is spoken.
const SPEAKS: &str = "nginx/1.22.1";

/// nginx's words, if a program was called `nginx`, or as `hythe nginx`.
pub(crate) fn own_words(words: &[OsString]) -> Option<&[OsString]> {
    let is_nginx = |word: &OsString| Path::new(word).file_name().is_some_and(|name| name == "nginx");
    match words {
        [program, rest @ ..] if is_nginx(program) => Some(rest),
        [_, verb, rest @ ..] if verb == "nginx" => Some(rest),
        _ => None,
    }
}

/// Does what nginx's words say. `home`: the data directory, where it was given.
pub(crate) fn run(words: &[OsString], home: Option<PathBuf>, hooks: Hooks) -> Outcome {
    let options = match Options::parse(words.iter().cloned()) {
        Ok(options) => options,
        Err(problem) => {
            complain(format_args!("nginx: {problem}"));
            return Err(Failure::told(Exit::Failed));
        }
    };
    act(&options, home, hooks).map_err(|failure| {
        if !failure.message.is_empty() {
            complain(format_args!("nginx: [emerg] {failure}"));
        }
        Failure::told(Exit::Failed)
    })
}

/// `hythe check` for a configuration of nginx.
pub(crate) fn check(context: &mut Context, options: &CheckOptions) -> Outcome {
    let file = std::path::absolute(&options.path)?;
    let reading = Reading::of(&file, "");
    if options.json {
        return check_in_json(context, &reading, &file);
    }
    let told = told(&reading, &file, false);
    if told.is_ok() {
        for note in import::translation(&reading, context.hooks).notes {
            context.out.line(note.to_string())?;
        }
    }
    told
}

fn check_in_json(context: &mut Context, reading: &Reading, file: &Path) -> Outcome {
    let mistake = |severity, mistake: &Mistake| {
        let (file, line) = match &mistake.place {
            Some((file, line)) => (file.to_string(), *line),
            None => (file.display().to_string(), 0),
        };
        (severity, mistake.message.clone(), file, line, 0)
    };
    let verdict = &reading.verdict;
    let mut rows: Vec<_> = verdict
        .warnings
        .iter()
        .map(|warning| mistake("warning", warning))
        .collect();
    rows.extend(verdict.error.iter().map(|error| mistake("error", error)));
    if verdict.error.is_none() {
        rows.extend(
            import::translation(reading, context.hooks)
                .notes
                .into_iter()
                .map(|note| {
                    let message = format!("\"{}\" {}: {}", note.directive, note.effect, note.reason);
                    (
                        "warning",
                        message,
                        note.place.file.to_string(),
                        note.place.line,
                        note.place.column,
                    )
                }),
        );
    }
    let views: Vec<_> = rows
        .iter()
        .map(|(severity, message, file, line, column)| ProblemView {
            severity,
            app: None,
            field: None,
            message,
            help: None,
            file: file.clone(),
            line: Some(*line),
            column: Some(*column),
        })
        .collect();
    context.out.json(&views)?;
    match verdict.error {
        Some(_) => Err(Failure::told(Exit::Failed)),
        None => Ok(()),
    }
}

fn act(options: &Options, home: Option<PathBuf>, hooks: Hooks) -> Outcome {
    if options.help || options.version {
        complain(format_args!(
            "nginx version: {SPEAKS} (Hythe {})",
            env!("CARGO_PKG_VERSION")
        ));
        if options.help {
            complain(HELP);
        }
        if !options.test {
            return Ok(());
        }
    }
    let site = Site::of(options, home)?;
    match options.signal {
        Some(signal) => send(&site, signal),
        None if options.test => test(&site, options),
        None => master::start(&site, options, hooks),
    }
}

/// `-t`: nginx's verdict; the notes of the translation are told by `hythe check`.
fn test(site: &Site, options: &Options) -> Outcome {
    let reading = site.read();
    if options.dump && reading.verdict.error.is_none() {
        let mut out = Terminal::stdout();
        for (name, text) in &reading.configuration.files {
            out.raw(&format!(
                "# configuration file {name}:\n{}\n",
                String::from_utf8_lossy(text)
            ))?;
        }
    }
    told(&reading, &site.file, options.quiet)
}

/// Tells the process that the pid file names.
fn send(site: &Site, signal: Signal) -> Outcome {
    let reading = site.read();
    reading.complain();
    if reading.verdict.error.is_some() {
        return Err(Failure::told(Exit::Failed));
    }
    let path = site.pid_file(&reading);
    let alert = |level: &str, text: String| {
        complain(format_args!("nginx: [{level}] {text}"));
        Err(Failure::told(Exit::Failed))
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => return alert("error", format!("open() \"{}\" failed ({error})", path.display())),
    };
    let number = text.trim().parse().ok().and_then(rustix::process::Pid::from_raw);
    let Some(pid) = number else {
        let message = format!("invalid PID number \"{}\" in \"{}\"", text.trim(), path.display());
        return alert("error", message);
    };
    match rustix::process::kill_process(pid, signal.of_unix()) {
        Ok(()) => Ok(()),
        Err(error) => alert("alert", format!("kill({pid}) failed ({error})")),
    }
}

impl Signal {
    fn of_unix(self) -> rustix::process::Signal {
        match self {
            Self::Stop => rustix::process::Signal::TERM,
            Self::Quit => rustix::process::Signal::QUIT,
            Self::Reopen => rustix::process::Signal::USR1,
            Self::Reload => rustix::process::Signal::HUP,
        }
    }
}

//! `logs`, `flush`, `reloadLogs`, and what follows a `start --attach`.
//!
//! The server keeps both streams of a service in one log, so the last lines of each stream are picked here, out of a
//! number of lines that is bounded ([`LOOKED_AT`]). New lines are asked for before the old ones are, so that none is lost
//! between the two.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc;

use hythe_model::view::LogLine;

use super::ids::Ids;
use super::log_line::{Form, Origin};
use super::processes::{Process, Processes};
use super::words::LogWords;
use super::{Pm2, change};
use crate::client::{Client, Lines, encode};
use crate::failure::{Exit, Failure, Outcome};
use crate::follow::parse;
use crate::interrupt::Interrupt;
use crate::terminal::{Terminal, Tone};

/// Lines of a service among which the last of a stream are looked for.
const LOOKED_AT: usize = 10_000;

/// Shows lines as they come.
struct Follower {
    client: Client,
    home: PathBuf,
    out: Terminal,
    form: Form,
    /// `stdout`, `stderr`; `None`: both, and notes.
    stream: Option<&'static str>,
    /// By instance; `None` for one of a service that is no app.
    origins: BTreeMap<String, Option<Origin>>,
    /// Only of this process.
    only: Option<u32>,
}

pub(crate) fn logs(pm2: &mut Pm2, words: &LogWords) -> Outcome {
    pm2.ensure_server()?;
    let processes = pm2.processes()?;
    let meant = match &words.which {
        Some(which) => processes.select(which).unwrap_or_default(),
        None => processes.list.iter().collect(),
    };
    let services = Processes::services_of(&meant);
    let mut follower = Follower::new(pm2, words, &processes);
    follower.only = match meant.as_slice() {
        [one] if processes.of_service(&one.service).count() > 1 => Some(one.id),
        _ => None,
    };
    if !follower.form.is_for_programs() && !words.raw {
        let of = match &words.which {
            Some(which) => format!("[{which}] process"),
            None => "[all] processes".to_owned(),
        };
        let title = format!(
            "[TAILING] Tailing last {} lines for {of} (change the value with --lines option)",
            words.lines
        );
        follower.out.line(Tone::Faint.paint(&title))?;
    }
    let opened = hythe_stdx::unix_ms();
    let lines = match words.nostream {
        true => None,
        false => Some(follower.open(words.which.is_some().then_some(services.as_slice()), None)?),
    };
    for service in &services {
        follower.tail(service, words.lines, opened)?;
    }
    lines.map_or(Ok(()), |lines| follower.follow(lines))
}

/// What was started prints from `begun` on, until nobody reads.
pub(crate) fn attach(pm2: &mut Pm2, services: &[String], begun: u64) -> Outcome {
    let mut follower = Follower::attached(pm2)?;
    let lines = follower.open(Some(services), Some(begun))?;
    follower.follow(lines)
}

/// The same until Ctrl-C, which removes what was started.
pub(crate) fn until_interrupted(pm2: &mut Pm2, services: &[String], begun: u64) -> Outcome {
    let mut follower = Follower::attached(pm2)?;
    let lines = follower.open(Some(services), Some(begun))?;
    // Whoever is first to tell has told enough.
    let (tell, told) = mpsc::sync_channel(1);
    let at_end = tell.clone();
    let _interrupt = Interrupt::listen(move || {
        let _ = tell.try_send(());
    })?;
    std::thread::Builder::new()
        .name("logs".to_owned())
        .spawn(move || {
            // Whatever ends the lines, what was started is still there to be removed.
            let _ = follower.follow(lines);
            let _ = at_end.try_send(());
        })?;
    // Both senders are gone only when both threads are, and then there is nothing to wait for either.
    let _ = told.recv();
    let processes = pm2.processes()?;
    let left = services
        .iter()
        .filter_map(|service| processes.services.get(service));
    let names: Vec<String> = left.map(|service| service.name.clone()).collect();
    if names.is_empty() {
        Ok(())
    } else {
        change::delete(pm2, &names)
    }
}

pub(crate) fn flush(pm2: &mut Pm2, which: Option<&str>) -> Outcome {
    pm2.ensure_server()?;
    let mut ids = Ids::open(&pm2.context.home)?;
    let processes = Processes::read(&pm2.context.client, &mut ids)?;
    let meant = match which {
        Some(which) => processes.select(which).unwrap_or_default(),
        None => processes.list.iter().collect(),
    };
    let services = Processes::services_of(&meant);
    drop(ids);
    for service in &services {
        pm2.say(&format!("Flushing {service}"))?;
    }
    if !services.is_empty() {
        let path = format!("/v1/logs?service={}", encode(&services.join(",")));
        let _: serde_json::Value = pm2.context.client.send("DELETE", &path, &())?;
    }
    pm2.say("Logs flushed")
}

pub(crate) fn reload(pm2: &mut Pm2) -> Outcome {
    pm2.ensure_server()?;
    pm2.say("Reloading all logs...")?;
    let _: serde_json::Value = pm2.context.client.send("POST", "/v1/logs/reopen", &())?;
    pm2.say("All logs reloaded")
}

impl Follower {
    fn new(pm2: &Pm2, words: &LogWords, processes: &Processes) -> Self {
        let form = Form {
            raw: words.raw,
            json: words.json,
            format: words.format,
            timestamp: words.timestamp.clone(),
            highlight: words.highlight.clone(),
            width: 0,
        };
        let stream = match (words.out, words.err) {
            (true, false) => Some("stdout"),
            (false, true) => Some("stderr"),
            _ => None,
        };
        let mut follower = Self {
            client: pm2.context.client.clone(),
            home: pm2.context.home.clone(),
            out: Terminal::stdout(),
            form,
            stream,
            origins: BTreeMap::new(),
            only: None,
        };
        follower.learn(processes);
        follower
    }

    fn attached(pm2: &Pm2) -> Outcome<Self> {
        let mut follower = Self {
            client: pm2.context.client.clone(),
            home: pm2.context.home.clone(),
            out: Terminal::stdout(),
            form: Form::default(),
            stream: None,
            origins: BTreeMap::new(),
            only: None,
        };
        follower.learn(&pm2.processes()?);
        Ok(follower)
    }

    /// Remembers who is who. An instance that is gone keeps the number it had.
    fn learn(&mut self, processes: &Processes) {
        let origin = |process: &Process| {
            let name = processes.service(process)?.name.clone();
            let id = process.id;
            Some((process.counted.instance.clone(), Some(Origin { id, name })))
        };
        self.origins.extend(processes.list.iter().filter_map(origin));
        let known = self.origins.values().flatten();
        let widest = known.map(|origin| origin.label().chars().count());
        self.form.width = widest.max().unwrap_or(0) + 2;
    }

    /// Whose line it is, if it is an app's: what is not known, is asked for once.
    fn origin(&mut self, line: &LogLine) -> Outcome<Option<Origin>> {
        if let Some(origin) = self.origins.get(&line.instance) {
            return Ok(origin.clone());
        }
        let mut ids = Ids::open(&self.home)?;
        let processes = Processes::read(&self.client, &mut ids)?;
        ids.save()?;
        drop(ids);
        self.learn(&processes);
        // One that was replaced stands for its service.
        let first = processes.of_service(&line.service).next();
        let other = first.and_then(|first| {
            let name = processes.service(first)?.name.clone();
            Some(Origin { id: first.id, name })
        });
        Ok(self.origins.entry(line.instance.clone()).or_insert(other).clone())
    }

    /// New lines of these services, or of all; with those since `since`, if that is given.
    fn open(&self, services: Option<&[String]>, since: Option<u64>) -> Outcome<Lines> {
        let of = match services {
            Some([]) => {
                return Err(Failure::new(
                    Exit::NotFound,
                    "no process is meant, so there is nothing to follow",
                ));
            }
            Some(services) => format!("&service={}", encode(&services.join(","))),
            // All there are and will be; what is no app's is left out here.
            None => String::new(),
        };
        let from = since.map_or_else(|| "last=0".to_owned(), |since| format!("since={since}"));
        self.client.lines(&format!("/v1/logs?{from}&follow=true{of}"))
    }

    /// The last lines of each stream of a service.
    fn tail(&mut self, service: &str, count: usize, until: u64) -> Outcome {
        let path = format!("/v1/logs?service={}&last={LOOKED_AT}", encode(service));
        let mut lines = Vec::new();
        for line in self.client.lines(&path)? {
            let line = parse(&line?)?;
            if line.at <= until {
                lines.extend(self.meant(&line)?.map(|origin| (line, origin)));
            }
        }
        for (stream, title) in [("stdout", "out"), ("stderr", "error")] {
            let of_stream: Vec<_> = lines.iter().filter(|(line, _)| line.stream == stream).collect();
            if of_stream.is_empty() {
                continue;
            }
            if !self.form.is_for_programs() {
                let title = format!("{service} {title} last {count} lines:");
                self.out.line(Tone::Faint.paint(&title))?;
            }
            let from = of_stream.len().saturating_sub(count);
            for (line, origin) in of_stream.get(from..).unwrap_or_default() {
                self.out.line(self.form.render(line, origin))?;
            }
            if !self.form.is_for_programs() {
                self.out.line("")?;
            }
        }
        Ok(())
    }

    fn follow(&mut self, lines: Lines) -> Outcome {
        for line in lines {
            let line = parse(&line?)?;
            if let Some(origin) = self.meant(&line)? {
                self.out.line(self.form.render(&line, &origin))?;
            }
        }
        Ok(())
    }

    /// Whose line it is, if it is to be shown.
    fn meant(&mut self, line: &LogLine) -> Outcome<Option<Origin>> {
        if self.stream.is_some_and(|stream| stream != line.stream) {
            return Ok(None);
        }
        let origin = self.origin(line)?;
        Ok(origin.filter(|origin| self.only.is_none_or(|only| only == origin.id)))
    }
}

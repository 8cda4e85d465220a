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
use super::processes::{Process, Processes};
use super::words::LogWords;
use super::{PROJECT, Pm2, change};
use crate::client::{Client, Lines, encode};
use crate::failure::{Exit, Failure, Outcome};
use crate::follow::parse;
use crate::interrupt::Interrupt;
use crate::terminal::{Terminal, Tone};

/// Lines of a service among which the last of a stream are looked for.
const LOOKED_AT: usize = 10_000;

/// The stream of the server's own notes.
const NOTES: &str = "hythe";

/// How a line looks.
#[derive(Debug, Clone, Default)]
struct Form {
    raw: bool,
    json: bool,
    format: bool,
    timestamp: Option<String>,
    highlight: Option<String>,
    /// Of what stands before the bar.
    width: usize,
}

/// Whose line it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    id: u32,
    name: String,
}

/// Shows lines as they come.
struct Follower {
    client: Client,
    home: PathBuf,
    out: Terminal,
    form: Form,
    /// `stdout`, `stderr`; `None`: both, and notes.
    stream: Option<&'static str>,
    origins: BTreeMap<String, Origin>,
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
    let since = Ids::open(&pm2.context.home)?.book;
    for service in &services {
        follower.tail(service, words.lines, since.flushed_at(service), opened)?;
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
    let (tell, told) = mpsc::channel();
    let at_end = tell.clone();
    let _interrupt = Interrupt::listen(move || {
        let _ = tell.send(());
    })?;
    std::thread::Builder::new()
        .name("logs".to_owned())
        .spawn(move || {
            // Whatever ends the lines, what was started is still there to be removed.
            let _ = follower.follow(lines);
            let _ = at_end.send(());
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
    let now = hythe_stdx::unix_ms();
    let services = Processes::services_of(&meant);
    for service in &services {
        ids.book.flush(service, now);
    }
    ids.save()?;
    drop(ids);
    for service in &services {
        pm2.say(&format!("Flushing {service}"))?;
    }
    pm2.say("Logs flushed")
}

/// Log files are the server's, which rotates them itself.
pub(crate) fn reload(pm2: &mut Pm2) -> Outcome {
    pm2.ensure_server()?;
    pm2.say("Reloading all logs...")?;
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
            let service = processes.service(process)?;
            Some((
                process.counted.instance.clone(),
                Origin {
                    id: process.id,
                    name: service.name.clone(),
                },
            ))
        };
        self.origins.extend(processes.list.iter().filter_map(origin));
        let widest = self.origins.values().map(|origin| origin.label().chars().count());
        self.form.width = widest.max().unwrap_or(0) + 2;
    }

    /// Whose line it is: what is not known, is asked for once.
    fn origin(&mut self, line: &LogLine) -> Outcome<Origin> {
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
        let name = processes
            .services
            .get(&line.service)
            .map(|service| service.name.clone());
        let other = Origin {
            id: first.map_or(0, |process| process.id),
            name: name.unwrap_or_else(|| line.service.clone()),
        };
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
            Some(services) => format!("service={}", encode(&services.join(","))),
            None => format!("project={PROJECT}"),
        };
        let from = since.map_or_else(|| "last=0".to_owned(), |since| format!("since={since}"));
        self.client.lines(&format!("/v1/logs?{of}&{from}&follow=true"))
    }

    /// The last lines of each stream of a service.
    fn tail(&mut self, service: &str, count: usize, since: u64, until: u64) -> Outcome {
        let path = format!(
            "/v1/logs?service={}&last={LOOKED_AT}&since={since}",
            encode(service)
        );
        let mut lines = Vec::new();
        for line in self.client.lines(&path)? {
            let line = parse(&line?)?;
            if line.at <= until && self.is_meant(&line)? {
                lines.push(line);
            }
        }
        for (stream, title) in [("stdout", "out"), ("stderr", "error")] {
            let of_stream: Vec<&LogLine> = lines.iter().filter(|line| line.stream == stream).collect();
            if of_stream.is_empty() {
                continue;
            }
            if !self.form.is_for_programs() {
                let title = format!("{service} {title} last {count} lines:");
                self.out.line(Tone::Faint.paint(&title))?;
            }
            let from = of_stream.len().saturating_sub(count);
            for line in of_stream.get(from..).unwrap_or_default() {
                self.show(line)?;
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
            if self.is_meant(&line)? {
                self.show(&line)?;
            }
        }
        Ok(())
    }

    fn is_meant(&mut self, line: &LogLine) -> Outcome<bool> {
        if self.stream.is_some_and(|stream| stream != line.stream) {
            return Ok(false);
        }
        match self.only {
            Some(id) => Ok(self.origin(line)?.id == id),
            None => Ok(true),
        }
    }

    fn show(&mut self, line: &LogLine) -> Outcome {
        let origin = self.origin(line)?;
        let text = self.form.render(line, &origin);
        self.out.line(text)
    }
}

impl Origin {
    fn label(&self) -> String {
        format!("{}|{}", self.id, self.name)
    }
}

impl Form {
    /// Whether programs read it: nothing but lines then.
    fn is_for_programs(&self) -> bool {
        self.json || self.format
    }

    fn render(&self, line: &LogLine, origin: &Origin) -> String {
        let kind = match line.stream.as_str() {
            "stdout" => "out",
            "stderr" => "err",
            _ => "PM2",
        };
        let form = self.timestamp.as_deref().unwrap_or("YYYY-MM-DDTHH:mm:ss.SSSZ");
        if self.json {
            let message = format!("{}\n", line.message);
            let value = serde_json::json!({
                "message": message, "timestamp": time(line.at, form), "type": kind, "process_id": origin.id,
                "app_name": origin.name,
            });
            return value.to_string();
        }
        if self.format {
            let (at, Origin { id, name }) = (time(line.at, form), origin);
            return format!(
                "timestamp={at} app={name} id={id} type={kind} message={}",
                line.message
            );
        }
        if self.raw {
            return line.message.clone();
        }
        let (label, tone) = match line.stream.as_str() {
            NOTES => ("PM2".to_owned(), Tone::Faint),
            "stderr" => (origin.label(), Tone::Bad),
            _ => (origin.label(), Tone::Good),
        };
        let at = match &self.timestamp {
            Some(form) => format!("{}: ", time(line.at, form)),
            None => String::new(),
        };
        let width = self.width;
        let prefix = tone.paint(&format!("{label:width$}| "));
        format!("{prefix}{at}{}", self.marked(&line.message))
    }

    fn marked(&self, message: &str) -> String {
        match self.highlight.as_deref().filter(|mark| !mark.is_empty()) {
            Some(mark) => {
                let inverted = anstyle::Style::new().invert();
                message.replace(mark, &format!("{inverted}{mark}{inverted:#}"))
            }
            None => message.to_owned(),
        }
    }
}

/// A time of this machine, in the letters of dayjs.
fn time(unix_ms: u64, form: &str) -> String {
    let milliseconds = i64::try_from(unix_ms).unwrap_or(i64::MAX);
    let Ok(time) = jiff::Timestamp::from_millisecond(milliseconds) else {
        return String::new();
    };
    write_time(&time.to_zoned(jiff::tz::TimeZone::system()), form)
}

fn write_time(time: &jiff::Zoned, form: &str) -> String {
    const LETTERS: [(&str, &str); 10] = [
        ("YYYY", "%Y"),
        ("SSS", "%3f"),
        ("YY", "%y"),
        ("MM", "%m"),
        ("DD", "%d"),
        ("HH", "%H"),
        ("hh", "%I"),
        ("mm", "%M"),
        ("ss", "%S"),
        ("Z", "%:z"),
    ];
    let (mut text, mut rest) = (String::new(), form);
    while let Some(letter) = rest.chars().next() {
        match LETTERS.iter().find(|(letters, _)| rest.starts_with(letters)) {
            Some((letters, directive)) => {
                text.push_str(&time.strftime(directive).to_string());
                rest = rest.strip_prefix(letters).unwrap_or_default();
            }
            None => {
                text.push(letter);
                rest = rest.strip_prefix(letter).unwrap_or_default();
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(stream: &str) -> LogLine {
        LogLine {
            at: 1_000,
            service: "api".to_owned(),
            instance: "api-1".to_owned(),
            stream: stream.to_owned(),
            message: "hi there".to_owned(),
        }
    }

    #[test]
    fn lines_look_as_pm2_shows_them() {
        let origin = Origin {
            id: 0,
            name: "two".to_owned(),
        };
        let base = Form {
            width: 7,
            timestamp: None,
            ..Form::default()
        };
        let plain = |form: &Form, stream: &str| {
            let text = form.render(&line(stream), &origin);
            anstream::adapter::strip_str(&text).to_string()
        };
        assert_eq!(plain(&base, "stdout"), "0|two  | hi there");
        assert_eq!(plain(&base, "hythe"), "PM2    | hi there");
        let form = |change: fn(&mut Form)| {
            let mut form = base.clone();
            form.timestamp = Some("[T]".to_owned());
            change(&mut form);
            form
        };
        assert_eq!(plain(&form(|_| {}), "stderr"), "0|two  | [T]: hi there");
        assert_eq!(plain(&form(|form| form.raw = true), "stderr"), "hi there");
        assert_eq!(
            plain(&form(|form| form.format = true), "stderr"),
            "timestamp=[T] app=two id=0 type=err message=hi there"
        );
        assert_eq!(
            plain(&form(|form| form.json = true), "stdout"),
            r#"{"app_name":"two","message":"hi there\n","process_id":0,"timestamp":"[T]","type":"out"}"#
        );
        let marked = form(|form| form.highlight = Some("there".to_owned())).render(&line("stdout"), &origin);
        assert!(marked.contains("\u{1b}[7mthere"), "{marked:?}");
    }

    #[test]
    fn times_are_written_in_dayjs_letters() {
        let time: jiff::Zoned = "2026-11-22T03:04:05.678+01:00[+01:00]".parse().unwrap();
        for (form, expected) in [
            ("YYYY-MM-DDTHH:mm:ss", "2026-11-22T03:04:05"),
            ("DD/MM/YY HH:mm:ss.SSS Z", "22/11/26 03:04:05.678 +01:00"),
            ("at hh", "at 03"),
        ] {
            assert_eq!(write_time(&time, form), expected);
        }
    }
}

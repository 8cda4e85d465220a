//! `logs`: lines of output, and how they look.

use std::collections::BTreeMap;
use std::time::Duration;

use anstyle::{AnsiColor, Color, Style};
use hythe_model::view::LogLine;

use crate::Context;
use crate::arguments::LogOptions;
use crate::client::{Client, Lines, encode};
use crate::failure::{Exit, Failure, Outcome};
use crate::terminal::{Terminal, Tone, complain};

/// Lines shown when nothing says how many.
const USUAL: usize = 100;
/// Lines of a service that failed.
const LAST_WORDS: usize = 10;

pub(crate) fn run(context: &mut Context, options: &LogOptions) -> Outcome {
    let mut query = whose(context, options)?;
    if options.flush {
        let path = format!("/v1/logs?{}", query.join("&"));
        let _: serde_json::Value = context.client.send("DELETE", &path, &())?;
        return Ok(());
    }
    if let Some(since) = &options.since {
        query.push(format!("since={}", read_since(since)?));
    }
    let last = options.lines.or(options.since.is_none().then_some(USUAL));
    query.extend(last.map(|last| format!("last={last}")));
    query.push(format!("follow={}", options.follow));
    let lines = context.client.lines(&format!("/v1/logs?{}", query.join("&")))?;
    let mut view = LogView::default();
    for line in lines {
        let line = line?;
        if options.json {
            context.out.line(line)?;
        } else {
            context.out.line(view.render(&parse(&line)?))?;
        }
    }
    Ok(())
}

/// The part of the query that says whose lines.
fn whose(context: &Context, options: &LogOptions) -> Outcome<Vec<String>> {
    if !options.services.is_empty() {
        let services = context.scope()?.services(&context.client, &options.services)?;
        return Ok(vec![format!("service={}", encode(&services.join(",")))]);
    }
    if options.all_projects {
        return Ok(Vec::new());
    }
    Ok(vec![format!("project={}", context.scope()?.project)])
}

/// Opens the lines of a project as they come, without those that are there.
pub(crate) fn open(client: &Client, project: &str, since: u64) -> Outcome<Lines> {
    client.lines(&format!("/v1/logs?project={project}&since={since}&follow=true"))
}

/// Shows the last lines of a service on stderr.
pub(crate) fn show_last(context: &mut Context, service: &str) -> Outcome {
    let path = format!("/v1/logs?service={}&last={LAST_WORDS}", encode(service));
    // A service that is gone has no last words; that must not hide why it failed.
    let Ok(lines) = context.client.lines(&path) else {
        return Ok(());
    };
    let mut view = LogView::default();
    for line in lines {
        complain(format_args!("  {}", view.render(&parse(&line?)?)));
    }
    Ok(())
}

/// Renders lines, each service in a colour of its own.
#[derive(Default)]
pub(crate) struct LogView {
    colours: BTreeMap<String, AnsiColor>,
    width: usize,
}

const COLOURS: [AnsiColor; 6] = [
    AnsiColor::Cyan,
    AnsiColor::Green,
    AnsiColor::Magenta,
    AnsiColor::Blue,
    AnsiColor::BrightYellow,
    AnsiColor::BrightCyan,
];

impl LogView {
    pub(crate) fn render(&mut self, line: &LogLine) -> String {
        let next = COLOURS
            .get(self.colours.len() % COLOURS.len())
            .copied()
            .unwrap_or(AnsiColor::Cyan);
        let colour = *self.colours.entry(line.service.clone()).or_insert(next);
        self.width = self.width.max(line.instance.len());
        let style = Style::new().fg_color(Some(Color::Ansi(colour)));
        let message = match line.stream.as_str() {
            "stderr" => Tone::Bad.paint(&line.message),
            "hythe" => Tone::Faint.paint(&line.message),
            _ => line.message.clone(),
        };
        let (width, instance) = (self.width, &line.instance);
        format!("{style}{instance:width$} |{style:#} {message}")
    }
}

/// Reads one line of the server's.
pub(crate) fn parse(line: &str) -> Outcome<LogLine> {
    serde_json::from_str(line)
        .map_err(|error| Failure::new(Exit::Failed, format!("a log line cannot be read: {error}")))
}

/// Shows lines until they end or nobody reads.
pub(crate) fn show_all(out: &mut Terminal, lines: Lines) -> Outcome {
    let mut view = LogView::default();
    for line in lines {
        out.line(view.render(&parse(&line?)?))?;
    }
    Ok(())
}

/// A while ago, or a point in time; Unix milliseconds.
fn read_since(text: &str) -> Outcome<u64> {
    let unreadable = || {
        Failure::new(
            Exit::Usage,
            format!("--since: `{text}` is neither a while nor a time"),
        )
        .hint("write it like `10m`, `2h`, or `2026-11-21T10:00:00Z`")
    };
    if let Ok(while_ago) = hythe_stdx::parse_duration(text) {
        return Ok(hythe_stdx::unix_ms().saturating_sub(milliseconds(while_ago)));
    }
    let time: jiff::Timestamp = text.parse().map_err(|_| unreadable())?;
    u64::try_from(time.as_millisecond()).map_err(|_| unreadable())
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_while_or_a_time() {
        assert_eq!(read_since("1970-01-01T00:00:01Z").unwrap(), 1000);
        let now = hythe_stdx::unix_ms();
        assert!((now - 700_000..=now - 600_000).contains(&read_since("10m").unwrap()));
        assert_eq!(read_since("yesterday").unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn instances_line_up() {
        let mut view = LogView::default();
        let mut render = |instance: &str, stream: &str| {
            let line = LogLine {
                at: 0,
                service: "users".to_owned(),
                instance: instance.to_owned(),
                stream: stream.to_owned(),
                message: "hi".to_owned(),
            };
            anstream::adapter::strip_str(&view.render(&line)).to_string()
        };
        assert_eq!(render("users-10", "stdout"), "users-10 | hi");
        assert_eq!(render("users-2", "stderr"), "users-2  | hi");
    }
}

//! A child that reads all of its input and whose output is passed on line by line.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// A line is passed on in pieces of this many bytes.
const LONGEST_LINE: u64 = 16 << 10;
/// Lines of output that are kept for an error.
const TAIL: usize = 20;
/// Answers that are kept of one step.
const ANSWERS: usize = 10_000;
/// What answers to us begin with.
pub(crate) const ANSWER: &str = "hythe:";
/// The first answer of every script.
pub(crate) const BEGIN: &str = "begin";

/// What a child did.
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    /// Its lines that were marked as answers, without the mark.
    pub(crate) answers: Vec<String>,
    /// Its last other lines.
    pub(crate) tail: Vec<String>,
}

/// Whether lines may be answers to us; of a user's program they are never.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    Ours,
    Theirs,
}

#[derive(Default)]
struct Heard {
    answers: Vec<String>,
    tail: Vec<String>,
}

/// Who gets the signals of a terminal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signals {
    /// We alone, as we decide what they mean.
    Ours,
    /// Children as well.
    Everyones,
}

/// Starts a child with pipes.
pub(crate) fn spawn(command: &mut Command, signals: Signals) -> std::io::Result<Child> {
    if signals == Signals::Ours {
        command.process_group(0);
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// Feeds a child with what `feed` writes, and tells its lines until it has ended.
pub(crate) fn follow(
    mut child: Child,
    trust: Trust,
    feed: impl FnOnce(&mut dyn Write) -> std::io::Result<()> + Send,
    tell: &(dyn Fn(&str) + Sync),
) -> std::io::Result<Ran> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let heard = Mutex::new(Heard::default());
    let hear = |line: &str| {
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.hear(line, trust, tell);
    };
    thread::scope(|scope| {
        scope.spawn(move || {
            // A child that ends early reads no more; its exit status says why.
            stdin.map(|mut stdin| feed(&mut stdin))
        });
        scope.spawn(|| stderr.map(|stderr| lines(stderr, hear)));
        if let Some(stdout) = stdout {
            let mut stdout = BufReader::new(stdout);
            skip_noise(&mut stdout);
            lines(stdout, hear);
        }
    });
    let status = child.wait()?;
    let Heard { answers, tail } = heard.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Ran {
        status,
        answers,
        tail,
    })
}

impl Heard {
    fn hear(&mut self, line: &str, trust: Trust, tell: &(dyn Fn(&str) + Sync)) {
        if let Some(answer) = line.strip_prefix(ANSWER).filter(|_| trust == Trust::Ours) {
            if self.answers.len() < ANSWERS {
                self.answers.push(answer.to_owned());
            }
            return;
        }
        remember(&mut self.tail, line);
        tell(line);
    }
}

/// Keeps the last lines.
pub(crate) fn remember(tail: &mut Vec<String>, line: &str) {
    if tail.len() == TAIL {
        tail.remove(0);
    }
    tail.push(line.to_owned());
}

/// Reads what a login shell says of its own accord, until a script of ours begins.
fn skip_noise(from: &mut impl BufRead) {
    let begins = |line: &String| line.strip_prefix(ANSWER) == Some(BEGIN);
    while next_line(from).is_some_and(|line| !begins(&line)) {}
}

/// Calls `tell` for each line until the end.
pub(crate) fn lines(from: impl Read, tell: impl Fn(&str)) {
    let mut from = BufReader::new(from);
    while let Some(line) = next_line(&mut from) {
        tell(&line);
    }
}

/// The next line without its end; `None` at the end.
pub(crate) fn next_line(from: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    let read = from.take(LONGEST_LINE).read_until(b'\n', &mut line).ok()?;
    let text = String::from_utf8_lossy(&line);
    (read > 0).then(|| text.trim_end_matches(['\r', '\n']).to_owned())
}

/// `with exit code 1`.
pub(crate) fn end(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("with exit code {code}"),
        (None, Some(signal)) => format!("by signal {signal}"),
        (None, None) => "without an exit code".to_owned(),
    }
}

//! Conversations on raw sockets as text files: what the client sends, what the upstream gets and sends,
//! what comes back. A new case is one file.
//!
//! ```text
//! # What the case shows.
//! route: {"strip_path": false}          settings for whoever sets the proxy up, one a line
//!
//! client sends:
//!   GET / HTTP/1.1
//!   Host: a
//!
//! upstream gets:
//!   GET / HTTP/1.1
//! ...
//! ```
//!
//! Settings come first; their names do not begin with an actor's.
//!
//! A step is an actor (`client`, `client 2`, `upstream`, `upstream 2`...) and what it does: `sends:` and
//! `gets:` with the bytes below, indented by two spaces; `finishes` (nothing more will be sent), `closes`,
//! `resets`, `sees end`, `sees reset`, `sees reset or end`. Actors connect (or are connected to) with their
//! first step; a second upstream connection is `upstream 2`. After the last step nobody may hold bytes that
//! no step got, nor the proxy have connected more often than the steps say.
//!
//! A content line stands for its bytes and CRLF; a `\` at its end takes the CRLF away. Escapes: `\r`, `\n`,
//! `\t`, `\0`, `\\`, `\xNN`, and `\*N(text)` repeats text N times. In what is got, `{any}` stands for
//! anything on one line, `{id}` for 32 hex digits, `{lines}` for any whole lines, `{proxy port}` for
//! the port the client connected to.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use regex::bytes::Regex;

/// A conversation.
#[derive(Debug)]
pub struct WireCase {
    /// File name, for messages.
    pub name: String,
    /// Settings: the lines before the first step, `key: value`.
    pub settings: Vec<(String, String)>,
    steps: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    line: usize,
    actor: String,
    action: Action,
}

#[derive(Debug)]
enum Action {
    Sends(Vec<u8>),
    Gets(String),
    Finishes,
    Closes,
    Resets,
    Sees(Ending),
}

/// How the other side's bytes end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    End,
    Reset,
    Either,
}

/// How bytes are handed to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As written in the case.
    Whole,
    /// Byte by byte: all that the client sends, and the upstream's heads. An upstream's body stays whole,
    /// as a proxy may show in its chunks how the body came.
    Bytes,
}

const PATIENCE: Duration = Duration::from_secs(10);

impl WireCase {
    /// Reads a case; the error names the line.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let mut case = Self {
            name: name.to_owned(),
            settings: Vec::new(),
            steps: Vec::new(),
        };
        let mut lines = text.lines().enumerate().peekable();
        while let Some((number, line)) = lines.next() {
            let at = |message: &str| format!("{name}:{}: {message}: {line}", number + 1);
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            if !line.starts_with("client") && !line.starts_with("upstream") {
                let (key, value) = line
                    .split_once(':')
                    .ok_or_else(|| at("neither a step nor a setting"))?;
                case.settings
                    .push((key.trim().to_owned(), value.trim().to_owned()));
                continue;
            }
            let mut content = Vec::new();
            while let Some((_, line)) = lines.next_if(|(_, line)| line.starts_with("  ")) {
                content.push(line[2..].to_owned());
            }
            let (actor, verb) = split_step(line).ok_or_else(|| at("not a step"))?;
            let action = match verb {
                "sends:" => Action::Sends(bytes_of(&content).map_err(|error| at(&error))?),
                "gets:" => Action::Gets(pattern_of(&content).map_err(|error| at(&error))?),
                "finishes" => Action::Finishes,
                "closes" => Action::Closes,
                "resets" => Action::Resets,
                "sees end" => Action::Sees(Ending::End),
                "sees reset" => Action::Sees(Ending::Reset),
                "sees reset or end" => Action::Sees(Ending::Either),
                _ => return Err(at("an unknown verb")),
            };
            case.steps.push(Step {
                line: number + 1,
                actor: actor.to_owned(),
                action,
            });
        }
        Ok(case)
    }

    /// Plays the case against the proxy at `proxy`, which forwards to `upstream`.
    ///
    /// # Errors
    /// The first step that did not go as written, with what came instead.
    pub fn play(&self, proxy: SocketAddr, upstream: &TcpListener, pace: Pace) -> Result<(), String> {
        let mut actors: BTreeMap<&str, Actor> = BTreeMap::new();
        for step in &self.steps {
            let fail = |message: String| format!("{}:{}: {} {message}", self.name, step.line, step.actor);
            let actor = match actors.entry(&step.actor) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(Actor::new(&step.actor, proxy, upstream).map_err(fail)?)
                }
            };
            actor.perform(&step.action, pace, proxy).map_err(fail)?;
        }
        let fail = |message: String| format!("{}: after the last step {message}", self.name);
        for (name, actor) in &mut actors {
            actor
                .must_be_silent()
                .map_err(|message| fail(format!("{name} {message}")))?;
        }
        nobody_waits(upstream).map_err(fail)
    }
}

/// `client 2 sees end` is `client 2` and `sees end`.
fn split_step(line: &str) -> Option<(&str, &str)> {
    let verb_at = line
        .match_indices(' ')
        .map(|(at, _)| at + 1)
        .find(|at| line[*at..].starts_with(|letter: char| letter.is_ascii_lowercase()))?;
    Some((line[..verb_at].trim_end(), line[verb_at..].trim_end()))
}

struct Actor {
    stream: Option<TcpStream>,
    received: Vec<u8>,
    is_client: bool,
}

impl Actor {
    fn new(name: &str, proxy: SocketAddr, upstream: &TcpListener) -> Result<Self, String> {
        let stream = if name.starts_with("client") {
            TcpStream::connect(proxy).map_err(|error| format!("cannot connect: {error}"))?
        } else {
            accept(upstream)?
        };
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        stream
            .set_read_timeout(Some(PATIENCE))
            .map_err(|error| error.to_string())?;
        Ok(Self {
            stream: Some(stream),
            received: Vec::new(),
            is_client: name.starts_with("client"),
        })
    }

    fn perform(&mut self, action: &Action, pace: Pace, proxy: SocketAddr) -> Result<(), String> {
        let Some(stream) = &mut self.stream else {
            return Err("acts after it has closed".to_owned());
        };
        match action {
            Action::Sends(bytes) => {
                let slow = match pace {
                    Pace::Whole => 0,
                    Pace::Bytes if self.is_client => bytes.len(),
                    Pace::Bytes => head_length(bytes),
                };
                send(stream, bytes, slow)
            }
            Action::Gets(pattern) => {
                let pattern = pattern.replace("\\{proxy port\\}", &proxy.port().to_string());
                self.get(&pattern)
            }
            Action::Finishes => stream
                .shutdown(Shutdown::Write)
                .map_err(|error| error.to_string()),
            Action::Closes => {
                self.stream = None;
                Ok(())
            }
            Action::Resets => {
                let socket = socket2::SockRef::from(&*stream);
                socket
                    .set_linger(Some(Duration::ZERO))
                    .map_err(|error| error.to_string())?;
                self.stream = None;
                Ok(())
            }
            Action::Sees(ending) => self.end(*ending),
        }
    }

    fn get(&mut self, pattern: &str) -> Result<(), String> {
        let regex = Regex::new(&format!("(?s-u)^(?:{pattern})")).map_err(|error| error.to_string())?;
        loop {
            if let Some(found) = regex.find(&self.received) {
                let end = found.end();
                self.received.drain(..end);
                return Ok(());
            }
            if let Err(why) = self.receive() {
                let received = self.received.escape_ascii().to_string().replace("\\r\\n", "\n  ");
                return Err(format!(
                    "should get\n  {pattern}\nbut got\n  {received}\nand then {why}"
                ));
            }
        }
    }

    fn end(&mut self, wanted: Ending) -> Result<(), String> {
        loop {
            if !self.received.is_empty() {
                return Err(format!(
                    "should see {wanted:?} but got {}",
                    self.received.escape_ascii()
                ));
            }
            let Err(why) = self.receive() else { continue };
            let (is_end, is_reset) = (why == "the end", why.contains("reset"));
            return match wanted {
                Ending::End if is_end => Ok(()),
                Ending::Reset if is_reset => Ok(()),
                Ending::Either if is_end || is_reset => Ok(()),
                _ => Err(format!("should see {wanted:?} but saw {why}")),
            };
        }
    }

    /// Looks, without waiting, for bytes that no step has taken.
    fn must_be_silent(&mut self) -> Result<(), String> {
        if let Some(stream) = &self.stream {
            stream.set_nonblocking(true).map_err(|error| error.to_string())?;
            while self.receive().is_ok() {}
        }
        if self.received.is_empty() {
            return Ok(());
        }
        Err(format!("has got too much: {}", self.received.escape_ascii()))
    }

    fn receive(&mut self) -> Result<(), String> {
        let Some(stream) = &mut self.stream else {
            return Err("it has closed".to_owned());
        };
        let mut buffer = [0; 16 * 1024];
        match stream.read(&mut buffer) {
            Ok(0) => Err("the end".to_owned()),
            Ok(count) => {
                self.received.extend_from_slice(&buffer[..count]);
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Accepts within the usual patience: a listener cannot be told a timeout, but it can be polled.
fn accept(upstream: &TcpListener) -> Result<TcpStream, String> {
    let socket = socket2::SockRef::from(upstream);
    socket
        .set_read_timeout(Some(PATIENCE))
        .map_err(|error| error.to_string())?;
    let (stream, _) = upstream
        .accept()
        .map_err(|error| format!("is not connected to: {error}"))?;
    Ok(stream)
}

/// The proxy has not connected without anybody having been told to accept.
fn nobody_waits(upstream: &TcpListener) -> Result<(), String> {
    upstream
        .set_nonblocking(true)
        .map_err(|error| error.to_string())?;
    match upstream.accept() {
        Ok(_) => Err("there is another connection to the upstream".to_owned()),
        Err(_) => Ok(()),
    }
}

/// Up to the first empty line, with it; 0 if there is none.
fn head_length(bytes: &[u8]) -> usize {
    const END: &[u8] = b"\r\n\r\n";
    let end = bytes.windows(END.len()).position(|window| window == END);
    end.map_or(0, |end| end + END.len())
}

/// Sends the first `slow` bytes one by one, unless they are very many, and the rest at once.
fn send(stream: &mut TcpStream, bytes: &[u8], slow: usize) -> Result<(), String> {
    let slow = if slow > 16 * 1024 { 0 } else { slow };
    let (slow, rest) = bytes.split_at(slow);
    for part in slow.chunks(1).chain([rest]) {
        stream
            .write_all(part)
            .map_err(|error| format!("cannot send: {error}"))?;
    }
    Ok(())
}

fn bytes_of(content: &[String]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for line in content {
        let (text, ends) = line_end(line);
        unescape(text, &mut bytes)?;
        if ends {
            bytes.extend_from_slice(b"\r\n");
        }
    }
    Ok(bytes)
}

/// A regex for what should come, as text with the placeholder for the port left in.
fn pattern_of(content: &[String]) -> Result<String, String> {
    let mut pattern = String::new();
    for line in content {
        let (text, ends) = line_end(line);
        if text == "{lines}" {
            pattern.push_str("(?:[^\\r\\n]+\\r\\n)*?");
            continue;
        }
        let mut bytes = Vec::new();
        unescape(text, &mut bytes)?;
        let literal: String = bytes.iter().map(|byte| literal(*byte)).collect();
        pattern.push_str(
            &literal
                .replace("\\{any\\}", "[^\\r\\n]*")
                .replace("\\{id\\}", "[0-9a-f]{32}"),
        );
        if ends {
            pattern.push_str("\\r\\n");
        }
    }
    Ok(pattern)
}

fn literal(byte: u8) -> String {
    if byte.is_ascii_graphic() || byte == b' ' {
        regex::escape(&char::from(byte).to_string())
    } else {
        format!("\\x{byte:02x}")
    }
}

fn line_end(line: &str) -> (&str, bool) {
    match line.strip_suffix('\\') {
        Some(text) if !text.ends_with('\\') => (text, false),
        _ => (line, true),
    }
}

fn unescape(text: &str, out: &mut Vec<u8>) -> Result<(), String> {
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at + 1..];
        let code = rest.chars().next().ok_or("an escape without a letter")?;
        rest = &rest[code.len_utf8()..];
        match code {
            'r' => out.push(b'\r'),
            'n' => out.push(b'\n'),
            't' => out.push(b'\t'),
            '0' => out.push(0),
            '\\' => out.push(b'\\'),
            'x' => {
                let hex = rest.get(..2).ok_or("\\x needs two digits")?;
                out.push(u8::from_str_radix(hex, 16).map_err(|error| error.to_string())?);
                rest = &rest[2..];
            }
            '*' => {
                let (count, tail) = rest.split_once('(').ok_or("\\*N(text) needs a parenthesis")?;
                let (text, tail) = tail.split_once(')').ok_or("\\*N(text) is not closed")?;
                let count: usize = count.parse().map_err(|_| "\\*N(text) needs a number")?;
                let mut once = Vec::new();
                unescape(text, &mut once)?;
                out.extend(once.repeat(count));
                rest = tail;
            }
            other => return Err(format!("unknown escape \\{other}")),
        }
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_plays_against_a_plain_relay() {
        let text = "# Both ways.\nnote: x\n\nclient sends:\n  GET / HTTP/1.1\n  \n\
             upstream gets:\n  GET {any} HTTP/1.1\n  \nupstream sends:\n  \\*3(ab)\\\n\
             client gets:\n  ababab\\\nclient finishes\nupstream sees end\nupstream closes\nclient sees end\n";
        let case = WireCase::parse("relay", text).unwrap();
        assert_eq!(case.settings, [("note".to_owned(), "x".to_owned())]);
        let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
        let (front, back) = (proxy.local_addr().unwrap(), upstream.local_addr().unwrap());
        let relay = std::thread::spawn(move || {
            let client = proxy.accept().unwrap().0;
            let server = TcpStream::connect(back).unwrap();
            let copy = |mut from: TcpStream, mut to: TcpStream| {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                })
            };
            let up = copy(client.try_clone().unwrap(), server.try_clone().unwrap());
            let down = copy(server, client);
            up.join().unwrap();
            down.join().unwrap();
        });
        case.play(front, &upstream, Pace::Bytes).unwrap();
        relay.join().unwrap();
    }

    #[test]
    fn a_step_that_goes_wrong_is_named() {
        let case = WireCase::parse("wrong", "client gets:\n  x\\\n").unwrap();
        let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
        let front = proxy.local_addr().unwrap();
        let closing = std::thread::spawn(move || drop(proxy.accept().unwrap()));
        let error = case.play(front, &upstream, Pace::Whole).unwrap_err();
        closing.join().unwrap();
        assert!(error.starts_with("wrong:1: client should get"), "{error}");
    }

    #[test]
    fn what_no_step_says_is_noticed() {
        let case = WireCase::parse("short", "client gets:\n  x\\\n").unwrap();
        let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
        let (front, back) = (proxy.local_addr().unwrap(), upstream.local_addr().unwrap());
        for (sent, connects, expected) in [
            (
                &b"xy"[..],
                false,
                "short: after the last step client has got too much: y",
            ),
            (
                b"x",
                true,
                "short: after the last step there is another connection to the upstream",
            ),
        ] {
            let relaying = std::thread::spawn({
                let proxy = proxy.try_clone().unwrap();
                move || {
                    let extra = connects.then(|| TcpStream::connect(back).unwrap());
                    let mut client = proxy.accept().unwrap().0;
                    client.write_all(sent).unwrap();
                    (client, extra)
                }
            });
            assert_eq!(case.play(front, &upstream, Pace::Whole).unwrap_err(), expected);
            relaying.join().unwrap();
        }
    }
}

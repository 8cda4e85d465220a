//! Talks to the server over its Unix socket.
//!
//! Blocking and small on purpose: a verb is one question and one answer, and starting a runtime would cost
//! more than both. Each question has a connection of its own.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hythe_api::wire::Problem;
use hythe_http1::{Chunk, ChunkedDecoder, Framing, Limits, Progress, RequestKind, ResponseHead};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::{Exit, Failure, Outcome};

/// A server's address.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    socket: PathBuf,
}

/// What is known about the server of a data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It answers.
    Answers,
    /// Somebody listens and gives no answer: a server that is just dying, or hangs.
    Silent,
    /// Nobody listens.
    Absent,
}

/// How long a server that listens may take to answer that it is well: it answers once it has found what runs.
const PATIENCE: Duration = Duration::from_secs(20);

/// An answer that comes line by line.
pub(crate) struct Lines {
    body: Body,
    buffer: Vec<u8>,
}

impl Client {
    /// The server of a data directory.
    pub(crate) fn of(home: &Path) -> Self {
        Self {
            socket: hythe_config::socket(home),
        }
    }

    /// Whether a server answers. One that is starting is waited for.
    pub(crate) fn presence(&self) -> Presence {
        let Ok(stream) = UnixStream::connect(&self.socket) else {
            return Presence::Absent;
        };
        let asked = stream.set_read_timeout(Some(PATIENCE));
        if asked.is_ok() && self.exchange_on(stream, "GET", "/healthz", &[]).is_ok() {
            Presence::Answers
        } else {
            Presence::Silent
        }
    }

    /// Asks for something.
    ///
    /// # Errors
    /// When there is no server, or it refuses.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Outcome<T> {
        self.ask("GET", path, &[])
    }

    /// Asks for a change.
    ///
    /// # Errors
    /// When there is no server, or it refuses.
    pub(crate) fn send<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: &impl Serialize,
    ) -> Outcome<T> {
        let body = serde_json::to_vec(body).map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        self.ask(method, path, &body)
    }

    /// Asks for lines that may never end.
    ///
    /// # Errors
    /// When there is no server, or it refuses.
    pub(crate) fn lines(&self, path: &str) -> Outcome<Lines> {
        let body = self.exchange("GET", path, &[])?;
        Ok(Lines {
            body,
            buffer: Vec::new(),
        })
    }

    fn ask<T: DeserializeOwned>(&self, method: &str, path: &str, body: &[u8]) -> Outcome<T> {
        let mut answer = Vec::new();
        self.exchange(method, path, body)?.read_to_end(&mut answer)?;
        serde_json::from_slice(&answer).map_err(|error| {
            Failure::new(
                Exit::Failed,
                format!("the server's answer cannot be read: {error}"),
            )
            .hint("server and command line may be of different versions; restart the server")
        })
    }

    fn exchange(&self, method: &str, path: &str, body: &[u8]) -> Outcome<Body> {
        let stream = UnixStream::connect(&self.socket).map_err(|error| self.unreachable(&error))?;
        self.exchange_on(stream, method, path, body)
    }

    fn exchange_on(&self, mut stream: UnixStream, method: &str, path: &str, body: &[u8]) -> Outcome<Body> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        if !body.is_empty() {
            request.push_str(&format!(
                "Content-Type: application/json\r\nContent-Length: {}\r\n",
                body.len()
            ));
        }
        request.push_str("\r\n");
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(body);
        stream
            .write_all(&bytes)
            .map_err(|error| self.unreachable(&error))?;
        let (status, mut body) = Body::open(stream).map_err(|error| self.unreachable(&error))?;
        if (200..300).contains(&status) {
            return Ok(body);
        }
        let mut answer = Vec::new();
        body.read_to_end(&mut answer)?;
        Err(refusal(status, &answer))
    }

    fn unreachable(&self, error: &std::io::Error) -> Failure {
        let socket = self.socket.display();
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => Failure::new(
                Exit::NoServer,
                format!("no server is running (nobody answers on {socket})"),
            )
            .hint("`hythe up` starts one with your services, `hythe server start` starts it alone"),
            _ => Failure::new(
                Exit::NoServer,
                format!("cannot talk to the server on {socket}: {error}"),
            ),
        }
    }
}

impl Lines {
    /// The connection: who shuts it down ends the lines.
    pub(crate) fn connection(&self) -> std::io::Result<UnixStream> {
        self.body.stream.try_clone()
    }
}

impl Iterator for Lines {
    type Item = Outcome<String>;

    fn next(&mut self) -> Option<Outcome<String>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(Ok(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            match self.body.read_some(&mut self.buffer) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error.into())),
            }
        }
    }
}

/// A problem the server tells, as a failure.
fn refusal(status: u16, answer: &[u8]) -> Failure {
    let exit = match status {
        404 => Exit::NotFound,
        400 | 422 => Exit::Usage,
        _ => Exit::Failed,
    };
    let Ok(problem) = serde_json::from_slice::<Problem>(answer) else {
        return Failure::new(exit, format!("the server answered {status}"));
    };
    let mut message = problem.detail;
    for error in problem.errors {
        message.push_str(&format!("\n  {error}"));
    }
    Failure {
        exit,
        message,
        hint: problem.hint,
    }
}

/// The body of an answer, read as it comes.
struct Body {
    stream: UnixStream,
    raw: Vec<u8>,
    state: State,
}

enum State {
    Length(u64),
    Chunked(Box<ChunkedDecoder>),
    UntilClose,
    Done,
}

impl Body {
    /// Reads the head; returns the status and what follows.
    fn open(mut stream: UnixStream) -> std::io::Result<(u16, Self)> {
        let mut raw = Vec::new();
        let mut head = ResponseHead::default();
        loop {
            let parsed = head.parse(&raw, &Limits::default(), RequestKind::Other);
            match parsed.map_err(|error| std::io::Error::other(error.to_string()))? {
                Progress::Complete => break,
                Progress::Partial => {
                    if read_more(&mut stream, &mut raw)? == 0 {
                        return Err(ErrorKind::UnexpectedEof.into());
                    }
                }
            }
        }
        raw.drain(..head.len);
        let state = match head.framing {
            Framing::None => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunked(Box::default()),
            Framing::UntilClose => State::UntilClose,
        };
        Ok((head.status, Self { stream, raw, state }))
    }

    fn read_to_end(&mut self, out: &mut Vec<u8>) -> std::io::Result<()> {
        while self.read_some(out)? {}
        Ok(())
    }

    /// Appends what comes next; `false` at the end.
    fn read_some(&mut self, out: &mut Vec<u8>) -> std::io::Result<bool> {
        if !self.raw.is_empty() {
            return self.take(out).map(|()| true);
        }
        match self.state {
            State::Done | State::Length(0) => Ok(false),
            _ => match read_more(&mut self.stream, &mut self.raw)? {
                0 if matches!(self.state, State::UntilClose) => Ok(false),
                0 => Err(std::io::Error::new(
                    ErrorKind::UnexpectedEof,
                    "the server ended in the middle of an answer",
                )),
                _ => Ok(true),
            },
        }
    }

    fn take(&mut self, out: &mut Vec<u8>) -> std::io::Result<()> {
        match &mut self.state {
            State::Done => self.raw.clear(),
            State::UntilClose => out.append(&mut self.raw),
            State::Length(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(self.raw.len());
                out.extend(self.raw.drain(..count));
                *left -= count as u64;
            }
            State::Chunked(decoder) => {
                let chunk = decoder
                    .step(&self.raw, &Limits::default())
                    .map_err(std::io::Error::other)?;
                match chunk {
                    Chunk::Data { skip, len } => {
                        out.extend_from_slice(self.raw.get(skip..skip + len).unwrap_or_default());
                        self.raw.drain(..skip + len);
                    }
                    Chunk::More { .. } => self.raw.clear(),
                    Chunk::End { .. } => {
                        self.raw.clear();
                        self.state = State::Done;
                    }
                }
            }
        }
        Ok(())
    }
}

fn read_more(stream: &mut UnixStream, into: &mut Vec<u8>) -> std::io::Result<usize> {
    let mut buffer = [0; 16 * 1024];
    let count = stream.read(&mut buffer)?;
    into.extend_from_slice(buffer.get(..count).unwrap_or_default());
    Ok(count)
}

/// Percent-encodes a value for a query.
pub(crate) fn encode(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    value
        .bytes()
        .map(|byte| {
            if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn server(answer: &'static [u8]) -> (tempfile::TempDir, Client) {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("hythe.sock")).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).unwrap();
            for byte in answer {
                stream.write_all(&[*byte]).unwrap();
            }
        });
        let client = Client::of(folder.path());
        (folder, client)
    }

    #[test]
    fn answers_of_every_framing_are_read() {
        for answer in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n[1,2]"[..],
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[1\r\n3\r\n,2]\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n[1,2]",
        ] {
            let (_folder, client) = server(answer);
            assert_eq!(client.get::<Vec<u32>>("/x").unwrap(), [1, 2]);
        }
    }

    #[test]
    fn a_problem_is_a_failure_with_its_hint() {
        let (_folder, client) = server(
            b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n{\"type\":\"urn:x\",\"title\":\"Not Found\",\"status\":404,\
              \"detail\":\"there is no service `user`\",\"code\":\"no_service\",\"hint\":\"did you mean `users`?\"}",
        );
        let failure = client.get::<Vec<u32>>("/x").unwrap_err();
        assert_eq!(failure.exit, Exit::NotFound);
        assert_eq!(
            failure.to_string(),
            "there is no service `user`\n  hint: did you mean `users`?"
        );
    }

    #[test]
    fn lines_come_one_by_one_and_a_cut_is_told() {
        let (_folder, client) =
            server(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\na\nb\n\r\n2\r\nc\n\r\n");
        let mut lines = client.lines("/x").unwrap();
        let got: Vec<_> = lines.by_ref().take(3).map(Result::unwrap).collect();
        assert_eq!(got, ["a", "b", "c"]);
        assert!(lines.next().unwrap().is_err());
    }

    #[test]
    fn a_server_that_is_going_away_is_told_from_one_that_is_there() {
        let (_folder, client) = server(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n");
        assert_eq!(client.presence(), Presence::Answers);
        let (_folder, client) = server(b"");
        assert_eq!(client.presence(), Presence::Silent);
        let (_folder, client) = server(b"");
        assert_eq!(client.get::<u32>("/x").unwrap_err().exit, Exit::NoServer);
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Client::of(folder.path()).presence(), Presence::Absent);
    }

    #[test]
    fn nobody_there_has_its_own_exit_code() {
        let folder = tempfile::tempdir().unwrap();
        let failure = Client::of(folder.path()).get::<u32>("/x").unwrap_err();
        assert_eq!(failure.exit, Exit::NoServer);
    }

    #[test]
    fn queries_are_encoded() {
        assert_eq!(encode("a b/ü?"), "a%20b%2F%C3%BC%3F");
    }
}

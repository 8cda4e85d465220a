//! Everything that clients do at the same time, for as long as something else goes on: requests over connections that
//! are kept and over new ones, a tunnel, HTTP/2, and uploads that take their time. Whatever is not answered, and
//! answered rightly by a [`Backend`](crate::backend::Backend), is a failure, and the first one of a client ends it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::runtime::Runtime;

use crate::http_client::Connection;
use crate::wait::pause;

/// Clients at work, one thread for each way to be one.
#[derive(Debug)]
pub struct MixedLoad {
    stop: Arc<AtomicBool>,
    clients: Vec<Client>,
}

#[derive(Debug)]
struct Client {
    kind: &'static str,
    thread: JoinHandle<io::Result<u64>>,
}

/// What every client knows.
#[derive(Clone)]
struct Task {
    gateway: SocketAddr,
    /// What all paths begin with.
    prefix: String,
    stop: Arc<AtomicBool>,
}

type Work = fn(&Task) -> io::Result<u64>;

const KINDS: [(&str, Work); 5] = [
    ("kept connection", keep_asking),
    ("new connections", ask_anew),
    ("WebSocket", keep_talking),
    ("HTTP/2", keep_streaming),
    ("slow uploads", upload_slowly),
];

/// Between two requests of a client: this is no race.
const PACE: Duration = Duration::from_millis(1);
/// Of an upload, and between two of them: slow, yet no trickle.
const PIECE: usize = 4096;
const PIECES: usize = 20;
const PIECE_PAUSE: Duration = Duration::from_millis(50);

impl MixedLoad {
    /// Begins; all paths that are asked for begin with `prefix`, which ends with a slash.
    pub fn start(gateway: SocketAddr, prefix: &str) -> Self {
        let task = Task {
            gateway,
            prefix: prefix.to_owned(),
            stop: Arc::default(),
        };
        let start = |(kind, work): (&'static str, Work)| {
            let task = task.clone();
            let thread = thread::spawn(move || work(&task));
            Client { kind, thread }
        };
        Self {
            clients: KINDS.into_iter().map(start).collect(),
            stop: task.stop,
        }
    }

    /// Ends, and prints how many requests (of the tunnel: messages) of each client there were during `what`.
    ///
    /// # Panics
    /// When one of them failed, with the reason, or a client had none.
    #[track_caller]
    pub fn none_failed(self, what: &str) {
        self.stop.store(true, Ordering::Relaxed);
        for Client { kind, thread } in self.clients {
            let outcome = thread
                .join()
                .unwrap_or_else(|_| panic!("{kind}: its thread panicked"));
            let served = outcome.unwrap_or_else(|error| panic!("{kind}: {error}"));
            println!("{kind}: {served} served during {what}, none failed");
            assert!(served > 0, "{kind}");
        }
    }
}

impl Task {
    /// Calls `once` with a path of its own each time, until told to stop; how often it went well.
    fn repeat(&self, mut once: impl FnMut(&str) -> io::Result<()>) -> io::Result<u64> {
        let mut served = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let path = format!("{}{served}", self.prefix);
            once(&path).map_err(|error| io::Error::other(format!("request {served}: {error}")))?;
            served += 1;
            pause(PACE);
        }
        Ok(served)
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

/// The answer must be a 200 that says back path and body.
fn check(status: u16, answer: &str, path: &str, body: &str) -> io::Result<()> {
    let is_right = status == 200
        && answer
            .strip_prefix(path)
            .and_then(|rest| rest.strip_prefix('\n'))
            .is_some_and(|rest| rest == body);
    if is_right {
        return Ok(());
    }
    let begin: String = answer.chars().take(200).collect();
    Err(io::Error::other(format!(
        "{path} was answered {status} {begin:?}"
    )))
}

fn keep_asking(task: &Task) -> io::Result<u64> {
    let mut connection = Connection::open(task.gateway)?;
    task.repeat(|path| {
        let answer = connection.exchange(&get(path))?;
        if answer.is_last() {
            connection = Connection::open(task.gateway)?;
        }
        check(answer.status, &answer.body, path, "")
    })
}

fn ask_anew(task: &Task) -> io::Result<u64> {
    task.repeat(|path| {
        let answer = Connection::open(task.gateway)?.exchange(&get(path))?;
        check(answer.status, &answer.body, path, "")
    })
}

/// One tunnel for all the time.
fn keep_talking(task: &Task) -> io::Result<u64> {
    let mut tunnel = TcpStream::connect(task.gateway)?;
    let path = &task.prefix;
    write!(
        tunnel,
        "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        tunnel.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    if !head.starts_with(b"HTTP/1.1 101 ") {
        return Err(io::Error::other(String::from_utf8_lossy(&head).into_owned()));
    }
    task.repeat(|path| {
        tunnel.write_all(path.as_bytes())?;
        let mut echo = vec![0; path.len()];
        tunnel.read_exact(&mut echo)?;
        check(200, &format!("{}\n", String::from_utf8_lossy(&echo)), path, "")
    })
}

/// One connection for as long as the gateway keeps it, then the next.
fn keep_streaming(task: &Task) -> io::Result<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut sender = open_http2(&runtime, task.gateway)?;
    task.repeat(|path| {
        let ready = match runtime.block_on(sender.clone().ready()) {
            Ok(ready) => ready,
            // It was told to go before it asked for this.
            Err(error) if is_farewell(&error) => open_http2(&runtime, task.gateway)?,
            Err(error) => return Err(io::Error::other(error)),
        };
        sender = ready.clone();
        let (status, body) = runtime
            .block_on(ask_http2(ready, path))
            .map_err(io::Error::other)?;
        check(status, &body, path, "")
    })
}

fn is_farewell(error: &h2::Error) -> bool {
    error.is_remote() && error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR)
}

fn open_http2(runtime: &Runtime, gateway: SocketAddr) -> io::Result<SendRequest<Bytes>> {
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(gateway).await?;
        let (sender, connection) = h2::client::handshake(stream).await.map_err(io::Error::other)?;
        tokio::spawn(connection);
        sender.ready().await.map_err(io::Error::other)
    })
}

async fn ask_http2(mut sender: SendRequest<Bytes>, path: &str) -> Result<(u16, String), h2::Error> {
    let mut request = http::Request::new(());
    *request.uri_mut() = format!("http://a{path}").parse().unwrap_or_default();
    let (answer, _) = sender.send_request(request, true)?;
    let (head, mut pieces) = answer.await?.into_parts();
    let mut body = Vec::new();
    while let Some(piece) = pieces.data().await {
        let piece = piece?;
        pieces.flow_control().release_capacity(piece.len())?;
        body.extend_from_slice(&piece);
    }
    Ok((head.status.as_u16(), String::from_utf8_lossy(&body).into_owned()))
}

fn upload_slowly(task: &Task) -> io::Result<u64> {
    task.repeat(|path| {
        let piece = path.bytes().cycle().take(PIECE);
        let piece = String::from_utf8_lossy(&piece.collect::<Vec<u8>>()).into_owned();
        let mut connection = Connection::open(task.gateway)?;
        let length = PIECE * PIECES;
        connection.send(&format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"
        ))?;
        for _ in 1..PIECES {
            connection.send(&piece)?;
            pause(PIECE_PAUSE);
        }
        let answer = connection.exchange(&piece)?;
        check(answer.status, &answer.body, path, &piece.repeat(PIECES))
    })
}

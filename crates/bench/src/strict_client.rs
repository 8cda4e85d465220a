//! A client that forgives nothing, for counting what a reload or a crash costs.
//!
//! Every request is sent once and never again: many clients repeat an idempotent request on a fresh connection when
//! the kept one was reset, and so hide what is counted here. Every request has an end: one that is not answered in
//! time is *hung*. Every answer is compared with what was asked for. The one thing that costs nothing is a kept
//! connection whose end was there to be seen before anything was sent on it.
//!
//! Each connection sends at its own share of the rate, one request at a time, so a server that stalls gets fewer
//! requests and not a flood afterwards. One line a request goes to standard output: what became of it, when it was
//! begun and when it was over, in nanoseconds of the monotonic clock, which all processes of a machine share. It runs
//! until its standard input ends, and then lets what is open come to its end.

use std::cell::{Cell, RefCell};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use rustix::net::RecvFlags;
use rustix::time::{ClockId, clock_gettime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::processes;

/// What to send, where and how often. Request `n` asks for `/n`, and the answer's body has to be just that.
#[derive(Args, Clone, Debug)]
pub(crate) struct Plan {
    /// Where to send the requests
    #[arg(long)]
    address: SocketAddr,
    /// Requests per second, over all connections
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// How many send at the same time
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// What becomes of a connection after its answer
    #[arg(long, value_enum, default_value_t = Keep::No)]
    keep: Keep,
    /// How long an answer may take, with connecting, in milliseconds
    #[arg(long, default_value_t = 3000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    timeout_ms: u64,
}

/// What becomes of a connection after its answer.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Keep {
    /// Each request has a connection of its own
    No,
    /// It is used for the next request
    Yes,
    /// One half of the clients keeps theirs
    Half,
}

/// What became of a request.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    Ok,
    /// Another status or another body than it should have been.
    Wrong,
    /// Nobody listened.
    Refused,
    /// The connection was reset.
    Reset,
    /// It ended before the answer did.
    Cut,
    /// No answer in time.
    Hung,
    /// What this client's own machine has against it.
    Other,
}

/// Sends until standard input ends.
pub(crate) fn run(plan: &Plan) -> Result<()> {
    processes::end_with_parent()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let shared = Rc::new(Shared::default());
    LocalSet::new().block_on(&runtime, async {
        let clients: Vec<_> = (0..plan.connections)
            .map(|place| tokio::task::spawn_local(Client::new(plan, place, &shared).run()))
            .collect();
        wait_for_end_of_input().await?;
        shared.over.set(true);
        for client in clients {
            client.await?;
        }
        anyhow::Ok(())
    })?;
    shared.log.borrow_mut().flush().context("cannot write the log")
}

/// The thread that reads stays behind when the process ends, which is all right.
async fn wait_for_end_of_input() -> Result<()> {
    let (tell, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let read = io::copy(&mut io::stdin().lock(), &mut io::sink());
        let _ = tell.send(read);
    });
    ended.await?.context("cannot read standard input")?;
    Ok(())
}

/// What all clients of a run have in common.
struct Shared {
    next: Cell<u64>,
    over: Cell<bool>,
    log: RefCell<BufWriter<io::Stdout>>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            next: Cell::new(0),
            over: Cell::new(false),
            log: RefCell::new(BufWriter::with_capacity(1 << 20, io::stdout())),
        }
    }
}

struct Client {
    address: SocketAddr,
    keeps: bool,
    patience: Duration,
    first: Instant,
    every: Duration,
    shared: Rc<Shared>,
    kept: Option<TcpStream>,
    answer: Vec<u8>,
}

impl Client {
    fn new(plan: &Plan, place: u32, shared: &Rc<Shared>) -> Self {
        let every = Duration::from_secs(1) * plan.connections / plan.rate;
        Self {
            address: plan.address,
            keeps: match plan.keep {
                Keep::No => false,
                Keep::Yes => true,
                Keep::Half => place.is_multiple_of(2),
            },
            patience: Duration::from_millis(plan.timeout_ms),
            first: Instant::now() + every * place / plan.connections,
            every,
            shared: Rc::clone(shared),
            kept: None,
            answer: Vec::new(),
        }
    }

    async fn run(mut self) {
        let mut due = interval_at(self.first, self.every);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            if self.shared.over.get() {
                return;
            }
            let number = self.shared.next.replace(self.shared.next.get() + 1);
            let begun = now();
            let outcome = self.request(&format!("/{number}")).await;
            self.write_down(outcome, begun, now());
        }
    }

    /// A client that cannot write its log has nothing to say: the run notices the lines that are missing.
    fn write_down(&self, outcome: Outcome, begun: u64, over: u64) {
        let word = format!("{outcome:?}").to_lowercase();
        let _ = writeln!(self.shared.log.borrow_mut(), "{word} {begun} {over}");
    }

    async fn request(&mut self, path: &str) -> Outcome {
        let kept = self.kept.take().filter(|stream| !has_ended(stream));
        match timeout(self.patience, self.exchange(kept, path)).await {
            Err(_) => Outcome::Hung,
            Ok(Err(error)) => Outcome::of(&error),
            Ok(Ok(is_right)) if is_right => Outcome::Ok,
            Ok(Ok(_)) => Outcome::Wrong,
        }
    }

    /// Whether the answer is the right one.
    async fn exchange(&mut self, kept: Option<TcpStream>, path: &str) -> io::Result<bool> {
        let mut stream = match kept {
            Some(stream) => stream,
            None => TcpStream::connect(self.address).await?,
        };
        stream.set_nodelay(true)?;
        let close = if self.keeps { "" } else { "Connection: close\r\n" };
        let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{close}\r\n", self.address);
        stream.write_all(head.as_bytes()).await?;
        let answer = read_answer(&mut stream, &mut self.answer).await?;
        self.kept = (self.keeps && answer.keeps).then_some(stream);
        Ok(answer.status == 200 && self.answer[answer.body_at..] == *path.as_bytes())
    }
}

impl Outcome {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Self::Reset,
            ErrorKind::UnexpectedEof => Self::Cut,
            ErrorKind::InvalidData => Self::Wrong,
            _ => Self::Other,
        }
    }
}

/// Whether a connection that waits for its next request has ended meanwhile: there is something to read that nobody
/// asked for, most often its end.
fn has_ended(stream: &TcpStream) -> bool {
    let looked = rustix::net::recv(stream, &mut [0], RecvFlags::PEEK | RecvFlags::DONTWAIT);
    !matches!(looked, Err(rustix::io::Errno::AGAIN))
}

/// An answer in a buffer, the body to its end.
struct Answer {
    status: u16,
    keeps: bool,
    body_at: usize,
}

/// Reads an answer that says how long it is, all of it and nothing behind it.
async fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Answer> {
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if let Some((answer, length)) = parse(buffer)? {
            let end = answer.body_at + length;
            if buffer.len() > end {
                return Err(ErrorKind::InvalidData.into());
            }
            if buffer.len() == end {
                return Ok(answer);
            }
        }
    }
}

/// The head and the length of the body, as soon as the head is there.
fn parse(bytes: &[u8]) -> io::Result<Option<(Answer, usize)>> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut fields);
    let invalid = || io::Error::from(ErrorKind::InvalidData);
    let httparse::Status::Complete(body_at) = response.parse(bytes).map_err(|_| invalid())? else {
        return Ok(None);
    };
    let field = |name: &str| {
        let mut fields = response.headers.iter();
        let found = fields.find(|field| field.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok()
    };
    let length = field("content-length").and_then(|value| value.parse().ok());
    let answer = Answer {
        status: response.code.unwrap_or_default(),
        keeps: !field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")),
        body_at,
    };
    Ok(Some((answer, length.ok_or_else(invalid)?)))
}

fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

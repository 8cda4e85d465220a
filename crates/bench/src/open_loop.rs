//! Load at a fixed rate, and the latency of it.
//!
//! Request `n` is due at `start + n / rate`, whatever became of the ones before. When it is due it takes the
//! connection that has been idle longest; when none is idle it waits in a queue. Its latency counts from when
//! it was *due*, so a proxy that stalls pays for every request that should have been sent meanwhile, and no
//! omission is coordinated.
//!
//! One thread, one epoll: a timer that fires at the rate, and the connections. Nothing spins, because the
//! backend shares this core. One request at a time per connection; answers need a `Content-Length`.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use hdrhistogram::Histogram;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use serde::{Deserialize, Serialize};

use crate::processes;

/// How long answers may take after the last request was due.
const GRACE: Duration = Duration::from_secs(10);
/// Latencies are recorded in nanoseconds, to three digits, up to this.
const LONGEST: Duration = Duration::from_secs(60);
const TIMER: u64 = u64::MAX;

/// What to send, where and how often.
#[derive(Args, Clone, Debug)]
pub(crate) struct Plan {
    /// Where to send the requests
    #[arg(long)]
    pub(crate) address: SocketAddr,
    /// What to ask for
    #[arg(long, default_value = "/")]
    pub(crate) path: String,
    /// Requests per second, over all connections
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rate: u32,
    /// For how long to send, in milliseconds
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=600_000))]
    pub(crate) duration_ms: u32,
    /// Connections to spread the requests over
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) connections: u32,
}

/// What came of it; latencies in microseconds.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Latency {
    /// Requests sent, each of them answered.
    pub(crate) requests: u64,
    /// Half of them took no longer.
    pub p50_us: f64,
    /// 99 of 100 took no longer.
    pub p99_us: f64,
    /// The slowest.
    pub(crate) max_us: f64,
}

/// Runs the plan and prints its [`Latency`] as a line of JSON.
pub(crate) fn run_and_print(plan: &Plan) -> Result<()> {
    processes::end_with_parent()?;
    println!("{}", serde_json::to_string(&run(plan)?)?);
    Ok(())
}

/// Runs the plan; any request that fails, or is not answered with 200, fails the whole.
pub(crate) fn run(plan: &Plan) -> Result<Latency> {
    let mut generator = Generator::connect(plan)?;
    generator.warm_up()?;
    generator.send_all(plan)?;
    let latencies = generator.latencies;
    let micros = |nanos: u64| nanos as f64 / 1000.0;
    Ok(Latency {
        requests: latencies.len(),
        p50_us: micros(latencies.value_at_quantile(0.5)),
        p99_us: micros(latencies.value_at_quantile(0.99)),
        max_us: micros(latencies.max()),
    })
}

struct Generator {
    epoll: OwnedFd,
    timer: Option<OwnedFd>,
    request: Vec<u8>,
    connections: Vec<Connection>,
    /// Indexes of connections without a request, the one idle longest in front.
    idle: VecDeque<usize>,
    /// When requests were due that no connection was free for.
    waiting: VecDeque<Instant>,
    latencies: Histogram<u64>,
}

impl Generator {
    fn connect(plan: &Plan) -> Result<Self> {
        let mut generator = Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).context("cannot create an epoll")?,
            timer: None,
            request: format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", plan.path, plan.address).into_bytes(),
            connections: Vec::new(),
            idle: VecDeque::new(),
            waiting: VecDeque::new(),
            latencies: Histogram::new_with_max(LONGEST.as_nanos() as u64, 3)?,
        };
        for index in 0..plan.connections as usize {
            let connection = Connection::open(plan.address)?;
            let token = EventData::new_u64(index as u64);
            epoll::add(&generator.epoll, &connection.stream, token, EventFlags::IN)?;
            generator.connections.push(connection);
            generator.idle.push_back(index);
        }
        Ok(generator)
    }

    /// Uses every connection once, so that none of the proxy's own connecting is measured.
    fn warm_up(&mut self) -> Result<()> {
        let now = Instant::now();
        self.waiting
            .extend(std::iter::repeat_n(now, self.connections.len()));
        self.dispatch()?;
        while self.idle.len() < self.connections.len() {
            self.wait_for_answers(now + GRACE)?;
        }
        self.latencies.reset();
        Ok(())
    }

    fn send_all(&mut self, plan: &Plan) -> Result<()> {
        let total = u64::from(plan.rate) * u64::from(plan.duration_ms) / 1000;
        self.start_timer(plan.rate)?;
        let start = Instant::now();
        let deadline = start + Duration::from_millis(plan.duration_ms.into()) + GRACE;
        let due = |request: u64| start + Duration::from_secs_f64(request as f64 / f64::from(plan.rate));

        let mut next = 0;
        while next < total || !self.waiting.is_empty() || self.idle.len() < self.connections.len() {
            let now = Instant::now();
            while next < total && due(next) <= now {
                self.waiting.push_back(due(next));
                next += 1;
            }
            self.dispatch()?;
            self.wait_for_answers(deadline)?;
        }
        Ok(())
    }

    /// Wakes the loop at the rate; which requests are due, the clock says.
    fn start_timer(&mut self, rate: u32) -> Result<()> {
        let nanos = 1_000_000_000 / i64::from(rate);
        let period = Timespec {
            tv_sec: nanos / 1_000_000_000,
            tv_nsec: nanos % 1_000_000_000,
        };
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        let repeating = Itimerspec {
            it_interval: period,
            it_value: period,
        };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &repeating)?;
        epoll::add(&self.epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN)?;
        self.timer = Some(timer);
        Ok(())
    }

    /// A timer that is not read does not fire again.
    fn rearm_timer(&self) -> Result<()> {
        let mut ticks = [0; 8];
        match self
            .timer
            .as_ref()
            .map(|timer| rustix::io::read(timer, &mut ticks))
        {
            None | Some(Ok(_) | Err(Errno::AGAIN)) => Ok(()),
            Some(Err(error)) => Err(error).context("cannot read the timer"),
        }
    }

    fn dispatch(&mut self) -> Result<()> {
        while let (Some(&due), Some(&index)) = (self.waiting.front(), self.idle.front()) {
            self.connections[index].send(&self.request, due)?;
            self.waiting.pop_front();
            self.idle.pop_front();
        }
        Ok(())
    }

    fn wait_for_answers(&mut self, deadline: Instant) -> Result<()> {
        let mut events = Vec::with_capacity(128);
        let a_second = Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        match epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut events),
            Some(&a_second),
        ) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait for answers"),
        }
        for event in &events {
            match event.data.u64() {
                TIMER => self.rearm_timer()?,
                index => self.receive(index as usize)?,
            }
        }
        ensure!(
            Instant::now() < deadline,
            "requests were left unanswered {} s after the last was due",
            GRACE.as_secs()
        );
        Ok(())
    }

    fn receive(&mut self, index: usize) -> Result<()> {
        if let Some(due) = self.connections[index].receive()? {
            self.latencies.saturating_record(due.elapsed().as_nanos() as u64);
            self.idle.push_back(index);
        }
        Ok(())
    }
}

struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
    /// When the request was due that is being answered.
    due: Option<Instant>,
}

impl Connection {
    fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            answer: Vec::with_capacity(4096),
            due: None,
        })
    }

    fn send(&mut self, request: &[u8], due: Instant) -> Result<()> {
        // A request is far smaller than a socket's buffer, which is empty: it goes whole or not at all.
        let sent = self.stream.write(request).context("cannot send a request")?;
        ensure!(sent == request.len(), "a request was sent in part");
        self.due = Some(due);
        Ok(())
    }

    /// When the answered request was due, once its answer is complete.
    fn receive(&mut self) -> Result<Option<Instant>> {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) => bail!("a connection was closed"),
            Ok(count) => self.answer.extend_from_slice(&chunk[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(None);
            }
            Err(error) => return Err(error).context("cannot receive an answer"),
        }
        let Some(length) = answer_length(&self.answer)?.filter(|&length| length <= self.answer.len()) else {
            return Ok(None);
        };
        ensure!(length == self.answer.len(), "more came than was asked for");
        self.answer.clear();
        Ok(self.due.take())
    }
}

/// The length of an answer with its head, once the head is there.
fn answer_length(bytes: &[u8]) -> Result<Option<usize>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(bytes).context("not an HTTP answer")? else {
        return Ok(None);
    };
    ensure!(
        response.code == Some(200),
        "answered with status {}",
        response.code.unwrap_or_default()
    );
    let length = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse::<usize>().ok());
    Ok(Some(head + length.context("an answer without Content-Length")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{backend, relay};
    use tokio::net::TcpListener;

    #[test]
    fn answer_lengths() {
        for (text, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Le", Ok(None)),
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab", Ok(Some(40))),
            ("HTTP/1.1 200 OK\r\n\r\n", Err("an answer without Content-Length")),
            (
                "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
                Err("answered with status 502"),
            ),
            ("nonsense\r\n\r\n", Err("not an HTTP answer")),
        ] {
            let length = answer_length(text.as_bytes()).map_err(|error| error.to_string());
            assert_eq!(length, expected.map_err(str::to_owned), "{text}");
        }
    }

    #[tokio::test]
    async fn every_request_through_the_relay_is_answered() {
        let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let relay = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (upstream, address) = (backend.local_addr().unwrap(), relay.local_addr().unwrap());
        tokio::spawn(backend::serve(backend));
        tokio::spawn(relay::serve(relay, upstream));

        let plan = Plan {
            address,
            path: "/".to_owned(),
            rate: 1000,
            duration_ms: 200,
            connections: 8,
        };
        let latency = tokio::task::spawn_blocking(move || run(&plan))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(latency.requests, 200);
        assert!(latency.p50_us <= latency.p99_us && latency.p99_us <= latency.max_us);
    }

    #[tokio::test]
    async fn a_closed_connection_fails_the_run() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { while listener.accept().await.is_ok() {} });

        let plan = Plan {
            address,
            path: "/".to_owned(),
            rate: 100,
            duration_ms: 100,
            connections: 1,
        };
        let error = tokio::task::spawn_blocking(move || run(&plan))
            .await
            .unwrap()
            .unwrap_err();
        assert!(matches!(
            error.to_string().as_str(),
            "a connection was closed" | "cannot receive an answer" | "cannot send a request"
        ));
    }
}

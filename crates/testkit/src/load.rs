//! A steady load and an exact account of it: every request that is not answered 200 counts as failed, with
//! what happened. Half of the readers keep their connections, half open a new one for each request; beside
//! them somebody POSTs on a connection that is idle most of the time, which is where proxies lose requests.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::http_client::{Answer, Connection};
use crate::wait::{pause, until};

/// What is asked, and how often.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The gateway.
    pub gateway: SocketAddr,
    /// Path of every request.
    pub path: String,
    /// Clients that GET.
    pub readers: usize,
    /// Pause of each between two requests.
    pub pause: Duration,
    /// Time between two POSTs; `None`: none are sent.
    pub post_every: Option<Duration>,
}

/// Clients at work.
#[derive(Debug)]
pub struct Load {
    account: Arc<Mutex<Tally>>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

/// What became of requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// GETs that were answered 200.
    pub gets: u64,
    /// POSTs that were answered 200 with what was sent.
    pub posts: u64,
    /// What went wrong, one entry a request.
    pub failures: Vec<String>,
    /// GETs by the instance that answered (`X-Instance`).
    pub by_instance: BTreeMap<String, u64>,
}

/// The longest a client takes to notice that it shall stop.
const TICK: Duration = Duration::from_millis(20);

impl Load {
    /// Begins.
    pub fn start(plan: &Plan) -> Self {
        let mut load = Self {
            account: Arc::default(),
            stop: Arc::default(),
            clients: Vec::new(),
        };
        for reader in 0..plan.readers {
            let plan = plan.clone();
            let keep = reader % 2 == 0;
            load.client(move |client| client.read(&plan, keep));
        }
        if let Some(every) = plan.post_every {
            let plan = plan.clone();
            load.client(move |client| client.post(&plan, every));
        }
        load
    }

    /// Waits until this many more GETs were answered.
    pub fn await_gets(&self, more: u64) {
        let goal = self.tally().gets + more;
        until("the load goes on", || self.tally().gets >= goal);
    }

    /// What happened since the last call or the start; counting begins anew.
    pub fn take(&self) -> Tally {
        std::mem::take(&mut *self.lock())
    }

    /// What happened since then, counting on.
    pub fn tally(&self) -> Tally {
        self.lock().clone()
    }

    /// Ends; what happened since the last [`Load::take`].
    pub fn stop(mut self) -> Tally {
        self.end();
        self.take()
    }

    fn client(&mut self, work: impl FnOnce(Client) + Send + 'static) {
        let client = Client {
            account: Arc::clone(&self.account),
            stop: Arc::clone(&self.stop),
            kept: None,
        };
        self.clients.push(thread::spawn(move || work(client)));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            let _ = client.join();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}

struct Client {
    account: Arc<Mutex<Tally>>,
    stop: Arc<AtomicBool>,
    kept: Option<Connection>,
}

impl Client {
    fn read(mut self, plan: &Plan, keep: bool) {
        let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", plan.path, plan.gateway);
        while !self.is_over() {
            let answer = self.ask(plan.gateway, &request, keep);
            self.count(|tally| tally.read(&answer));
            pause(plan.pause);
        }
    }

    fn post(mut self, plan: &Plan, every: Duration) {
        let body = "one of a kind";
        let request = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n{body}",
            plan.path,
            plan.gateway,
            body.len()
        );
        while !self.is_over() {
            let answer = self.ask(plan.gateway, &request, true);
            self.count(|tally| tally.posted(&answer, body));
            let next = Instant::now() + every;
            while !self.is_over() && Instant::now() < next {
                pause(TICK);
            }
        }
    }

    fn ask(&mut self, gateway: SocketAddr, request: &str, keep: bool) -> io::Result<Answer> {
        let mut connection = match self.kept.take() {
            Some(kept) => kept,
            None => Connection::open(gateway)?,
        };
        let answer = connection.exchange(request)?;
        self.kept = (keep && !answer.is_last()).then_some(connection);
        Ok(answer)
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn count(&self, how: impl FnOnce(&mut Tally)) {
        how(&mut self.account.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Tally {
    /// Requests in all.
    pub fn requests(&self) -> u64 {
        self.gets + self.posts + u64::try_from(self.failures.len()).unwrap_or(u64::MAX)
    }

    fn read(&mut self, answer: &io::Result<Answer>) {
        match answer {
            Ok(answer) if answer.status == 200 => {
                self.gets += 1;
                let instance = answer.header("x-instance").unwrap_or("nobody").to_owned();
                *self.by_instance.entry(instance).or_default() += 1;
            }
            other => self.failures.push(format!("GET: {}", told(other))),
        }
    }

    fn posted(&mut self, answer: &io::Result<Answer>, sent: &str) {
        match answer {
            Ok(answer) if answer.status == 200 && answer.body == sent => self.posts += 1,
            other => self.failures.push(format!("POST: {}", told(other))),
        }
    }
}

fn told(answer: &io::Result<Answer>) -> String {
    match answer {
        Ok(answer) => format!("{} {}", answer.status, answer.body.trim()),
        Err(error) => error.to_string(),
    }
}

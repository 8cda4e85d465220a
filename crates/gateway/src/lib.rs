//! The data plane: accept, admit, match, before, pick, send, after, reply.
//!
//! ```text
//! listener     what listeners there are; their sockets, one for each worker
//! openings     listeners that come and go with the desired state
//! accept       connections come in, from the sockets of one worker
//! door         whose connection it is, and who serves it; crowd: how many each client has
//! relay        TCP and UDP, passed on as they are; tunnel: bytes both ways
//! tls          the first step where it is spoken, whose certificates are shown, which ones clients show
//! worker       one core: owns connections, buffers, counters
//! connection   one client: heads come in, one exchange after another
//! streams      one client in HTTP/2: exchanges beside one another
//! proxy        one exchange: match, before, send
//! before       the plugins of its route
//! send         to whom, how often, within which time; what may be repeated
//! hedge        two members asked, the first answer counts
//! reach        connections to members; announce: the PROXY protocol, outwards
//! attempt      one try over one upstream connection: request up, answer down
//! download     the answer's half of an attempt; trouble: what may become of it
//! after        the plugins of its route that look at answers
//! heads, body  what is written: heads cleaned and marked, bodies framed anew
//! respond      the only place where a failure becomes a page
//! grpc         the same for calls of gRPC
//! record       what is counted and logged of a request
//! mirror       copies of requests, sent beside them
//! ```
//!
//! Calls go down this list only. A request runs on the core that accepted it, from beginning to end; it
//! takes no lock, waits for nobody but its two sides, and reads one immutable snapshot. The control
//! task compiles a new snapshot when the desired state changes and swaps a single pool when
//! only endpoints change. What of a configuration cannot be compiled stays as it was served last.
//!
//! An HTTP/2 stream is brought to the same form at the door (`hythe-http2`): a `Link` that is read and written
//! like a connection of HTTP/1.1, so that there is one exchange, one attempt and one set of rules.

mod accept;
mod access_log;
mod after;
mod announce;
mod attempt;
mod before;
mod body;
mod client_certificate;
mod clock;
mod compile;
mod connection;
mod control;
mod crowd;
mod decisions;
mod directory;
mod door;
mod download;
mod edits;
mod exchange;
mod explain;
mod files;
#[doc(hidden)]
pub mod fuzzing;
mod grpc;
mod hash_key;
mod heads;
mod hedge;
mod hold;
mod link;
mod listener;
mod metrics;
mod mirror;
mod openings;
pub mod plugin;
mod pools;
mod proxy;
mod reach;
mod record;
mod relay;
mod respond;
mod send;
mod snapshot;
mod sockets;
mod sticky;
mod stream_tasks;
mod streams;
mod tls;
mod trouble;
mod trust;
mod tunnel;
mod upstream_tls;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hythe_balance::EndpointTable;
use hythe_http2::UpstreamLimits;
use hythe_model::{Desired, Endpoints};
use hythe_spine::{Latest, Spine};
use hythe_telemetry::{LineSink, LineSinkConfig};
use hythe_tls::Identity;
use hythe_upstream::KeepAlive;

use crate::openings::Openings;

pub use access_log::AccessLogFormat;
pub use control::Status;
pub use decisions::Decisions;
pub use directory::{Caller, Directory, Proof};
pub use edits::{Edit, Edits};
pub use exchange::Exchange;
pub use explain::Explainer;
pub use listener::{BindError, ClientRules, ListenerPlan, Listeners, Listening, OpenListeners};
pub use metrics::{Metrics, MetricsCollector};
pub use plugin::{Parse, Plugin, PluginKind, Resume, SettingProblem, Verdict};
pub use respond::{Failure, Form, Reply};
pub use snapshot::Problem;
pub use sockets::KeptSocket;
pub use trust::{RealIpHeader, Trust};

/// How the gateway is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// Worker threads; at least 1.
    pub workers: usize,
    /// Where the access log goes and how it looks; `None`: nowhere.
    pub access_log: Option<(AccessLogFormat, PathBuf)>,
    /// Limits.
    pub limits: Limits,
    /// Every plugin there is.
    pub plugins: &'static [PluginKind],
    /// Proxies in front that are believed.
    pub trust: Trust,
    /// Shown to TLS clients that ask for no name, or for one that nobody has a certificate for. `None`: they
    /// are turned away.
    pub default_certificate: Option<Identity>,
}

/// What clients and upstreams may take of time and memory.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Sizes of a request's head and framing.
    pub wire: hythe_http1::Limits,
    /// Sizes of an answer's head and framing.
    pub answer: hythe_http1::Limits,
    /// Time for a whole head.
    pub head_timeout: Duration,
    /// Time a kept client connection may stay silent.
    pub idle_timeout: Duration,
    /// Time between two reads of a request's body, and of all its pauses together but for what its bytes earn back.
    pub body_timeout: Duration,
    /// Bytes a second that earn back all the time they take; 0: each pause may be as long as `body_timeout`.
    pub body_rate: u32,
    /// Time for one write to a client.
    pub client_write_timeout: Duration,
    /// Streams that an HTTP/2 client may have open at the same time on one connection.
    pub streams_per_connection: u32,
    /// Requests on one client connection before it is closed; `None`: any number. A connection takes no more memory
    /// the older it is, and its end costs clients that do not expect it a request.
    pub requests_per_connection: Option<u32>,
    /// Client connections of one worker; more are told 503 and closed.
    pub connections_per_worker: usize,
    /// Connections of one client address, of all workers; more are told 503 and closed. Proxies that are trusted may
    /// have any number.
    pub connections_per_client: usize,
    /// Kept connections to upstreams.
    pub upstream_keep_alive: KeepAlive,
    /// Size of a read from an upstream's body, bytes.
    pub answer_chunk: usize,
    /// Time for open connections to finish when the server stops.
    pub drain: Duration,
}

/// What the gateway reads.
pub struct Inputs {
    /// Routes, services, upstreams, plugins.
    pub desired: Latest<Desired>,
    /// Who serves them.
    pub endpoints: Latest<Endpoints>,
    /// What this node listens on from the beginning to the end.
    pub listeners: Listeners,
    /// Counters of endpoints, shared with whoever drains them.
    pub table: Arc<EndpointTable>,
}

/// What the gateway offers.
pub struct Outputs {
    /// How far it is.
    pub status: Latest<Status>,
    /// Where it listens; the sockets stay open as long as somebody keeps them.
    pub listeners: Latest<OpenListeners>,
    /// Its routes, in words.
    pub explainer: Explainer,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    /// Whether it has a successor.
    pub succession: Succession,
}

/// Tells the gateway that another server serves when it stops, so that it can be patient with connections that are kept.
#[derive(Debug, Clone)]
pub struct Succession(Arc<AtomicBool>);

impl Succession {
    /// From now on. To be told before it is stopped.
    pub fn is_settled(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A gateway that knows its routes and does not accept yet.
pub struct Gateway {
    seeds: Vec<worker::WorkerSeed>,
}

/// What all workers share.
pub(crate) struct Shared {
    /// How many workers there are.
    pub(crate) workers: usize,
    pub(crate) limits: Limits,
    pub(crate) trust: Trust,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) crowd: Arc<crowd::Crowd>,
    pub(crate) endpoints: Arc<EndpointTable>,
    pub(crate) tls: Arc<tls::ServerTls>,
    /// Another server serves already when this one stops.
    pub(crate) lingers: Arc<AtomicBool>,
}

impl Default for Limits {
    fn default() -> Self {
        let wire = hythe_http1::Limits::default();
        Self {
            wire,
            answer: hythe_http1::Limits {
                line: 64 * 1024,
                head: 256 * 1024,
                fields: 512,
                ..wire
            },
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(60),
            body_rate: 240,
            client_write_timeout: Duration::from_secs(60),
            streams_per_connection: 100,
            requests_per_connection: None,
            connections_per_worker: 16_384,
            connections_per_client: 12_288,
            upstream_keep_alive: KeepAlive::default(),
            answer_chunk: 64 * 1024,
            drain: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// What connections to upstreams in HTTP/2 may take.
    fn of_upstreams(&self) -> UpstreamLimits {
        UpstreamLimits {
            idle: self.upstream_keep_alive.idle,
            write_timeout: self.client_write_timeout,
            header_list: u32::try_from(self.answer.head).unwrap_or(u32::MAX),
        }
    }
}

/// Compiles the state as it stands and starts following it. The gateway does not accept before
/// [`Gateway::serve`], so nobody is answered 404 or 503 for what is merely not known yet.
///
/// # Errors
/// When the access log cannot be opened, or TLS cannot be set up.
pub fn build(config: Config, mut inputs: Inputs, spine: &Spine) -> std::io::Result<(Gateway, Outputs)> {
    let workers = config.workers.max(1);
    let metrics = Arc::new(Metrics::default());
    let tls = Arc::new(tls::ServerTls::new(config.default_certificate).map_err(std::io::Error::other)?);
    let lingers = Arc::new(AtomicBool::new(false));
    let shared = Arc::new(Shared {
        workers,
        lingers: Arc::clone(&lingers),
        crowd: Arc::new(crowd::Crowd::new(config.limits.connections_per_client)),
        limits: config.limits,
        trust: config.trust,
        metrics: Arc::clone(&metrics),
        endpoints: Arc::clone(&inputs.table),
        tls: Arc::clone(&tls),
    });
    let access_log = match config.access_log {
        Some((format, path)) => Some((
            format,
            LineSink::open(LineSinkConfig {
                path,
                file_bytes: 64 << 20,
                older_files: 4,
            })?,
        )),
        None => None,
    };
    let compiler = compile::Compiler::new(config.plugins, workers, Arc::clone(&metrics));
    let bound = std::mem::take(&mut inputs.listeners);
    let (openings, listeners) = Openings::new(bound, workers, spine.shutdown());
    let (snapshot, status) = control::start(compiler, openings, tls, inputs, spine);
    let seeds = (0..workers)
        .map(|index| worker::WorkerSeed {
            index,
            shared: Arc::clone(&shared),
            snapshot: snapshot.clone(),
            listeners: listeners.clone(),
            access_log: access_log.clone(),
            shutdown: spine.shutdown(),
        })
        .collect();
    Ok((
        Gateway { seeds },
        Outputs {
            status,
            listeners,
            explainer: Explainer::new(snapshot),
            metrics,
            succession: Succession(lingers),
        },
    ))
}

impl Gateway {
    /// Starts to accept: a thread for each worker. They end, after draining, when the spine stops.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn serve(self) -> std::io::Result<Vec<std::thread::JoinHandle<()>>> {
        let start = |seed: worker::WorkerSeed| {
            let name = format!("gateway-{}", seed.index);
            std::thread::Builder::new().name(name).spawn(move || seed.run())
        };
        self.seeds.into_iter().map(start).collect()
    }
}

//! The native API: what the command line and other tools ask of a server.
//!
//! ```text
//!  hythe.sock (same user or root) ──────────────┐
//!                                               ├─► router ─► handlers ─► store (writes)
//!  TCP ─► guard: Host, Origin, token ───────────┘                    └──► Latest<...> (reads)
//! ```
//!
//! Reads look at what the subsystems publish and touch no disk, but for history and the store's own
//! generation. Changes are transactions of the store: the answer names the generation, and
//! `GET /v1/wait` tells when supervisor, registry and gateway have acted on it. Errors are problem details
//! (RFC 9457) with a stable `code`. `GET /openapi.json` describes everything.
//!
//! Left out: TLS (listen on loopback, or put a gateway in front), and any deciding about what runs: the
//! supervisor reads the same store.

mod adding;
mod apply;
mod bind;
mod code;
mod events;
mod extract;
mod guard;
mod history;
mod logs;
mod observed;
mod openapi;
mod problem;
mod project;
mod routes;
mod serve;
mod server;
mod service;
mod signal;
mod status;
#[cfg(test)]
mod tests;
mod token;
mod wait;
pub mod wire;
mod workloads;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hythe_model::{Desired, Endpoints, InstanceId, Instances, Name, ProjectName};
use hythe_ports::documents::Documents;
use hythe_ports::{BoxFuture, Logs, Routes, Traffic};
use hythe_spine::{Latest, Shutdown, Spine};
use serde_json::{Map, Value};

pub use bind::{BindError, Bound, bind};
pub use openapi::document as openapi_document;
pub use serve::serve;

/// Where the API can be reached.
#[derive(Debug, Clone)]
pub struct Config {
    /// TCP address; `None`: only the socket. Port 0: any free one.
    pub api_listen: Option<SocketAddr>,
    /// The Unix socket of the command line; its folder exists.
    pub socket: PathBuf,
    /// The file of the token that TCP needs for changes; made when it does not exist.
    pub token_file: PathBuf,
}

/// What the API reads and asks.
pub struct Inputs {
    /// Where changes go.
    pub documents: Arc<dyn Documents>,
    /// What should be.
    pub desired: Latest<Desired>,
    /// What runs.
    pub instances: Latest<Instances>,
    /// What may receive traffic.
    pub endpoints: Latest<Endpoints>,
    /// How far the gateway is.
    pub gateway: Latest<GatewayStatus>,
    /// The gateway's routes.
    pub routes: Arc<dyn Routes>,
    /// The gateway's traffic.
    pub traffic: Arc<dyn Traffic>,
    /// Output of instances.
    pub logs: Arc<dyn Logs>,
    /// The metrics in Prometheus' text format.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// What is fixed about the server.
    pub info: ServerInfo,
    /// Ends the server.
    pub control: Arc<dyn Control>,
    /// Checks plugin settings.
    pub plugin_check: Arc<PluginCheck>,
}

/// How far the gateway is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GatewayStatus {
    /// The desired generation that it serves.
    pub generation: u64,
    /// What it does not serve.
    pub problems: Vec<GatewayProblem>,
}

/// Something desired that the gateway does not serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayProblem {
    /// Whose it is, if it is a project's.
    pub project: Option<ProjectName>,
    /// What it is and why it is not served.
    pub text: String,
}

/// Reads a plugin's settings, by its name.
pub type PluginCheck = dyn Fn(&str, &Map<String, Value>) -> PluginFindings + Send + Sync;

/// What a plugin's settings say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PluginFindings {
    /// Everything that is wrong, in words; that there is no such plugin, too.
    pub problems: Vec<String>,
    /// Services of its project that it may send requests to.
    pub services: Vec<Name>,
}

/// What is fixed about a server while it runs.
#[derive(Clone)]
pub struct ServerInfo {
    /// Process id.
    pub pid: u32,
    /// Version of the binary.
    pub version: String,
    /// Unix milliseconds.
    pub started_at: u64,
    /// The program.
    pub program: PathBuf,
    /// Data directory.
    pub home: PathBuf,
    /// Gateway workers.
    pub workers: u32,
    /// The gateway's addresses as bound.
    pub proxy: Vec<SocketAddr>,
    /// Where the gateway listens for HTTPS.
    pub proxy_tls: Vec<SocketAddr>,
    /// The minder's process id, if it can be reached.
    pub minder_pid: Arc<dyn Fn() -> Option<u32> + Send + Sync>,
}

/// What the API may ask of the whole server.
pub trait Control: Send + Sync {
    /// Begins to stop the server and the minder, with or without ending the services first; returns at
    /// once. The API has made sure that nothing runs, unless `with_services`.
    fn stop(&self, with_services: bool);

    /// Has the minder go on as another binary, then begins to hand this server over to it; returns when the first was
    /// done. The error is a text for people, after which everything is as before.
    fn upgrade<'a>(&'a self, binary: &'a Path) -> BoxFuture<'a, Result<(), String>>;

    /// Kills the instances of a project with everything they started; their ids. Returns when they were sent
    /// the signal. The error is a text for people.
    fn kill<'a>(&'a self, project: &'a ProjectName) -> BoxFuture<'a, Result<Vec<InstanceId>, String>>;

    /// Sends a signal to the main processes of these instances; the ids of those that were there to get it. The error
    /// is a text for people.
    fn signal<'a>(
        &'a self,
        instances: &'a [InstanceId],
        signal: i32,
    ) -> BoxFuture<'a, Result<Vec<InstanceId>, String>>;
}

/// What handlers share.
pub(crate) struct Api {
    pub(crate) inputs: Inputs,
    pub(crate) api: Option<SocketAddr>,
    pub(crate) socket: PathBuf,
    pub(crate) spine: Spine,
    pub(crate) shutdown: Shutdown,
}

pub(crate) type State = axum::extract::State<Arc<Api>>;

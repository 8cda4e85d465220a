//! What people and tools see: the shapes behind `--json` and the native API. Version 1: fields are
//! added, never renamed or removed; a reader ignores fields it does not know. With the feature `openapi`
//! they describe themselves in the native API's OpenAPI document.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::instance::{Exit, InstanceState, Listening};

/// `hythe ls --json`: an array of these.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceView {
    /// Name; with its project outside the default one.
    pub name: String,
    /// Project.
    pub project: String,
    /// `process`, or `external` for services that are only balanced.
    pub kind: String,
    /// Instances that receive traffic (external: usable endpoints).
    pub ready: u32,
    /// Instances there should be (external: endpoints).
    pub desired: u32,
    /// Whether nothing is left to do.
    pub settled: bool,
    /// Stopped by hand.
    pub stopped: bool,
    /// Nobody needed it for a while: the next request starts it.
    #[serde(default)]
    pub asleep: bool,
    /// Why the last rollout failed.
    pub failure: Option<String>,
    /// What it asks for and does not get here: a limit that nobody enforces.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Its instances.
    pub instances: Vec<InstanceView>,
    /// Routes that lead to it, by name.
    pub routes: Vec<String>,
    /// Where its programs mean to listen and the gateway does for them, `ip:port`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub published: Vec<String>,
    /// What tools remember about it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Where it is balanced to (external).
    #[serde(default)]
    pub endpoints: Vec<EndpointView>,
}

/// One instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InstanceView {
    /// Id.
    pub id: String,
    /// Place among the copies, from 0.
    pub slot: u32,
    /// Process id while it runs.
    pub pid: Option<u32>,
    /// `ip:port`.
    pub address: Option<String>,
    /// How it came to listen there, once that is known.
    #[serde(default)]
    pub listening: Option<Listening>,
    /// Where it is in its life.
    pub state: InstanceState,
    /// Restarts after exits.
    pub restarts: u32,
    /// Revision, 16 hex digits.
    pub revision: String,
    /// Unix milliseconds.
    pub started_at: Option<u64>,
    /// How the last process ended.
    pub last_exit: Option<Exit>,
    /// Why it was started, if by a rule of its service: memory, cron, changed files, liveness.
    #[serde(default)]
    pub cause: Option<String>,
    /// Why it is not ready.
    pub message: Option<String>,
    /// Thousandths of a core over the last second.
    pub cpu_millis: u32,
    /// Resident memory, bytes.
    pub memory_bytes: u64,
    /// Requests in flight through the gateway.
    pub in_flight: u64,
}

/// `hythe status --json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StatusView {
    /// Version of these shapes: 1.
    pub version: u32,
    /// The server process.
    pub server: ServerView,
    /// The minder process.
    pub minder: MinderView,
    /// How far each subsystem is, by generation of the desired state.
    pub generations: GenerationsView,
    /// Listening addresses.
    pub listen: ListenView,
    /// Services, instances and ready instances.
    pub counts: CountsView,
    /// Panics contained since the start.
    pub panics: u64,
    /// What is desired and yet not served by the gateway, and why.
    #[serde(default)]
    pub problems: Vec<String>,
}

/// The server process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServerView {
    /// Process id.
    pub pid: u32,
    /// Version of the binary.
    pub version: String,
    /// Unix milliseconds.
    pub started_at: u64,
    /// The program's path.
    #[serde(default)]
    pub program: String,
    /// Data directory.
    pub home: String,
    /// Gateway workers.
    pub workers: u32,
    /// Resident memory, bytes.
    pub memory_bytes: u64,
}

/// The minder process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MinderView {
    /// Process id, if it could be reached.
    pub pid: Option<u32>,
}

/// Generations acted on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GenerationsView {
    /// Last write.
    pub store: u64,
    /// Planned by the supervisor.
    pub supervisor: u64,
    /// Taken in by the registry.
    pub registry: u64,
    /// Served by the gateway.
    pub gateway: u64,
}

/// Listening addresses, as bound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ListenView {
    /// Gateway.
    pub proxy: Vec<String>,
    /// Gateway, for HTTPS.
    #[serde(default)]
    pub proxy_tls: Vec<String>,
    /// Native API.
    pub api: Option<String>,
    /// Socket of the CLI.
    pub socket: String,
}

/// Counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CountsView {
    /// Services that run here or are balanced.
    pub services: u32,
    /// Instances.
    pub instances: u32,
    /// Instances that receive traffic.
    pub ready: u32,
    /// Routes.
    pub routes: u32,
}

/// `hythe routes --json`: an array of these, in the order in which they are tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RouteView {
    /// Name; with its project outside the default one.
    pub name: String,
    /// Service.
    pub service: Option<String>,
    /// Protocols.
    pub protocols: Vec<String>,
    /// Methods; empty: any.
    pub methods: Vec<String>,
    /// Hosts; empty: any.
    pub hosts: Vec<String>,
    /// Paths; empty: any.
    pub paths: Vec<String>,
    /// Headers, `name: value|value`.
    pub headers: Vec<String>,
    /// Whether the matched path is cut off.
    pub strip_path: bool,
    /// Whether the client's Host is sent on.
    pub preserve_host: bool,
    /// Plugins that run, in order.
    pub plugins: Vec<String>,
}

/// `hythe explain --json`: what would happen to a request, without sending it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Explanation {
    /// Method, as given.
    pub method: String,
    /// Host the request would carry.
    pub host: String,
    /// Path as used for matching (normalised).
    pub path: String,
    /// The route that takes it.
    pub route: Option<MatchView>,
    /// Routes that could have and did not, best first, each with the reason.
    pub candidates: Vec<CandidateView>,
    /// Plugins that would run, in order, with their scope.
    pub plugins: Vec<String>,
    /// Where the request would go.
    pub upstream: Option<UpstreamView>,
    /// The answer the gateway itself would give instead, if any.
    pub answer: Option<AnswerView>,
}

/// The route that matched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MatchView {
    /// Name.
    pub name: String,
    /// Service.
    pub service: Option<String>,
    /// What matched, in words.
    pub because: String,
}

/// A route that did not take the request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CandidateView {
    /// Name.
    pub name: String,
    /// Why it lost: what did not match, or which rule puts it behind.
    pub reason: String,
}

/// Where a request would go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpstreamView {
    /// Pool.
    pub pool: String,
    /// Path and query sent.
    pub path: String,
    /// Host sent.
    pub host: String,
    /// Balancing algorithm.
    pub algorithm: String,
    /// The endpoint the next request would get.
    pub endpoint: Option<EndpointView>,
    /// All of them.
    pub endpoints: Vec<EndpointView>,
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EndpointView {
    /// Instance id or target.
    pub id: String,
    /// `ip:port`.
    pub address: String,
    /// Weight.
    pub weight: u16,
    /// Whether it may be picked.
    pub healthy: bool,
    /// Requests in flight on this node.
    pub in_flight: u64,
    /// Why it would not be picked now: `failed 1 time, tried again in 9s`. Absent if it could be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_picked: Option<String>,
    /// What health checks said last, in the view of a service.
    #[serde(default)]
    pub health: Option<String>,
    /// When they changed their mind last, Unix milliseconds.
    #[serde(default)]
    pub health_since: Option<u64>,
}

/// An answer of the gateway's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AnswerView {
    /// Status code.
    pub status: u16,
    /// Message.
    pub message: String,
}

/// Answer to a change: what it did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChangeView {
    /// Generation in which the change is; the store's current one if nothing changed.
    pub generation: u64,
    /// What changed, in order; empty: nothing.
    pub changes: Vec<ChangeLine>,
    /// What was left alone because somebody else set it.
    pub conflicts: Vec<String>,
    /// What is accepted and not acted on.
    pub warnings: Vec<String>,
}

/// One line of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChangeLine {
    /// `create`, `update`, `delete`.
    pub action: String,
    /// Kind of document.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Which fields, `replicas: 2 -> 4`.
    pub fields: Vec<String>,
    /// Whether instances are replaced for it.
    pub rolls: bool,
}

/// `hythe history --json`: an array of these, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HistoryView {
    /// Generation.
    pub generation: u64,
    /// Unix milliseconds.
    pub at: u64,
    /// Who.
    pub actor: String,
    /// What, in words.
    pub reason: String,
    /// Documents, `update workload users`.
    pub changes: Vec<String>,
}

/// One line of output of an instance; `hythe logs --json` prints one a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogLine {
    /// Unix milliseconds when it was read.
    pub at: u64,
    /// Service.
    pub service: String,
    /// Instance.
    pub instance: String,
    /// `stdout`, `stderr`, or `hythe` for the supervisor's own notes (started, exited).
    pub stream: String,
    /// Text without its line end; invalid UTF-8 replaced.
    pub message: String,
}

//! The shapes of [`hythe_model::view`] once more, for the OpenAPI document only: the model knows nothing of
//! HTTP. A test keeps the two alike, in both directions.

// Nothing reads these fields; their names, types and docs are what is wanted.
#![cfg_attr(not(test), expect(dead_code, reason = "shapes without values"))]

use utoipa::ToSchema;

/// `hythe ls --json`: an array of these.
#[derive(ToSchema)]
#[cfg_attr(
    test,
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
pub(crate) struct ServiceView {
    /// Name; with its project outside the default one.
    pub(crate) name: String,
    /// Project.
    pub(crate) project: String,
    /// `process`, or `external` for services that are only balanced.
    pub(crate) kind: String,
    /// Instances that receive traffic (external: usable endpoints).
    pub(crate) ready: u32,
    /// Instances there should be (external: endpoints).
    pub(crate) desired: u32,
    /// Whether nothing is left to do.
    pub(crate) settled: bool,
    /// Stopped by hand.
    pub(crate) stopped: bool,
    /// Why the last rollout failed.
    pub(crate) failure: Option<String>,
    /// Its instances.
    pub(crate) instances: Vec<InstanceView>,
    /// Routes that lead to it, by name.
    pub(crate) routes: Vec<String>,
}

/// One instance.
#[derive(ToSchema)]
#[cfg_attr(
    test,
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
pub(crate) struct InstanceView {
    /// Id.
    pub(crate) id: String,
    /// Place among the copies, from 0.
    pub(crate) slot: u32,
    /// Process id while it runs.
    pub(crate) pid: Option<u32>,
    /// `ip:port`.
    pub(crate) address: Option<String>,
    /// Where it is in its life.
    pub(crate) state: InstanceState,
    /// Restarts after exits.
    pub(crate) restarts: u32,
    /// Revision, 16 hex digits.
    pub(crate) revision: String,
    /// Unix milliseconds.
    pub(crate) started_at: Option<u64>,
    /// How the last process ended.
    pub(crate) last_exit: Option<Exit>,
    /// Why it is not ready.
    pub(crate) message: Option<String>,
    /// Thousandths of a core over the last second.
    pub(crate) cpu_millis: u32,
    /// Resident memory, bytes.
    pub(crate) memory_bytes: u64,
    /// Requests in flight through the gateway.
    pub(crate) in_flight: u64,
}

/// `hythe status --json`.
#[derive(ToSchema)]
#[cfg_attr(
    test,
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
pub(crate) struct StatusView {
    /// Version of these shapes: 1.
    pub(crate) version: u32,
    /// The server process.
    pub(crate) server: ServerView,
    /// The minder process.
    pub(crate) minder: MinderView,
    /// How far each subsystem is, by generation of the desired state.
    pub(crate) generations: GenerationsView,
    /// Listening addresses.
    pub(crate) listen: ListenView,
    /// Services, instances and ready instances.
    pub(crate) counts: CountsView,
    /// Panics contained since the start.
    pub(crate) panics: u64,
}

/// The server process.
#[derive(ToSchema)]
#[cfg_attr(
    test,
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
pub(crate) struct ServerView {
    /// Process id.
    pub(crate) pid: u32,
    /// Version of the binary.
    pub(crate) version: String,
    /// Unix milliseconds.
    pub(crate) started_at: u64,
    /// Data directory.
    pub(crate) home: String,
    /// Gateway workers.
    pub(crate) workers: u32,
    /// Resident memory, bytes.
    pub(crate) memory_bytes: u64,
}

/// The minder process.
#[derive(ToSchema)]
#[cfg_attr(
    test,
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
pub(crate) struct MinderView {
    /// Process id, if it could be reached.
    pub(crate) pid: Option<u32>,
}

/// Generations acted on.
#[derive(ToSchema)]
#[cfg_attr(
    test,
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
pub(crate) struct GenerationsView {
    /// Last write.
    pub(crate) store: u64,
    /// Planned by the supervisor.
    pub(crate) supervisor: u64,
    /// Taken in by the registry.
    pub(crate) registry: u64,
    /// Served by the gateway.
    pub(crate) gateway: u64,
}

/// Listening addresses, as bound.
#[derive(ToSchema)]
#[cfg_attr(
    test,
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
pub(crate) struct ListenView {
    /// Gateway.
    pub(crate) proxy: Vec<String>,
    /// Native API.
    pub(crate) api: Option<String>,
    /// Socket of the CLI.
    pub(crate) socket: String,
}

/// Counts.
#[derive(ToSchema)]
#[cfg_attr(
    test,
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
pub(crate) struct CountsView {
    /// Services that run here or are balanced.
    pub(crate) services: u32,
    /// Instances.
    pub(crate) instances: u32,
    /// Instances that receive traffic.
    pub(crate) ready: u32,
    /// Routes.
    pub(crate) routes: u32,
}

/// `hythe routes --json`: an array of these, in the order in which they are tried.
#[derive(ToSchema)]
#[cfg_attr(
    test,
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
pub(crate) struct RouteView {
    /// Name; with its project outside the default one.
    pub(crate) name: String,
    /// Service.
    pub(crate) service: Option<String>,
    /// Protocols.
    pub(crate) protocols: Vec<String>,
    /// Methods; empty: any.
    pub(crate) methods: Vec<String>,
    /// Hosts; empty: any.
    pub(crate) hosts: Vec<String>,
    /// Paths; empty: any.
    pub(crate) paths: Vec<String>,
    /// Headers, `name: value|value`.
    pub(crate) headers: Vec<String>,
    /// Whether the matched path is cut off.
    pub(crate) strip_path: bool,
    /// Whether the client's Host is sent on.
    pub(crate) preserve_host: bool,
    /// Plugins that run, in order.
    pub(crate) plugins: Vec<String>,
}

/// `hythe explain --json`: what would happen to a request, without sending it.
#[derive(ToSchema)]
#[cfg_attr(
    test,
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
pub(crate) struct Explanation {
    /// Method, as given.
    pub(crate) method: String,
    /// Host the request would carry.
    pub(crate) host: String,
    /// Path as used for matching (normalised).
    pub(crate) path: String,
    /// The route that takes it.
    pub(crate) route: Option<MatchView>,
    /// Routes that could have and did not, best first, each with the reason.
    pub(crate) candidates: Vec<CandidateView>,
    /// Plugins that would run, in order, with their scope.
    pub(crate) plugins: Vec<String>,
    /// Where the request would go.
    pub(crate) upstream: Option<UpstreamView>,
    /// The answer the gateway itself would give instead, if any.
    pub(crate) answer: Option<AnswerView>,
}

/// The route that matched.
#[derive(ToSchema)]
#[cfg_attr(
    test,
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
pub(crate) struct MatchView {
    /// Name.
    pub(crate) name: String,
    /// Service.
    pub(crate) service: Option<String>,
    /// What matched, in words.
    pub(crate) because: String,
}

/// A route that did not take the request.
#[derive(ToSchema)]
#[cfg_attr(
    test,
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
pub(crate) struct CandidateView {
    /// Name.
    pub(crate) name: String,
    /// Why it lost: what did not match, or which rule puts it behind.
    pub(crate) reason: String,
}

/// Where a request would go.
#[derive(ToSchema)]
#[cfg_attr(
    test,
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
pub(crate) struct UpstreamView {
    /// Pool.
    pub(crate) pool: String,
    /// Path and query sent.
    pub(crate) path: String,
    /// Host sent.
    pub(crate) host: String,
    /// Balancing algorithm.
    pub(crate) algorithm: String,
    /// The endpoint the next request would get.
    pub(crate) endpoint: Option<EndpointView>,
    /// All of them.
    pub(crate) endpoints: Vec<EndpointView>,
}

/// One endpoint.
#[derive(ToSchema)]
#[cfg_attr(
    test,
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
pub(crate) struct EndpointView {
    /// Instance id or target.
    pub(crate) id: String,
    /// `ip:port`.
    pub(crate) address: String,
    /// Weight.
    pub(crate) weight: u16,
    /// Whether it may be picked.
    pub(crate) healthy: bool,
    /// Requests in flight on this node.
    pub(crate) in_flight: u64,
}

/// An answer of the gateway's own.
#[derive(ToSchema)]
#[cfg_attr(
    test,
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
pub(crate) struct AnswerView {
    /// Status code.
    pub(crate) status: u16,
    /// Message.
    pub(crate) message: String,
}

/// Answer to a change: what it did.
#[derive(ToSchema)]
#[cfg_attr(
    test,
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
pub(crate) struct ChangeView {
    /// Generation in which the change is; the store's current one if nothing changed.
    pub(crate) generation: u64,
    /// What changed, in order; empty: nothing.
    pub(crate) changes: Vec<ChangeLine>,
    /// What was left alone because somebody else set it.
    pub(crate) conflicts: Vec<String>,
    /// What is accepted and not acted on.
    pub(crate) warnings: Vec<String>,
}

/// One line of a plan.
#[derive(ToSchema)]
#[cfg_attr(
    test,
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
pub(crate) struct ChangeLine {
    /// `create`, `update`, `delete`.
    pub(crate) action: String,
    /// Kind of document.
    pub(crate) kind: String,
    /// Name.
    pub(crate) name: String,
    /// Which fields, `replicas: 2 -> 4`.
    pub(crate) fields: Vec<String>,
    /// Whether instances are replaced for it.
    pub(crate) rolls: bool,
}

/// `hythe history --json`: an array of these, newest first.
#[derive(ToSchema)]
#[cfg_attr(
    test,
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
pub(crate) struct HistoryView {
    /// Generation.
    pub(crate) generation: u64,
    /// Unix milliseconds.
    pub(crate) at: u64,
    /// Who.
    pub(crate) actor: String,
    /// What, in words.
    pub(crate) reason: String,
    /// Documents, `update workload users`.
    pub(crate) changes: Vec<String>,
}

/// One line of output of an instance; `hythe logs --json` prints one a line.
#[derive(ToSchema)]
#[cfg_attr(
    test,
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
pub(crate) struct LogLine {
    /// Unix milliseconds when it was read.
    pub(crate) at: u64,
    /// Service.
    pub(crate) service: String,
    /// Instance.
    pub(crate) instance: String,
    /// `stdout`, `stderr`, or `hythe` for the supervisor's own notes (started, exited).
    pub(crate) stream: String,
    /// Text without its line end; invalid UTF-8 replaced.
    pub(crate) message: String,
}

/// How a process ended.
#[derive(ToSchema)]
#[cfg_attr(
    test,
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
pub(crate) struct Exit {
    /// Exit code, if it exited.
    pub(crate) code: Option<i32>,
    /// Signal, if one ended it.
    pub(crate) signal: Option<i32>,
    /// When, Unix milliseconds.
    pub(crate) at: u64,
}

/// Where an instance is in its life.
#[derive(ToSchema)]
#[cfg_attr(
    test,
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[schema(rename_all = "snake_case")]
pub(crate) enum InstanceState {
    Waiting,
    Starting,
    Ready,
    Unhealthy,
    Draining,
    Stopping,
    Backoff,
    Failed,
    Completed,
}

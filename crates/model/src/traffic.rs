//! How requests are routed, balanced and guarded, in Kong's words and with Kong's defaults where a
//! manifest would not notice a difference (contract: entities of the Admin API, 3.9).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::name::Name;

/// Where requests of a route go: Kong's service. `host` is the name of an upstream or of a workload of
/// the same project (their pool), otherwise a host name or address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// How the upstream is spoken to.
    #[serde(default)]
    pub protocol: Protocol,
    /// Pool name, host name or address.
    pub host: String,
    /// Port for a host that is not a pool.
    #[serde(default = "eighty")]
    pub port: u16,
    /// Prefix of every upstream path.
    #[serde(default)]
    pub path: Option<String>,
    /// Further targets tried after a failure that was safe to repeat.
    #[serde(default = "five")]
    pub retries: u32,
    /// Time to connect. 5 s; Kong's own default of 60 s only keeps callers waiting.
    #[serde(default = "five_seconds")]
    pub connect_timeout_ms: u64,
    /// Time between two successful writes to the upstream.
    #[serde(default = "minute")]
    pub write_timeout_ms: u64,
    /// Time between two successful reads from the upstream.
    #[serde(default = "minute")]
    pub read_timeout_ms: u64,
    /// `false`: as if it were not there.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Labels for people and tools.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// Protocols of services and routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1 in clear.
    #[default]
    Http,
    /// HTTP over TLS.
    Https,
    /// gRPC in clear.
    Grpc,
    /// gRPC over TLS.
    Grpcs,
}

/// Which requests go to which service: Kong's route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The service, in the same project. `None`: plugins must answer, otherwise 503.
    #[serde(default)]
    pub service: Option<Name>,
    /// Protocols it takes.
    #[serde(default = "http_and_https")]
    pub protocols: Vec<Protocol>,
    /// Methods, upper case; empty: any.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Hosts, one leading or trailing `*` label allowed; empty: any.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Path prefixes, or regexes after a `~`; empty: any.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Header name (lower case) to its allowed values, or to one regex after `~*`.
    #[serde(default)]
    pub headers: BTreeMap<String, Vec<String>>,
    /// TLS server names; empty: any.
    #[serde(default)]
    pub snis: Vec<String>,
    /// Answer to a request over a protocol that is not listed: 426, or 301, 302, 307, 308 with a Location.
    #[serde(default = "upgrade_required")]
    pub https_redirect_status_code: u16,
    /// Order among regex paths; higher first.
    #[serde(default)]
    pub regex_priority: i32,
    /// Cut the matched path off.
    #[serde(default = "yes")]
    pub strip_path: bool,
    /// How service path and request path are joined.
    #[serde(default)]
    pub path_handling: PathHandling,
    /// Send the client's Host on.
    #[serde(default)]
    pub preserve_host: bool,
    /// Labels for people and tools.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// Kong's two ways to join a service's path with the rest of the request's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PathHandling {
    /// With exactly one slash between.
    #[default]
    V0,
    /// By plain concatenation.
    V1,
}

/// A named pool with its rules: Kong's upstream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Who gets the next request.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// Host to send instead of the service's.
    #[serde(default)]
    pub host_header: Option<String>,
    /// Kong's `healthchecks` as written; parsed, not enforced yet.
    #[serde(default)]
    pub healthchecks: Option<serde_json::Value>,
    /// Labels for people and tools.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// Kong's balancing algorithms that are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// nginx's smooth weighted round robin.
    #[default]
    RoundRobin,
    /// Fewest requests in flight by weight, counted for the whole node.
    LeastConnections,
}

/// One member of an upstream that Hythe does not run: Kong's target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The upstream it belongs to, in the same project.
    pub upstream: Name,
    /// `host:port`.
    pub target: String,
    /// Share of the traffic, 0 to 65535; 0: none.
    #[serde(default = "hundred")]
    pub weight: u16,
    /// Labels for people and tools.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// Somebody who calls: Kong's consumer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consumer {
    /// Unique name.
    #[serde(default)]
    pub username: Option<String>,
    /// Unique id elsewhere.
    #[serde(default)]
    pub custom_id: Option<String>,
    /// Labels for people and tools.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// A plugin and where it applies: Kong's plugin. Nothing set: everywhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plugin {
    /// Which plugin.
    pub name: String,
    /// Only for this service of the same project.
    #[serde(default)]
    pub service: Option<Name>,
    /// Only for this route of the same project.
    #[serde(default)]
    pub route: Option<Name>,
    /// Only for this consumer of the same project.
    #[serde(default)]
    pub consumer: Option<Name>,
    /// Its own settings, read by the plugin's `parse`.
    #[serde(default)]
    pub config: serde_json::Map<String, serde_json::Value>,
    /// `false`: as if it were not there.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Labels for people and tools.
    #[serde(default)]
    pub tags: Vec<String>,
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Grpc => "grpc",
            Self::Grpcs => "grpcs",
        })
    }
}

impl std::fmt::Display for Algorithm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::RoundRobin => "round-robin",
            Self::LeastConnections => "least-connections",
        })
    }
}

impl Service {
    /// A service at `host`, with the defaults.
    pub fn at(host: impl Into<String>) -> Self {
        Self {
            protocol: Protocol::Http,
            host: host.into(),
            port: eighty(),
            path: None,
            retries: five(),
            connect_timeout_ms: five_seconds(),
            write_timeout_ms: minute(),
            read_timeout_ms: minute(),
            enabled: true,
            tags: Vec::new(),
        }
    }
}

impl Route {
    /// A route to `service` that takes everything, with the defaults.
    pub fn to(service: Option<Name>) -> Self {
        Self {
            service,
            protocols: http_and_https(),
            methods: Vec::new(),
            hosts: Vec::new(),
            paths: Vec::new(),
            headers: BTreeMap::new(),
            snis: Vec::new(),
            https_redirect_status_code: upgrade_required(),
            regex_priority: 0,
            strip_path: true,
            path_handling: PathHandling::V0,
            preserve_host: false,
            tags: Vec::new(),
        }
    }
}

fn eighty() -> u16 {
    80
}

fn five() -> u32 {
    5
}

fn five_seconds() -> u64 {
    5_000
}

fn minute() -> u64 {
    60_000
}

fn hundred() -> u16 {
    100
}

fn yes() -> bool {
    true
}

fn upgrade_required() -> u16 {
    426
}

fn http_and_https() -> Vec<Protocol> {
    vec![Protocol::Http, Protocol::Https]
}

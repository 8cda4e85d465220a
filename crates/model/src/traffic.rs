//! How requests are routed, balanced and guarded, in Kong's words and with Kong's defaults where a
//! manifest would not notice a difference (contract: entities of the Admin API, 3.9).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::balancing::{CircuitBreaker, HashOn, Outlier, RetryBudget, RetryOn, Sticky};
use crate::endpoint::EndpointRules;
use crate::health::HealthChecks;
use crate::listener::ProxyProtocol;
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
    /// After which failures another target is asked, if that is safe.
    #[serde(default = "error_and_timeout")]
    pub retry_on: Vec<RetryOn>,
    /// Time for all tries together, up to the head of an answer.
    #[serde(default)]
    pub total_timeout_ms: Option<u64>,
    /// Time for one try, up to the head of an answer.
    #[serde(default)]
    pub try_timeout_ms: Option<u64>,
    /// After how long without an answer a second target is asked too, milliseconds; the first answer counts. Only
    /// requests without a body that may be sent twice. `None`: never.
    #[serde(default)]
    pub hedge_after_ms: Option<u64>,
    /// The certificate by which an upstream with TLS knows us, in the same project.
    #[serde(default)]
    pub client_certificate: Option<Name>,
    /// The authorities that vouch for an upstream with TLS, in the same project; none: those of the system.
    #[serde(default)]
    pub ca_certificates: Vec<Name>,
    /// Whether an upstream with TLS must show a valid certificate of the `Host` it is sent. `None`: yes (Kong:
    /// no, unless the node says otherwise).
    #[serde(default)]
    pub tls_verify: Option<bool>,
    /// The most authorities between the upstream's certificate and one that is believed. `None`: six, the most there
    /// can be.
    #[serde(default)]
    pub tls_verify_depth: Option<u8>,
    /// Tell the upstream whose connection it is, by a header of the PROXY protocol. Each request then has a connection
    /// of its own.
    #[serde(default)]
    pub send_proxy_protocol: Option<ProxyProtocol>,
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
    /// Listeners it is served on, those of its project and of the node; empty: every one.
    #[serde(default)]
    pub listeners: Vec<Name>,
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
    /// Percent of the members: while fewer than that are available, neither failures nor health are held against
    /// any. `None`: only failures are overlooked, and only when nobody would be left. 0: nothing is, as in nginx.
    #[serde(default)]
    pub panic_threshold: Option<u8>,
    /// What consistent hashing goes by.
    #[serde(default)]
    pub hash_on: HashOn,
    /// What it goes by if a request has not got that.
    #[serde(default)]
    pub hash_fallback: HashOn,
    /// The header of `hash_on: header`.
    #[serde(default)]
    pub hash_on_header: Option<String>,
    /// The header of `hash_fallback: header`.
    #[serde(default)]
    pub hash_fallback_header: Option<String>,
    /// The cookie.
    #[serde(default)]
    pub hash_on_cookie: Option<String>,
    /// Its path when it is set; `None`: `/`.
    #[serde(default)]
    pub hash_on_cookie_path: Option<String>,
    /// The argument of `hash_on: query_arg`.
    #[serde(default)]
    pub hash_on_query_arg: Option<String>,
    /// The argument of `hash_fallback: query_arg`.
    #[serde(default)]
    pub hash_fallback_query_arg: Option<String>,
    /// The group of `hash_on: uri_capture`.
    #[serde(default)]
    pub hash_on_uri_capture: Option<String>,
    /// The group of `hash_fallback: uri_capture`.
    #[serde(default)]
    pub hash_fallback_uri_capture: Option<String>,
    /// Size of the table of consistent hashing, 10 to 65536; `None`: 10000.
    #[serde(default)]
    pub slots: Option<u32>,
    /// How many retries there may be.
    #[serde(default)]
    pub retry_budget: RetryBudget,
    /// When requests are refused at once. `None`: never.
    #[serde(default)]
    pub circuit_breaker: Option<CircuitBreaker>,
    /// How long requests wait, milliseconds, while it has nobody to pick. `None`: they do not.
    #[serde(default)]
    pub hold_ms: Option<u64>,
    /// The cookie by which clients come back to the member they had. `None`: they need not.
    #[serde(default)]
    pub sticky: Option<Sticky>,
    /// Which members errors eject for a while. `None`: none.
    #[serde(default)]
    pub outlier: Option<Outlier>,
    /// In which the weight of a member grows after it came or came back, milliseconds. `None`: at once.
    #[serde(default)]
    pub slow_start_ms: Option<u64>,
    /// Host to send instead of the service's.
    #[serde(default)]
    pub host_header: Option<String>,
    /// When its endpoints count as healthy.
    #[serde(default)]
    pub healthchecks: Option<HealthChecks>,
    /// Labels for people and tools.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// How a pool picks: Kong's algorithms, and `random` and `ip-hash` as nginx has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// nginx's smooth weighted round robin.
    #[default]
    RoundRobin,
    /// Fewest requests in flight by weight, counted for the whole node.
    LeastConnections,
    /// By the first three bytes of an IPv4 address or a whole IPv6 one: nginx's `ip_hash`.
    IpHash,
    /// By a key, so that few move when members change: Kong's `hash_on`.
    ConsistentHashing,
    /// Two at random by weight, the less busy of them: nginx's `random two least_conn`.
    Random,
    /// Two at random by weight, the one that answers sooner: Kong's `latency`.
    Latency,
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
    /// Failures within `fail_timeout_ms` after which it is left alone for as long; 0: failures do not count.
    #[serde(default = "one")]
    pub max_fails: u32,
    /// See `max_fails`.
    #[serde(default = "ten_seconds")]
    pub fail_timeout_ms: u64,
    /// Most requests in flight from this node; 0: any number.
    #[serde(default)]
    pub max_conns: u32,
    /// Only asked while no other member can be.
    #[serde(default)]
    pub backup: bool,
    /// Never asked.
    #[serde(default)]
    pub down: bool,
    /// Where it stands among the members, which take turns in this order; by name in the same place.
    #[serde(default, skip_serializing_if = "is_first")]
    pub place: u32,
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
            Self::IpHash => "ip-hash",
            Self::ConsistentHashing => "consistent-hashing",
            Self::Random => "random",
            Self::Latency => "latency",
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
            retry_on: error_and_timeout(),
            total_timeout_ms: None,
            try_timeout_ms: None,
            hedge_after_ms: None,
            client_certificate: None,
            ca_certificates: Vec::new(),
            tls_verify: None,
            tls_verify_depth: None,
            send_proxy_protocol: None,
            enabled: true,
            tags: Vec::new(),
        }
    }
}

impl Upstream {
    /// Why members of this pool cannot start slowly, in words.
    pub fn slow_start_problem(&self) -> Option<&'static str> {
        let by_key = matches!(self.algorithm, Algorithm::IpHash | Algorithm::ConsistentHashing);
        (by_key && self.slow_start_ms.is_some()).then_some(
            "`slow_start` is not for `ip-hash` and `consistent-hashing`, where keys stay with their members",
        )
    }

    /// What `hash_on` and `hash_fallback` lack to be followed, in words.
    pub fn hashing_problem(&self) -> Option<&'static str> {
        let lacks = |on, named: [&Option<String>; 4], names: [&'static str; 4]| {
            let place = match on {
                HashOn::Header => 0,
                HashOn::QueryArg => 1,
                HashOn::Cookie => 2,
                HashOn::UriCapture => 3,
                HashOn::None | HashOn::Consumer | HashOn::Ip | HashOn::Path => return None,
            };
            named[place].is_none().then(|| names[place])
        };
        let first = lacks(
            self.hash_on,
            [
                &self.hash_on_header,
                &self.hash_on_query_arg,
                &self.hash_on_cookie,
                &self.hash_on_uri_capture,
            ],
            [
                "`hash_on: header` needs `hash_on_header`",
                "`hash_on: query_arg` needs `hash_on_query_arg`",
                "`hash_on: cookie` needs `hash_on_cookie`",
                "`hash_on: uri_capture` needs `hash_on_uri_capture`",
            ],
        );
        let second = lacks(
            self.hash_fallback,
            [
                &self.hash_fallback_header,
                &self.hash_fallback_query_arg,
                &self.hash_on_cookie,
                &self.hash_fallback_uri_capture,
            ],
            [
                "`hash_fallback: header` needs `hash_fallback_header`",
                "`hash_fallback: query_arg` needs `hash_fallback_query_arg`",
                "`hash_fallback: cookie` needs `hash_on_cookie`",
                "`hash_fallback: uri_capture` needs `hash_fallback_uri_capture`",
            ],
        );
        first.or(second)
    }
}

impl Target {
    /// `target` in `upstream`, with the defaults.
    pub fn of(upstream: Name, target: impl Into<String>) -> Self {
        Self {
            upstream,
            target: target.into(),
            weight: hundred(),
            max_fails: one(),
            fail_timeout_ms: ten_seconds(),
            max_conns: 0,
            backup: false,
            down: false,
            place: 0,
            tags: Vec::new(),
        }
    }

    /// What the pool must know of it besides its weight.
    pub fn rules(&self) -> EndpointRules {
        EndpointRules {
            max_fails: self.max_fails,
            fail_timeout_ms: self.fail_timeout_ms,
            max_conns: self.max_conns,
            backup: self.backup,
            down: self.down,
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
            listeners: Vec::new(),
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

fn one() -> u32 {
    1
}

fn ten_seconds() -> u64 {
    10_000
}

fn error_and_timeout() -> Vec<RetryOn> {
    vec![RetryOn::Error, RetryOn::Timeout]
}

fn five_seconds() -> u64 {
    5_000
}

fn minute() -> u64 {
    60_000
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it")]
fn is_first(place: &u32) -> bool {
    *place == 0
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

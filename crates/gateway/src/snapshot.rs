//! What the request path reads: routes with everything decided in advance.
//!
//! Nothing here changes but what it only points to: counters go on counting, and pools are shared cells that change
//! under every snapshot that holds them (a health flap swaps one pool and compiles nothing). `compile` makes the next
//! one, which shares with this what is the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hythe_balance::{BreakerRules, RetryShare};
use hythe_model::FullName;
use hythe_model::balancing::RetryOn;
use hythe_model::traffic::PathHandling;
use hythe_routing::RouteTable;
use hythe_upstream::proxy_protocol;

use crate::directory::Directory;
use crate::hash_key::HashKey;
use crate::metrics::RouteMetrics;
use crate::plugin::chain::Chain;
use crate::pools::SharedPool;
use crate::relay::RelayPlan;
use crate::sticky::StickyCookie;
use crate::upstream_tls::UpstreamTls;

/// Everything the request path needs to know at one generation.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Routes.
    pub(crate) table: RouteTable<RoutePlan>,
    /// Where requests lead that come to a listener with a service of its own, by the listener's name.
    pub(crate) own: Arc<OwnTables>,
    /// Who may call.
    pub(crate) directory: Arc<Directory>,
    /// Where listeners below HTTP lead, by the listener's name.
    pub(crate) relays: Arc<Relays>,
    /// Counters of requests that no route takes.
    pub(crate) unrouted: Arc<RouteMetrics>,
}

/// One route, decided.
#[derive(Debug)]
pub(crate) struct RoutePlan {
    pub(crate) label: String,
    pub(crate) service: Option<Arc<ServicePlan>>,
    pub(crate) strip_path: bool,
    pub(crate) preserve_host: bool,
    pub(crate) path_handling: PathHandling,
    pub(crate) https_redirect: u16,
    /// Whether it takes calls of gRPC only.
    pub(crate) is_grpc: bool,
    pub(crate) chain: Chain,
    pub(crate) metrics: Arc<RouteMetrics>,
    /// Counters of what is sent to another service than the route's, by services that plugins may send to.
    pub(crate) elsewhere: Box<[(String, Arc<RouteMetrics>)]>,
}

/// One service, decided.
#[derive(Debug)]
pub(crate) struct ServicePlan {
    pub(crate) label: String,
    pub(crate) pool: Arc<SharedPool>,
    pub(crate) pool_label: String,
    /// Whether the pool picks by the client's address.
    pub(crate) by_client: bool,
    /// By which key it picks.
    pub(crate) hash_key: Option<HashKey>,
    pub(crate) host: String,
    pub(crate) path: Option<String>,
    pub(crate) retries: u32,
    pub(crate) retry_on: RetryRules,
    pub(crate) retry_share: RetryShare,
    pub(crate) breaker: Option<BreakerRules>,
    /// The cookie by which clients come back to a member.
    pub(crate) sticky: Option<StickyCookie>,
    /// How long requests wait while the pool has nobody.
    pub(crate) hold: Option<Duration>,
    pub(crate) total_timeout: Option<Duration>,
    pub(crate) try_timeout: Option<Duration>,
    /// After how long without an answer a second member is asked.
    pub(crate) hedge_after: Option<Duration>,
    pub(crate) connect_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) read_timeout: Duration,
    /// Whether it is asked in HTTP/2, many requests over one connection.
    pub(crate) speaks_http2: bool,
    /// How TLS is spoken to it, if it is.
    pub(crate) tls: Option<UpstreamTls>,
    /// The header that tells it whose connection it is. Such a connection is used for one request.
    pub(crate) announce: Option<proxy_protocol::Version>,
}

impl RoutePlan {
    /// All its counters.
    pub(crate) fn counters(&self) -> impl Iterator<Item = &Arc<RouteMetrics>> {
        let elsewhere = self.elsewhere.iter().map(|(_, metrics)| metrics);
        std::iter::once(&self.metrics).chain(elsewhere)
    }

    /// The counters of requests that were sent to this service instead of the route's, if they were.
    pub(crate) fn metrics_of(&self, chosen: Option<&ServicePlan>) -> &Arc<RouteMetrics> {
        let of_chosen = |chosen: &ServicePlan| {
            let mut counters = self.elsewhere.iter();
            counters.find(|(label, _)| *label == chosen.label)
        };
        chosen
            .and_then(of_chosen)
            .map_or(&self.metrics, |(_, metrics)| metrics)
    }
}

/// After which failures another member is asked.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "nginx's words, each by itself")]
pub(crate) struct RetryRules {
    pub(crate) error: bool,
    pub(crate) timeout: bool,
    pub(crate) invalid_header: bool,
    pub(crate) non_idempotent: bool,
    pub(crate) statuses: Vec<u16>,
}

/// Something of the desired state that is not served as it says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} `{name}`: {message}")]
pub struct Problem {
    /// Kind of document.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// What is wrong.
    pub message: String,
}

impl Problem {
    /// Those of every document of a kind.
    pub(crate) fn of_each(
        kind: &'static str,
        problems: &BTreeMap<FullName, Vec<String>>,
    ) -> impl Iterator<Item = Self> {
        let of_one = |(name, messages)| std::iter::repeat(name).zip::<&Vec<String>>(messages);
        let problems = problems.iter().flat_map(of_one);
        problems.map(move |(name, message): (&FullName, &String)| Self {
            kind,
            name: name.to_string(),
            message: message.clone(),
        })
    }
}

/// A table with one route each.
pub(crate) type OwnTables = BTreeMap<String, RouteTable<RoutePlan>>;

/// Each by itself, since a connection holds its own for as long as it lives.
pub(crate) type Relays = BTreeMap<String, Arc<RelayPlan>>;

impl RetryRules {
    pub(crate) fn of(words: &[RetryOn]) -> Self {
        Self {
            error: words.contains(&RetryOn::Error),
            timeout: words.contains(&RetryOn::Timeout),
            invalid_header: words.contains(&RetryOn::InvalidHeader),
            non_idempotent: words.contains(&RetryOn::NonIdempotent),
            statuses: words.iter().filter_map(|word| word.status()).collect(),
        }
    }
}

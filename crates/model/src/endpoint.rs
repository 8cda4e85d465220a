//! What may receive traffic: the registry's words.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::desired::Desired;
use crate::name::{FullName, Name};
use crate::traffic::Service;

/// One place that serves a pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Who it is: an instance id, or `host:port` of a target.
    pub id: Arc<str>,
    /// Where it is.
    pub address: SocketAddr,
    /// Share of the traffic; never 0 here.
    pub weight: u16,
    /// Whether it may be picked now.
    pub healthy: bool,
    /// The revision of an instance, for metrics per release.
    pub revision: Option<crate::Revision>,
    /// What else decides whether it is picked.
    #[serde(default)]
    pub rules: EndpointRules,
}

/// nginx's parameters of a `server` in an `upstream`, with nginx's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRules {
    /// Failures within `fail_timeout_ms` after which it is left alone for as long; 0: failures do not count.
    pub max_fails: u32,
    /// See `max_fails`.
    pub fail_timeout_ms: u64,
    /// Most requests in flight from this node; 0: any number.
    pub max_conns: u32,
    /// Only picked while no other member can be.
    pub backup: bool,
    /// Never picked.
    pub down: bool,
}

/// Every pool the registry knows, by the name of its service or upstream.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Endpoints {
    /// The desired generation this takes into account.
    pub generation: u64,
    /// Pools; one without a usable endpoint is there too.
    pub pools: BTreeMap<FullName, Arc<PoolEndpoints>>,
}

/// The endpoints of one pool.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PoolEndpoints {
    /// In a stable order (by slot, then id), so that rotation is predictable.
    pub endpoints: Vec<Endpoint>,
    /// Hosts of targets that have no address yet, with the reason: `name resolution failed`.
    pub unresolved: Vec<(String, String)>,
    /// The hosts by which targets were written, unless that was their address.
    pub hosts: BTreeMap<SocketAddr, Arc<str>>,
    /// What health checks say; of those addresses only about which they said anything.
    pub checked: BTreeMap<SocketAddr, Health>,
}

/// What health checks say of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Whether they find it healthy. It may yet not be picked, for another reason.
    pub healthy: bool,
    /// Why: `active check: connection refused, 3 failures`.
    pub reason: String,
    /// When it changed last, Unix milliseconds.
    pub since: Option<u64>,
}

/// What enough requests in a row have shown of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The pool in which they were sent to it.
    pub pool: FullName,
    /// The endpoint.
    pub address: SocketAddr,
    /// Whether it is well.
    pub healthy: bool,
    /// Why: `passive check: status 500, 3 failures`.
    pub reason: String,
}

impl Default for EndpointRules {
    fn default() -> Self {
        Self {
            max_fails: 1,
            fail_timeout_ms: 10_000,
            max_conns: 0,
            backup: false,
            down: false,
        }
    }
}

/// The pool that serves a service: the upstream or workload of its project that its host names, otherwise
/// a pool of its own for that host, `<service>~external`. Registry and gateway must agree on it.
pub fn pool_name(desired: &Desired, service: &FullName, spec: &Service) -> FullName {
    if let Ok(host) = spec.host.parse::<Name>() {
        let named = FullName::new(service.project.clone(), host);
        if desired.upstreams.contains_key(&named) || desired.workloads.contains_key(&named) {
            return named;
        }
    }
    FullName::new(service.project.clone(), service.name.derived("external"))
}

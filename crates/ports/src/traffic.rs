//! What the gateway tells others about traffic.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use hythe_model::endpoint::Observation;
use hythe_model::view::{Explanation, RouteView};
use hythe_model::{FullName, Name, ProjectName, Route};
use tokio::sync::mpsc;

use crate::BoxFuture;

/// Traffic of single endpoints, counted for the whole node. The supervisor drains by it.
pub trait Traffic: Send + Sync {
    /// Requests and tunnels in flight to `endpoint`.
    fn in_flight(&self, endpoint: SocketAddr) -> u64;
    /// Requests and tunnels that were ever sent to `endpoint`, while it is in use.
    fn requests(&self, endpoint: SocketAddr) -> u64;
    /// Whether `endpoint` stands in a pool that new requests may still pick from.
    fn is_listed(&self, endpoint: SocketAddr) -> bool;
    /// Waits until requests wait for pools that have nobody, and tells which. Each is told once for each request.
    fn awaited(&self) -> BoxFuture<'_, BTreeSet<FullName>>;
}

/// Who hears what clients' requests show of endpoints. What there is no room for is told again.
pub type Observer = mpsc::Sender<Observation>;

/// What the gateway says about its routes.
pub trait Routes: Send + Sync {
    /// Every route, or those of one project, in the order of precedence.
    fn routes(&self, project: Option<&ProjectName>) -> Vec<RouteView>;
    /// What keeps routes of a project from being served, in words. Those that are served as they are need no look.
    fn problems(&self, project: &ProjectName, routes: &BTreeMap<Name, Route>) -> Vec<String>;
    /// What would happen to a request, without sending it.
    fn explain<'a>(&'a self, request: &'a ExplainRequest) -> BoxFuture<'a, Explanation>;
}

/// A request to explain.
#[derive(Debug, Clone)]
pub struct ExplainRequest {
    /// Method.
    pub method: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Host, with its port if one was given.
    pub host: String,
    /// Path and query.
    pub target: String,
    /// The listener it comes in on; `None`: any.
    pub listener: Option<String>,
    /// Headers besides Host.
    pub headers: Vec<(String, String)>,
}

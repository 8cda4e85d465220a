//! Connections and datagrams that are passed on as they are, to the pool of the listener's service.
//!
//! ```text
//! auto   whether it is passed on at all, where that is not known
//! tcp    one connection to a member for each of the client's
//! hello  the name that a client asks for in TLS that ends behind us
//! udp    one socket to a member for each client that sends datagrams, until it is silent
//! ```
//!
//! Members are picked as for requests, and count what is open to them. Another one is tried only while nothing
//! was sent. Where clients ask for a name (TLS, ended here or behind us), each name may have a service of its own. What
//! was passed on is one line of the access log, at the end.

pub(crate) mod auto;
mod hello;
pub(crate) mod tcp;
pub(crate) mod udp;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hythe_balance::Query;
use hythe_model::{Listener, Name};
use hythe_tls::ServerNames;
use hythe_upstream::proxy_protocol;
use tokio::time::Instant;

use crate::access_log::RelayLine;
use crate::announce;
use crate::listener::Listening;
use crate::metrics::RelayMetrics;
use crate::snapshot::ServicePlan;
use crate::tunnel::{Moved, Way};
use crate::worker::{Worker, plain_ip};

/// Where a listener's connections or datagrams go, decided.
#[derive(Debug)]
pub(crate) struct RelayPlan {
    /// By the name that the client asks for, where there is one.
    services: ServerNames<Arc<ServicePlan>>,
    /// Silence that ends a connection or session.
    idle: Duration,
    /// Datagrams that answer one of the client's.
    responses: Option<u32>,
    /// The header that tells the member whose connection it is.
    announce: Option<proxy_protocol::Version>,
    metrics: Arc<RelayMetrics>,
}

/// What is remembered of a connection or session for its line and its counters.
struct Record {
    started: Instant,
    /// 200; 400 when it did not begin as it must, 502 when no member could be reached, 503 when there was none
    /// (nginx: the status of a stream).
    status: u16,
    moved: Moved,
    service: Option<Arc<ServicePlan>>,
    instance: Option<Arc<str>>,
    tries: u32,
    metrics: Option<Arc<RelayMetrics>>,
}

impl RelayPlan {
    /// What `spec` says, with the services that `find` knows. Connections for another are ended.
    pub(crate) fn new(
        spec: &Listener,
        find: impl Fn(&Name) -> Option<Arc<ServicePlan>>,
        metrics: Arc<RelayMetrics>,
    ) -> Self {
        let mut services = ServerNames::all(spec.service.as_ref().and_then(&find));
        for (name, service) in &spec.snis {
            if let Some(service) = find(service) {
                services.add(name, service);
            }
        }
        Self {
            services,
            idle: Duration::from_millis(spec.idle_timeout_ms),
            responses: spec.responses,
            announce: spec.send_proxy_protocol.map(announce::version),
            metrics,
        }
    }
}

/// A search for a member of the service's pool on behalf of `client`.
fn query(service: &ServicePlan, client: SocketAddr) -> Query {
    if service.by_client {
        Query::from_client(plain_ip(client))
    } else {
        Query::new()
    }
}

impl Record {
    fn start(plan: Option<&RelayPlan>) -> Self {
        let mut record = Self::new();
        if let Some(plan) = plan {
            record.count(plan);
        }
        record
    }

    /// One that may yet turn out to be none, and is not counted.
    fn new() -> Self {
        Self {
            started: Instant::now(),
            status: 200,
            moved: Moved::default(),
            service: None,
            instance: None,
            tries: 0,
            metrics: None,
        }
    }

    /// Counts it, before anything is moved.
    fn count(&mut self, plan: &RelayPlan) {
        let metrics = Arc::clone(&plan.metrics);
        metrics.open();
        self.moved = Moved::also_in(Some(Arc::clone(&metrics)));
        self.metrics = Some(metrics);
    }

    fn finish(&self, worker: &Worker, client: SocketAddr, listening: &Listening) {
        if let Some(metrics) = self.metrics.as_ref().filter(|_| self.status != 200) {
            metrics.fail();
        }
        let Some(log) = &worker.access_log else { return };
        let line = RelayLine {
            client: plain_ip(client),
            listener: &listening.plan.name,
            protocol: listening.plan.protocol,
            status: self.status,
            bytes_in: self.moved.get(Way::FromClient),
            bytes_out: self.moved.get(Way::ToClient),
            total: self.started.elapsed(),
            service: self.service.as_ref().map(|service| service.label.as_str()),
            instance: self.instance.as_deref(),
            tries: self.tries,
        };
        log.write_relay(&line, &mut worker.clock.borrow_mut());
        worker.want_chores();
    }
}

/// A panic does not leave it counted as open.
impl Drop for Record {
    fn drop(&mut self) {
        if let Some(metrics) = &self.metrics {
            metrics.close();
        }
    }
}

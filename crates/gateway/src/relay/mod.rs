//! Connections and datagrams that are passed on as they are, to the pool of the listener's service.
//!
//! ```text
//! tcp    one connection to a member for each of the client's
//! udp    one socket to a member for each client that sends datagrams, until it is silent
//! ```
//!
//! Members are picked as for requests, and count what is open to them. Another one is tried only while nothing
//! was sent. What was passed on is one line of the access log, at the end.
//!
//! Left out: the kernel's own moving of bytes between sockets, and choosing by the server name of TLS that
//! ends behind us.

pub(crate) mod tcp;
pub(crate) mod udp;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hythe_balance::Query;
use hythe_model::{Listener, ProxyProtocol};
use hythe_upstream::proxy_protocol;
use tokio::time::Instant;

use crate::access_log::RelayLine;
use crate::listener::Listening;
use crate::snapshot::ServicePlan;
use crate::worker::{Worker, plain_ip};

/// Where a listener's connections or datagrams go, decided.
#[derive(Debug)]
pub(crate) struct RelayPlan {
    pub(crate) service: Arc<ServicePlan>,
    /// Silence that ends a connection or session.
    pub(crate) idle: Duration,
    /// Datagrams that answer one of the client's.
    pub(crate) responses: Option<u32>,
    /// The header that tells the member whose connection it is.
    pub(crate) announce: Option<proxy_protocol::Version>,
}

/// What is remembered of a connection or session for its line.
struct Record {
    started: Instant,
    /// 200; 502 when no member could be reached, 503 when there was none (nginx: the status of a stream).
    status: u16,
    from_client: u64,
    to_client: u64,
    instance: Option<Arc<str>>,
    tries: u32,
}

impl RelayPlan {
    pub(crate) fn new(service: Arc<ServicePlan>, spec: &Listener) -> Self {
        Self {
            service,
            idle: Duration::from_millis(spec.idle_timeout_ms),
            responses: spec.responses,
            announce: spec.send_proxy_protocol.map(|version| match version {
                ProxyProtocol::V1 => proxy_protocol::Version::One,
                ProxyProtocol::V2 => proxy_protocol::Version::Two,
            }),
        }
    }

    /// A search for a member on behalf of `client`.
    fn query(&self, client: SocketAddr) -> Query {
        if self.service.by_client {
            Query::from_client(plain_ip(client))
        } else {
            Query::new()
        }
    }
}

impl Record {
    fn start() -> Self {
        Self {
            started: Instant::now(),
            status: 200,
            from_client: 0,
            to_client: 0,
            instance: None,
            tries: 0,
        }
    }

    fn finish(&self, worker: &Worker, client: SocketAddr, listening: &Listening, plan: Option<&RelayPlan>) {
        let Some(log) = &worker.access_log else { return };
        let line = RelayLine {
            client: plain_ip(client),
            listener: &listening.plan.name,
            protocol: listening.plan.protocol,
            status: self.status,
            bytes_in: self.from_client,
            bytes_out: self.to_client,
            total: self.started.elapsed(),
            service: plan.map(|plan| plan.service.label.as_str()),
            instance: self.instance.as_deref(),
            tries: self.tries,
        };
        log.write_relay(&line, &mut worker.clock.borrow_mut());
        worker.want_chores();
    }
}

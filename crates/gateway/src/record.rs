//! What is remembered of a request for its log line and its counters.

use std::sync::Arc;
use std::time::Duration;

use hythe_http1::Known;
use tokio::time::Instant;

use crate::access_log::Line;
use crate::connection::Client;
use crate::exchange::{known_value, named_value};
use crate::metrics::Sample;
use crate::snapshot::{RoutePlan, Snapshot};
use crate::worker::{Worker, Workspace};

/// A request's facts, gathered on its way.
#[derive(Debug)]
pub(crate) struct Record {
    /// When its head was read.
    pub(crate) started: Instant,
    /// When its answer was through, if that is known already.
    pub(crate) ended: Option<Instant>,
    /// Status sent; 499 as long as none was (nginx: the client left).
    pub(crate) status: u16,
    /// Whether any byte of a final answer was sent.
    pub(crate) answered: bool,
    /// Body bytes from the client.
    pub(crate) bytes_in: u64,
    /// Body bytes to the client.
    pub(crate) bytes_out: u64,
    /// From sending the request to the answer's head.
    pub(crate) upstream_time: Option<Duration>,
    /// The endpoint tried last.
    pub(crate) instance: Option<Arc<str>>,
    /// Endpoints tried.
    pub(crate) tries: u32,
    /// Why the endpoint tried last and we could not agree on TLS.
    pub(crate) disagreement: Option<String>,
}

impl Record {
    pub(crate) fn start() -> Self {
        Self {
            started: Instant::now(),
            ended: None,
            status: 499,
            answered: false,
            bytes_in: 0,
            bytes_out: 0,
            upstream_time: None,
            instance: None,
            tries: 0,
            disagreement: None,
        }
    }

    /// Counts and logs it.
    pub(crate) fn finish(
        &self,
        worker: &Worker,
        client: &Client,
        space: &Workspace,
        plan: Option<&RoutePlan>,
        snapshot: &Snapshot,
    ) {
        let ended = self.ended.unwrap_or_else(Instant::now);
        let total = ended - self.started;
        let chosen = space.decisions.as_ref();
        let chosen = chosen.and_then(|decisions| decisions.destination.as_deref());
        let metrics = plan.map_or(&snapshot.unrouted, |plan| plan.metrics_of(chosen));
        metrics.record(
            worker.index,
            Sample {
                status: self.status,
                total,
                upstream: self.upstream_time,
                bytes_in: self.bytes_in,
                bytes_out: self.bytes_out,
            },
        );
        let Some(log) = &worker.access_log else { return };
        let (head, bytes) = (&space.head, space.inbox.bytes());
        let line = Line {
            client: client.peer,
            method: head.method.of(bytes),
            target: head.target.of(bytes),
            version: client.link.version(head.version),
            tls: client.tls.as_ref().map(|tls| tls.version),
            client_subject: client
                .certificate
                .as_ref()
                .map(|certificate| certificate.presented.subject.as_str()),
            host: head.host.of(bytes),
            status: self.status,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            total,
            upstream_time: self.upstream_time,
            route: plan.map(|plan| plan.label.as_str()),
            service: chosen
                .or_else(|| plan?.service.as_deref())
                .map(|service| service.label.as_str()),
            instance: self.instance.as_deref(),
            tries: self.tries,
            upstream_error: self.disagreement.as_deref(),
            request_id: &space.request_id,
            referer: named_value(head, bytes, b"referer"),
            user_agent: known_value(head, bytes, Known::UserAgent),
        };
        log.write(&line, &mut worker.clock.borrow_mut(), ended);
        worker.want_chores();
    }
}

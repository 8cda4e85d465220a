//! What the gateway counts, without a lock or a shared cache line on the request path.
//!
//! Each worker has its own shard of a route's counters and is the only one to write it, so an increment is
//! a plain load and store. Shards come into being with the first request a worker serves for the route
//! (10,000 routes that nobody calls cost nothing) and are added up when somebody asks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use hythe_model::ListenerProtocol;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::NoLabelSet;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;

mod relay;

pub(crate) use relay::RelayMetrics;

/// Upper bounds of the latency buckets, microseconds. The common default starts at 5 ms, where a local
/// proxy's work is long over.
const BUCKETS: [u64; 18] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 75_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 7_500_000, 10_000_000,
];

/// Statuses with a counter of their own; others count as their class (`4xx`).
const STATUSES: [u16; 30] = [
    101, 200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 408, 409, 410, 411,
    413, 414, 422, 426, 429, 499, 500, 502, 503,
];
const CLASSES: usize = 6;

/// Every route's counters, and the gateway's own.
#[derive(Debug, Default)]
pub struct Metrics {
    routes: Mutex<Vec<Weak<RouteMetrics>>>,
    relays: Mutex<Vec<Weak<RelayMetrics>>>,
    workers: Mutex<BTreeMap<usize, Arc<WorkerCounters>>>,
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Connections accepted only to be told that there are too many.
    pub turned_away: AtomicU64,
    /// Connections open.
    pub open: AtomicU64,
    /// HTTP/2 connections ended for a flood of frames.
    pub floods: AtomicU64,
    /// Requests refused before a route was looked for.
    pub refused: AtomicU64,
    /// Requests that had to be sent again to another target or over a new connection.
    pub retried: AtomicU64,
    /// Retries that a pool's budget did not allow.
    pub retries_refused: AtomicU64,
    /// Requests sent to a second member because the first was slow.
    pub hedged: AtomicU64,
    /// Requests refused by a circuit breaker.
    pub circuit_open: AtomicU64,
    /// Copies of requests that another service has answered.
    pub copies_sent: AtomicU64,
    /// Copies of requests that were wanted and could not be made, or were not answered.
    pub copies_dropped: AtomicU64,
    /// TLS handshakes with clients that were completed.
    pub tls_handshakes: AtomicU64,
    /// Connections that ended before theirs was.
    pub tls_failed: AtomicU64,
    /// Of these, those whose client's certificate was not accepted or missing.
    pub client_certificates_refused: AtomicU64,
    /// Panics contained.
    pub panics: AtomicU64,
    /// Access log lines that had to be dropped.
    pub log_dropped: AtomicU64,
}

/// What one worker alone counts, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct WorkerCounters {
    requests: AtomicU64,
    busy: AtomicU64,
    held: AtomicU64,
}

/// A request that is served, as long as this lives.
pub(crate) struct Busy<'a>(&'a WorkerCounters);

/// A request that waits for a pool to have somebody, as long as this lives.
pub(crate) struct Held<'a>(&'a WorkerCounters);

/// The gateway's counters of connections and requests, added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Connections open.
    pub(crate) open: u64,
    /// Connections accepted.
    pub(crate) accepted: u64,
    /// Of these, those that there was room for.
    pub(crate) handled: u64,
    /// Requests, those at work included.
    pub(crate) requests: u64,
    /// Requests at work.
    pub(crate) busy: u64,
}

/// The counters of one route.
#[derive(Debug)]
pub struct RouteMetrics {
    route: String,
    service: String,
    shards: Box<[OnceLock<Box<Shard>>]>,
}

#[derive(Debug)]
struct Shard {
    statuses: [AtomicU64; STATUSES.len() + CLASSES],
    total: Histogram,
    upstream: Histogram,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

#[derive(Debug)]
struct Histogram {
    buckets: [AtomicU64; BUCKETS.len() + 1],
    sum_us: AtomicU64,
}

/// A finished request, as metrics see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) status: u16,
    pub(crate) total: Duration,
    pub(crate) upstream: Option<Duration>,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

impl Metrics {
    /// The counters of a route; the same ones for the same names as long as somebody holds them, so that
    /// a new configuration goes on counting.
    pub fn route(&self, route: &str, service: &str, workers: usize) -> Arc<RouteMetrics> {
        let fresh = RouteMetrics {
            route: route.to_owned(),
            service: service.to_owned(),
            shards: (0..workers).map(|_| OnceLock::new()).collect(),
        };
        let fresh = Arc::new(fresh);
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.push(Arc::downgrade(&fresh));
        fresh
    }

    /// The counters of a worker. One that starts again goes on counting, with nothing at work.
    pub(crate) fn worker(&self, index: usize) -> Arc<WorkerCounters> {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let counters = Arc::clone(workers.entry(index).or_default());
        counters.busy.store(0, Ordering::Relaxed);
        counters.held.store(0, Ordering::Relaxed);
        counters
    }

    /// Requests that wait for a pool to have somebody.
    pub fn held(&self) -> u64 {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let held = workers
            .values()
            .map(|counters| counters.held.load(Ordering::Relaxed));
        held.sum()
    }

    /// Connections and requests, added up.
    pub(crate) fn totals(&self) -> Totals {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = |part: fn(&WorkerCounters) -> &AtomicU64| {
            let counts = workers
                .values()
                .map(|counters| part(counters).load(Ordering::Relaxed));
            counts.sum()
        };
        let accepted = self.accepted.load(Ordering::Relaxed);
        Totals {
            open: self.open.load(Ordering::Relaxed),
            accepted,
            handled: accepted.saturating_sub(self.turned_away.load(Ordering::Relaxed)),
            requests: sum(|counters| &counters.requests),
            busy: sum(|counters| &counters.busy),
        }
    }

    fn encode_own(&self, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let counters = [
            (
                "hythe_connections_accepted",
                "Client connections accepted",
                &self.accepted,
            ),
            (
                "hythe_connections_refused",
                "Client connections turned away because there were too many",
                &self.turned_away,
            ),
            (
                "hythe_http2_floods",
                "HTTP/2 connections ended for a flood of frames",
                &self.floods,
            ),
            (
                "hythe_requests_refused",
                "Requests that broke the rules of the wire",
                &self.refused,
            ),
            (
                "hythe_upstream_retries",
                "Requests sent again after a failure that was safe to repeat",
                &self.retried,
            ),
            (
                "hythe_upstream_retries_refused",
                "Retries that the budget of a pool did not allow",
                &self.retries_refused,
            ),
            (
                "hythe_upstream_hedges",
                "Requests sent to a second member because the first was slow",
                &self.hedged,
            ),
            (
                "hythe_circuit_breaker_refused",
                "Requests refused by a circuit breaker",
                &self.circuit_open,
            ),
            (
                "hythe_mirror_copies",
                "Copies of requests that another service has answered",
                &self.copies_sent,
            ),
            (
                "hythe_mirror_copies_dropped",
                "Copies of requests that could not be made or were not answered",
                &self.copies_dropped,
            ),
            (
                "hythe_tls_handshakes",
                "TLS handshakes with clients that were completed",
                &self.tls_handshakes,
            ),
            (
                "hythe_tls_handshakes_failed",
                "Client connections that ended before their TLS handshake was completed",
                &self.tls_failed,
            ),
            (
                "hythe_client_certificates_refused",
                "TLS handshakes that failed for the client's certificate, or because it had none",
                &self.client_certificates_refused,
            ),
            (
                "hythe_request_panics",
                "Panics contained to their request",
                &self.panics,
            ),
            (
                "hythe_access_log_dropped",
                "Access log lines dropped because the disk was too slow",
                &self.log_dropped,
            ),
        ];
        for (name, help, counter) in counters {
            let value = counter.load(Ordering::Relaxed);
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            metric.encode_counter::<NoLabelSet, u64, u64>(&value, None)?;
        }
        let gauges = [
            (
                "hythe_connections_open",
                "Client connections open",
                self.open.load(Ordering::Relaxed),
            ),
            (
                "hythe_requests_held",
                "Requests that wait for a pool to have somebody",
                self.held(),
            ),
        ];
        for (name, help, value) in gauges {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            encoder
                .encode_descriptor(name, help, None, MetricType::Gauge)?
                .encode_gauge(&value)?;
        }
        Ok(())
    }

    /// The counters of a listener below HTTP; the same ones as long as somebody holds them.
    pub(crate) fn relay(&self, listener: &str, protocol: ListenerProtocol) -> Arc<RelayMetrics> {
        let known = alive(&self.relays)
            .into_iter()
            .find(|relay| relay.is_of(listener, protocol));
        known.unwrap_or_else(|| {
            let fresh = Arc::new(RelayMetrics::new(listener, protocol));
            let mut relays = self.relays.lock().unwrap_or_else(PoisonError::into_inner);
            relays.push(Arc::downgrade(&fresh));
            fresh
        })
    }
}

/// Those that somebody holds; the others are forgotten.
fn alive<T>(held: &Mutex<Vec<Weak<T>>>) -> Vec<Arc<T>> {
    let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
    held.retain(|one| one.strong_count() > 0);
    held.iter().filter_map(Weak::upgrade).collect()
}

impl WorkerCounters {
    /// Counts a request, and that it is at work until what this returns is dropped.
    pub(crate) fn enter(&self) -> Busy<'_> {
        bump(&self.requests, 1);
        bump(&self.busy, 1);
        Busy(self)
    }

    /// Counts a request as waiting until what this returns is dropped. `None`: `most` do already.
    pub(crate) fn hold(&self, most: u64) -> Option<Held<'_>> {
        (self.held.load(Ordering::Relaxed) < most).then(|| {
            bump(&self.held, 1);
            Held(self)
        })
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        bump(&self.0.busy, u64::MAX);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        bump(&self.0.held, u64::MAX);
    }
}

impl RouteMetrics {
    /// The service whose requests it counts.
    pub(crate) fn service(&self) -> &str {
        &self.service
    }

    pub(crate) fn record(&self, worker: usize, sample: Sample) {
        let Some(slot) = self.shards.get(worker) else {
            return;
        };
        let shard = slot.get_or_init(Box::default);
        bump(&shard.statuses[status_index(sample.status)], 1);
        shard.total.record(sample.total);
        if let Some(upstream) = sample.upstream {
            shard.upstream.record(upstream);
        }
        bump(&shard.bytes_in, sample.bytes_in);
        bump(&shard.bytes_out, sample.bytes_out);
    }

    fn shards(&self) -> impl Iterator<Item = &Shard> {
        self.shards
            .iter()
            .filter_map(|slot| slot.get().map(|shard| &**shard))
    }

    fn sum(&self, part: impl Fn(&Shard) -> &AtomicU64) -> u64 {
        self.shards()
            .map(|shard| part(shard).load(Ordering::Relaxed))
            .sum()
    }

    fn labels(&self) -> [(&'static str, &str); 2] {
        [("route", &self.route), ("service", &self.service)]
    }

    fn is_used(&self) -> bool {
        self.shards().next().is_some()
    }
}

/// Shows [`Metrics`] to a Prometheus registry.
#[derive(Debug)]
pub struct MetricsCollector(pub Arc<Metrics>);

impl Collector for MetricsCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.0.encode_own(&mut encoder)?;
        relay::encode(&mut encoder, &alive(&self.0.relays))?;
        let routes = alive(&self.0.routes);
        encode_statuses(&mut encoder, &routes)?;
        encode_bytes(&mut encoder, &routes)?;
        encode_latency(
            encoder.encode_descriptor(
                "hythe_http_request_duration_seconds",
                "Time from the request's head to the answer's end",
                None,
                MetricType::Histogram,
            )?,
            &routes,
            |shard| &shard.total,
        )?;
        encode_latency(
            encoder.encode_descriptor(
                "hythe_upstream_latency_seconds",
                "Time from sending the request to the answer's head",
                None,
                MetricType::Histogram,
            )?,
            &routes,
            |shard| &shard.upstream,
        )
    }
}

fn encode_statuses(encoder: &mut DescriptorEncoder<'_>, routes: &[Arc<RouteMetrics>]) -> std::fmt::Result {
    let help = "Requests by route and status";
    let mut family = encoder.encode_descriptor("hythe_http_requests", help, None, MetricType::Counter)?;
    for route in routes.iter().filter(|route| route.is_used()) {
        for index in 0..STATUSES.len() + CLASSES {
            let count = route.sum(|shard| &shard.statuses[index]);
            if count > 0 {
                let [name, service] = route.labels();
                let labels = [name, service, ("code", &status_label(index))];
                family
                    .encode_family(&labels)?
                    .encode_counter::<NoLabelSet, u64, u64>(&count, None)?;
            }
        }
    }
    Ok(())
}

fn encode_bytes(encoder: &mut DescriptorEncoder<'_>, routes: &[Arc<RouteMetrics>]) -> std::fmt::Result {
    let help = "Body bytes on the client's side";
    let mut family = encoder.encode_descriptor("hythe_http_body_bytes", help, None, MetricType::Counter)?;
    for route in routes.iter().filter(|route| route.is_used()) {
        let sums = [
            ("in", route.sum(|shard| &shard.bytes_in)),
            ("out", route.sum(|shard| &shard.bytes_out)),
        ];
        for (direction, sum) in sums {
            let [name, service] = route.labels();
            let labels = [name, service, ("direction", direction)];
            family
                .encode_family(&labels)?
                .encode_counter::<NoLabelSet, u64, u64>(&sum, None)?;
        }
    }
    Ok(())
}

fn encode_latency(
    mut family: MetricEncoder<'_>,
    routes: &[Arc<RouteMetrics>],
    part: fn(&Shard) -> &Histogram,
) -> std::fmt::Result {
    for route in routes.iter().filter(|route| route.is_used()) {
        let bounds = BUCKETS.iter().map(|bound| seconds(*bound)).chain([f64::INFINITY]);
        let counts: Vec<(f64, u64)> = bounds
            .enumerate()
            .map(|(index, bound)| (bound, route.sum(|shard| &part(shard).buckets[index])))
            .collect();
        let total = counts.iter().map(|(_, count)| count).sum();
        let sum = seconds(route.sum(|shard| &part(shard).sum_us));
        family
            .encode_family(&route.labels())?
            .encode_histogram::<NoLabelSet>(sum, total, &counts, None)?;
    }
    Ok(())
}

impl Histogram {
    fn record(&self, duration: Duration) {
        let microseconds = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS
            .iter()
            .position(|bound| microseconds <= *bound)
            .unwrap_or(BUCKETS.len());
        bump(&self.buckets[bucket], 1);
        bump(&self.sum_us, microseconds);
    }
}

impl Default for Shard {
    fn default() -> Self {
        Self {
            statuses: std::array::from_fn(|_| AtomicU64::new(0)),
            total: Histogram::default(),
            upstream: Histogram::default(),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
        }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            sum_us: AtomicU64::new(0),
        }
    }
}

/// One writer only: a load and a store are cheaper than a locked addition and lose nothing.
fn bump(counter: &AtomicU64, by: u64) {
    counter.store(
        counter.load(Ordering::Relaxed).wrapping_add(by),
        Ordering::Relaxed,
    );
}

fn status_index(status: u16) -> usize {
    STATUSES
        .binary_search(&status)
        .unwrap_or_else(|_| STATUSES.len() + usize::from(status / 100).min(CLASSES - 1))
}

fn status_label(index: usize) -> String {
    STATUSES
        .get(index)
        .map_or_else(|| format!("{}xx", index - STATUSES.len()), ToString::to_string)
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a century fit")]
fn seconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(status: u16, microseconds: u64) -> Sample {
        Sample {
            status,
            total: Duration::from_micros(microseconds),
            upstream: None,
            bytes_in: 10,
            bytes_out: 20,
        }
    }

    fn text(metrics: Arc<Metrics>) -> String {
        let mut registry = prometheus_client::registry::Registry::default();
        registry.register_collector(Box::new(MetricsCollector(metrics)));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn no_more_than_so_many_are_held() {
        let metrics = Metrics::default();
        let worker = metrics.worker(0);
        let first = worker.hold(2);
        let _second = worker.hold(2).unwrap();
        assert!(worker.hold(2).is_none());
        drop(first);
        assert_eq!(metrics.held(), 1);
        assert!(worker.hold(2).is_some());
    }

    #[test]
    fn shards_add_up() {
        let metrics = Arc::new(Metrics::default());
        let route = metrics.route("users", "users", 2);
        route.record(0, sample(200, 90));
        route.record(1, sample(200, 300));
        route.record(1, sample(418, 20_000_000));
        route.record(7, sample(200, 1));
        let text = text(metrics);
        for line in [
            "hythe_http_requests_total{route=\"users\",service=\"users\",code=\"200\"} 2",
            "hythe_http_requests_total{route=\"users\",service=\"users\",code=\"4xx\"} 1",
            "hythe_http_request_duration_seconds_bucket{le=\"0.0001\",route=\"users\",service=\"users\"} 1",
            "hythe_http_request_duration_seconds_bucket{le=\"0.0005\",route=\"users\",service=\"users\"} 2",
            "hythe_http_request_duration_seconds_bucket{le=\"+Inf\",route=\"users\",service=\"users\"} 3",
            "hythe_http_request_duration_seconds_sum{route=\"users\",service=\"users\"} 20.00039",
            "hythe_http_body_bytes_total{route=\"users\",service=\"users\",direction=\"out\"} 60",
        ] {
            assert!(
                text.lines().any(|have| have == line),
                "{line} is missing in\n{text}"
            );
        }
    }

    #[test]
    fn a_route_that_is_gone_is_not_shown() {
        let metrics = Arc::new(Metrics::default());
        drop(metrics.route("old", "", 1));
        let text = text(metrics);
        assert!(!text.contains("old"));
    }

    #[test]
    fn statuses_are_sorted_for_the_search() {
        assert!(STATUSES.is_sorted());
    }
}

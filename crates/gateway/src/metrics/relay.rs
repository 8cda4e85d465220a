//! What is counted of a listener below HTTP. Connections are few and long, so all workers share its counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hythe_model::ListenerProtocol;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::tunnel::Way;

/// The counters of one listener: connections, or sessions of datagrams.
#[derive(Debug)]
pub(crate) struct RelayMetrics {
    listener: String,
    protocol: ListenerProtocol,
    opened: AtomicU64,
    closed: AtomicU64,
    failed: AtomicU64,
    bytes: [AtomicU64; 2],
}

impl RelayMetrics {
    pub(super) fn new(listener: &str, protocol: ListenerProtocol) -> Self {
        Self {
            listener: listener.to_owned(),
            protocol,
            opened: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            bytes: Default::default(),
        }
    }

    pub(super) fn is_of(&self, listener: &str, protocol: ListenerProtocol) -> bool {
        self.listener == listener && self.protocol == protocol
    }

    /// Counts one that begins.
    pub(crate) fn open(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one that ended.
    pub(crate) fn close(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one that nobody could be reached for, or that did not begin as it must.
    pub(crate) fn fail(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts bytes.
    pub(crate) fn add_bytes(&self, way: Way, count: u64) {
        self.bytes[way as usize].fetch_add(count, Ordering::Relaxed);
    }

    fn labels(&self) -> [(&'static str, String); 2] {
        [
            ("listener", self.listener.clone()),
            ("protocol", self.protocol.to_string()),
        ]
    }
}

pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, relays: &[Arc<RelayMetrics>]) -> std::fmt::Result {
    encode_counts(
        encoder,
        relays,
        "hythe_relay_connections",
        "Connections and sessions of listeners below HTTP",
        |relay| &relay.opened,
    )?;
    encode_counts(
        encoder,
        relays,
        "hythe_relay_connections_failed",
        "Of these, those that could not be passed on",
        |relay| &relay.failed,
    )?;
    encode_open(encoder, relays)?;
    encode_bytes(encoder, relays)
}

fn encode_counts(
    encoder: &mut DescriptorEncoder<'_>,
    relays: &[Arc<RelayMetrics>],
    name: &str,
    help: &str,
    part: fn(&RelayMetrics) -> &AtomicU64,
) -> std::fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for relay in relays {
        let count = part(relay).load(Ordering::Relaxed);
        family
            .encode_family(&relay.labels())?
            .encode_counter::<NoLabelSet, u64, u64>(&count, None)?;
    }
    Ok(())
}

fn encode_open(encoder: &mut DescriptorEncoder<'_>, relays: &[Arc<RelayMetrics>]) -> std::fmt::Result {
    let name = "hythe_relay_connections_open";
    let help = "Those that are open now";
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for relay in relays {
        // What ended is read first, so that there are never fewer than none.
        let closed = relay.closed.load(Ordering::Relaxed);
        let open = relay.opened.load(Ordering::Relaxed).saturating_sub(closed);
        family
            .encode_family(&relay.labels())?
            .encode_gauge(&i64::try_from(open).unwrap_or(i64::MAX))?;
    }
    Ok(())
}

fn encode_bytes(encoder: &mut DescriptorEncoder<'_>, relays: &[Arc<RelayMetrics>]) -> std::fmt::Result {
    let help = "Bytes passed on, in from clients and out to them";
    let mut family = encoder.encode_descriptor("hythe_relay_bytes", help, None, MetricType::Counter)?;
    for relay in relays {
        for (direction, way) in [("in", Way::FromClient), ("out", Way::ToClient)] {
            let count = relay.bytes[way as usize].load(Ordering::Relaxed);
            let [listener, protocol] = relay.labels();
            let labels = [listener, protocol, ("direction", direction.to_owned())];
            family
                .encode_family(&labels)?
                .encode_counter::<NoLabelSet, u64, u64>(&count, None)?;
        }
    }
    Ok(())
}

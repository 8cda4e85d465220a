//! The gateway's settings from the node's, and the descriptors it may use.

use hythe_config::{AccessLogFormat, NodeConfig, ProxyListen, TrustedProxies};
use hythe_gateway::{ListenerPlan, RealIpHeader, Trust};
use hythe_http1::Limits as WireLimits;
use hythe_model::ListenerProtocol;
use hythe_upstream::KeepAlive;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::builtin;

/// Descriptors for everything but traffic: store, logs, minder, API.
const RESERVED: u64 = 256;
/// More are of no use, and some kernels count "unlimited" beyond what they can keep.
const MOST: u64 = 1 << 20;

/// How the gateway is set up on this node.
///
/// # Errors
/// When the default certificate cannot be kept.
pub(crate) fn config(config: &NodeConfig) -> anyhow::Result<hythe_gateway::Config> {
    let format = |format| match format {
        AccessLogFormat::Json => hythe_gateway::AccessLogFormat::Json,
        AccessLogFormat::Combined => hythe_gateway::AccessLogFormat::Combined,
    };
    let log = config.access_log.as_ref();
    let now = i64::try_from(hythe_stdx::unix_ms() / 1000).unwrap_or(i64::MAX);
    let path = config.home.join("default-certificate.pem");
    Ok(hythe_gateway::Config {
        workers: config.workers,
        access_log: log.map(|log| (format(log.format), log.path.clone())),
        limits: limits(config),
        plugins: builtin::PLUGINS,
        trust: trust(&config.trusted_proxies),
        default_certificate: Some(hythe_tls::fallback::load_or_make(&path, now)?),
    })
}

/// Where the gateway listens on this node from the beginning to the end.
pub(crate) fn listeners(config: &NodeConfig) -> Vec<ListenerPlan> {
    let plan = |listen: &ProxyListen| ListenerPlan {
        name: listen.name.clone(),
        address: listen.address,
        protocol: if listen.ssl {
            ListenerProtocol::Https
        } else {
            ListenerProtocol::Http
        },
        http2: listen.http2,
        proxy_protocol: listen.proxy_protocol,
        clients: None,
    };
    config
        .proxy_listen
        .iter()
        .chain(&config.proxy_tls_listen)
        .map(plan)
        .collect()
}

fn trust(given: &TrustedProxies) -> Trust {
    Trust {
        proxies: given.networks.clone(),
        header: match given.header {
            hythe_config::RealIpHeader::XRealIp => RealIpHeader::XRealIp,
            hythe_config::RealIpHeader::XForwardedFor => RealIpHeader::XForwardedFor,
        },
        recursive: given.recursive,
    }
}

fn limits(config: &NodeConfig) -> hythe_gateway::Limits {
    let given = &config.limits;
    let defaults = hythe_gateway::Limits::default();
    let connections = given.connections.unwrap_or_else(connections_allowed);
    hythe_gateway::Limits {
        wire: WireLimits {
            line: given.line_bytes,
            head: given.head_bytes,
            fields: given.headers,
            ..defaults.wire
        },
        head_timeout: given.head_timeout,
        idle_timeout: given.idle_timeout,
        body_timeout: given.body_timeout,
        body_rate: given.body_rate,
        client_write_timeout: given.client_write_timeout,
        requests_per_connection: given.requests_per_connection,
        connections_per_worker: connections.div_ceil(config.workers),
        connections_per_client: given
            .connections_per_client
            .unwrap_or(connections - connections / 4),
        upstream_keep_alive: KeepAlive {
            idle: given.upstream_idle_timeout,
            connections: given.upstream_idle_connections,
        },
        drain: config.drain_timeout,
        ..defaults
    }
}

/// Allows this process as many descriptors as it may have: the usual soft limit of 1024 is for programs
/// that use `select`.
pub(crate) fn raise_descriptor_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(MOST).min(MOST);
    if current.is_some_and(|current| current < wanted)
        && let Err(error) = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(wanted),
                maximum,
            },
        )
    {
        tracing::warn!(%error, "the limit of descriptors cannot be raised");
    }
}

/// A client may need a descriptor of its own and one to an upstream.
fn connections_allowed() -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(MOST);
    usize::try_from(descriptors.saturating_sub(RESERVED) / 2)
        .unwrap_or(usize::MAX)
        .max(64)
}

//! What clients and upstreams of the gateway may take of time and memory.

use std::time::Duration;

use clap::Args;

use crate::resolve::{Sources, duration};

/// The gateway's limits as flags or environment variables give them, not parsed yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Limits of the gateway")]
pub struct LimitArgs {
    /// Time for a request's whole head [default: 10s]
    #[arg(
        long,
        env = "HYTHE_HEAD_TIMEOUT",
        value_name = "DURATION",
        hide_short_help = true
    )]
    pub head_timeout: Option<String>,
    /// Time a kept client connection may stay silent [default: 75s]
    #[arg(
        long,
        env = "HYTHE_IDLE_TIMEOUT",
        value_name = "DURATION",
        hide_short_help = true
    )]
    pub idle_timeout: Option<String>,
    /// Time a request's body may pause, all its pauses together [default: 60s]
    #[arg(
        long,
        env = "HYTHE_BODY_TIMEOUT",
        value_name = "DURATION",
        hide_short_help = true
    )]
    pub body_timeout: Option<String>,
    /// Bytes a second that make a request's body no pause; 0: any [default: 240]
    #[arg(long, env = "HYTHE_BODY_RATE", value_name = "NUMBER", hide_short_help = true)]
    pub body_rate: Option<String>,
    /// Time for one write to a client [default: 60s]
    #[arg(
        long,
        env = "HYTHE_CLIENT_WRITE_TIMEOUT",
        value_name = "DURATION",
        hide_short_help = true
    )]
    pub client_write_timeout: Option<String>,
    /// Longest request line, and longest single header [default: 16k]
    #[arg(long, env = "HYTHE_MAX_LINE", value_name = "SIZE", hide_short_help = true)]
    pub max_line: Option<String>,
    /// Longest request head [default: 64k]
    #[arg(long, env = "HYTHE_MAX_HEAD", value_name = "SIZE", hide_short_help = true)]
    pub max_head: Option<String>,
    /// Most headers of a request [default: 100]
    #[arg(
        long,
        env = "HYTHE_MAX_HEADERS",
        value_name = "NUMBER",
        hide_short_help = true
    )]
    pub max_headers: Option<String>,
    /// Requests on one client connection before it is closed [default: no limit]
    #[arg(
        long,
        env = "HYTHE_MAX_REQUESTS_PER_CONNECTION",
        value_name = "NUMBER",
        hide_short_help = true
    )]
    pub max_requests_per_connection: Option<String>,
    /// Client connections at a time, of all workers [default: what the descriptor limit allows]
    #[arg(
        long,
        env = "HYTHE_MAX_CONNECTIONS",
        value_name = "NUMBER",
        hide_short_help = true
    )]
    pub max_connections: Option<String>,
    /// Client connections at a time from one address, but for trusted proxies [default: three quarters of all]
    #[arg(
        long,
        env = "HYTHE_MAX_CONNECTIONS_PER_CLIENT",
        value_name = "NUMBER",
        hide_short_help = true
    )]
    pub max_connections_per_client: Option<String>,
    /// Time a kept upstream connection may stay idle [default: 60s]
    #[arg(
        long,
        env = "HYTHE_UPSTREAM_IDLE_TIMEOUT",
        value_name = "DURATION",
        hide_short_help = true
    )]
    pub upstream_idle_timeout: Option<String>,
    /// Kept upstream connections of one worker to one address [default: 512]
    #[arg(
        long,
        env = "HYTHE_UPSTREAM_IDLE_CONNECTIONS",
        value_name = "NUMBER",
        hide_short_help = true
    )]
    pub upstream_idle_connections: Option<String>,
}

/// The gateway's limits, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayLimits {
    /// Time for a request's whole head.
    pub head_timeout: Duration,
    /// Time a kept client connection may stay silent.
    pub idle_timeout: Duration,
    /// Time that a request's body may pause, all its pauses together.
    pub body_timeout: Duration,
    /// Bytes a second that earn back the time they take; 0: every pause may be as long as `body_timeout`.
    pub body_rate: u32,
    /// Time for one write to a client.
    pub client_write_timeout: Duration,
    /// Longest request line, and longest single header; bytes, 256 to 1 MiB.
    pub line_bytes: usize,
    /// Longest request head; bytes, 1 KiB to 16 MiB.
    pub head_bytes: usize,
    /// Most headers, 1 to 10,000.
    pub headers: usize,
    /// Requests on one client connection, at least 1; `None`: any number.
    pub requests_per_connection: Option<u32>,
    /// Client connections at a time; `None`: what the descriptor limit allows.
    pub connections: Option<usize>,
    /// Client connections at a time from one address, at least 1; `None`: three quarters of `connections`.
    pub connections_per_client: Option<usize>,
    /// Time a kept upstream connection may stay idle.
    pub upstream_idle_timeout: Duration,
    /// Kept upstream connections of one worker to one address; 0: none are kept.
    pub upstream_idle_connections: usize,
}

impl LimitArgs {
    pub(crate) fn settings(&self) -> Vec<(&'static str, Vec<String>)> {
        let one = |value: &Option<String>| value.iter().cloned().collect();
        vec![
            ("head_timeout", one(&self.head_timeout)),
            ("idle_timeout", one(&self.idle_timeout)),
            ("body_timeout", one(&self.body_timeout)),
            ("body_rate", one(&self.body_rate)),
            ("client_write_timeout", one(&self.client_write_timeout)),
            ("max_line", one(&self.max_line)),
            ("max_head", one(&self.max_head)),
            ("max_headers", one(&self.max_headers)),
            (
                "max_requests_per_connection",
                one(&self.max_requests_per_connection),
            ),
            ("max_connections", one(&self.max_connections)),
            (
                "max_connections_per_client",
                one(&self.max_connections_per_client),
            ),
            ("upstream_idle_timeout", one(&self.upstream_idle_timeout)),
            ("upstream_idle_connections", one(&self.upstream_idle_connections)),
        ]
    }
}

/// Reads every limit; mistakes are left with `sources`.
pub(crate) fn resolve(sources: &mut Sources) -> GatewayLimits {
    let mut time = |name, seconds| {
        sources
            .one(name, duration)
            .unwrap_or(Duration::from_secs(seconds))
    };
    let head_timeout = time("head_timeout", 10);
    let idle_timeout = time("idle_timeout", 75);
    let body_timeout = time("body_timeout", 60);
    let client_write_timeout = time("client_write_timeout", 60);
    let upstream_idle_timeout = time("upstream_idle_timeout", 60);
    let mut size = |name, least, most| sources.one(name, |text| size_between(text, least, most));
    let line_bytes = size("max_line", 256, 1 << 20).unwrap_or(16 << 10);
    let head_bytes = size("max_head", 1 << 10, 16 << 20).unwrap_or(64 << 10);
    let mut number = |name, least, most| sources.one(name, |text| number_between(text, least, most));
    let headers = number("max_headers", 1, 10_000).unwrap_or(100);
    let requests = number("max_requests_per_connection", 1, 1_000_000_000);
    let body_rate = number("body_rate", 0, 1_000_000_000).unwrap_or(240);
    let connections = number("max_connections", 1, 10_000_000);
    let connections_per_client = number("max_connections_per_client", 1, 10_000_000);
    let upstream_idle_connections = number("upstream_idle_connections", 0, 100_000).unwrap_or(512);
    GatewayLimits {
        head_timeout,
        idle_timeout,
        body_timeout,
        body_rate: u32::try_from(body_rate).unwrap_or(u32::MAX),
        client_write_timeout,
        line_bytes,
        head_bytes,
        headers,
        requests_per_connection: requests.and_then(|requests| u32::try_from(requests).ok()),
        connections,
        connections_per_client,
        upstream_idle_timeout,
        upstream_idle_connections,
    }
}

fn size_between(text: &str, least: usize, most: usize) -> Result<usize, String> {
    let bytes = hythe_stdx::parse_size(text).map_err(|error| error.to_string())?;
    let bytes = usize::try_from(bytes)
        .ok()
        .filter(|bytes| (least..=most).contains(bytes));
    bytes.ok_or_else(|| format!("`{text}` is not a size from {least} to {most} bytes"))
}

fn number_between(text: &str, least: usize, most: usize) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("`{text}` is not a number from {least} to {most}"))
}

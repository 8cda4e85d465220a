//! What one node is told about itself: flags, environment and node file to a [`NodeConfig`].
//!
//! Every setting has one name in three spellings: `--proxy-listen`, `HYTHE_PROXY_LISTEN`, and
//! `proxy_listen` in `$HYTHE_HOME/hythe.toml`. A flag wins over the environment, the environment over the
//! file, the file over the default. Whatever its source, a setting arrives as texts and is parsed by one
//! function, so it means the same everywhere; all mistakes are reported together, each with its source.
//!
//! Nothing here says what runs on the node: that is desired state and lives in the store.

mod args;
mod home;
mod limits;
mod listen;
mod node_file;
mod problem;
mod resolve;
mod trust;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use args::ServerArgs;
pub use home::{HomeError, default_home, node_file, server_log, socket, token_file};
pub use limits::{GatewayLimits, LimitArgs};
pub use listen::ProxyListen;
pub use problem::{ConfigProblem, ConfigProblems};
pub use resolve::{resolve, resolve_with_file};
pub use trust::{RealIpHeader, TrustedProxies};

/// A node's settings, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    /// The data directory; absolute, may not exist yet.
    pub home: PathBuf,
    /// Where the gateway listens for HTTP; at least one.
    pub proxy_listen: Vec<ProxyListen>,
    /// Where the gateway listens for HTTPS; none by default.
    pub proxy_tls_listen: Vec<ProxyListen>,
    /// Proxies in front of the gateway that are believed; none by default.
    pub trusted_proxies: TrustedProxies,
    /// Where the native API listens; `None`: only on its socket.
    pub api_listen: Option<SocketAddr>,
    /// Gateway workers, 1 to 1,024; by default one for each core.
    pub workers: usize,
    /// The gateway's access log; `None`: off.
    pub access_log: Option<AccessLog>,
    /// The most bytes that logs of services may take on the disk, at least 1 MiB.
    pub logs_budget: u64,
    /// How long open requests may hold up a stop, of an instance or of the server.
    pub drain_timeout: Duration,
    /// DNS servers for names of upstreams; empty: those of the system.
    pub resolvers: Vec<SocketAddr>,
    /// What clients and upstreams of the gateway may take.
    pub limits: GatewayLimits,
    /// What the server itself logs, in the syntax of `tracing-subscriber`.
    pub log: String,
}

/// The gateway's access log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// How a line looks.
    pub format: AccessLogFormat,
    /// The file; absolute.
    pub path: PathBuf,
}

/// How a line of the access log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLogFormat {
    /// A JSON object.
    Json,
    /// The combined format of Apache and nginx.
    Combined,
}

//! What runs: instances as the supervisor sees them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use hythe_stdx::format_exact_size;
use serde::{Deserialize, Serialize};

use crate::name::FullName;
use crate::workload::Revision;

const SIGKILL: i32 = 9;

/// `<service>-<number>`: unique as long as the data directory lives. A restart after a crash keeps it, a
/// replacement by a rollout gets a new one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(pub Arc<str>);

/// One copy of a workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// Which service it is a copy of.
    pub service: FullName,
    /// Its place among the copies, from 0; `NODE_APP_INSTANCE`. A replacement takes the place over.
    pub slot: u32,
    /// What it was started from.
    pub revision: Revision,
    /// Process id while it runs.
    pub pid: Option<u32>,
    /// Where it listens, if its workload has a port.
    pub address: Option<SocketAddr>,
    /// How it came to listen there; `None` while that is not known.
    #[serde(default)]
    pub listening: Option<Listening>,
    /// Where it is in its life.
    pub state: InstanceState,
    /// Restarts after exits since it was created.
    pub restarts: u32,
    /// When the process was started, Unix milliseconds.
    pub started_at: Option<u64>,
    /// How the last process ended.
    pub last_exit: Option<Exit>,
    /// Why it was started, if by a rule of its workload (memory, cron, changed files, liveness) and not by a change of
    /// what is desired.
    #[serde(default)]
    pub cause: Option<String>,
    /// Why it is not ready, for people: the last failed probe, the exec error, the missing dependency.
    pub message: Option<String>,
    /// CPU of the last second, in thousandths of a core.
    pub cpu_millis: u32,
    /// Resident memory, bytes.
    pub memory_bytes: u64,
}

/// How an instance came to listen at its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Listening {
    /// Its bind was turned to there.
    Bind {
        /// What it had asked for, `ip:port`.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        asked: SocketAddr,
    },
    /// As a worker of Node's cluster.
    Cluster {
        /// What it had asked for, `ip:port`.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        asked: SocketAddr,
    },
    /// It was told, in `PORT`.
    Port,
    /// It was given the socket (`LISTEN_FDS`).
    Socket,
}

/// Where an instance is in its life.
///
/// ```text
/// waiting -> starting -> ready <-> unhealthy
///    ^           |          |
///    |           v          v
/// backoff <--- (exit) --- (exit)      draining -> stopping -> (gone)
///    |
///    v
///  failed | completed
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    /// A dependency is missing.
    Waiting,
    /// The process runs and was never ready.
    Starting,
    /// Its health check passes; it receives traffic.
    Ready,
    /// It was ready and its health check fails.
    Unhealthy,
    /// Receives no new requests; those in flight end.
    Draining,
    /// Was asked to stop.
    Stopping,
    /// Exited; will be started again.
    Backoff,
    /// Exited too often in a row; tried again rarely, or never if its policy says so.
    Failed,
    /// Exited as it should; nothing more to do.
    Completed,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Exit {
    /// Exit code, if it exited.
    pub code: Option<i32>,
    /// Signal, if one ended it.
    pub signal: Option<i32>,
    /// When, Unix milliseconds.
    pub at: u64,
    /// Bytes: it ended because it, or something it started, was killed for using more memory than this limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_of_memory: Option<u64>,
}

/// Everything the supervisor runs.
#[derive(Debug, Clone, Default)]
pub struct Instances {
    /// The desired generation the supervisor has last planned for.
    pub generation: u64,
    /// Whether every instance left by an earlier server was found again (or seen to be gone).
    pub synced: bool,
    /// By service; a service without instances is there too.
    pub services: BTreeMap<FullName, ServiceInstances>,
}

/// The instances of one service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServiceInstances {
    /// How many there should be.
    pub desired: u32,
    /// The revision they should have.
    pub revision: Option<Revision>,
    /// Whether everything is as it should be: right number, right revision, all ready.
    pub settled: bool,
    /// Why the last rollout stopped, if it failed; the old instances then go on.
    pub failure: Option<String>,
    /// Nobody needed it for a while: the next request starts it.
    pub asleep: bool,
    /// Where the programs mean to listen, if the gateway is to listen there for them; sorted.
    pub published: Vec<SocketAddr>,
    /// What it asks for and does not get here, for people: a limit that nobody enforces.
    pub warnings: Vec<String>,
    /// By id.
    pub instances: Vec<Arc<Instance>>,
}

impl InstanceState {
    /// Whether a process is there.
    pub fn is_alive(self) -> bool {
        matches!(
            self,
            Self::Starting | Self::Ready | Self::Unhealthy | Self::Draining | Self::Stopping
        )
    }
}

impl Exit {
    /// Exit code 0.
    pub fn is_success(self) -> bool {
        self.code == Some(0)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal, self.out_of_memory) {
            (Some(code), _, _) => write!(f, "exit code {code}")?,
            (None, Some(SIGKILL), Some(_)) => f.write_str("killed")?,
            (None, Some(signal), _) => write!(f, "signal {signal}")?,
            (None, None, _) => f.write_str("an unknown end")?,
        }
        match self.out_of_memory {
            Some(limit) => write!(f, ": over its memory limit of {}", format_exact_size(limit)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for InstanceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Waiting => "waiting",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Unhealthy => "unhealthy",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
            Self::Backoff => "backoff",
            Self::Failed => "failed",
            Self::Completed => "completed",
        })
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_in_words() {
        let exit = |code, signal, out_of_memory| Exit {
            code,
            signal,
            at: 0,
            out_of_memory,
        };
        for (exit, words) in [
            (exit(Some(3), None, None), "exit code 3"),
            (exit(None, Some(15), None), "signal 15"),
            (exit(None, None, None), "an unknown end"),
            (
                exit(None, Some(9), Some(64 << 20)),
                "killed: over its memory limit of 64M",
            ),
            (
                exit(Some(137), None, Some(64 << 20)),
                "exit code 137: over its memory limit of 64M",
            ),
        ] {
            assert_eq!(exit.to_string(), words);
        }
    }
}

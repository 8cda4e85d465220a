//! Kept-alive connections to upstreams.
//!
//! A server may close a connection that we consider idle at any moment; a request sent just then fails
//! although nothing is wrong (the "random 502" of many proxies). Three rules keep that from callers:
//!
//! 1. A connection is not used again in the last second of the time the server said it keeps it
//!    (`Keep-Alive: timeout=5`, as Node does), nor after our own idle limit.
//! 2. Before use, what the reactor already knows is asked (closed, or unexpected bytes): no system call.
//! 3. What must not be sent twice ([`Reuse::OnlyCertain`]) goes over an old connection only when the kernel
//!    confirms that it is open and it was used moments ago or its server told how long it keeps it.
//!
//! The rest, a request that can be sent again, is the gateway's to repeat on a new connection.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::{Peer, Wire};

/// The idle connections of one worker, by upstream address. One that was made for somebody is used for nobody else.
#[derive(Debug)]
pub struct IdlePool {
    limits: KeepAlive,
    idle: BTreeMap<SocketAddr, Vec<Idle>>,
}

/// Limits of an [`IdlePool`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    /// How long a connection may stay idle (Kong: 60 s).
    pub idle: Duration,
    /// How many idle connections are kept for one address by one worker (Kong: 512 for a node).
    pub connections: usize,
}

/// How sure one must be that a kept connection is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// The request can be sent again if it fails.
    Likely,
    /// The request must not be sent twice.
    OnlyCertain,
}

#[derive(Debug)]
struct Idle {
    wire: Wire,
    since: Instant,
    until: Instant,
    promised: bool,
}

/// A server closes late at worst by this much of its promise; also covers the way there.
const PROMISE_MARGIN: Duration = Duration::from_secs(1);
/// Without a promise, a connection used this recently is taken to be kept.
const RECENT: Duration = Duration::from_secs(1);

impl Default for KeepAlive {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(60),
            connections: 512,
        }
    }
}

impl IdlePool {
    /// An empty pool.
    pub fn new(limits: KeepAlive) -> Self {
        Self {
            limits,
            idle: BTreeMap::new(),
        }
    }

    /// A connection to `address` that may be used now: the one used last. `peer`: who must be there; `None`: a
    /// connection without TLS.
    pub fn take(
        &mut self,
        address: SocketAddr,
        peer: Option<&Arc<Peer>>,
        reuse: Reuse,
        now: Instant,
    ) -> Option<Wire> {
        let connections = self.idle.get_mut(&address)?;
        while let Some(last) = connections.iter().rposition(|idle| idle.wire.peer() == peer) {
            let mut idle = connections.remove(last);
            if idle.is_usable(reuse, now) {
                return Some(idle.wire);
            }
        }
        None
    }

    /// Keeps a connection on which a whole answer was read and nothing is left over. `promised`: the
    /// server's `Keep-Alive: timeout`, in seconds.
    pub fn put(&mut self, address: SocketAddr, wire: Wire, promised: Option<u32>, now: Instant) {
        let promise =
            promised.map(|seconds| Duration::from_secs(seconds.into()).saturating_sub(PROMISE_MARGIN));
        let keep = promise.unwrap_or(self.limits.idle).min(self.limits.idle);
        if keep.is_zero() {
            return;
        }
        let connections = self.idle.entry(address).or_default();
        if connections.len() < self.limits.connections {
            connections.push(Idle {
                wire,
                since: now,
                until: now + keep,
                promised: promised.is_some(),
            });
        }
    }

    /// Closes what may not be used any more, and whatever `keep` says no to.
    pub fn sweep(&mut self, now: Instant, mut keep: impl FnMut(SocketAddr) -> bool) {
        self.idle.retain(|address, connections| {
            if keep(*address) {
                connections.retain_mut(|idle| idle.until > now && !idle.wire.has_news());
            } else {
                connections.clear();
            }
            !connections.is_empty()
        });
    }

    /// How many connections are kept.
    pub fn len(&self) -> usize {
        self.idle.values().map(Vec::len).sum()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.idle.is_empty()
    }
}

impl Idle {
    fn is_usable(&mut self, reuse: Reuse, now: Instant) -> bool {
        if self.until <= now || self.wire.has_news() {
            return false;
        }
        match reuse {
            Reuse::Likely => true,
            Reuse::OnlyCertain => (self.promised || now - self.since < RECENT) && self.wire.is_open(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    async fn pair() -> (SocketAddr, Wire, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let wire = crate::connect(address, Duration::from_secs(5)).await.unwrap();
        (address, wire, listener.accept().await.unwrap().0)
    }

    fn pool() -> IdlePool {
        IdlePool::new(KeepAlive {
            idle: Duration::from_secs(60),
            connections: 2,
        })
    }

    /// What the reactor learns late is learned by waiting for it, not by sleeping.
    async fn until_noticed(wire: &mut Wire) {
        wire.split().0.readable().await.unwrap();
    }

    #[tokio::test]
    async fn the_newest_is_taken_first_and_the_bound_holds() {
        let mut pool = pool();
        let now = Instant::now();
        let (address, first, _peer) = pair().await;
        let first_port = first.stream().local_addr().unwrap();
        pool.put(address, first, None, now);
        let mut peers = Vec::new();
        for _ in 0..3 {
            let (_, wire, peer) = pair().await;
            peers.push(peer);
            pool.put(address, wire, None, now);
        }
        assert_eq!(pool.len(), 2);
        let taken = pool.take(address, None, Reuse::Likely, now).unwrap();
        assert_ne!(taken.stream().local_addr().unwrap(), first_port);
        let taken = pool.take(address, None, Reuse::Likely, now).unwrap();
        assert_eq!(taken.stream().local_addr().unwrap(), first_port);
        assert!(pool.take(address, None, Reuse::Likely, now).is_none());
    }

    #[tokio::test]
    async fn a_closed_or_talkative_connection_is_not_used() {
        let now = Instant::now();
        let mut pool = pool();
        let (address, mut wire, peer) = pair().await;
        drop(peer);
        until_noticed(&mut wire).await;
        pool.put(address, wire, None, now);
        assert!(pool.take(address, None, Reuse::Likely, now).is_none());

        let (address, mut wire, peer) = pair().await;
        peer.try_write(b"HTTP/1.1 408 Request Timeout\r\n\r\n").unwrap();
        until_noticed(&mut wire).await;
        pool.put(address, wire, None, now);
        assert!(pool.take(address, None, Reuse::Likely, now).is_none());
    }

    #[tokio::test]
    async fn a_promise_is_not_stretched_and_certainty_needs_one_or_recent_use() {
        let (address, wire, _peer) = pair().await;
        let now = Instant::now();
        let later = |seconds| now + Duration::from_millis(seconds);
        let mut pool = pool();
        pool.put(address, wire, Some(5), now);
        let wire = pool
            .take(address, None, Reuse::OnlyCertain, later(3_900))
            .unwrap();
        pool.put(address, wire, Some(5), now);
        assert!(pool.take(address, None, Reuse::Likely, later(4_100)).is_none());

        let (address, wire, _peer) = pair().await;
        pool.put(address, wire, None, now);
        let wire = pool.take(address, None, Reuse::OnlyCertain, later(900)).unwrap();
        pool.put(address, wire, None, now);
        assert!(
            pool.take(address, None, Reuse::OnlyCertain, later(1_100))
                .is_none()
        );
    }

    #[tokio::test]
    async fn sweeping_closes_what_is_no_longer_wanted() {
        let now = Instant::now();
        let mut pool = pool();
        let (kept, wire, _peer) = pair().await;
        pool.put(kept, wire, None, now);
        let (gone, wire, _other) = pair().await;
        pool.put(gone, wire, None, now);
        pool.sweep(now, |address| address == kept);
        assert_eq!(pool.len(), 1);
        pool.sweep(now + Duration::from_secs(61), |_| true);
        assert!(pool.is_empty());
    }
}

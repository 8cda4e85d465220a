//! What is counted for each address, for the whole node.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use hythe_model::FullName;
use hythe_ports::BoxFuture;
use hythe_ports::traffic::{Observer, Traffic};
use tokio::sync::Notify;

/// Counters of one address. They have cache lines of their own: two endpoints never slow each other down.
#[derive(Debug)]
#[repr(align(128))]
pub struct EndpointStats {
    id: u64,
    in_flight: AtomicU64,
    requests: AtomicU64,
    failures: AtomicU64,
    /// In how many places of current pools it may be picked.
    listed: AtomicU64,
}

/// The counters of all addresses in use. Kept here as long as a pool or a lease uses them; an address that
/// comes back later starts from zero.
#[derive(Debug, Default)]
pub struct EndpointTable {
    known: Mutex<Known>,
    observer: Option<Observer>,
    /// Pools that have nobody and are waited for.
    awaited: Mutex<BTreeSet<FullName>>,
    is_awaited: Notify,
}

#[derive(Debug, Default)]
struct Known {
    by_address: HashMap<SocketAddr, Weak<EndpointStats>>,
    last_id: u64,
    /// Number of entries at which the unused ones are dropped.
    clean_at: usize,
}

/// Number of entries below which unused ones do not matter.
const FEW: usize = 64;

impl EndpointStats {
    /// Requests and tunnels in flight.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Requests ever sent.
    pub fn requests_total(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Requests that failed.
    pub fn failures_total(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Whether a current pool may pick it.
    pub fn is_listed(&self) -> bool {
        self.listed.load(Ordering::SeqCst) > 0
    }

    /// Differs from that of every other address, also of earlier ones.
    pub fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn list(&self) {
        self.listed.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn unlist(&self) {
        self.listed.fetch_sub(1, Ordering::SeqCst);
    }

    /// Counts a request in, unless the address is not listed any more or has `most` (0: any number). The order
    /// matters, see the crate's documentation.
    pub(crate) fn enter(&self, most: u32) -> bool {
        if most == 0 {
            self.in_flight.fetch_add(1, Ordering::SeqCst);
        } else if !self.enter_if_below(u64::from(most)) {
            return false;
        }
        if self.is_listed() {
            self.requests.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        false
    }

    fn enter_if_below(&self, most: u64) -> bool {
        self.in_flight
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |now| {
                (now < most).then_some(now + 1)
            })
            .is_ok()
    }

    pub(crate) fn leave(&self, failed: bool) {
        if failed {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

impl EndpointTable {
    /// A table of endpoints whose conduct `observer` hears of.
    pub fn observed_by(observer: Observer) -> Self {
        Self {
            observer: Some(observer),
            ..Self::default()
        }
    }

    pub(crate) fn observer(&self) -> Option<&Observer> {
        self.observer.as_ref()
    }

    /// The counters of `address`; the same for everybody who asks while they are in use.
    pub fn get(&self, address: SocketAddr) -> Arc<EndpointStats> {
        self.known().get(address)
    }

    /// A request waits for this pool to have somebody.
    pub fn awaits(&self, pool: &FullName) {
        let mut awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        awaited.insert(pool.clone());
        self.is_awaited.notify_one();
    }

    fn take_awaited(&self) -> BTreeSet<FullName> {
        std::mem::take(&mut *self.awaited.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn find(&self, address: SocketAddr) -> Option<Arc<EndpointStats>> {
        self.known().by_address.get(&address)?.upgrade()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Every step leaves the map whole, so a panic elsewhere does not matter.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn get(&mut self, address: SocketAddr) -> Arc<EndpointStats> {
        if let Some(stats) = self.by_address.get(&address).and_then(Weak::upgrade) {
            return stats;
        }
        if self.by_address.len() >= self.clean_at {
            self.by_address.retain(|_, stats| stats.strong_count() > 0);
            self.clean_at = (2 * self.by_address.len()).max(FEW);
        }
        self.last_id += 1;
        let stats = Arc::new(EndpointStats {
            id: self.last_id,
            in_flight: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            listed: AtomicU64::new(0),
        });
        self.by_address.insert(address, Arc::downgrade(&stats));
        stats
    }
}

impl Traffic for EndpointTable {
    fn in_flight(&self, endpoint: SocketAddr) -> u64 {
        self.find(endpoint).map_or(0, |stats| stats.in_flight())
    }

    fn requests(&self, endpoint: SocketAddr) -> u64 {
        self.find(endpoint).map_or(0, |stats| stats.requests_total())
    }

    fn is_listed(&self, endpoint: SocketAddr) -> bool {
        self.find(endpoint).is_some_and(|stats| stats.is_listed())
    }

    fn awaited(&self) -> BoxFuture<'_, BTreeSet<FullName>> {
        Box::pin(async {
            loop {
                let awaited = self.take_awaited();
                if !awaited.is_empty() {
                    return awaited;
                }
                self.is_awaited.notified().await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use super::{EndpointTable, FEW};

    fn address(number: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], u16::try_from(number).unwrap()))
    }

    #[test]
    fn one_entry_for_an_address_while_it_is_used() {
        let table = EndpointTable::default();
        let first = table.get(address(1));
        assert!(Arc::ptr_eq(&first, &table.get(address(1))));
        assert_ne!(first.id(), table.get(address(2)).id());
        let id = first.id();
        drop(first);
        assert_ne!(table.get(address(1)).id(), id);
    }

    #[test]
    fn unused_entries_are_dropped() {
        let table = EndpointTable::default();
        let used: Vec<_> = (0..FEW).map(|number| table.get(address(number))).collect();
        for number in 0..10 * FEW {
            table.get(address(1_000 + number));
        }
        assert!(table.known().by_address.len() <= 2 * used.len());
        assert!(Arc::ptr_eq(&used[7], &table.get(address(7))));
    }
}

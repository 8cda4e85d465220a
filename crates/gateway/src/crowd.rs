//! How many connections each client has open, over all workers.
//!
//! Looked at when a connection begins and when it ends, and at no other time: each takes the lock of one of a few small
//! maps for a few instructions. What a customer of IPv6 gets is a network of 64 bits, so that is one client. Proxies
//! that are trusted are not counted: what comes over their connections is many clients'.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The clients that have connections open.
#[derive(Debug)]
pub(crate) struct Crowd {
    /// Most connections of one client.
    most: usize,
    /// Which map a client is in; its key is nobody else's business.
    hasher: RandomState,
    shards: [Mutex<Counts>; SHARDS],
}

/// Connections by client; those who have none are not in it.
type Counts = HashMap<IpAddr, usize>;

/// One of a client's connections, as long as this lives.
pub(crate) struct Place {
    crowd: Arc<Crowd>,
    client: IpAddr,
}

const SHARDS: usize = 16;

impl Crowd {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            hasher: RandomState::new(),
            shards: Default::default(),
        }
    }

    /// Counts a connection; `None`: the client has as many as it may.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let client = client(address);
        let mut counts = self.counts(client);
        let count = counts.entry(client).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        drop(counts);
        let crowd = Arc::clone(self);
        Some(Place { crowd, client })
    }

    fn counts(&self, client: IpAddr) -> MutexGuard<'_, Counts> {
        let hash = self.hasher.hash_one(client);
        let shard = &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or(0)];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.crowd.counts(self.client);
        if let Some(count) = counts.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.client);
            }
        }
    }
}

/// Whoever is behind an address.
fn client(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let network = address.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_so_many_and_no_more() {
        let crowd = Arc::new(Crowd::new(2));
        let enter = |address: &str| crowd.enter(address.parse().unwrap());
        let first = enter("192.0.2.1").unwrap();
        let _second = enter("192.0.2.1").unwrap();
        let _other = enter("192.0.2.2").unwrap();
        assert!(enter("192.0.2.1").is_none());
        drop(first);
        assert!(enter("192.0.2.1").is_some());
    }

    #[test]
    fn a_network_is_one_client() {
        let crowd = Arc::new(Crowd::new(1));
        let enter = |address: &str| crowd.enter(address.parse().unwrap());
        let _first = enter("2001:db8:0:1::1").unwrap();
        assert!(enter("2001:db8:0:1:ffff::2").is_none());
        assert!(enter("2001:db8:0:2::1").is_some());
    }

    #[test]
    fn who_has_left_is_forgotten() {
        let crowd = Arc::new(Crowd::new(9));
        let places: Vec<_> = (0..100)
            .map(|last| crowd.enter(IpAddr::from([192, 0, 2, last])))
            .collect();
        assert!(places.iter().all(Option::is_some));
        drop(places);
        assert!(crowd.shards.iter().all(|shard| shard.lock().unwrap().is_empty()));
    }
}

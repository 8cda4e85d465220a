//! nginx's `ip_hash` (`ngx_http_upstream_ip_hash_module.c`, 1.22): the client's network decides.
//!
//! The hash goes over three bytes of an IPv4 address or all of an IPv6 one, begins at 89 and is
//! `(hash * 113 + byte) % 6271`. Its rest by the sum of weights, of members that are out as well, falls into the
//! stretch of one member. If that one may not be picked, hashing goes on from there; after 20 members in vain,
//! over all tries of the request, its turn in round robin decides.

use std::net::IpAddr;

/// How far the hash of one request has come.
#[derive(Debug, Clone)]
pub(crate) struct IpHash {
    bytes: [u8; 16],
    length: usize,
    hash: u32,
    rejected: u32,
}

const MOST_REJECTED: u32 = 20;

impl IpHash {
    pub(crate) fn new(address: IpAddr) -> Self {
        let (bytes, length) = match address {
            IpAddr::V4(address) => {
                let [a, b, c, _] = address.octets();
                ([a, b, c, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 3)
            }
            IpAddr::V6(address) => (address.octets(), 16),
        };
        Self {
            bytes,
            length,
            hash: 89,
            rejected: 0,
        }
    }

    /// The first place that `may_take` allows. `None`: round robin decides.
    pub(crate) fn choose(&mut self, weights: &[u16], may_take: impl Fn(usize) -> bool) -> Option<usize> {
        let total: u32 = weights.iter().copied().map(u32::from).sum();
        let mut hash = self.hash;
        while total > 0 && self.rejected <= MOST_REJECTED {
            hash = self.bytes[..self.length]
                .iter()
                .fold(hash, |hash, byte| (hash * 113 + u32::from(*byte)) % 6271);
            let place = place_of(weights, hash % total)?;
            if may_take(place) {
                self.hash = hash;
                return Some(place);
            }
            self.rejected += 1;
        }
        None
    }
}

/// In whose stretch of the sum of weights a point lies.
pub(crate) fn place_of(weights: &[u16], mut point: u32) -> Option<usize> {
    weights.iter().position(|weight| {
        let inside = point < u32::from(*weight);
        point = point.saturating_sub(u32::from(*weight));
        inside
    })
}

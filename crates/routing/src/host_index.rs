//! Buckets by host.

use std::collections::HashMap;

use crate::bucket::{Best, Bucket, Placement, Query};
use crate::host_name::{HostPattern, HostShape, RequestHost};
use crate::radix::Radix;
use crate::ranking::Ranking;
use crate::table::RequestKey;

/// Finds the buckets that a request's host leads to.
#[derive(Debug)]
pub(crate) struct HostIndex {
    exact: HashMap<Box<[u8]>, Bucket>,
    /// `*.suffix`, by the suffix read backwards.
    any_before: Wildcards,
    /// `prefix.*`, by the prefix.
    any_after: Wildcards,
    /// Routes without hosts.
    any: Bucket,
    has_hosts: bool,
}

/// Placements by where they belong, before the buckets are built.
#[derive(Default)]
pub(crate) struct PlacementsByHost<'a> {
    exact: Places<'a>,
    any_before: Places<'a>,
    any_after: Places<'a>,
    any: Vec<(&'a [u8], Placement)>,
}

type Places<'a> = HashMap<Box<[u8]>, Vec<(&'a [u8], Placement)>>;

/// Buckets of wildcards of one sort, by the fixed part.
#[derive(Debug)]
struct Wildcards {
    fixed: Radix,
    lengths: Box<[usize]>,
    buckets: Box<[Bucket]>,
}

impl<'a> PlacementsByHost<'a> {
    /// Adds a candidate whose path begins with `prefix`, for every host of its route.
    pub(crate) fn add(&mut self, hosts: &[HostPattern], prefix: &'a [u8], placement: Placement) {
        if hosts.is_empty() {
            self.any.push((prefix, placement));
        }
        for host in hosts {
            let fixed = host.name.fixed().as_bytes();
            let (places, key) = match host.name {
                HostShape::Exact(_) => (&mut self.exact, fixed.to_vec()),
                HostShape::AnyBefore(_) => (&mut self.any_before, fixed.iter().rev().copied().collect()),
                HostShape::AnyAfter(_) => (&mut self.any_after, fixed.to_vec()),
            };
            let placement = Placement {
                port: host.port.unwrap_or(0),
                ..placement
            };
            places.entry(key.into()).or_default().push((prefix, placement));
        }
    }

    /// Builds the buckets.
    pub(crate) fn build(self, ranking: &Ranking) -> HostIndex {
        let has_hosts = !(self.exact.is_empty() && self.any_before.is_empty() && self.any_after.is_empty());
        let bucket = |(host, placed)| (host, Bucket::new(placed, ranking));
        HostIndex {
            exact: self.exact.into_iter().map(bucket).collect(),
            any_before: Wildcards::new(self.any_before, ranking),
            any_after: Wildcards::new(self.any_after, ranking),
            any: Bucket::new(self.any, ranking),
            has_hosts,
        }
    }
}

impl HostIndex {
    /// The best candidate of all buckets that `request` leads to.
    pub(crate) fn search(&self, request: &RequestKey<'_>, ranking: &Ranking) -> Best {
        let mut best = Best::NONE;
        let mut query = Query {
            request,
            method: ranking.method_bit(request.method),
            port: 0,
        };
        if self.has_hosts {
            let host = RequestHost::new(request.host, request.https);
            query.port = host.port;
            if let Some(bucket) = self.exact.get(host.name()) {
                bucket.search(&query, ranking, &mut best);
            }
            let name = host.name();
            self.any_before
                .search(name.len(), name.iter().rev().copied(), &query, ranking, &mut best);
            self.any_after
                .search(name.len(), name.iter().copied(), &query, ranking, &mut best);
        }
        self.any.search(&query, ranking, &mut best);
        best
    }
}

impl Wildcards {
    fn new(places: Places<'_>, ranking: &Ranking) -> Self {
        let mut sorted: Vec<_> = places.into_iter().collect();
        sorted.sort_by(|left, right| left.0.cmp(&right.0));
        let keys: Vec<&[u8]> = sorted.iter().map(|(fixed, _)| &**fixed).collect();
        Self {
            fixed: Radix::new(&keys),
            lengths: keys.iter().map(|fixed| fixed.len()).collect(),
            buckets: sorted
                .into_iter()
                .map(|(_, placed)| Bucket::new(placed, ranking))
                .collect(),
        }
    }

    /// `length` is that of the name; `from_fixed_end` reads it from the end that is not the wildcard.
    fn search(
        &self,
        length: usize,
        from_fixed_end: impl Iterator<Item = u8>,
        query: &Query<'_>,
        ranking: &Ranking,
        best: &mut Best,
    ) {
        let mut key = self.fixed.longest(from_fixed_end);
        while let Some(found) = key {
            // The wildcard stands for at least one byte.
            if self.lengths[found] < length {
                self.buckets[found].search(query, ranking, best);
            }
            key = self.fixed.shorter(found);
        }
    }
}

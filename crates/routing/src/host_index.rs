//! Buckets by host.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bucket::{self, Best, Bucket, Query, StopEdit};
use crate::host_name::{HostPattern, HostShape, RequestHost};
use crate::methods::MethodSet;
use crate::radix::Radix;
use crate::ranked::{Placement, Ranked};
use crate::table::RequestKey;

/// Finds the buckets that a request's host leads to; cheap to clone.
#[derive(Debug)]
pub(crate) struct HostIndex<T> {
    exact: Radix<Bucket<T>>,
    /// `*.suffix`, by the suffix read backwards.
    any_before: Radix<Bucket<T>>,
    /// `prefix.*`, by the prefix.
    any_after: Radix<Bucket<T>>,
    /// Routes without hosts.
    any: Bucket<T>,
}

/// What is to become of an index, by where it is, so that each stop is made anew once.
#[derive(Debug)]
pub(crate) struct IndexEdit<T> {
    hosts: BTreeMap<HostKey, BTreeMap<Box<[u8]>, StopEdit<T>>>,
}

/// A bucket.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum HostKey {
    Exact(Box<[u8]>),
    AnyBefore(Box<[u8]>),
    AnyAfter(Box<[u8]>),
    Any,
}

impl<T> IndexEdit<T> {
    /// Adds a route for each of its hosts and paths.
    pub(crate) fn add(&mut self, route: &Arc<Ranked<T>>) {
        self.each_stop(route, |stop, nth_path, port| {
            stop.added.push(Placement::new(route, nth_path, port));
        });
    }

    /// Takes a route away.
    pub(crate) fn remove(&mut self, route: &Arc<Ranked<T>>) {
        self.each_stop(route, |stop, _, _| {
            stop.removed.insert(Arc::as_ptr(route));
        });
    }

    /// Tells the stops of a route, with the path that leads to each and the port.
    fn each_stop(&mut self, route: &Ranked<T>, mut visit: impl FnMut(&mut StopEdit<T>, usize, u16)) {
        let hosts = route.matcher.hosts.iter();
        let mut hosts: Vec<(HostKey, u16)> = hosts
            .map(|host| (HostKey::of(host), host.port.unwrap_or(0)))
            .collect();
        if hosts.is_empty() {
            hosts.push((HostKey::Any, 0));
        }
        for (host, port) in hosts {
            let stops = self.hosts.entry(host).or_default();
            for (nth_path, path) in route.matcher.paths.iter().enumerate() {
                let stop = stops.entry(path.literal_prefix().into()).or_default();
                visit(stop, nth_path, port);
            }
        }
    }
}

impl HostKey {
    fn of(host: &HostPattern) -> Self {
        let fixed = host.name.fixed().as_bytes();
        match host.name {
            HostShape::Exact(_) => Self::Exact(fixed.into()),
            HostShape::AnyBefore(_) => Self::AnyBefore(fixed.iter().rev().copied().collect()),
            HostShape::AnyAfter(_) => Self::AnyAfter(fixed.into()),
        }
    }
}

impl<T> HostIndex<T> {
    /// The best candidate of all buckets that `request` leads to.
    pub(crate) fn search(&self, request: &RequestKey<'_>, method: MethodSet) -> Option<Best<'_, T>> {
        let mut best = None;
        let mut query = Query {
            request,
            method,
            port: 0,
        };
        if self.has_hosts() {
            let host = RequestHost::new(request.host, request.https);
            query.port = host.port;
            let name = host.name();
            if let Some(bucket) = self.exact.get(name) {
                bucket::search(bucket, &query, &mut best);
            }
            if !self.any_before.is_empty() {
                search_wildcards(
                    &self.any_before,
                    &host.backwards()[..name.len()],
                    &query,
                    &mut best,
                );
            }
            search_wildcards(&self.any_after, name, &query, &mut best);
        }
        bucket::search(&self.any, &query, &mut best);
        best
    }

    fn has_hosts(&self) -> bool {
        !(self.exact.is_empty() && self.any_before.is_empty() && self.any_after.is_empty())
    }

    /// Makes the buckets anew that have changes in them.
    pub(crate) fn edit(&mut self, edit: IndexEdit<T>) {
        for (host, stops) in edit.hosts {
            let change = |bucket: &mut Bucket<T>| {
                for (prefix, edit) in stops {
                    bucket.edit(&prefix, |stop| stop.change(edit));
                }
            };
            match host {
                HostKey::Exact(fixed) => self.exact.edit(&fixed, change),
                HostKey::AnyBefore(fixed) => self.any_before.edit(&fixed, change),
                HostKey::AnyAfter(fixed) => self.any_after.edit(&fixed, change),
                HostKey::Any => change(&mut self.any),
            }
        }
    }
}

/// `name` is read from the end that is not the wildcard.
fn search_wildcards<'t, T>(
    wildcards: &'t Radix<Bucket<T>>,
    name: &[u8],
    query: &Query<'_>,
    best: &mut Option<Best<'t, T>>,
) {
    // The wildcard stands for at least one byte.
    let Some((_, text)) = name.split_last() else {
        return;
    };
    if wildcards.is_empty() {
        return;
    }
    for bucket in wildcards.prefixes(text).longest_first() {
        bucket::search(bucket, query, best);
    }
}

impl<T> Clone for HostIndex<T> {
    fn clone(&self) -> Self {
        Self {
            exact: self.exact.clone(),
            any_before: self.any_before.clone(),
            any_after: self.any_after.clone(),
            any: self.any.clone(),
        }
    }
}

impl<T> Default for HostIndex<T> {
    fn default() -> Self {
        Self {
            exact: Radix::default(),
            any_before: Radix::default(),
            any_after: Radix::default(),
            any: Radix::default(),
        }
    }
}

impl<T> Default for IndexEdit<T> {
    fn default() -> Self {
        Self {
            hosts: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::{Bucket, HostIndex};
    use crate::radix::tests::{addresses, values};

    impl<T> HostIndex<T> {
        /// Where every node of every tree lies: what two indexes share, both have.
        pub(crate) fn parts(&self) -> BTreeSet<usize> {
            let hosts = [&self.exact, &self.any_before, &self.any_after].map(addresses);
            let buckets = self.buckets().into_iter().map(addresses);
            hosts.into_iter().chain(buckets).flatten().collect()
        }

        /// Where the regexes lie that are asked together.
        pub(crate) fn regex_sets(&self) -> BTreeSet<usize> {
            let stops = self.buckets().into_iter().flat_map(values);
            let sets = stops.filter_map(|stop| stop.regexes());
            sets.map(|set| Arc::as_ptr(set).addr()).collect()
        }

        fn buckets(&self) -> Vec<&Bucket<T>> {
            let hosts = [&self.exact, &self.any_before, &self.any_after];
            let mut buckets: Vec<_> = hosts.into_iter().flat_map(values).collect();
            buckets.push(&self.any);
            buckets
        }
    }
}

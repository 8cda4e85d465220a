//! From routes to the index that finds them.
//!
//! Reading a route is what costs: a regex takes as long to compile as a thousand routes to sort. So a route that the
//! table before has read, the very same `Arc`, is not read again; sorting and placing is done anew each time.

use std::collections::HashMap;
use std::sync::Arc;

use hythe_model::{FullName, Route};

use crate::bucket::Placement;
use crate::host_index::{HostIndex, PlacementsByHost};
use crate::methods::Methods;
use crate::path_matcher::PathMatcher;
use crate::precedence::Precedence;
use crate::ranking::{RankedPath, Ranking};
use crate::route_matcher::RouteMatcher;
use crate::table::{RouteEntry, RouteTable};

/// Something in a route that cannot be matched; it keeps the whole table from being built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("route `{route}`: {message}")]
pub struct CompileProblem {
    /// The route.
    pub route: FullName,
    /// What is wrong, naming the value.
    pub message: String,
}

/// A route that has been read.
struct ReadRoute<T> {
    entry: RouteEntry<T>,
    matcher: Arc<RouteMatcher>,
    /// Of each path.
    precedences: Vec<Precedence>,
}

/// What was read for an earlier table, by the address of the route.
struct Known<'t> {
    matchers: HashMap<*const Route, (&'t FullName, &'t Arc<RouteMatcher>)>,
    methods: Methods,
}

/// Most bytes that the hosts and paths of all routes may need in the trees.
const LARGEST_INDEX: usize = 1 << 30;

/// Sorts routes by precedence and builds their index.
pub(crate) fn compile<T>(
    routes: impl IntoIterator<Item = RouteEntry<T>>,
    earlier: &RouteTable<T>,
) -> Result<RouteTable<T>, Vec<CompileProblem>> {
    let mut known = Known::of(earlier);
    let read = read_all(routes, &mut known)?;
    Ok(build(read, known.methods))
}

/// A table that takes no request.
pub(crate) fn empty<T>() -> RouteTable<T> {
    build(Vec::new(), Methods::default())
}

impl<'t> Known<'t> {
    fn of<T>(earlier: &'t RouteTable<T>) -> Self {
        // The bits of a matcher mean something with the methods it was read with only.
        let methods = earlier.ranking.methods.clone();
        if methods.are_many() {
            return Self {
                matchers: HashMap::new(),
                methods: Methods::default(),
            };
        }
        let read = earlier.entries.iter().zip(&earlier.ranking.routes);
        let by_address =
            |(entry, matcher): (&'t RouteEntry<T>, _)| (Arc::as_ptr(&entry.route), (&entry.name, matcher));
        Self {
            matchers: read.map(by_address).collect(),
            methods,
        }
    }

    /// The route's matchers, read now or before.
    fn read<T>(&mut self, entry: &RouteEntry<T>) -> Result<Arc<RouteMatcher>, Vec<String>> {
        match self.matchers.get(&Arc::as_ptr(&entry.route)) {
            Some((name, matcher)) if **name == entry.name => Ok(Arc::clone(matcher)),
            _ => RouteMatcher::parse(&entry.name, &entry.route, &mut self.methods).map(Arc::new),
        }
    }
}

fn build<T>(mut read: Vec<ReadRoute<T>>, methods: Methods) -> RouteTable<T> {
    read.sort_by(|left, right| {
        let best = |route: &ReadRoute<T>| route.precedences.iter().min().copied();
        best(left)
            .cmp(&best(right))
            .then_with(|| left.entry.name.cmp(&right.entry.name))
    });

    let mut entries = Vec::with_capacity(read.len());
    let mut matchers = Vec::with_capacity(read.len());
    let mut candidates = Vec::with_capacity(read.len());
    for (route, read) in read.into_iter().enumerate() {
        let paths = read.precedences.into_iter().zip(&read.matcher.paths).enumerate();
        candidates.extend(paths.map(|(nth_path, (precedence, path))| RankedPath {
            route,
            nth_path,
            path: Arc::clone(path),
            precedence,
        }));
        entries.push(read.entry);
        matchers.push(read.matcher);
    }
    let name = |candidate: &RankedPath| &entries[candidate.route].name;
    candidates.sort_by(|left, right| {
        let by_rule = left.precedence.cmp(&right.precedence);
        by_rule
            .then_with(|| name(left).cmp(name(right)))
            .then(left.nth_path.cmp(&right.nth_path))
    });

    let ranking = Ranking {
        candidates: candidates.into(),
        routes: matchers.into(),
        methods,
    };
    let hosts = place(&ranking);
    RouteTable {
        hosts,
        ranking,
        entries: entries.into(),
    }
}

fn read_all<T>(
    routes: impl IntoIterator<Item = RouteEntry<T>>,
    known: &mut Known<'_>,
) -> Result<Vec<ReadRoute<T>>, Vec<CompileProblem>> {
    let mut read = Vec::new();
    let mut problems = Vec::new();
    let mut size = 0;
    for entry in routes {
        let mut refuse = |message| {
            problems.push(CompileProblem {
                route: entry.name.clone(),
                message,
            });
        };
        size += index_size(&entry.route);
        if size > LARGEST_INDEX {
            refuse(format!(
                "the hosts and paths of all routes up to this one need more than {LARGEST_INDEX} bytes"
            ));
            break;
        }
        match known.read(&entry) {
            Ok(matcher) => {
                let rank = |path: &Arc<PathMatcher>| {
                    Precedence::new(&entry.route, &matcher.hosts, path, entry.created_at)
                };
                read.push(ReadRoute {
                    precedences: matcher.paths.iter().map(rank).collect(),
                    matcher,
                    entry,
                });
            }
            Err(messages) => messages.into_iter().for_each(refuse),
        }
    }
    if problems.is_empty() {
        Ok(read)
    } else {
        Err(problems)
    }
}

/// A bound of the bytes that a route needs in the trees: every path may stand under every host.
fn index_size(route: &Route) -> usize {
    let of = |texts: &[String]| texts.iter().map(|text| text.len() + 1).sum::<usize>().max(1);
    of(&route.hosts).saturating_mul(of(&route.paths))
}

fn place(ranking: &Ranking) -> HostIndex {
    let mut places = PlacementsByHost::default();
    for (rank, candidate) in (0..).zip(&ranking.candidates) {
        let route = ranking.route(candidate);
        let placement = Placement {
            methods: route.methods,
            rank,
            port: 0,
            regex: candidate.path.regex().is_some(),
            asks_more: route.asks_more(),
        };
        places.add(&route.hosts, candidate.path.literal_prefix(), placement);
    }
    places.build(ranking)
}

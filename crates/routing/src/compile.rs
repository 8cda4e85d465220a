//! From routes to the index that finds them.

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
    matcher: RouteMatcher,
    paths: Vec<(Precedence, PathMatcher)>,
}

/// Most bytes that the hosts and paths of all routes may need in the trees.
const LARGEST_INDEX: usize = 1 << 30;

/// Sorts routes by precedence and builds their index.
pub(crate) fn compile<T>(
    routes: impl IntoIterator<Item = RouteEntry<T>>,
) -> Result<RouteTable<T>, Vec<CompileProblem>> {
    let mut methods = Methods::default();
    let read = read_all(routes, &mut methods)?;
    Ok(build(read, methods))
}

/// A table that takes no request.
pub(crate) fn empty<T>() -> RouteTable<T> {
    build(Vec::new(), Methods::default())
}

fn build<T>(mut read: Vec<ReadRoute<T>>, methods: Methods) -> RouteTable<T> {
    let best = |route: &ReadRoute<T>| route.paths.iter().map(|(precedence, _)| *precedence).min();
    read.sort_by(|left, right| {
        best(left)
            .cmp(&best(right))
            .then_with(|| left.entry.name.cmp(&right.entry.name))
    });

    let mut entries = Vec::with_capacity(read.len());
    let mut matchers = Vec::with_capacity(read.len());
    let mut candidates = Vec::with_capacity(read.len());
    for (
        route,
        ReadRoute {
            entry,
            matcher,
            paths,
        },
    ) in read.into_iter().enumerate()
    {
        let paths = paths.into_iter().enumerate();
        candidates.extend(paths.map(|(nth_path, (precedence, path))| RankedPath {
            route,
            nth_path,
            path,
            precedence,
        }));
        entries.push(entry);
        matchers.push(matcher);
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
    let hosts = place(&ranking, &entries);
    RouteTable {
        hosts,
        ranking,
        entries: entries.into(),
    }
}

fn read_all<T>(
    routes: impl IntoIterator<Item = RouteEntry<T>>,
    methods: &mut Methods,
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
        match RouteMatcher::parse(&entry.name, &entry.route, methods) {
            Ok((matcher, paths)) => {
                let rank = |path| {
                    (
                        Precedence::new(&entry.route, &matcher.hosts, &path, entry.created_at),
                        path,
                    )
                };
                let paths = paths.into_iter().map(rank).collect();
                read.push(ReadRoute {
                    entry,
                    matcher,
                    paths,
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

fn place<T>(ranking: &Ranking, entries: &[RouteEntry<T>]) -> HostIndex {
    let prefixes: Vec<Vec<u8>> = ranking
        .candidates
        .iter()
        .map(|candidate| prefix(candidate, entries))
        .collect();
    let mut places = PlacementsByHost::default();
    for (rank, (candidate, prefix)) in (0..).zip(ranking.candidates.iter().zip(&prefixes)) {
        let route = ranking.route(candidate);
        let placement = Placement {
            methods: route.methods,
            rank,
            port: 0,
            regex: candidate.path.regex().is_some(),
            asks_more: route.asks_more(),
        };
        places.add(&route.hosts, prefix, placement);
    }
    places.build(ranking)
}

fn prefix<T>(candidate: &RankedPath, entries: &[RouteEntry<T>]) -> Vec<u8> {
    let paths = &entries[candidate.route].route.paths;
    candidate
        .path
        .literal_prefix(paths.get(candidate.nth_path).map_or("", String::as_str))
}

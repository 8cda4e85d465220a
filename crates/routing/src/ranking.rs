//! Every pair of a route and one of its paths, in the order of precedence.

use std::sync::Arc;

use crate::bucket::{Best, Placement};
use crate::methods::{MethodSet, Methods};
use crate::path_matcher::{MatchedPath, PathMatcher};
use crate::precedence::Precedence;
use crate::route_matcher::RouteMatcher;
use crate::table::RequestKey;

/// The candidates of a table by rank, and what the trees do not know of them.
#[derive(Debug)]
pub(crate) struct Ranking {
    pub(crate) candidates: Box<[RankedPath]>,
    /// In the order of precedence of their best paths.
    pub(crate) routes: Box<[Arc<RouteMatcher>]>,
    pub(crate) methods: Methods,
}

/// A candidate: a route with one of its paths.
#[derive(Debug)]
pub(crate) struct RankedPath {
    /// Index of its route.
    pub(crate) route: usize,
    /// Which of the route's paths it is.
    pub(crate) nth_path: usize,
    pub(crate) path: Arc<PathMatcher>,
    pub(crate) precedence: Precedence,
}

impl Ranking {
    /// Checks what is left when host, port, method and the path's fixed text match. The answer of a candidate
    /// that passes is how much its regex matched, if it has one.
    pub(crate) fn check(&self, placement: &Placement, request: &RequestKey<'_>) -> Option<usize> {
        if !placement.regex && !placement.asks_more {
            return Some(0);
        }
        let candidate = &self.candidates[placement.rank as usize];
        let regex_end = match &*candidate.path {
            PathMatcher::Regex { regex, .. } => regex.find(request.path)?.end(),
            PathMatcher::Any | PathMatcher::Prefix(_) => 0,
        };
        let route = &self.routes[candidate.route];
        let accepts =
            route.accepts_listener(request) && route.accepts_sni(request) && route.accepts_headers(request);
        accepts.then_some(regex_end)
    }

    /// The candidate that was found, and what of the path it matched.
    pub(crate) fn resolve(&self, best: Best) -> Option<(&RankedPath, MatchedPath)> {
        let candidate = self.candidates.get(best.rank as usize)?;
        let matched = match &*candidate.path {
            PathMatcher::Any => MatchedPath::None,
            PathMatcher::Prefix(prefix) => MatchedPath::Prefix(prefix.len()),
            PathMatcher::Regex { .. } => MatchedPath::Regex(best.regex_end),
        };
        Some((candidate, matched))
    }

    pub(crate) fn path(&self, rank: u32) -> &PathMatcher {
        &self.candidates[rank as usize].path
    }

    pub(crate) fn route(&self, candidate: &RankedPath) -> &RouteMatcher {
        &self.routes[candidate.route]
    }

    pub(crate) fn method_bit(&self, method: &[u8]) -> MethodSet {
        self.methods.bit(method)
    }
}

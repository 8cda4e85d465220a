//! A route that has been read, with its place among all others.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::methods::MethodSet;
use crate::path_matcher::{MatchedPath, PathMatcher};
use crate::precedence::{Precedence, Weight};
use crate::route_matcher::RouteMatcher;
use crate::table::{RequestKey, RouteEntry};

/// A route as a table holds it.
#[derive(Debug)]
pub(crate) struct Ranked<T> {
    pub(crate) entry: RouteEntry<T>,
    pub(crate) matcher: Arc<RouteMatcher>,
    /// In the bits of its table.
    pub(crate) methods: MethodSet,
    /// Of each path.
    precedences: Box<[Precedence]>,
}

/// A candidate, a route with one of its paths, where it stands in the index, with what can be checked without looking
/// further.
#[derive(Debug)]
pub(crate) struct Placement<T> {
    pub(crate) weight: Weight,
    pub(crate) methods: MethodSet,
    pub(crate) route: Arc<Ranked<T>>,
    /// Which of the route's paths it is.
    pub(crate) nth_path: usize,
    /// What of a request's path it matches; how much a regex does, only its match tells.
    matched: MatchedPath,
    /// 0: any port.
    pub(crate) port: u16,
    clear: bool,
    tls: bool,
    /// Headers, server names or listeners are to be checked.
    asks_more: bool,
}

impl<T> Ranked<T> {
    pub(crate) fn new(entry: RouteEntry<T>, matcher: Arc<RouteMatcher>, methods: MethodSet) -> Self {
        let rank =
            |path: &Arc<PathMatcher>| Precedence::new(&entry.route, &matcher.hosts, path, entry.created_at);
        Self {
            precedences: matcher.paths.iter().map(rank).collect(),
            entry,
            matcher,
            methods,
        }
    }

    /// Where it stands with one of its paths.
    pub(crate) fn precedence(&self, nth_path: usize) -> &Precedence {
        &self.precedences[nth_path]
    }

    /// Its paths from the one that puts it furthest forward.
    pub(crate) fn best_first(&self) -> Vec<usize> {
        let mut paths: Vec<usize> = (0..self.precedences.len()).collect();
        paths.sort_by_key(|nth_path| self.precedences[*nth_path]);
        paths
    }

    /// Whether it goes before another, each with its best path.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        let best = |route: &Self| route.precedences.iter().min().copied();
        best(self)
            .cmp(&best(other))
            .then_with(|| self.entry.name.cmp(&other.entry.name))
    }
}

impl<T> Placement<T> {
    pub(crate) fn new(route: &Arc<Ranked<T>>, nth_path: usize, port: u16) -> Self {
        let matcher = &route.matcher;
        Self {
            weight: route.precedence(nth_path).weight(),
            methods: route.methods,
            nth_path,
            matched: match &*matcher.paths[nth_path] {
                PathMatcher::Any => MatchedPath::None,
                PathMatcher::Prefix(prefix) => MatchedPath::Prefix(prefix.len()),
                PathMatcher::Regex { .. } => MatchedPath::Regex(0),
            },
            port,
            clear: matcher.takes_scheme(false),
            tls: matcher.takes_scheme(true),
            asks_more: matcher.asks_more(),
            route: Arc::clone(route),
        }
    }

    /// What of a request's path it has matched; `regex_end` is how much if it is a regex.
    pub(crate) fn matched(&self, regex_end: usize) -> MatchedPath {
        match self.matched {
            MatchedPath::Regex(_) => MatchedPath::Regex(regex_end),
            other => other,
        }
    }

    pub(crate) fn is_regex(&self) -> bool {
        matches!(self.matched, MatchedPath::Regex(_))
    }

    /// Whether the route is for requests of this scheme.
    pub(crate) fn takes_scheme(&self, https: bool) -> bool {
        if https { self.tls } else { self.clear }
    }

    pub(crate) fn path(&self) -> &Arc<PathMatcher> {
        &self.route.matcher.paths[self.nth_path]
    }

    /// Whether it goes before another. What weighs the same is ordered by name.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        let (own, others) = (&self.route.entry, &other.route.entry);
        self.weight
            .cmp(&other.weight)
            .then_with(|| own.name.cmp(&others.name))
            .then(self.nth_path.cmp(&other.nth_path))
    }

    /// Checks what is left when host, port, method and the path's fixed text match. The answer of a candidate
    /// that passes is how much its regex matched, if it has one.
    pub(crate) fn check(&self, request: &RequestKey<'_>) -> Option<usize> {
        if !self.is_regex() && !self.asks_more {
            return Some(0);
        }
        let regex_end = match self.path().regex() {
            Some(regex) => regex.find(request.path)?.end(),
            None => 0,
        };
        let route = &self.route.matcher;
        let accepts =
            route.accepts_listener(request) && route.accepts_sni(request) && route.accepts_headers(request);
        accepts.then_some(regex_end)
    }
}

impl<T> Clone for Placement<T> {
    fn clone(&self) -> Self {
        Self {
            weight: self.weight,
            methods: self.methods,
            route: Arc::clone(&self.route),
            nth_path: self.nth_path,
            matched: self.matched,
            port: self.port,
            clear: self.clear,
            tls: self.tls,
            asks_more: self.asks_more,
        }
    }
}

//! The table of routes: built once, asked by every request.

use std::fmt;
use std::sync::Arc;

use hythe_model::{FullName, Route};

use crate::compile::{self, CompileProblem};
use crate::header_matcher::HeaderLookup;
use crate::host_index::HostIndex;
use crate::path_matcher::MatchedPath;
use crate::ranking::{RankedPath, Ranking};

/// Finds the route of a request. Never changes; a new configuration is a new table.
pub struct RouteTable<T> {
    pub(crate) hosts: HostIndex,
    pub(crate) ranking: Ranking,
    /// In the order of precedence.
    pub(crate) entries: Box<[RouteEntry<T>]>,
}

/// A route and what its owner keeps with it.
#[derive(Debug, Clone)]
pub struct RouteEntry<T> {
    /// Its name.
    pub name: FullName,
    /// When it was created, Unix milliseconds; of two equal routes the older one wins.
    pub created_at: u64,
    /// Its matchers; everything else in it is the owner's business.
    pub route: Arc<Route>,
    /// What a match leads to.
    pub payload: T,
}

/// What routing looks at in a request.
#[derive(Clone, Copy)]
pub struct RequestKey<'a> {
    /// Method, as sent.
    pub method: &'a [u8],
    /// Host as sent: any case, with or without port.
    pub host: &'a [u8],
    /// Normalised path, without query.
    pub path: &'a [u8],
    /// Whether it came over TLS.
    pub https: bool,
    /// Server name of the TLS handshake.
    pub sni: Option<&'a str>,
    /// Name of the listener it came in on; `None` is on every one (to explain).
    pub listener: Option<&'a str>,
    /// Headers; only asked for routes that list some.
    pub headers: &'a dyn HeaderLookup,
}

/// The route that takes a request.
pub struct Match<'t, T> {
    /// The route.
    pub entry: &'t RouteEntry<T>,
    /// What of the path it matched.
    pub matched_path: MatchedPath,
    /// The route is not for this scheme: to be answered with its redirect status.
    pub protocol_mismatch: bool,
    pub(crate) candidate: &'t RankedPath,
}

impl<T> RouteTable<T> {
    /// Builds the table.
    ///
    /// # Errors
    /// All problems of all routes; one is enough to have no table.
    pub fn compile(routes: impl IntoIterator<Item = RouteEntry<T>>) -> Result<Self, Vec<CompileProblem>> {
        compile::compile(routes, &compile::empty())
    }

    /// The same, reading only what is new: a route of `earlier`, the very same `Arc` under the same name, is taken as it
    /// was read then. Regexes keep what they have learnt.
    ///
    /// # Errors
    /// As [`RouteTable::compile`].
    pub fn compile_after(
        earlier: &Self,
        routes: impl IntoIterator<Item = RouteEntry<T>>,
    ) -> Result<Self, Vec<CompileProblem>> {
        compile::compile(routes, earlier)
    }

    /// The route that takes `request`.
    pub fn find(&self, request: &RequestKey<'_>) -> Option<Match<'_, T>> {
        let best = self.hosts.search(request, &self.ranking);
        let (candidate, matched_path) = self.ranking.resolve(best)?;
        Some(Match {
            entry: &self.entries[candidate.route],
            matched_path,
            protocol_mismatch: !self.ranking.route(candidate).takes_scheme(request.https),
            candidate,
        })
    }

    /// All routes in the order of precedence; one with several paths stands where its best path puts it.
    pub fn in_order(&self) -> impl ExactSizeIterator<Item = &RouteEntry<T>> {
        self.entries.iter()
    }
}

/// Takes no request.
impl<T> Default for RouteTable<T> {
    fn default() -> Self {
        compile::empty()
    }
}

impl<'t, T> Match<'t, T> {
    /// The named groups of the path's regex that took part in the match. `path` is the one it was found with.
    pub fn captures<'p>(&self, path: &'p [u8]) -> Vec<(&'t str, &'p [u8])> {
        let Some(regex) = self.candidate.path.regex() else {
            return Vec::new();
        };
        let Some(captures) = regex.captures(path) else {
            return Vec::new();
        };
        let named = regex.capture_names().flatten();
        named
            .filter_map(|name| Some((name, captures.name(name)?.as_bytes())))
            .collect()
    }
}

impl<T> fmt::Debug for RouteTable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.entries.iter().map(|entry| &entry.name))
            .finish()
    }
}

impl<T> fmt::Debug for Match<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Match")
            .field("name", &self.entry.name)
            .field("matched_path", &self.matched_path)
            .field("protocol_mismatch", &self.protocol_mismatch)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RequestKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy;
        write!(f, "{} {}{}", text(self.method), text(self.host), text(self.path))
    }
}

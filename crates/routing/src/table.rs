//! The table of routes, asked by every request.

use std::fmt;
use std::sync::Arc;

use hythe_model::desired::{self, SharedMap};
use hythe_model::{FullName, ProjectName, Route};

use crate::change::{self, CompileProblem, RouteChange};
use crate::header_matcher::HeaderLookup;
use crate::host_index::HostIndex;
use crate::path_matcher::MatchedPath;
use crate::ranked::Ranked;
use crate::room::Room;

/// Finds the route of a request. Never changes; a new configuration is a new table, which shares with the one before
/// what is the same.
pub struct RouteTable<T> {
    pub(crate) hosts: HostIndex<T>,
    pub(crate) routes: SharedMap<FullName, Arc<Ranked<T>>>,
    pub(crate) room: Room,
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
    pub(crate) route: &'t Ranked<T>,
    pub(crate) nth_path: usize,
}

impl<T> RouteTable<T> {
    /// Builds the table.
    ///
    /// # Errors
    /// All problems of all routes; one is enough to have no table.
    pub fn compile(routes: impl IntoIterator<Item = RouteEntry<T>>) -> Result<Self, Vec<CompileProblem>> {
        let (table, problems) = Self::default().changed(routes.into_iter().map(RouteChange::Serve));
        if problems.is_empty() {
            Ok(table)
        } else {
            Err(problems)
        }
    }

    /// The table after `changes`, for the price of these. They happen at once; of several of one name the last counts.
    /// A route that cannot be read stays what it is here and is told beside. The very same `Arc` of a route under the
    /// same name is not read again.
    pub fn changed(&self, changes: impl IntoIterator<Item = RouteChange<T>>) -> (Self, Vec<CompileProblem>) {
        change::after(self, changes)
    }

    /// What keeps routes from being in this table, without a table that has them. Those that are in it as they are
    /// need no look.
    pub fn problems<'a>(
        &self,
        routes: impl IntoIterator<Item = (FullName, &'a Route)>,
    ) -> Vec<CompileProblem> {
        change::problems(self, routes)
    }

    /// The route that takes `request`.
    pub fn find(&self, request: &RequestKey<'_>) -> Option<Match<'_, T>> {
        let best = self.hosts.search(request, self.room.bit(request.method))?;
        let placement = best.placement;
        Some(Match {
            entry: &placement.route.entry,
            matched_path: placement.matched(best.regex_end),
            protocol_mismatch: !placement.takes_scheme(request.https),
            route: &placement.route,
            nth_path: placement.nth_path,
        })
    }

    /// The route of this name.
    pub fn get(&self, name: &FullName) -> Option<&RouteEntry<T>> {
        self.routes.get(name).map(|route| &route.entry)
    }

    /// All routes in the order of precedence, or those of one project; one with several paths stands where its best
    /// path puts it. Sorts what it tells.
    pub fn in_order(&self, project: Option<&ProjectName>) -> impl ExactSizeIterator<Item = &RouteEntry<T>> {
        let mut routes: Vec<&Ranked<T>> = match project {
            Some(project) => desired::of_project(&self.routes, project)
                .map(|(_, route)| &**route)
                .collect(),
            None => self.routes.values().map(AsRef::as_ref).collect(),
        };
        routes.sort_by(|left, right| left.order(right));
        routes.into_iter().map(|route| &route.entry)
    }
}

impl<T> Clone for RouteTable<T> {
    fn clone(&self) -> Self {
        Self {
            hosts: self.hosts.clone(),
            routes: self.routes.clone(),
            room: self.room.clone(),
        }
    }
}

/// Takes no request.
impl<T> Default for RouteTable<T> {
    fn default() -> Self {
        Self {
            hosts: HostIndex::default(),
            routes: SharedMap::default(),
            room: Room::default(),
        }
    }
}

impl<'t, T> Match<'t, T> {
    /// The named groups of the path's regex that took part in the match. `path` is the one it was found with.
    pub fn captures<'p>(&self, path: &'p [u8]) -> Vec<(&'t str, &'p [u8])> {
        let Some(regex) = self.route.matcher.paths[self.nth_path].regex() else {
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
        f.debug_list().entries(self.routes.keys()).finish()
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

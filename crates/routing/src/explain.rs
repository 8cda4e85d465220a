//! Why a route takes a request, and why the others do not, in words.
//!
//! This asks the matchers of every route one by one instead of the trees, and is meant for people: it costs
//! as much as there are routes.

use std::cmp::{Ordering, Reverse};
use std::fmt::Display;

use hythe_model::{FullName, Name, Route};

use crate::host_name::RequestHost;
use crate::methods::MethodSet;
use crate::ranked::Ranked;
use crate::table::{Match, RequestKey, RouteTable};

/// A route and what becomes of it for one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The route.
    pub name: FullName,
    /// What becomes of it.
    pub verdict: Verdict,
}

/// What becomes of a route for one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It takes the request.
    Wins {
        /// What matched.
        because: String,
    },
    /// It does not.
    Loses {
        /// What does not match, or which rule puts it behind the one that wins.
        reason: String,
    },
}

/// Most routes an explanation shows.
const MOST_SHOWN: usize = 20;
/// Most values of a list that a reason repeats.
const MOST_VALUES: usize = 5;

/// A route as one request meets it.
struct Encounter<'t, T> {
    route: &'t Ranked<T>,
    host: bool,
    headers: bool,
    method: bool,
    sni: bool,
    listener: bool,
    path: bool,
    /// Its best path that matches, otherwise its best path.
    nth_path: usize,
    /// Bytes that its nearest path shares with the request's; all of them if it matches.
    nearness: usize,
}

impl<T> RouteTable<T> {
    /// The routes that could be of interest for a request, at most 20: the one that takes it, those that it keeps
    /// from taking it, then the ones that fail by least.
    pub fn explain(&self, request: &RequestKey<'_>) -> Vec<Candidate> {
        let winner = self.find(request);
        let host = RequestHost::new(request.host, request.https);
        let method = self.room.bit(request.method);
        let meet = |route| Encounter::new(route, request, &host, method);
        let mut encounters: Vec<_> = self.routes.values().map(|route| meet(route)).collect();
        encounters.sort_by(Encounter::order);
        encounters.truncate(MOST_SHOWN);
        encounters
            .iter()
            .map(|encounter| encounter.judge(winner.as_ref(), request))
            .collect()
    }
}

impl<'t, T> Encounter<'t, T> {
    fn new(
        route: &'t Ranked<T>,
        request: &RequestKey<'_>,
        host: &RequestHost<'_>,
        method: MethodSet,
    ) -> Self {
        let matcher = &route.matcher;
        let paths = route.best_first();
        let matches = |nth_path: &usize| matcher.paths[*nth_path].find(request.path).is_some();
        let matching = paths.iter().copied().find(matches);
        Self {
            route,
            host: matcher.accepts_host(host),
            headers: matcher.accepts_headers(request),
            method: route.methods & method != 0,
            sni: matcher.accepts_sni(request),
            listener: matcher.accepts_listener(request),
            path: matching.is_some(),
            nth_path: matching.unwrap_or(paths[0]),
            nearness: match matching {
                Some(_) => request.path.len(),
                None => nearness(&route.entry.route, request.path),
            },
        }
    }

    /// Which of two is of more interest.
    fn order(&self, other: &Self) -> Ordering {
        let key = |encounter: &Self| (encounter.misses(), Reverse(encounter.nearness));
        let precedence = |encounter: &Self| *encounter.route.precedence(encounter.nth_path);
        key(self)
            .cmp(&key(other))
            .then_with(|| precedence(self).cmp(&precedence(other)))
            .then_with(|| self.route.entry.name.cmp(&other.route.entry.name))
    }
}

impl<T> Encounter<'_, T> {
    /// How many kinds of matchers fail.
    fn misses(&self) -> usize {
        let matches = [
            self.host,
            self.headers,
            self.path,
            self.method,
            self.sni,
            self.listener,
        ];
        matches.iter().filter(|matches| !**matches).count()
    }

    fn judge(&self, winner: Option<&Match<'_, T>>, request: &RequestKey<'_>) -> Candidate {
        let name = self.route.entry.name.clone();
        let verdict = match winner {
            Some(winner) if winner.entry.name == name => Verdict::Wins {
                because: self.because(winner),
            },
            Some(winner) if self.misses() == 0 => {
                let precedence = self.route.precedence(self.nth_path);
                let rule = precedence.behind(winner.route.precedence(winner.nth_path));
                Verdict::Loses {
                    reason: format!("behind `{}`: {rule}", winner.entry.name),
                }
            }
            _ => Verdict::Loses {
                reason: self.what_misses(request),
            },
        };
        Candidate { name, verdict }
    }

    fn because(&self, winner: &Match<'_, T>) -> String {
        let route = &self.route.entry.route;
        let mut parts = Vec::new();
        if !route.hosts.is_empty() {
            parts.push(format!("host {}", list(&route.hosts)));
        }
        if let Some(path) = route.paths.get(self.nth_path) {
            parts.push(describe_path(path));
        }
        if !route.methods.is_empty() {
            parts.push(format!("method {}", plain_list(&route.methods)));
        }
        parts.extend(headers(route));
        if !route.snis.is_empty() {
            parts.push(format!("server name {}", list(&route.snis)));
        }
        if !route.listeners.is_empty() {
            parts.push(format!("listener {}", list(&names(&route.listeners))));
        }
        let matched = match parts.len() {
            0 => "it takes every request".to_owned(),
            1 => format!("{} matches", parts[0]),
            _ => format!("{} match", parts.join(", ")),
        };
        if winner.protocol_mismatch {
            format!("{matched}, but not for this protocol")
        } else {
            matched
        }
    }

    fn what_misses(&self, request: &RequestKey<'_>) -> String {
        let route = &self.route.entry.route;
        let text = |bytes| String::from_utf8_lossy(bytes);
        let mut parts = Vec::new();
        if !self.host {
            parts.push(format!(
                "host {} does not match `{}`",
                list(&route.hosts),
                text(request.host)
            ));
        }
        if !self.path {
            parts.push(match route.paths.as_slice() {
                [path] => format!("{} does not match `{}`", describe_path(path), text(request.path)),
                paths => format!("no path of {} matches `{}`", list(paths), text(request.path)),
            });
        }
        if !self.method {
            parts.push(format!(
                "method {} is not among {}",
                text(request.method),
                plain_list(&route.methods)
            ));
        }
        if !self.headers {
            let wanted: Vec<String> = headers(route).collect();
            parts.push(format!("{} does not match", wanted.join(" or ")));
        }
        if !self.sni {
            parts.push(format!("server name is not among {}", list(&route.snis)));
        }
        if !self.listener {
            parts.push(format!(
                "listener `{}` is not among {}",
                request.listener.unwrap_or_default(),
                list(&names(&route.listeners))
            ));
        }
        parts.join("; ")
    }
}

fn headers(route: &Route) -> impl Iterator<Item = String> {
    route
        .headers
        .iter()
        .map(|(name, values)| format!("header `{name}: {}`", values.join("|")))
}

fn describe_path(path: &str) -> String {
    match path.strip_prefix('~') {
        Some(regex) => format!("path regex `{regex}`"),
        None => format!("path prefix `{path}`"),
    }
}

fn names(names: &[Name]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn list(values: &[String]) -> String {
    join(values.iter().map(|value| format!("`{value}`")))
}

fn plain_list(values: &[String]) -> String {
    join(values.iter())
}

fn join(values: impl ExactSizeIterator<Item = impl Display>) -> String {
    let more = values.len().saturating_sub(MOST_VALUES);
    let mut shown: Vec<String> = values.take(MOST_VALUES).map(|value| value.to_string()).collect();
    if more > 0 {
        shown.push(format!("{more} more"));
    }
    shown.join(", ")
}

fn nearness(route: &Route, path: &[u8]) -> usize {
    let shared = |own: &String| {
        own.trim_start_matches('~')
            .bytes()
            .zip(path)
            .take_while(|(left, right)| left == *right)
            .count()
    };
    route.paths.iter().map(shared).max().unwrap_or(0)
}

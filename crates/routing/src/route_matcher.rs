//! The matchers of one route, read once.

use std::sync::Arc;

use hythe_model::traffic::Protocol;
use hythe_model::{FullName, Name, Route};

use crate::header_matcher::HeaderMatcher;
use crate::host_name::{HostPattern, RequestHost};
use crate::path_matcher::PathMatcher;
use crate::table::RequestKey;

/// What a route asks of a request.
#[derive(Debug)]
pub(crate) struct RouteMatcher {
    pub(crate) hosts: Box<[HostPattern]>,
    /// As the route lists them; one that takes any if it lists none.
    pub(crate) paths: Box<[Arc<PathMatcher>]>,
    headers: Box<[HeaderMatcher]>,
    snis: Box<[Box<str>]>,
    /// As listeners are called; empty: any.
    listeners: Box<[Box<str>]>,
    clear: bool,
    tls: bool,
}

impl RouteMatcher {
    /// Reads a route's matchers, or tells all that is wrong with it.
    pub(crate) fn parse(name: &FullName, route: &Route) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let hosts = keep_good(
            route.hosts.iter().map(|host| HostPattern::parse(host)),
            &mut problems,
        );
        let headers = route
            .headers
            .iter()
            .map(|(name, values)| HeaderMatcher::parse(name, values));
        let headers = keep_good(headers, &mut problems);
        let mut paths = keep_good(
            route.paths.iter().map(|path| PathMatcher::parse(path)),
            &mut problems,
        );
        if route.paths.is_empty() {
            paths.push(PathMatcher::Any);
        }
        if route.protocols.is_empty() {
            problems.push("protocols are missing".to_owned());
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let takes = |protocols: [Protocol; 2]| route.protocols.iter().any(|own| protocols.contains(own));
        Ok(Self {
            hosts: hosts.into(),
            paths: paths.into_iter().map(Arc::new).collect(),
            headers: headers.into(),
            snis: route
                .snis
                .iter()
                .map(|sni| without_final_dot(sni).into())
                .collect(),
            listeners: listeners(name, route).into(),
            clear: takes([Protocol::Http, Protocol::Grpc]),
            tls: takes([Protocol::Https, Protocol::Grpcs]),
        })
    }

    /// Whether anything is asked besides host, path and method.
    pub(crate) fn asks_more(&self) -> bool {
        !self.headers.is_empty() || !self.snis.is_empty() || !self.listeners.is_empty()
    }

    /// Whether host and port match.
    pub(crate) fn accepts_host(&self, host: &RequestHost<'_>) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|own| own.accepts(host))
    }

    /// Whether all listed headers match.
    pub(crate) fn accepts_headers(&self, request: &RequestKey<'_>) -> bool {
        self.headers.iter().all(|header| header.accepts(request.headers))
    }

    /// Whether the TLS server name matches. A request in clear has none to compare, so it passes and the route's
    /// protocols decide.
    pub(crate) fn accepts_sni(&self, request: &RequestKey<'_>) -> bool {
        if self.snis.is_empty() || !request.https {
            return true;
        }
        let Some(sni) = request.sni.map(without_final_dot) else {
            return false;
        };
        self.snis.iter().any(|own| own.eq_ignore_ascii_case(sni))
    }

    /// Whether it is served on the listener.
    pub(crate) fn accepts_listener(&self, request: &RequestKey<'_>) -> bool {
        self.listeners.is_empty()
            || request
                .listener
                .is_none_or(|listener| self.listeners.iter().any(|own| **own == *listener))
    }

    /// Whether the route is for requests of this scheme.
    pub(crate) fn takes_scheme(&self, https: bool) -> bool {
        if https { self.tls } else { self.clear }
    }
}

/// A route names listeners of its project and of the node, which are called as those of the default project.
fn listeners(name: &FullName, route: &Route) -> Vec<Box<str>> {
    let of_project = |listener: &Name| FullName::new(name.project.clone(), listener.clone()).to_string();
    let mut called: Vec<Box<str>> = Vec::new();
    for listener in &route.listeners {
        called.push(of_project(listener).into());
        if !name.project.is_default() {
            called.push(listener.as_str().into());
        }
    }
    called
}

fn without_final_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

fn keep_good<T>(read: impl Iterator<Item = Result<T, String>>, problems: &mut Vec<String>) -> Vec<T> {
    read.filter_map(|result| result.map_err(|problem| problems.push(problem)).ok())
        .collect()
}

//! What a location does with its requests: answer, pass them on, or look for a file.

use super::locations::Handling;
use super::places::Place;
use super::rules::{answer_of, is_redirect, rule, said};
use super::scope::Scope;
use super::{Draft, name_of, number};
use crate::check::{Shape, names_in, split_authority, split_scheme};
use crate::report::Effect;
use crate::tree::Directive;
use crate::value::{self, Address};
use crate::yaml::{MapOf, Yaml};

/// Directives that pass requests on by protocols that are not spoken here.
const OTHER_PROTOCOLS: [&str; 5] = [
    "fastcgi_pass",
    "uwsgi_pass",
    "scgi_pass",
    "memcached_pass",
    "grpc_pass",
];

/// Variables behind a target that stand for what is sent without them.
const WHOLE_URI: [&str; 3] = ["$request_uri", "$uri$is_args$args", "$uri"];

/// Where `proxy_pass` leads, if it leads somewhere.
pub(super) struct Target<'t> {
    scheme: &'t str,
    authority: &'t str,
    pub(super) uri: Option<&'t str>,
}

impl<'a> Draft<'a> {
    pub(super) fn handling(&mut self, place: &Place<'a>, scope: &Scope<'a>) -> Handling {
        let location = place.directive;
        if let Some(answer) = location.last("return") {
            return self.answer(scope, answer, place.shape);
        }
        if location.last("internal").is_some() {
            return self.nothing(location);
        }
        let guards = match self.guards(scope) {
            Ok(guards) => guards,
            Err(guard) => return self.unavailable(guard),
        };
        let mut handling = if let Some(pass) = location.last("proxy_pass") {
            self.passed_on(scope, pass, place.shape)
        } else if let Some(page) = location.last("stub_status") {
            self.ends_with("stub-status", MapOf::default(), page)
        } else if let Some(other) = OTHER_PROTOCOLS.iter().find_map(|name| location.last(name)) {
            self.unavailable(other)
        } else {
            self.files(scope, location, place.shape)
        };
        handling.plugins.extend(guards);
        if handling.service.is_some() && location.last("proxy_pass").is_some() {
            self.health_check(location, handling.pool.clone(), "http");
            self.request_edits(scope, &mut handling);
        }
        self.answer_edits(scope, &mut handling);
        handling
    }

    /// A route that a plugin answers.
    fn ends_with(&mut self, plugin: &str, config: MapOf, because: &'a Directive) -> Handling {
        match self.plugin(plugin, config.done(), because) {
            Some(plugin) => Handling {
                plugins: vec![plugin],
                ..Handling::default()
            },
            None => self.unavailable(because),
        }
    }

    /// Requests that would need what is not there must not end up elsewhere.
    pub(super) fn unavailable(&mut self, because: &'a Directive) -> Handling {
        let config = MapOf::default().with("status_code", Yaml::Number(501)).with(
            "message",
            Yaml::Text(format!("{} is not translated", because.name)),
        );
        let plugin = self.plugin("request-termination", config.done(), because);
        Handling {
            plugins: plugin.into_iter().collect(),
            ..Handling::default()
        }
    }

    /// `return`: a redirect, or a text.
    pub(super) fn answer(&mut self, scope: &Scope<'a>, answer: &'a Directive, shape: Shape<'a>) -> Handling {
        if answer.arg(0) == "444" {
            self.note(
                answer,
                Effect::Differs,
                "the connection is not cut off: the answer is 400",
            );
        }
        let (code, text) = answer_of(answer);
        let mut handling = match (shape, text.map(|text| scope.text(text))) {
            (Shape::Regex { pattern, any_case }, Some(text)) if has_groups(&text, pattern) => {
                self.answer_with_groups(scope, answer, pattern, any_case)
            }
            (_, Some(location)) if is_redirect(code) => {
                let config = MapOf::default()
                    .with("status_code", Yaml::Number(code))
                    .with("location", Yaml::Text(location));
                self.ends_with("redirect", config, answer)
            }
            (_, text) => self.text(scope, answer, code, text),
        };
        self.answer_fields(scope, &mut handling);
        handling
    }

    /// An answer with groups of the location's regex, which only a rule can use.
    fn answer_with_groups(
        &mut self,
        scope: &Scope<'a>,
        answer: &'a Directive,
        pattern: &str,
        any_case: bool,
    ) -> Handling {
        let action = said(answer, &scope.with_groups_of(pattern));
        let rule = rule(&[matching(pattern, any_case)], action);
        if let Some(problem) = self.rule_complaint(&rule) {
            self.not_applied(answer, format!("{problem}; requests get a 501"));
            return self.unavailable(answer);
        }
        Handling {
            rules: vec![rule],
            ..self.nothing(answer)
        }
    }

    fn text(
        &mut self,
        scope: &Scope<'a>,
        answer: &'a Directive,
        code: i64,
        text: Option<String>,
    ) -> Handling {
        let kind = scope.get("default_type").map_or("text/plain", |kind| kind.arg(0));
        let config = MapOf::default().with("status_code", Yaml::Number(code));
        let config = match text {
            Some(text) => config.with("content_type", Yaml::text(kind)).with(
                if text.contains('$') { "template" } else { "body" },
                Yaml::Text(text),
            ),
            None => config.with("message", Yaml::text(reason(code))),
        };
        self.ends_with("request-termination", config, answer)
    }

    /// `proxy_pass`.
    pub(super) fn passed_on(&mut self, scope: &Scope<'a>, pass: &'a Directive, shape: Shape<'a>) -> Handling {
        let written = match shape {
            Shape::Regex { pattern, .. } => scope.with_groups_of(pattern).text(pass.arg(0)),
            _ => scope.text(pass.arg(0)),
        };
        let url = WHOLE_URI
            .iter()
            .find_map(|tail| written.strip_suffix(tail))
            .unwrap_or(&written);
        if let Some((variable, table)) = self.table_in(url) {
            return self.chosen(scope, pass, (&variable, table), url);
        }
        match target(url) {
            Some(target) if target.uri.is_none_or(|uri| !uri.contains('$')) => {
                self.fixed(scope, pass, shape, &target)
            }
            Some(target) => self.computed(scope, pass, shape, &target),
            None => {
                self.not_applied(
                    pass,
                    "targets are not put together from values of the request; requests get a 501",
                );
                self.unavailable(pass)
            }
        }
    }

    /// A target that is the same for every request.
    pub(super) fn fixed(
        &mut self,
        scope: &Scope<'a>,
        pass: &'a Directive,
        shape: Shape<'a>,
        target: &Target<'_>,
    ) -> Handling {
        let Target {
            scheme,
            authority,
            uri,
        } = *target;
        if let Ok(Address::Unix(_)) | Err(_) = value::address(authority) {
            self.not_applied(pass, "services are reached by TCP; let it listen on a port");
            return self.unavailable(pass);
        }
        let replaced = uri.filter(|_| !matches!(shape, Shape::Regex { .. } | Shape::Named(_)));
        let strip = replaced.is_some_and(|uri| cuts_off(uri, shape));
        let pool = self.pools.get(authority);
        let (host, members) = match pool {
            Some(pool) => (pool.name.clone(), pool.members),
            None => (authority.to_owned(), 1),
        };
        let pool = pool.map(|pool| pool.name.clone());
        let path = replaced.filter(|_| strip).unwrap_or_default();
        let url = format!("{scheme}://{host}{path}").replace('$', "$$");
        let mut settings = self.settings(scope, members);
        if scheme == "https" {
            settings = settings.with_all(self.tls_settings(scope, pass));
        }
        let service = MapOf::default()
            .with("url", Yaml::Text(url))
            .with("upstream", settings.done());
        Handling {
            service: Some(self.service(&name_of(&host), service.done())),
            pool,
            strip,
            ..Handling::default()
        }
    }

    /// A target whose path has values of the request in it: nginx sends it as it comes out.
    fn computed(
        &mut self,
        scope: &Scope<'a>,
        pass: &'a Directive,
        shape: Shape<'a>,
        target: &Target<'_>,
    ) -> Handling {
        let uri = target.uri.unwrap_or_default();
        let (path, keep_query) = match uri.strip_suffix("$is_args$args") {
            Some(path) => (path, true),
            None => (uri, false),
        };
        let conditions = match shape {
            Shape::Regex { pattern, any_case } => vec![matching(pattern, any_case)],
            _ => Vec::new(),
        };
        let action = MapOf::default()
            .with("path", Yaml::text(path))
            .with_some("keep_query", (!keep_query).then_some(Yaml::Flag(false)));
        let rule = rule(&conditions, action);
        if let Some(problem) = self.rule_complaint(&rule) {
            self.not_applied(pass, format!("{problem}; requests get a 501"));
            return self.unavailable(pass);
        }
        let plain = Target { uri: None, ..*target };
        let mut handling = self.fixed(scope, pass, shape, &plain);
        handling.rules.push(rule);
        handling
    }

    /// How the target is spoken to. `members`: how many may be tried.
    fn settings(&mut self, scope: &Scope<'a>, members: usize) -> MapOf {
        let mut settings = MapOf::default();
        for (name, key) in [
            ("proxy_connect_timeout", "connect_timeout"),
            ("proxy_send_timeout", "write_timeout"),
            ("proxy_read_timeout", "read_timeout"),
        ] {
            let time = scope.get(name).and_then(|time| value::milliseconds(time.arg(0)));
            settings = settings.with_some(key, time.map(|time| number(time.max(1))));
        }
        let failures = scope
            .get("proxy_next_upstream")
            .filter(|next| next.arg(0) != "off");
        let time = scope.get("proxy_next_upstream_timeout");
        let total = time.and_then(|time| value::milliseconds(time.arg(0)));
        if let (Some(time), Some(1..)) = (time, total) {
            self.note(time, Effect::Differs, "it also ends the last try");
        }
        settings
            .with_some("retries", retries(scope, members).map(number))
            .with_some("retry_on", failures.map(|failures| Yaml::texts(&failures.args)))
            .with_some(
                "total_timeout",
                total.filter(|total| *total > 0).map(super::duration),
            )
    }

    /// The answer where there is nothing.
    pub(super) fn nothing(&mut self, because: &'a Directive) -> Handling {
        let config = MapOf::default()
            .with("status_code", Yaml::Number(404))
            .with("message", Yaml::text(reason(404)));
        self.ends_with("request-termination", config, because)
    }
}

/// Scheme, authority and path of a URL whose first two are the same for every request.
pub(super) fn target(url: &str) -> Option<Target<'_>> {
    let (scheme, rest) = split_scheme(url)?;
    let (authority, uri) = split_authority(rest);
    // In `http://a$1` a group of the location's regex is the path; anything else there would be a part of the name.
    let (authority, uri) = match authority.split_once('$') {
        Some((name, behind)) if behind.starts_with(|digit: char| ('1'..='9').contains(&digit)) => {
            (name, rest.get(name.len()..))
        }
        Some(_) => return None,
        None => (authority, uri),
    };
    (!authority.is_empty()).then_some(Target {
        scheme,
        authority,
        uri,
    })
}

/// Whether the URI of a target stands in place of a location's prefix; `location / { proxy_pass http://a/; }` changes
/// nothing.
pub(super) fn cuts_off(uri: &str, shape: Shape<'_>) -> bool {
    uri != "/" || !matches!(shape, Shape::Prefix("/") | Shape::Firm("/"))
}

/// A condition on the path.
fn matching(pattern: &str, any_case: bool) -> Yaml {
    let flags = if any_case { "(?i)" } else { "" };
    MapOf::default()
        .with("matches", Yaml::Text(format!("{flags}{pattern}")))
        .done()
}

/// Whether a text uses the groups of a regex.
fn has_groups(text: &str, pattern: &str) -> bool {
    let mut digits = text
        .match_indices('$')
        .filter_map(|(at, _)| text.as_bytes().get(at + 1));
    let names = names_in(text).unwrap_or_default();
    digits.any(|byte| (b'1'..=b'9').contains(byte))
        || names.iter().any(|name| pattern.contains(&format!("<{name}>")))
}

/// nginx tries each member once unless told otherwise.
fn retries(scope: &Scope<'_>, members: usize) -> Option<u64> {
    let others = u64::try_from(members.saturating_sub(1)).unwrap_or(u64::MAX);
    if scope
        .get("proxy_next_upstream")
        .is_some_and(|next| next.arg(0) == "off")
    {
        return Some(0);
    }
    let tries = scope.get("proxy_next_upstream_tries");
    match tries.and_then(|tries| value::number(tries.arg(0))) {
        Some(tries @ 1..) => Some(others.min(tries - 1)),
        _ if members > 1 => Some(others),
        _ => None,
    }
}

/// The words of a status.
fn reason(code: i64) -> &'static str {
    match code {
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        410 => "Gone",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Answer",
    }
}

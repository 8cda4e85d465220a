//! What a location does with its requests: answer, pass them on, or look for a file.

use super::locations::Handling;
use super::scope::Scope;
use super::{Draft, name_of, number};
use crate::check::{Shape, split_authority, split_scheme};
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

impl<'a> Draft<'a> {
    pub(super) fn handling(
        &mut self,
        location: &'a Directive,
        scope: &Scope<'a>,
        shape: Shape<'a>,
    ) -> Handling {
        for condition in location.all("if") {
            self.not_applied(condition, "conditions are not translated; say it with routes");
        }
        if let Some(answer) = location.last("return") {
            return self.answer(scope, answer);
        }
        if location.last("internal").is_some() {
            return self.nothing(location);
        }
        let guards = match self.guards(scope) {
            Ok(guards) => guards,
            Err(guard) => return self.unavailable(guard),
        };
        let mut handling = if let Some(pass) = location.last("proxy_pass") {
            self.passed_on(scope, pass, shape)
        } else if let Some(page) = location.last("stub_status") {
            self.ends_with("stub-status", MapOf::default(), page)
        } else if let Some(other) = OTHER_PROTOCOLS.iter().find_map(|name| location.last(name)) {
            self.unavailable(other)
        } else {
            self.files(scope, location, shape)
        };
        handling.plugins.extend(guards);
        let edits = match handling.service {
            Some(_) if location.last("proxy_pass").is_some() => self.edits(scope, &mut handling),
            _ => self.answer_edits(scope),
        };
        handling.plugins.extend(edits);
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
    pub(super) fn answer(&mut self, scope: &Scope<'a>, answer: &'a Directive) -> Handling {
        let (code, text) = match answer.args.as_slice() {
            [url] if value::number(url).is_none() => (302, Some(url.as_str())),
            [code, text] => (value::number(code).unwrap_or(500), Some(text.as_str())),
            _ => (value::number(answer.arg(0)).unwrap_or(500), None),
        };
        if code == 444 {
            self.note(
                answer,
                Effect::Differs,
                "the connection is not cut off: the answer is 400",
            );
        }
        let code = i64::try_from(if code == 444 { 400 } else { code }).unwrap_or(500);
        let mut handling = match text {
            Some(location) if [301, 302, 303, 307, 308].contains(&code) => {
                let config = MapOf::default()
                    .with("status_code", Yaml::Number(code))
                    .with("location", Yaml::text(location));
                self.ends_with("redirect", config, answer)
            }
            _ => self.text(scope, answer, code, text),
        };
        let fields = self.answer_fields(scope);
        handling.plugins.extend(fields);
        handling
    }

    fn text(&mut self, scope: &Scope<'a>, answer: &'a Directive, code: i64, text: Option<&str>) -> Handling {
        let kind = scope.get("default_type").map_or("text/plain", |kind| kind.arg(0));
        let config = MapOf::default().with("status_code", Yaml::Number(code));
        let config = match text {
            Some(text) => config.with("content_type", Yaml::text(kind)).with(
                if text.contains('$') { "template" } else { "body" },
                Yaml::text(text),
            ),
            None => config.with("message", Yaml::text(reason(code))),
        };
        self.ends_with("request-termination", config, answer)
    }

    fn passed_on(&mut self, scope: &Scope<'a>, pass: &'a Directive, shape: Shape<'a>) -> Handling {
        let written = pass.arg(0);
        let url = WHOLE_URI
            .iter()
            .find_map(|tail| written.strip_suffix(tail))
            .unwrap_or(written);
        let Some((scheme, rest)) = split_scheme(url).filter(|_| !url.contains('$')) else {
            self.not_applied(
                pass,
                "targets are not put together from variables; requests get a 501",
            );
            return self.unavailable(pass);
        };
        let (authority, uri) = split_authority(rest);
        if let Ok(Address::Unix(_)) | Err(_) = value::address(authority) {
            self.not_applied(pass, "services are reached by TCP; let it listen on a port");
            return self.unavailable(pass);
        }
        let verified = scope
            .get("proxy_ssl_verify")
            .is_some_and(|verify| verify.arg(0) == "on");
        if scheme == "https" && !verified {
            self.note(
                pass,
                Effect::Differs,
                "the certificate is verified; `tls_verify: false` at the service turns that off",
            );
        }
        let replaced = uri.filter(|_| !matches!(shape, Shape::Regex { .. } | Shape::Named(_)));
        // `location / { proxy_pass http://a/; }` changes nothing.
        let strip =
            replaced.is_some_and(|uri| uri != "/" || !matches!(shape, Shape::Prefix("/") | Shape::Firm("/")));
        let (host, members) = match self.pools.get(authority) {
            Some(pool) => (pool.name.clone(), pool.members),
            None => (authority.to_owned(), 1),
        };
        let path = replaced.filter(|_| strip).unwrap_or_default();
        let url = format!("{scheme}://{host}{path}").replace('$', "$$");
        let settings = self.settings(scope, members);
        let service = MapOf::default()
            .with("url", Yaml::Text(url))
            .with("upstream", settings.done());
        Handling {
            service: Some(self.service(&name_of(&host), service.done())),
            strip,
            ..Handling::default()
        }
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

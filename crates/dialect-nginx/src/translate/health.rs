//! `health_check` and `match` (NGINX Plus): members that are asked, not only watched.
//!
//! nginx writes them where requests are passed on, for the upstream that takes them; here they are the upstream's own.

use super::{Draft, duration, number};
use crate::report::Effect;
use crate::tree::Directive;
use crate::value;
use crate::yaml::{MapOf, Yaml};

/// What stands in `health_check`, with the values of NGINX Plus where nothing does.
struct Check<'a> {
    directive: &'a Directive,
    protocol: &'static str,
}

impl<'a> Draft<'a> {
    /// The checks of `place`, which passes requests to the upstream called `pool`.
    pub(super) fn health_check(
        &mut self,
        place: &'a Directive,
        pool: Option<String>,
        protocol: &'static str,
    ) {
        let Some(directive) = place.last("health_check") else {
            return;
        };
        let Some(pool) = pool else {
            self.not_applied(directive, "only the members of an `upstream` are checked");
            return;
        };
        let check = Check { directive, protocol };
        self.note_of_check(&check);
        let written = check.written(self.expectation(&check));
        let known = self.upstreams.iter_mut().find(|upstream| {
            upstream
                .get("name")
                .is_some_and(|name| *name == Yaml::text(&pool))
        });
        match known {
            Some(upstream) if upstream.get("healthchecks").is_none() => {
                upstream.insert_before("targets", "healthchecks", written);
            }
            Some(upstream) if upstream.get("healthchecks") != Some(&written) => {
                self.not_applied(
                    directive,
                    "an upstream is checked in one way: the first that is written",
                );
            }
            _ => {}
        }
    }

    fn note_of_check(&mut self, check: &Check<'a>) {
        for word in &check.directive.args {
            let name = word.split('=').next().unwrap_or_default();
            let why = match name {
                "persistent" => "health is found out anew when the configuration changes",
                "keepalive_time" => "each check opens a connection",
                "udp" => "datagrams are not checked",
                _ => continue,
            };
            self.note(check.directive, Effect::Differs, format!("`{name}`: {why}"));
        }
    }

    /// What an answer must be.
    fn expectation(&mut self, check: &Check<'a>) -> Option<Yaml> {
        if check.protocol == "tcp" {
            return None;
        }
        let Some(name) = check.word("match") else {
            return Some(MapOf::default().with("status", Yaml::texts(["200-399"])).done());
        };
        let http = self.http?;
        let block = http.all("match").find(|block| block.arg(0) == name)?;
        let mut expected = MapOf::default();
        let mut headers = MapOf::default();
        for line in block.inside() {
            let words: Vec<&str> = line.args.iter().map(String::as_str).collect();
            match (line.name.as_str(), words.as_slice()) {
                ("status", statuses) if !statuses.contains(&"!") => {
                    expected = expected.with("status", Yaml::texts(statuses));
                }
                ("header", [name, "=", value]) => headers = headers.with(name, Yaml::text(*value)),
                ("header", [name, "~", regex]) => {
                    headers = headers.with(name, Yaml::Text(format!("~{regex}")));
                }
                ("body", ["~", regex]) => expected = expected.with("body", Yaml::text(*regex)),
                _ => self.not_applied(block, format!("`{}` is not asked of answers", line.name)),
            }
        }
        Some(expected.with("headers", headers.done()).done())
    }
}

impl<'a> Check<'a> {
    fn word(&self, name: &str) -> Option<&'a str> {
        let mut words = self.directive.args.iter();
        words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    fn written(&self, expected: Option<Yaml>) -> Yaml {
        let time = |name| self.word(name).and_then(value::milliseconds);
        let count = |name| number(self.word(name).and_then(value::number).unwrap_or(1));
        let interval = duration(time("interval").unwrap_or(5_000));
        let healthy = MapOf::default()
            .with("interval", interval.clone())
            .with("successes", count("passes"));
        let mut unhealthy = MapOf::default()
            .with("interval", interval.clone())
            .with("tcp_failures", count("fails"))
            .with("timeouts", count("fails"));
        let path = self.word("uri").unwrap_or("/");
        let mut active = MapOf::default()
            .with("type", Yaml::text(self.protocol))
            .with("timeout", interval.clone());
        if self.protocol != "tcp" {
            unhealthy = unhealthy.with("http_failures", count("fails"));
            active = active.with("http_path", Yaml::text(path));
        }
        let mandatory = self.directive.args.iter().any(|word| word == "mandatory");
        active = active
            .with_some("jitter", time("jitter").map(duration))
            .with_some("port", self.word("port").and_then(value::number).map(number))
            .with_some("mandatory", mandatory.then_some(Yaml::Flag(true)))
            .with_some("match", expected)
            .with("healthy", healthy.done())
            .with("unhealthy", unhealthy.done());
        MapOf::default().with("active", active.done()).done()
    }
}

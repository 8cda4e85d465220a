//! `upstream`: a pool with its members.

use super::{Draft, Pool, duration, free, name_of, number};
use crate::report::Effect;
use crate::tree::Directive;
use crate::value::{self, Address};
use crate::yaml::{MapOf, Yaml};

impl<'a> Draft<'a> {
    pub(super) fn upstream(&mut self, upstream: &'a Directive) {
        let taken: Vec<String> = self.pools.values().map(|pool| pool.name.clone()).collect();
        let name = free(&name_of(upstream.arg(0)), &taken);
        let mut addresses = Vec::new();
        let mut targets = Vec::new();
        for member in upstream.all("server") {
            let Some(address) = self.member_address(member) else {
                continue;
            };
            if addresses.contains(&address) {
                self.note(
                    member,
                    Effect::Differs,
                    "an address is a member once; add its weight to the first",
                );
                continue;
            }
            targets.push(self.member(member, &address));
            addresses.push(address);
        }
        let algorithm = self.algorithm(upstream);
        let key = upstream
            .last("hash")
            .filter(|_| algorithm == Some("consistent-hashing"));
        let key = key.and_then(|hash| hash_on(hash.arg(0))).unwrap_or_default();
        let sticky = upstream.last("sticky").and_then(|sticky| self.sticky(sticky));
        let slow_start = self.slow_start(upstream, algorithm);
        self.pools.insert(
            upstream.arg(0).to_owned(),
            Pool {
                name: name.clone(),
                members: addresses.len(),
            },
        );
        let upstream = MapOf::default()
            .with("name", Yaml::Text(name))
            .with_some("algorithm", algorithm.map(Yaml::text))
            .with_all(key)
            .with_some("sticky", sticky)
            .with_some("slow_start", slow_start.map(duration))
            // As in nginx: while all have failed nobody is asked.
            .with("panic_threshold", Yaml::Number(0))
            .with("targets", Yaml::List(targets));
        self.upstreams.push(upstream.done());
    }

    /// The time in which members come back slowly, milliseconds: that of all of them.
    fn slow_start(&mut self, upstream: &'a Directive, algorithm: Option<&str>) -> Option<u64> {
        let of = |member: &Directive| parameter(member, "slow_start").and_then(value::milliseconds);
        let members: Vec<&'a Directive> = upstream.all("server").collect();
        let slow = members.iter().copied().find(|member| of(member).is_some())?;
        if matches!(algorithm, Some("ip-hash" | "consistent-hashing")) {
            self.not_applied(slow, "`slow_start`: a key keeps its member from the start");
            return None;
        }
        if let Some(other) = members.iter().find(|member| of(member) != of(slow)) {
            self.note(
                other,
                Effect::Differs,
                "all members of an upstream start as slowly: write the same `slow_start` for each",
            );
        }
        members.iter().filter_map(|member| of(member)).max()
    }

    fn algorithm(&mut self, upstream: &'a Directive) -> Option<&'static str> {
        let inside = upstream.inside();
        let method = inside
            .into_iter()
            .rfind(|line| crate::check::METHODS.contains(&line.name.as_str()))?;
        match method.name.as_str() {
            "least_conn" => Some("least-connections"),
            "ip_hash" => Some("ip-hash"),
            "random" => {
                if method.arg(0) != "two" {
                    self.note(method, Effect::Differs, "the less busy of two is taken");
                }
                Some("random")
            }
            "hash" if hash_on(method.arg(0)).is_some() => {
                self.note(
                    method,
                    Effect::Differs,
                    "a key keeps its member, which is another one than nginx's",
                );
                Some("consistent-hashing")
            }
            _ => {
                self.not_applied(method, "members take turns by weight instead");
                None
            }
        }
    }

    /// `sticky cookie`.
    fn sticky(&mut self, sticky: &'a Directive) -> Option<Yaml> {
        if sticky.arg(0) != "cookie" {
            self.not_applied(
                sticky,
                "clients come back by a cookie of ours only: `sticky cookie`",
            );
            return None;
        }
        let mut cookie = MapOf::default().with("cookie", Yaml::text(sticky.arg(1)));
        let mut http_only = false;
        for word in sticky.args.iter().skip(2) {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            cookie = match name.to_ascii_lowercase().as_str() {
                "path" => cookie.with("path", Yaml::text(value)),
                "expires" if value == "max" => cookie.with("max_age", Yaml::text("8760h")),
                "expires" => cookie.with_some("max_age", value::milliseconds(value).map(duration)),
                "secure" => cookie.with("secure", Yaml::Flag(true)),
                "samesite" => cookie.with("same_site", Yaml::Text(value.to_ascii_lowercase())),
                "httponly" => {
                    http_only = true;
                    cookie
                }
                _ => {
                    self.not_applied(sticky, format!("`{name}` is not said of the cookie"));
                    cookie
                }
            };
        }
        Some(cookie.with("http_only", Yaml::Flag(http_only)).done())
    }

    fn member_address(&mut self, member: &'a Directive) -> Option<String> {
        match value::address(member.arg(0)) {
            Ok(Address::Host(host, port)) => Some(format!("{host}:{}", port.unwrap_or(80))),
            Ok(Address::Unix(_)) => {
                self.not_applied(member, "members are reached by TCP; let it listen on a port");
                None
            }
            Err(why) => {
                self.not_applied(member, why);
                None
            }
        }
    }

    fn member(&mut self, member: &'a Directive, address: &str) -> Yaml {
        let mut target = MapOf::default().with("target", Yaml::text(address));
        let parameter = |name: &str| parameter(member, name);
        let count = |name: &str| parameter(name).and_then(value::number);
        target = target
            .with("weight", number(count("weight").unwrap_or(1).min(65_535)))
            .with_some("max_fails", count("max_fails").map(number))
            .with_some(
                "fail_timeout",
                parameter("fail_timeout")
                    .and_then(value::milliseconds)
                    .map(duration),
            )
            .with_some("max_conns", count("max_conns").map(number));
        for word in member.args.iter().skip(1) {
            match word.split('=').next().unwrap_or_default() {
                flag @ ("backup" | "down") => target = target.with(flag, Yaml::Flag(true)),
                "drain" => self.not_applied(member, "`drain`: write `down`; open requests end as they would"),
                name @ ("route" | "service") => {
                    self.not_applied(member, format!("`{name}` has no equivalent yet"));
                }
                _ => {}
            }
        }
        target.done()
    }
}

/// The value of a parameter of a `server`.
fn parameter<'d>(member: &'d Directive, name: &str) -> Option<&'d str> {
    let mut words = member.args.iter().skip(1);
    words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

/// The settings that say the same as the key of `hash`, if there are any.
fn hash_on(key: &str) -> Option<MapOf> {
    let on = |kind: &str| MapOf::default().with("hash_on", Yaml::text(kind));
    match key {
        "$remote_addr" | "$binary_remote_addr" => Some(on("ip")),
        "$uri" => Some(on("path")),
        _ => {
            let plain = |name: &str| {
                name.bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            };
            let kinds = [
                ("$http_", "header"),
                ("$cookie_", "cookie"),
                ("$arg_", "query_arg"),
            ];
            kinds.into_iter().find_map(|(prefix, kind)| {
                let name = key.strip_prefix(prefix).filter(|name| plain(name))?;
                let name = match kind {
                    "header" => name.replace('_', "-"),
                    _ => name.to_owned(),
                };
                Some(on(kind).with(&format!("hash_on_{kind}"), Yaml::Text(name)))
            })
        }
    }
}

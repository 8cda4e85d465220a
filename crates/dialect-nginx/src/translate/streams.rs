//! `stream`: listeners that pass connections and datagrams on.

use super::clients::Asked;
use super::scope::Scope;
use super::{Draft, duration, free, name_of, number};
use crate::tree::Directive;
use crate::value;
use crate::yaml::{MapOf, Yaml};

impl<'a> Draft<'a> {
    pub(super) fn stream(&mut self, stream: &'a Directive) {
        // Its upstreams may be called as those of `http` are.
        self.pools.clear();
        for upstream in stream.all("upstream") {
            self.upstream(upstream);
        }
        for server in stream.all("server") {
            self.stream_server(&Scope::of(stream).inside(server), server);
        }
    }

    fn stream_server(&mut self, scope: &Scope<'a>, server: &'a Directive) {
        let Some(pass) = server.last("proxy_pass") else {
            self.not_applied(server, "it passes nothing on");
            return;
        };
        if let Some(why) = self.closed_stream(scope) {
            self.not_applied(why, "not translated for `stream`; its server does not listen");
            return;
        }
        if pass.arg(0).contains('$') {
            self.not_applied(
                pass,
                "targets are not put together from variables; its server does not listen",
            );
            return;
        }
        let pool = self.pools.get(pass.arg(0)).map(|pool| pool.name.clone());
        self.health_check(server, pool.clone(), "tcp");
        let host = pool.unwrap_or_else(|| pass.arg(0).to_owned());
        let service = self.stream_service(scope, &host);
        for listen in server.all("listen") {
            self.stream_listener(scope, listen, &service);
        }
    }

    /// The directive that guards a server or its bytes and cannot be translated: it must not stand open.
    fn closed_stream(&self, scope: &Scope<'a>) -> Option<&'a Directive> {
        let rules = scope.any_of(&["allow", "deny"]);
        let denies = rules.into_iter().find(|rule| rule.name == "deny");
        let asks = |name: &str| scope.get(name).filter(|setting| setting.arg(0) != "off");
        let unknown = asks("ssl_verify_client").filter(|_| Asked::of(scope).is_none());
        denies.or(unknown).or(asks("proxy_ssl"))
    }

    fn stream_service(&mut self, scope: &Scope<'a>, host: &str) -> String {
        let connect = scope
            .get("proxy_connect_timeout")
            .and_then(|time| value::milliseconds(time.arg(0)));
        let settings = MapOf::default().with_some("connect_timeout", connect.map(|time| number(time.max(1))));
        let service = MapOf::default()
            .with("url", Yaml::Text(format!("http://{host}")))
            .with("upstream", settings.done());
        self.service(&name_of(host), service.done())
    }

    fn stream_listener(&mut self, scope: &Scope<'a>, listen: &'a Directive, service: &str) {
        let Ok(Some(address)) = value::listen(listen.arg(0)) else {
            self.not_applied(listen, "connections come in by TCP or UDP");
            return;
        };
        let has = |word: &str| listen.says(word);
        let protocol = match (has("udp"), has("ssl")) {
            (true, _) => "udp",
            (false, true) => "tls",
            (false, false) => "tcp",
        };
        if protocol == "tls" {
            self.shown(scope, vec!["*".to_owned()]);
        }
        let asked = Asked::of(scope).filter(|_| protocol == "tls");
        let asking = self.asking(asked.as_ref());
        let idle = scope
            .get("proxy_timeout")
            .and_then(|time| value::milliseconds(time.arg(0)));
        let responses = scope
            .get("proxy_responses")
            .and_then(|count| value::number(count.arg(0)));
        let tells = scope
            .get("proxy_protocol")
            .is_some_and(|tells| tells.arg(0) == "on");
        let listener = MapOf::default()
            .with("listen", Yaml::Text(address.to_string()))
            .with("protocol", Yaml::text(protocol))
            .with_some(
                "proxy_protocol",
                has("proxy_protocol").then_some(Yaml::Flag(true)),
            )
            .with_all(asking)
            .with("service", Yaml::text(service))
            .with_some(
                "send_proxy_protocol",
                (tells && protocol != "udp").then(|| Yaml::text("v1")),
            )
            .with_some("idle_timeout", idle.map(duration))
            .with_some("responses", responses.filter(|_| protocol == "udp").map(number));
        let taken: Vec<&str> = self.listeners.iter().map(|(name, _)| name.as_str()).collect();
        let name = free(&format!("{protocol}-{}", address.port()), &taken);
        self.listeners.push((name, listener.done()));
    }
}

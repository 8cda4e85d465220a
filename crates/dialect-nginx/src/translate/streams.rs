//! `stream`: listeners that pass connections and datagrams on.

use super::{Draft, duration, name_of, number};
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
            self.stream_server(stream, server);
        }
    }

    fn stream_server(&mut self, stream: &'a Directive, server: &'a Directive) {
        let Some(pass) = server.last("proxy_pass") else {
            self.not_applied(server, "it passes nothing on");
            return;
        };
        if pass.arg(0).contains('$') {
            self.not_applied(pass, "targets are not put together from variables");
            return;
        }
        let host = match self.pools.get(pass.arg(0)) {
            Some(pool) => pool.name.clone(),
            None => pass.arg(0).to_owned(),
        };
        let service = MapOf::default().with("url", Yaml::Text(format!("http://{host}")));
        let service = self.service(&name_of(&host), service.done());
        let setting = |name| server.last(name).or_else(|| stream.last(name));
        let idle = setting("proxy_timeout").and_then(|time| value::milliseconds(time.arg(0)));
        let responses = setting("proxy_responses").and_then(|count| value::number(count.arg(0)));
        for listen in server.all("listen") {
            let Ok(Some(address)) = value::listen(listen.arg(0)) else {
                self.not_applied(listen, "connections come in by TCP or UDP");
                continue;
            };
            let has = |word: &str| listen.args.iter().any(|given| given == word);
            let protocol = match (has("udp"), has("ssl")) {
                (true, _) => "udp",
                (false, true) => "tls",
                (false, false) => "tcp",
            };
            let listener = MapOf::default()
                .with("listen", Yaml::Text(address.to_string()))
                .with("protocol", Yaml::text(protocol))
                .with_some(
                    "proxy_protocol",
                    has("proxy_protocol").then_some(Yaml::Flag(true)),
                )
                .with("service", Yaml::text(&service))
                .with_some("idle_timeout", idle.map(duration))
                .with_some("responses", responses.filter(|_| protocol == "udp").map(number));
            let taken: Vec<&str> = self.listeners.iter().map(|(name, _)| name.as_str()).collect();
            let name = super::free(&format!("{protocol}-{}", address.port()), &taken);
            self.listeners.push((name, listener.done()));
        }
    }
}

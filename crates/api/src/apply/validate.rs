//! What a project must be beyond its shape: references hold, values are in their bounds, routes can be
//! matched. The command line has said so with positions; here it is said again, because others ask as well.

use std::collections::{BTreeMap, BTreeSet};

use hythe_model::balancing::{Outlier, Sticky};
use hythe_model::traffic::Protocol;
use hythe_model::workload::{HealthCheck, Probe, Replicas};
use hythe_model::{Listener, ListenerProtocol, Name, Plugin, ProjectName, ProjectSpec, Route, Workload};

use super::health;
use super::items::{ItemKey, ItemKind};
use crate::{PluginCheck, PluginFindings};

const MOST_REPLICAS: u32 = 1_000;

/// Every mistake, in words. `live` are the documents the project has besides.
pub(crate) fn validate(
    spec: &ProjectSpec,
    live: &BTreeSet<ItemKey>,
    check_plugin: &PluginCheck,
    check_routes: impl FnOnce(&ProjectName, &BTreeMap<Name, Route>) -> Vec<String>,
) -> Vec<String> {
    let mut checker = Checker {
        spec,
        live,
        problems: Vec::new(),
    };
    for (name, workload) in &spec.workloads {
        checker.workload(name, workload);
    }
    for (name, service) in &spec.services {
        let times = [
            service.total_timeout_ms,
            service.try_timeout_ms,
            service.hedge_after_ms,
        ];
        checker.require(!times.contains(&Some(0)), || {
            format!("service {name}: total_timeout, try_timeout and hedge_after must not be 0")
        });
        let from = format!("service {name}");
        let is_grpc = matches!(service.protocol, Protocol::Grpc | Protocol::Grpcs);
        checker.require(!(is_grpc && service.send_proxy_protocol.is_some()), || {
            format!(
                "{from}: send_proxy_protocol is for http and https: calls of many clients share a connection"
            )
        });
        checker.reference(&from, ItemKind::Certificate, service.client_certificate.as_ref());
        for authority in &service.ca_certificates {
            checker.reference(&from, ItemKind::CaCertificate, Some(authority));
        }
    }
    for (name, route) in &spec.routes {
        checker.reference(
            &format!("route {name}"),
            ItemKind::Service,
            route.service.as_ref(),
        );
    }
    for (name, upstream) in &spec.upstreams {
        let percent = upstream.panic_threshold.is_none_or(|percent| percent <= 100);
        checker.require(percent, || {
            format!("upstream {name}: panic_threshold is above 100")
        });
        let hashing = upstream.hashing_problem();
        checker.require(hashing.is_none(), || {
            format!("upstream {name}: {}", hashing.unwrap_or_default())
        });
        let sticky = upstream.sticky.as_ref().and_then(Sticky::problem);
        checker.require(sticky.is_none(), || {
            format!("upstream {name}: sticky: {}", sticky.unwrap_or_default())
        });
        let outlier = upstream.outlier.as_ref().and_then(Outlier::problem);
        checker.require(outlier.is_none(), || {
            format!("upstream {name}: outlier: {}", outlier.unwrap_or_default())
        });
        let slow_start = upstream.slow_start_problem();
        checker.require(slow_start.is_none(), || {
            format!("upstream {name}: {}", slow_start.unwrap_or_default())
        });
        let slots = upstream.slots.is_none_or(|slots| (10..=65_536).contains(&slots));
        checker.require(slots, || {
            format!("upstream {name}: slots must be between 10 and 65536")
        });
        let breaker = upstream
            .circuit_breaker
            .is_none_or(|breaker| breaker.error_percent <= 100 && breaker.min_requests > 0);
        checker.require(breaker, || {
            format!(
                "upstream {name}: circuit_breaker needs an error_percent up to 100 and min_requests above 0"
            )
        });
        let problems = upstream.healthchecks.iter().flat_map(health::problems);
        let problem = |problem| format!("upstream {name}: healthchecks: {problem}");
        checker.problems.extend(problems.map(problem));
    }
    for (name, target) in &spec.targets {
        checker.reference(
            &format!("target {name}"),
            ItemKind::Upstream,
            Some(&target.upstream),
        );
    }
    for (name, listener) in &spec.listeners {
        checker.listener(name, listener);
    }
    for (name, plugin) in &spec.plugins {
        checker.plugin(name, plugin, check_plugin);
    }
    checker.certificates();
    // A route that cannot be matched would not be served.
    checker.problems.extend(check_routes(&spec.project, &spec.routes));
    checker.problems
}

struct Checker<'a> {
    spec: &'a ProjectSpec,
    live: &'a BTreeSet<ItemKey>,
    problems: Vec<String>,
}

impl Checker<'_> {
    fn require(&mut self, holds: bool, problem: impl FnOnce() -> String) {
        if !holds {
            self.problems.push(problem());
        }
    }

    fn reference(&mut self, from: &str, kind: ItemKind, name: Option<&Name>) {
        let Some(name) = name else { return };
        let key = ItemKey {
            kind,
            name: name.to_string(),
        };
        let there = match kind {
            ItemKind::Service => self.spec.services.contains_key(name),
            ItemKind::Upstream => self.spec.upstreams.contains_key(name),
            ItemKind::Route => self.spec.routes.contains_key(name),
            ItemKind::Consumer => self.spec.consumers.contains_key(name),
            ItemKind::Workload => self.spec.workloads.contains_key(name),
            ItemKind::Certificate => self.spec.certificates.contains_key(name),
            ItemKind::CaCertificate => self.spec.ca_certificates.contains_key(name),
            ItemKind::Target | ItemKind::Plugin | ItemKind::Listener => false,
        };
        let there = there || self.live.contains(&key);
        self.require(there, || {
            format!("{from}: there is no {} `{name}`", kind.in_store())
        });
    }

    fn workload(&mut self, name: &Name, workload: &Workload) {
        let program = workload
            .command
            .first()
            .is_some_and(|program| !program.is_empty());
        self.require(program, || format!("{name}: command is empty"));
        self.require(workload.working_dir.is_absolute(), || {
            format!(
                "{name}: working_dir `{}` is not absolute",
                workload.working_dir.display()
            )
        });
        let few = !matches!(workload.replicas, Replicas::Count(count) if count > MOST_REPLICAS);
        self.require(few, || format!("{name}: more than {MOST_REPLICAS} replicas"));
        let signal = (1..=64).contains(&workload.stop_signal);
        self.require(signal, || {
            format!("{name}: stop_signal {} is no signal", workload.stop_signal)
        });
        self.require(workload.update.max_surge > 0, || {
            format!("{name}: update.max_surge is 0")
        });
        self.require(workload.port != Some(0), || format!("{name}: port is 0"));
        if let Some(health) = &workload.healthcheck {
            self.health(name, health, workload.port.is_some());
        }
        for (dependency, _) in workload.depends_on.iter().filter(|(_, details)| details.required) {
            self.reference(
                &format!("{name}: depends_on"),
                ItemKind::Workload,
                Some(dependency),
            );
        }
    }

    fn health(&mut self, name: &Name, health: &HealthCheck, listens: bool) {
        let possible = match &health.probe {
            Probe::Http(path) => listens && path.starts_with('/'),
            Probe::Tcp => listens,
            Probe::Command(command) => !command.is_empty(),
        };
        self.require(possible, || {
            format!("{name}: healthcheck cannot be tried: it needs a port and a path from `/`, or a command")
        });
        self.require(
            health.interval_ms > 0 && health.timeout_ms > 0 && health.start_interval_ms > 0,
            || format!("{name}: healthcheck times must not be 0"),
        );
    }

    fn listener(&mut self, name: &Name, listener: &Listener) {
        let from = format!("listener {name}");
        let protocol = listener.protocol;
        self.reference(&from, ItemKind::Service, listener.service.as_ref());
        self.require(listener.listen.port() != 0, || format!("{from}: port is 0"));
        let leads = listener.service.is_some() || !listener.snis.is_empty();
        self.require(protocol.is_http() != leads, || {
            format!("{from}: protocols below HTTP need a service, `http` and `https` have routes")
        });
        self.require(protocol.has_names() || listener.snis.is_empty(), || {
            format!("{from}: only `tls` and `tls_passthrough` have snis")
        });
        self.require(protocol.is_tls() || listener.client_ca.is_empty(), || {
            format!("{from}: clients show certificates to `https` and `tls` only")
        });
        for authority in &listener.client_ca {
            self.reference(&from, ItemKind::CaCertificate, Some(authority));
        }
        for service in listener.snis.values() {
            self.reference(&from, ItemKind::Service, Some(service));
        }
        let datagrams = protocol == ListenerProtocol::Udp;
        self.require(!(datagrams && listener.proxy_protocol), || {
            format!("{from}: datagrams have no PROXY protocol")
        });
        self.require(listener.idle_timeout_ms > 0, || {
            format!("{from}: idle_timeout is 0")
        });
    }

    fn plugin(&mut self, name: &Name, plugin: &Plugin, check: &PluginCheck) {
        let from = format!("plugin {name}");
        self.reference(&from, ItemKind::Service, plugin.service.as_ref());
        self.reference(&from, ItemKind::Route, plugin.route.as_ref());
        self.reference(&from, ItemKind::Consumer, plugin.consumer.as_ref());
        let PluginFindings { problems, services } = check(&plugin.name, &plugin.config);
        for service in &services {
            self.reference(&from, ItemKind::Service, Some(service));
        }
        self.problems
            .extend(problems.into_iter().map(|problem| format!("{from}: {problem}")));
    }

    /// Certificates that fit their keys, and names that only one of them is shown for.
    fn certificates(&mut self) {
        let mut named: BTreeMap<String, &Name> = BTreeMap::new();
        for (name, certificate) in &self.spec.certificates {
            for (cert, key) in certificate.pairs() {
                self.pem(&format!("certificate {name}"), cert, Some(key));
            }
            for sni in certificate.snis.iter().flatten() {
                let other = named.insert(sni.to_ascii_lowercase(), name);
                self.require(other.is_none(), || {
                    format!("certificate {name}: another certificate is shown for `{sni}`")
                });
            }
        }
        for (name, authority) in &self.spec.ca_certificates {
            self.pem(&format!("CA certificate {name}"), &authority.cert, None);
        }
    }

    fn pem(&mut self, from: &str, cert: &str, key: Option<&str>) {
        let now = i64::try_from(hythe_stdx::unix_ms() / 1000).unwrap_or(i64::MAX);
        let complaints = hythe_tls::complaints(cert, key, now);
        let fatal = complaints.into_iter().filter(|complaint| complaint.fatal);
        self.problems
            .extend(fatal.map(|complaint| format!("{from}: {}", complaint.message)));
    }
}

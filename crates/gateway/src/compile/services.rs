//! Plans of services.
//!
//! A plan is made of the service's document, of what its host names (an upstream or a workload, or nothing) and of the
//! certificates it speaks with. It is made anew when one of these is another; otherwise it is the very same `Arc`, by
//! which routes and plugins know that nothing has changed for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hythe_balance::{BreakerRules, RetryShare};
use hythe_model::balancing::CircuitBreaker;
use hythe_model::desired::Map;
use hythe_model::endpoint::pool_name;
use hythe_model::traffic::{Algorithm, Protocol, Service};
use hythe_model::{CaCertificate, Certificate, Desired, Entry, FullName, Name, Upstream, Workload};

use super::{References, changed_names};
use crate::announce;
use crate::hash_key::HashKey;
use crate::pools::Pools;
use crate::snapshot::{Problem, RetryRules, ServicePlan};
use crate::sticky::StickyCookie;
use crate::upstream_tls::{UpstreamConfigs, UpstreamTls};

/// The plans that there are now.
#[derive(Default)]
pub(super) struct Services {
    pub(super) plans: Plans,
    seen: Seen,
    /// Services by the pools that their hosts may name.
    of_pools: References,
    /// Those that cannot be used as they are now, and why.
    unusable: BTreeMap<FullName, String>,
    pub(super) tls: UpstreamConfigs,
}

pub(crate) type Plans = BTreeMap<FullName, Arc<ServicePlan>>;

/// The documents that plans were made of.
#[derive(Default)]
struct Seen {
    services: Map<Service>,
    upstreams: Map<Upstream>,
    workloads: Map<Workload>,
    certificates: Map<Certificate>,
    ca_certificates: Map<CaCertificate>,
}

impl Services {
    /// Takes the newest documents in; tells the services whose plan is another now, or gone.
    pub(super) fn follow(&mut self, desired: &Desired, pools: &mut Pools) -> BTreeSet<FullName> {
        let mut concerned = self.index(desired);
        concerned.extend(self.named_by_pools(desired));
        concerned.extend(self.named_by_certificates(desired));
        // What cannot be used is tried again: what it lacks may be there now.
        concerned.extend(self.unusable.keys().cloned());
        self.seen = Seen::of(desired);
        concerned.retain(|name| self.plan(name, desired, pools));
        self.tls.prune();
        concerned
    }

    pub(super) fn problems(&self) -> impl Iterator<Item = Problem> {
        self.unusable.iter().map(|(name, message)| Problem {
            kind: "service",
            name: name.to_string(),
            message: message.clone(),
        })
    }

    /// Makes the plan of a service; whether it is another than before. What cannot be used keeps the plan it has.
    fn plan(&mut self, name: &FullName, desired: &Desired, pools: &mut Pools) -> bool {
        self.unusable.remove(name);
        let entry = desired.services.get(name);
        let Some(entry) = entry.filter(|entry| entry.spec.enabled) else {
            return self.plans.remove(name).is_some();
        };
        match self.tls.of(desired, name, &entry.spec) {
            Ok(tls) => {
                let pool = pool_name(desired, name, &entry.spec);
                let mut plan = service_plan(desired, name, &entry.spec, &pool, pools);
                plan.tls = tls.map(|config| UpstreamTls::new(&plan.host, config));
                self.plans.insert(name.clone(), Arc::new(plan));
                true
            }
            Err(message) => {
                self.unusable.insert(name.clone(), message);
                false
            }
        }
    }

    /// The services whose documents are others than before, which are known by their pools from now on.
    fn index(&mut self, desired: &Desired) -> BTreeSet<FullName> {
        let none = Desired::default();
        let mut concerned = BTreeSet::new();
        for change in self.seen.services.differences(&desired.services, Arc::ptr_eq) {
            let name = change.key;
            let pools = |entry: &Arc<Entry<Service>>| pools_of(&none, name, &entry.spec);
            for pool in change.before.into_iter().flat_map(pools) {
                self.of_pools.remove(&pool, name);
            }
            for pool in change.now.into_iter().flat_map(pools) {
                self.of_pools.insert(pool, name.clone());
            }
            concerned.insert(name.clone());
        }
        concerned
    }

    /// The services whose pools are others, or pools no more. What a workload says is of no concern.
    fn named_by_pools(&self, desired: &Desired) -> impl Iterator<Item = FullName> {
        let mut pools = changed_names(&self.seen.upstreams, &desired.upstreams);
        let workloads = self.seen.workloads.differences(&desired.workloads, |_, _| true);
        pools.extend(workloads.into_iter().map(|change| change.key.clone()));
        let services = move |pool: &FullName| self.of_pools.get(pool);
        pools
            .into_iter()
            .filter_map(move |pool| services(&pool))
            .flatten()
            .cloned()
    }

    /// The services that speak with certificates that are others now. Certificates seldom change, and only then all
    /// services are looked through.
    fn named_by_certificates(&self, desired: &Desired) -> BTreeSet<FullName> {
        let own = changed_names(&self.seen.certificates, &desired.certificates);
        let authorities = changed_names(&self.seen.ca_certificates, &desired.ca_certificates);
        if own.is_empty() && authorities.is_empty() {
            return BTreeSet::new();
        }
        let concerned = desired.services.iter().filter(|(name, entry)| {
            let full = |other: &Name| FullName::new(name.project.clone(), other.clone());
            let spec = &entry.spec;
            spec.client_certificate
                .iter()
                .any(|name| own.contains(&full(name)))
                || spec
                    .ca_certificates
                    .iter()
                    .any(|name| authorities.contains(&full(name)))
        });
        concerned.map(|(name, _)| name.clone()).collect()
    }
}

impl Seen {
    fn of(desired: &Desired) -> Self {
        Self {
            services: Arc::clone(&desired.services),
            upstreams: Arc::clone(&desired.upstreams),
            workloads: Arc::clone(&desired.workloads),
            certificates: Arc::clone(&desired.certificates),
            ca_certificates: Arc::clone(&desired.ca_certificates),
        }
    }
}

/// The pools that a service may have, whether they exist or not: the one that its host names, and the one that it has
/// in `none`, where no pool exists. That one may exist too: `~` is a letter of names.
fn pools_of(none: &Desired, service: &FullName, spec: &Service) -> Vec<FullName> {
    let named = spec.host.parse::<Name>().ok();
    let named = named.map(|host| FullName::new(service.project.clone(), host));
    named
        .into_iter()
        .chain([pool_name(none, service, spec)])
        .collect()
}

fn retry_share(upstream: Option<&Upstream>) -> RetryShare {
    let budget = upstream.map(|upstream| upstream.retry_budget).unwrap_or_default();
    RetryShare {
        percent: budget.percent,
        per_second: budget.per_second,
    }
}

fn breaker(rules: &CircuitBreaker) -> BreakerRules {
    BreakerRules {
        max_requests: rules.max_requests,
        error_percent: rules.error_percent,
        min_requests: rules.min_requests,
        window: Duration::from_millis(rules.window_ms),
        open: Duration::from_millis(rules.open_ms),
    }
}

fn service_plan(
    desired: &Desired,
    name: &FullName,
    spec: &Service,
    pool: &FullName,
    pools: &mut Pools,
) -> ServicePlan {
    let upstream = desired.upstreams.get(pool).map(|entry| &entry.spec);
    let host_header = upstream.and_then(|upstream| upstream.host_header.clone());
    let is_external = pool.name != name.name
        && !desired.upstreams.contains_key(pool)
        && !desired.workloads.contains_key(pool);
    let own_host = if is_external && spec.port != 80 {
        format!("{}:{}", spec.host, spec.port)
    } else {
        spec.host.clone()
    };
    ServicePlan {
        label: name.to_string(),
        pool: pools.pool(pool, upstream),
        hash_key: upstream
            .filter(|upstream| upstream.algorithm == Algorithm::ConsistentHashing)
            .and_then(HashKey::of),
        by_client: upstream.is_some_and(|upstream| upstream.algorithm == Algorithm::IpHash),
        pool_label: pool.to_string(),
        host: host_header.unwrap_or(own_host),
        path: spec.path.clone(),
        retries: spec.retries,
        retry_on: RetryRules::of(&spec.retry_on),
        retry_share: retry_share(upstream),
        breaker: upstream
            .and_then(|upstream| upstream.circuit_breaker.as_ref())
            .map(breaker),
        sticky: upstream
            .and_then(|upstream| upstream.sticky.as_ref())
            .map(StickyCookie::of),
        hold: upstream
            .and_then(|upstream| upstream.hold_ms)
            .map(Duration::from_millis),
        total_timeout: spec.total_timeout_ms.map(Duration::from_millis),
        try_timeout: spec.try_timeout_ms.map(Duration::from_millis),
        hedge_after: spec.hedge_after_ms.map(Duration::from_millis),
        connect_timeout: Duration::from_millis(spec.connect_timeout_ms),
        write_timeout: Duration::from_millis(spec.write_timeout_ms),
        read_timeout: Duration::from_millis(spec.read_timeout_ms),
        speaks_http2: matches!(spec.protocol, Protocol::Grpc | Protocol::Grpcs),
        tls: None,
        announce: spec.send_proxy_protocol.map(announce::version),
    }
}

//! Merges what the sources say into pools. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hythe_model::endpoint::{EndpointRules, PoolEndpoints, pool_name};
use hythe_model::instance::ServiceInstances;
use hythe_model::{Desired, Endpoint, Endpoints, FullName, Instance, InstanceState, Instances};

use crate::names::Place;

/// Kong's default port of a target.
const TARGET_PORT: u16 = 8000;

/// What is known of a host's addresses.
#[derive(Debug, Clone, Copy)]
pub enum Resolved<'a> {
    /// These; never empty.
    To(&'a [Place]),
    /// Nobody has answered yet.
    NotYet,
    /// The last answer was a failure and there never was another.
    Failed(&'a str),
}

/// Every host whose addresses are needed.
pub fn hosts(desired: &Desired) -> BTreeSet<String> {
    let targets = desired
        .targets
        .values()
        .map(|entry| split_target(&entry.spec.target).0.to_owned());
    let services = external_services(desired).map(|(_, host, _)| host.to_owned());
    targets.chain(services).collect()
}

/// The pools at this moment. Those equal to what they were `before` are the same `Arc`.
pub fn merge<'a>(
    desired: &Desired,
    instances: &Instances,
    resolve: impl Fn(&str) -> Resolved<'a>,
    before: &Endpoints,
) -> Endpoints {
    let mut pools: BTreeMap<FullName, PoolEndpoints> = BTreeMap::new();
    for (name, workload) in desired.workloads.iter() {
        if workload.spec.port.is_some() {
            pools.entry(name.clone()).or_default();
        }
    }
    for (name, service) in &instances.services {
        let pool = pools.entry(name.clone()).or_default();
        pool.endpoints.extend(service_endpoints(service));
    }
    for name in desired.upstreams.keys() {
        pools.entry(name.clone()).or_default();
    }
    // Members take turns in the order in which they were written (nginx).
    let mut targets: Vec<_> = desired.targets.iter().collect();
    targets.sort_by_key(|(_, entry)| entry.spec.place);
    for (name, entry) in targets {
        let upstream = FullName::new(name.project.clone(), entry.spec.upstream.clone());
        let (host, port) = split_target(&entry.spec.target);
        add_host(
            pools.entry(upstream).or_default(),
            host,
            port,
            (entry.spec.weight, entry.spec.rules()),
            &resolve,
        );
    }
    for (pool, host, port) in external_services(desired) {
        add_host(
            pools.entry(pool).or_default(),
            host,
            port,
            (100, EndpointRules::default()),
            &resolve,
        );
    }
    let generation = desired.generation.min(instances.generation);
    Endpoints {
        generation,
        pools: pools
            .into_iter()
            .map(|(name, pool)| {
                let pool = keep_equal(Arc::new(pool), before.pools.get(&name));
                (name, pool)
            })
            .collect(),
    }
}

/// Services whose host is nobody's pool, with the pool made for them.
fn external_services(desired: &Desired) -> impl Iterator<Item = (FullName, &str, u16)> {
    desired.services.iter().filter_map(|(name, entry)| {
        let pool = pool_name(desired, name, &entry.spec);
        let is_external = !desired.upstreams.contains_key(&pool) && !desired.workloads.contains_key(&pool);
        is_external.then(|| (pool, entry.spec.host.trim_matches(['[', ']']), entry.spec.port))
    })
}

/// In the order of places, so that rotation goes on in order when a copy is replaced.
fn service_endpoints(service: &ServiceInstances) -> Vec<Endpoint> {
    let mut listed: Vec<&Arc<Instance>> = service.instances.iter().collect();
    listed.sort_by_key(|instance| (instance.slot, &instance.id));
    listed
        .into_iter()
        .filter_map(|instance| instance_endpoint(instance))
        .collect()
}

fn instance_endpoint(instance: &Instance) -> Option<Endpoint> {
    let healthy = match instance.state {
        InstanceState::Ready => true,
        InstanceState::Unhealthy => false,
        _ => return None,
    };
    Some(Endpoint {
        id: Arc::clone(&instance.id.0),
        address: instance.address?,
        weight: 100,
        healthy,
        revision: Some(instance.revision),
        rules: EndpointRules::default(),
    })
}

fn add_host<'a>(
    pool: &mut PoolEndpoints,
    host: &str,
    port: u16,
    (weight, rules): (u16, EndpointRules),
    resolve: &impl Fn(&str) -> Resolved<'a>,
) {
    if weight == 0 {
        return;
    }
    match resolve(host) {
        Resolved::To(places) => {
            let name: Option<Arc<str>> = host.parse::<IpAddr>().is_err().then(|| host.into());
            for place in places {
                let address = SocketAddr::new(place.address, place.port.unwrap_or(port));
                pool.hosts.extend(name.clone().map(|name| (address, name)));
                pool.endpoints.push(Endpoint {
                    id: address.to_string().into(),
                    address,
                    weight: place.weight.unwrap_or(weight),
                    healthy: true,
                    revision: None,
                    rules,
                });
            }
        }
        Resolved::NotYet => pool
            .unresolved
            .push((host.to_owned(), "name resolution has not ended yet".to_owned())),
        Resolved::Failed(reason) => pool.unresolved.push((host.to_owned(), reason.to_owned())),
    }
}

/// The pool, or the one it was `before` if they are equal.
pub(crate) fn keep_equal(
    pool: Arc<PoolEndpoints>,
    before: Option<&Arc<PoolEndpoints>>,
) -> Arc<PoolEndpoints> {
    let kept = before.filter(|before| Arc::ptr_eq(before, &pool) || ***before == *pool);
    kept.cloned().unwrap_or(pool)
}

/// `host:port`, `[v6]:port`, or a host alone.
fn split_target(target: &str) -> (&str, u16) {
    if target.parse::<IpAddr>().is_ok() {
        return (target, TARGET_PORT);
    }
    match target
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host, port.parse().ok()?)))
    {
        Some((host, port)) => (host.trim_matches(['[', ']']), port),
        None => (target.trim_matches(['[', ']']), TARGET_PORT),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use hythe_model::{InstanceId, Revision, Service, Target, Upstream, Workload};
    use hythe_testkit::documents::entry;

    use super::*;

    fn desired() -> Desired {
        let mut desired = Desired {
            generation: 7,
            ..Desired::default()
        };
        let mut workload = Workload::new(vec!["node".to_owned()], "/".into());
        workload.port = Some(3000);
        Arc::make_mut(&mut desired.workloads).insert("users".parse().unwrap(), entry(workload));
        let services = Arc::make_mut(&mut desired.services);
        services.insert("users".parse().unwrap(), entry(Service::at("users")));
        services.insert(
            "far".parse().unwrap(),
            entry(Service {
                port: 81,
                ..Service::at("far.test")
            }),
        );
        Arc::make_mut(&mut desired.upstreams).insert("up".parse().unwrap(), entry(Upstream::default()));
        let target = |target: &str, weight| Target {
            weight,
            ..Target::of("up".parse().unwrap(), target)
        };
        let targets = Arc::make_mut(&mut desired.targets);
        targets.insert("a".parse().unwrap(), entry(target("10.0.0.1:9000", 5)));
        targets.insert("b".parse().unwrap(), entry(target("[::1]:9000", 1)));
        targets.insert("c".parse().unwrap(), entry(target("10.0.0.2", 0)));
        targets.insert("d".parse().unwrap(), entry(target("lost.test:1", 1)));
        desired
    }

    fn instances() -> Instances {
        let instance = |number: u16, slot, state| {
            Arc::new(Instance {
                id: InstanceId(format!("users-{number}").into()),
                service: "users".parse().unwrap(),
                slot,
                revision: Revision(1),
                pid: Some(1),
                address: Some(SocketAddr::from(([127, 0, 0, 1], 20_000 + number))),
                listening: None,
                state,
                restarts: 0,
                started_at: None,
                last_exit: None,
                cause: None,
                message: None,
                cpu_millis: 0,
                memory_bytes: 0,
            })
        };
        let service = ServiceInstances {
            instances: vec![
                instance(1, 1, InstanceState::Ready),
                instance(2, 0, InstanceState::Unhealthy),
                instance(3, 2, InstanceState::Starting),
                instance(4, 3, InstanceState::Draining),
            ],
            ..ServiceInstances::default()
        };
        let services = BTreeMap::from([("users".parse().unwrap(), service)]);
        Instances {
            generation: 6,
            synced: true,
            services,
        }
    }

    fn shown(endpoints: &Endpoints) -> Vec<String> {
        let pool = |(name, pool): (&FullName, &Arc<PoolEndpoints>)| {
            let endpoint = |endpoint: &Endpoint| {
                let mark = if endpoint.healthy { "" } else { "!" };
                format!("{mark}{}@{}*{}", endpoint.id, endpoint.address, endpoint.weight)
            };
            let endpoints: Vec<_> = pool.endpoints.iter().map(endpoint).collect();
            let lost: Vec<_> = pool
                .unresolved
                .iter()
                .map(|(host, why)| format!("{host}: {why}"))
                .collect();
            format!("{name} = {} {}", endpoints.join(" "), lost.join(" "))
        };
        endpoints.pools.iter().map(pool).collect()
    }

    const FAR: [Place; 2] = [
        Place::at(IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1))),
        Place {
            port: Some(82),
            weight: Some(7),
            ..Place::at(IpAddr::V4(Ipv4Addr::new(10, 9, 0, 2)))
        },
    ];
    const NEAR: [Place; 1] = [Place::at(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)))];
    const SELF: [Place; 1] = [Place::at(IpAddr::V6(Ipv6Addr::LOCALHOST))];

    fn resolve(host: &str) -> Resolved<'static> {
        match host {
            "far.test" => Resolved::To(&FAR),
            "10.0.0.1" => Resolved::To(&NEAR),
            "::1" => Resolved::To(&SELF),
            _ => Resolved::Failed("no such host"),
        }
    }

    #[test]
    fn sources_become_pools() {
        let merged = merge(&desired(), &instances(), resolve, &Endpoints::default());
        assert_eq!(merged.generation, 6);
        assert_eq!(
            shown(&merged),
            [
                "far~external = 10.9.0.1:81@10.9.0.1:81*100 10.9.0.2:82@10.9.0.2:82*7 ",
                "up = 10.0.0.1:9000@10.0.0.1:9000*5 [::1]:9000@[::1]:9000*1 lost.test: no such host",
                "users = !users-2@127.0.0.1:20002*100 users-1@127.0.0.1:20001*100 ",
            ]
        );
        let hosts: Vec<_> = hosts(&desired()).into_iter().collect();
        assert_eq!(hosts, ["10.0.0.1", "10.0.0.2", "::1", "far.test", "lost.test"]);
    }

    #[test]
    fn what_did_not_change_is_the_same_pool() {
        let before = merge(&desired(), &instances(), resolve, &Endpoints::default());
        let after = merge(&desired(), &Instances::default(), resolve, &before);
        let same = |name: &str| {
            let name = name.parse().unwrap();
            Arc::ptr_eq(&before.pools[&name], &after.pools[&name])
        };
        assert!(same("up") && !same("users"));
        assert!(after.pools[&"users".parse().unwrap()].endpoints.is_empty());
    }
}

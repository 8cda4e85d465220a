//! What there is, as people see it: desired state, instances, endpoints and traffic put together. Pure but
//! for the traffic counters.

use std::collections::{BTreeMap, BTreeSet};

use hythe_model::desired::{Entry, of_project};
use hythe_model::endpoint::{Health, PoolEndpoints, pool_name};
use hythe_model::instance::ServiceInstances;
use hythe_model::view::{EndpointView, InstanceView, ServiceView};
use hythe_model::workload::Replicas;
use hythe_model::{
    Desired, Endpoint, Endpoints, FullName, Instance, InstanceState, Instances, ProjectName, Workload,
};
use hythe_ports::Traffic;

/// One consistent look at everything.
pub(crate) struct Observed<'a> {
    pub(crate) desired: &'a Desired,
    pub(crate) instances: &'a Instances,
    pub(crate) endpoints: &'a Endpoints,
    pub(crate) traffic: &'a dyn Traffic,
}

impl Observed<'_> {
    /// The services that are of concern: what is desired, and what is not but still stops.
    pub(crate) fn services(&self, concerns: impl Fn(&FullName) -> bool) -> Vec<ServiceView> {
        let names: BTreeSet<&FullName> = self.names().filter(|name| concerns(name)).collect();
        let routes = self.routes(&names);
        names.into_iter().map(|name| self.view(name, &routes)).collect()
    }

    /// Whether all services of concern are as they should be, or as they will stay.
    pub(crate) fn are_settled(&self, concerns: impl Fn(&FullName) -> bool) -> bool {
        let none = BTreeMap::new();
        let mut names = self.names().filter(|name| concerns(name));
        names.all(|name| self.view(name, &none).settled)
    }

    /// The one of this name, if there is one.
    pub(crate) fn service(&self, name: &FullName) -> Option<ServiceView> {
        self.services(|known| known == name).pop()
    }

    /// Every service's name, some twice.
    pub(crate) fn names(&self) -> impl Iterator<Item = &FullName> {
        let stopping = self
            .instances
            .services
            .iter()
            .filter(|(_, service)| !service.instances.is_empty());
        let desired = self.desired.workloads.keys().chain(self.desired.services.keys());
        desired.chain(stopping.map(|(name, _)| name))
    }

    /// Whether the gateway may pick every ready instance of the services of concern, where a route leads to
    /// them. Between an instance being ready and this lies one hop through registry and gateway.
    pub(crate) fn are_listed(&self, concerns: impl Fn(&FullName) -> bool) -> bool {
        let is_ready = |instance: &Instance| instance.state == InstanceState::Ready;
        let names = self.names().filter(|name| concerns(name));
        let names: BTreeSet<&FullName> = names
            .filter(|name| self.instances_of(name).any(is_ready))
            .collect();
        if names.is_empty() {
            return true;
        }
        let routes = self.routes(&names);
        let published = names.iter().copied().filter(|name| self.is_published(name));
        let routed = routes.keys().filter(|name| concerns(name)).chain(published);
        let ready = routed
            .flat_map(|name| self.instances_of(name))
            .filter(|instance| is_ready(instance));
        // Who is kept out by a check of its upstream is not waited for.
        let wanted = ready.filter(|instance| self.health(instance).is_none());
        let mut addresses = wanted.filter_map(|instance| instance.address);
        addresses.all(|address| self.traffic.is_listed(address))
    }

    /// The routes that lead to each service, and to each workload behind a service of another name, in the projects
    /// of these services: those of others are many, and a change waits for few.
    fn routes(&self, names: &BTreeSet<&FullName>) -> BTreeMap<FullName, Vec<String>> {
        let projects: BTreeSet<&ProjectName> = names.iter().map(|name| &name.project).collect();
        let routes_there = projects
            .into_iter()
            .flat_map(|project| of_project(&self.desired.routes, project));
        let mut routes: BTreeMap<FullName, Vec<String>> = BTreeMap::new();
        for (route, entry) in routes_there {
            if let Some(service) = &entry.spec.service {
                let service = FullName::new(route.project.clone(), service.clone());
                routes.entry(service).or_default().push(route.to_string());
            }
        }
        for (pool, of_service) in self.behind(&routes) {
            let known = routes.entry(pool).or_default();
            known.extend(of_service);
            known.sort();
        }
        routes
    }

    /// The routes of services whose pool has another name, by the pool.
    fn behind(&self, routes: &BTreeMap<FullName, Vec<String>>) -> Vec<(FullName, Vec<String>)> {
        let pool = |(service, routes): (&FullName, &Vec<String>)| {
            let entry = self.desired.services.get(service)?;
            let pool = pool_name(self.desired, service, &entry.spec);
            (pool != *service).then(|| (pool, routes.clone()))
        };
        routes.iter().filter_map(pool).collect()
    }

    /// Whether the gateway listens where its programs mean to.
    fn is_published(&self, name: &FullName) -> bool {
        let service = self.instances.services.get(name);
        service.is_some_and(|service| !service.published.is_empty())
    }

    fn instances_of(&self, name: &FullName) -> impl Iterator<Item = &Instance> {
        let service = self.instances.services.get(name);
        service
            .into_iter()
            .flat_map(|service| service.instances.iter().map(AsRef::as_ref))
    }

    fn view(&self, name: &FullName, routes: &BTreeMap<FullName, Vec<String>>) -> ServiceView {
        let base = ServiceView {
            name: name.to_string(),
            project: name.project.to_string(),
            kind: "process".to_owned(),
            ready: 0,
            desired: 0,
            settled: true,
            stopped: false,
            asleep: false,
            failure: None,
            warnings: Vec::new(),
            instances: self
                .instances_of(name)
                .map(|instance| self.instance(instance))
                .collect(),
            routes: routes.get(name).cloned().unwrap_or_default(),
            published: self
                .instances
                .services
                .get(name)
                .into_iter()
                .flat_map(|service| service.published.iter().map(ToString::to_string))
                .collect(),
            labels: BTreeMap::new(),
            endpoints: Vec::new(),
        };
        let running = self.instances.services.get(name);
        match (self.desired.workloads.get(name), self.desired.services.get(name)) {
            (Some(workload), _) => self.process(base, workload, running),
            (None, _) if !base.instances.is_empty() => ServiceView {
                settled: false,
                ..base
            },
            (None, Some(service)) => self.external(base, name, service),
            (None, None) => base,
        }
    }

    fn process(
        &self,
        base: ServiceView,
        workload: &Entry<Workload>,
        running: Option<&ServiceInstances>,
    ) -> ServiceView {
        let planned = self.instances.generation >= workload.generation;
        let wanted = match workload.spec.replicas {
            _ if workload.spec.stopped => 0,
            Replicas::Count(count) => count,
            Replicas::Max => 1,
        };
        let ready = base
            .instances
            .iter()
            .filter(|instance| instance.state == InstanceState::Ready);
        ServiceView {
            ready: count(ready),
            desired: running
                .filter(|_| planned)
                .map_or(wanted, |service| service.desired),
            settled: planned && running.is_some_and(|service| service.settled),
            stopped: workload.spec.stopped,
            asleep: running.is_some_and(|service| service.asleep),
            labels: workload.spec.labels.clone(),
            failure: running
                .filter(|_| planned)
                .and_then(|service| service.failure.clone()),
            warnings: running
                .map(|service| service.warnings.clone())
                .unwrap_or_default(),
            ..base
        }
    }

    fn external(
        &self,
        base: ServiceView,
        name: &FullName,
        service: &Entry<hythe_model::Service>,
    ) -> ServiceView {
        let pool = self
            .endpoints
            .pools
            .get(&pool_name(self.desired, name, &service.spec));
        let endpoints = pool.map(|pool| pool.endpoints.as_slice()).unwrap_or_default();
        let unresolved = pool.map(|pool| pool.unresolved.as_slice()).unwrap_or_default();
        let failure = unresolved
            .first()
            .map(|(host, reason)| format!("{host}: {reason}"));
        ServiceView {
            kind: "external".to_owned(),
            ready: count(endpoints.iter().filter(|endpoint| endpoint.healthy)),
            desired: count(endpoints.iter()) + count(unresolved.iter()),
            settled: self.endpoints.generation >= service.generation,
            failure: failure.filter(|_| endpoints.is_empty()),
            endpoints: pool.map(|pool| self.endpoints(pool)).unwrap_or_default(),
            ..base
        }
    }

    fn endpoints(&self, pool: &PoolEndpoints) -> Vec<EndpointView> {
        let view = |endpoint: &Endpoint| {
            let health = pool.checked.get(&endpoint.address);
            EndpointView {
                id: endpoint.id.to_string(),
                address: endpoint.address.to_string(),
                weight: endpoint.weight,
                healthy: endpoint.healthy,
                in_flight: self.traffic.in_flight(endpoint.address),
                not_picked: None,
                health: health.map(|health| health.reason.clone()),
                health_since: health.and_then(|health| health.since),
            }
        };
        pool.endpoints.iter().map(view).collect()
    }

    /// What keeps an instance that runs from being picked, as checks of its upstream say.
    fn health(&self, instance: &Instance) -> Option<&Health> {
        let pool = self.endpoints.pools.get(&instance.service)?;
        let address = instance.address?;
        let is_out = |endpoint: &Endpoint| endpoint.address == address && !endpoint.healthy;
        pool.checked
            .get(&address)
            .filter(|_| pool.endpoints.iter().any(is_out))
    }

    fn instance(&self, instance: &Instance) -> InstanceView {
        let health = self.health(instance).map(|health| health.reason.clone());
        InstanceView {
            id: instance.id.to_string(),
            slot: instance.slot,
            pid: instance.pid,
            address: instance.address.map(|address| address.to_string()),
            listening: instance.listening,
            state: instance.state,
            restarts: instance.restarts,
            revision: instance.revision.to_string(),
            started_at: instance.started_at,
            last_exit: instance.last_exit,
            cause: instance.cause.clone(),
            message: instance.message.clone().or(health),
            cpu_millis: instance.cpu_millis,
            memory_bytes: instance.memory_bytes,
            in_flight: instance
                .address
                .map_or(0, |address| self.traffic.in_flight(address)),
        }
    }
}

fn count(items: impl Iterator) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}

//! Plans of routes, and the table that leads to them.
//!
//! A plan is made anew when the route's document, the plan of its service or a plugin that applies to it is another.
//! All other routes stay in the table as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hythe_model::desired::Map;
use hythe_model::traffic::Protocol;
use hythe_model::{Desired, Entry, FullName, Name, Route};
use hythe_routing::{CompileProblem, RouteChange, RouteEntry, RouteTable};

use super::services::Plans;
use super::{References, changed_names};
use crate::metrics::{Metrics, RouteMetrics};
use crate::plugin::chain::Chain;
use crate::plugin::configured::{Plugins, Reach};
use crate::snapshot::{Problem, RoutePlan, ServicePlan};

/// The routes as they are served.
#[derive(Default)]
pub(super) struct Routes {
    seen: Map<Route>,
    served: BTreeMap<FullName, ServedRoute>,
    /// Those of each service.
    of_services: References,
    /// Those that cannot be served as they are now, and why.
    refused: BTreeMap<FullName, Vec<String>>,
}

/// A route, apart from its document so that what was made of it is known by its address.
#[derive(Clone)]
struct ServedRoute {
    document: Arc<Entry<Route>>,
    route: Arc<Route>,
}

/// What plans are made of besides documents.
pub(super) struct Parts<'a> {
    pub(super) services: &'a Plans,
    pub(super) plugins: &'a Plugins,
    pub(super) metrics: &'a Metrics,
    pub(super) workers: usize,
    /// The table before, whose counters go on counting.
    pub(super) table: &'a RouteTable<RoutePlan>,
}

impl Routes {
    /// The table after the newest documents; `services` and `plugins` tell what of both is another than before.
    pub(super) fn follow(
        &mut self,
        desired: &Desired,
        services: &BTreeSet<FullName>,
        plugins: &Reach,
        parts: &Parts<'_>,
    ) -> RouteTable<RoutePlan> {
        let concerned = self.concerned(desired, services, plugins);
        self.seen = Arc::clone(&desired.routes);
        let wanted = self.wanted(&concerned, desired);
        let changes = concerned.iter().map(|name| match wanted.get(name) {
            Some(route) => RouteChange::Serve(parts.entry(name, route)),
            None => RouteChange::Drop(name.clone()),
        });
        let (table, problems) = parts.table.changed(changes);
        self.refuse(&concerned, problems);
        // Those stay as they were served last, with the services and plugins that there are now.
        let again = self.refused.keys().filter_map(|name| {
            let served = self.served.get(name)?;
            Some(RouteChange::Serve(parts.entry(name, served)))
        });
        let (table, _) = table.changed(again);
        for name in concerned {
            if !self.refused.contains_key(&name) {
                let route = wanted.get(&name).cloned();
                self.serve(name, route);
            }
        }
        table
    }

    pub(super) fn problems(&self) -> impl Iterator<Item = Problem> {
        Problem::of_each("route", &self.refused)
    }

    /// The routes that have to be planned anew.
    fn concerned(
        &self,
        desired: &Desired,
        services: &BTreeSet<FullName>,
        plugins: &Reach,
    ) -> BTreeSet<FullName> {
        if plugins.everywhere {
            return self.seen.keys().chain(desired.routes.keys()).cloned().collect();
        }
        let mut concerned = changed_names(&self.seen, &desired.routes);
        let of_services = services
            .union(&plugins.services)
            .filter_map(|name| self.of_services.get(name));
        concerned.extend(of_services.flatten().cloned());
        let of_plugins = plugins
            .routes
            .iter()
            .filter(|name| desired.routes.contains_key(*name));
        concerned.extend(of_plugins.cloned());
        // What cannot be served is tried again: there may be room for it now.
        concerned.extend(self.refused.keys().cloned());
        concerned
    }

    /// Those of the routes that `desired` has; one whose document is as before, as it was.
    fn wanted(&self, concerned: &BTreeSet<FullName>, desired: &Desired) -> BTreeMap<FullName, ServedRoute> {
        let route = |name: &FullName| {
            let document = desired.routes.get(name)?;
            let known = self
                .served
                .get(name)
                .filter(|known| Arc::ptr_eq(&known.document, document));
            let read = || ServedRoute {
                document: Arc::clone(document),
                route: Arc::new(document.spec.clone()),
            };
            Some((name.clone(), known.cloned().unwrap_or_else(read)))
        };
        concerned.iter().filter_map(route).collect()
    }

    fn refuse(&mut self, concerned: &BTreeSet<FullName>, problems: Vec<CompileProblem>) {
        self.refused.retain(|name, _| !concerned.contains(name));
        for CompileProblem { route, message } in problems {
            self.refused.entry(route).or_default().push(message);
        }
    }

    /// Remembers what a route is served as; `None`: not at all.
    fn serve(&mut self, name: FullName, route: Option<ServedRoute>) {
        let before = self.served.get(&name);
        if let Some(service) = before.and_then(|served| service_of(&name, &served.route)) {
            self.of_services.remove(&service, &name);
        }
        let Some(route) = route else {
            self.served.remove(&name);
            return;
        };
        if let Some(service) = service_of(&name, &route.route) {
            self.of_services.insert(service, name.clone());
        }
        self.served.insert(name, route);
    }
}

fn service_of(name: &FullName, route: &Route) -> Option<FullName> {
    let service = route.service.clone();
    service.map(|service| FullName::new(name.project.clone(), service))
}

impl Parts<'_> {
    fn entry(&self, name: &FullName, served: &ServedRoute) -> RouteEntry<RoutePlan> {
        RouteEntry {
            name: name.clone(),
            created_at: served.document.created_at,
            route: Arc::clone(&served.route),
            payload: self.route_plan(name, &served.route),
        }
    }

    /// Everything leads to one service, with its plugins.
    pub(super) fn own_table(&self, listener: &FullName, service: &Name) -> RouteTable<RoutePlan> {
        let route = Route {
            strip_path: false,
            preserve_host: true,
            paths: vec!["/".to_owned()],
            ..Route::to(Some(service.clone()))
        };
        let entry = RouteEntry {
            name: listener.clone(),
            created_at: 0,
            payload: self.route_plan(listener, &route),
            route: Arc::new(route),
        };
        RouteTable::default().changed([RouteChange::Serve(entry)]).0
    }

    fn route_plan(&self, name: &FullName, route: &Route) -> RoutePlan {
        let service_name = service_of(name, route);
        let service = service_name
            .as_ref()
            .and_then(|service| self.services.get(service));
        let service_label = service_name.as_ref().map(ToString::to_string).unwrap_or_default();
        let chain = self.plugins.chain(name, service_name.as_ref());
        RoutePlan {
            label: name.to_string(),
            service: service.cloned(),
            strip_path: route.strip_path,
            preserve_host: route.preserve_host,
            path_handling: route.path_handling,
            https_redirect: route.https_redirect_status_code,
            is_grpc: route
                .protocols
                .iter()
                .any(|protocol| matches!(protocol, Protocol::Grpc | Protocol::Grpcs)),
            elsewhere: self.counters_of_destinations(name, &chain),
            chain,
            metrics: self.counters_of(name, &service_label),
        }
    }

    /// Those that the route has for this service, if it has some.
    fn counters_of(&self, route: &FullName, service: &str) -> Arc<RouteMetrics> {
        let before = self.table.get(route).map(|entry| &entry.payload);
        let mut known = before.into_iter().flat_map(RoutePlan::counters);
        let known = known.find(|counters| counters.service() == service).cloned();
        known.unwrap_or_else(|| self.metrics.route(&route.to_string(), service, self.workers))
    }

    fn counters_of_destinations(
        &self,
        route: &FullName,
        chain: &Chain,
    ) -> Box<[(String, Arc<RouteMetrics>)]> {
        let destinations = chain.links().flat_map(|link| link.destinations.iter().flatten());
        let labels: BTreeSet<&str> = destinations
            .map(|service: &Arc<ServicePlan>| service.label.as_str())
            .collect();
        let counters = |service: &str| (service.to_owned(), self.counters_of(route, service));
        labels.into_iter().map(counters).collect()
    }
}

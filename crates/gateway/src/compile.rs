//! From the desired state to the next snapshot, for the price of what has changed.
//!
//! ```text
//!  documents that are others ──► plans of services ──┬──► plans of routes ──► table
//!  (by comparing pointers)                           │         ▲
//!                            ──► plugins ────────────┴─────────┘   a chain of each route
//! ```
//!
//! Each of the three remembers the documents it has read and compares them with the newest: what two versions of a map
//! share is not looked into. It makes anew what a document that is another concerns, and tells the next one what that
//! was. A change of a route concerns that route; one of a service, an upstream or a plugin, the routes that lead there.
//! A plugin for all routes, or for a consumer on all routes, concerns all of them.

mod references;
mod routes;
mod services;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use hythe_model::desired::Map;
use hythe_model::{Consumer, Desired, Entry, FullName, Listener, ListenerProtocol, Name};
use hythe_routing::RouteTable;

pub(crate) use self::references::References;
use self::routes::{Parts, Routes};
pub(crate) use self::services::Plans;
use self::services::Services;
use crate::directory::Directory;
use crate::metrics::{Metrics, RouteMetrics};
use crate::plugin::PluginKind;
use crate::plugin::configured::Plugins;
use crate::pools::Pools;
use crate::relay::RelayPlan;
use crate::snapshot::{OwnTables, Problem, Relays, RoutePlan, Snapshot};

/// Makes snapshots, and remembers what the next one may reuse.
///
/// One bad thing must not hold everything else back, nor change what already serves: a route, service or
/// plugin that cannot be used stays as it was served last; one that never was is left out (a route), missing
/// (a service: its routes answer 503), or closed (a plugin: its routes answer 503, since passing requests
/// by a guard that cannot be read is worse than refusing them).
pub(crate) struct Compiler {
    builtin: &'static [PluginKind],
    workers: usize,
    metrics: Arc<Metrics>,
    plugins: Plugins,
    directory: Arc<Directory>,
    /// Of which the directory was made.
    consumers: Map<Consumer>,
    services: Services,
    routes: Routes,
    relays: Arc<Relays>,
    own: Arc<OwnTables>,
    /// Of which both were made.
    listeners: Map<Listener>,
    unrouted: Arc<RouteMetrics>,
}

impl Compiler {
    pub(crate) fn new(builtin: &'static [PluginKind], workers: usize, metrics: Arc<Metrics>) -> Self {
        let unrouted = metrics.route("", "", workers);
        Self {
            builtin,
            workers,
            metrics,
            plugins: Plugins::default(),
            directory: Arc::default(),
            consumers: Map::default(),
            services: Services::default(),
            routes: Routes::default(),
            relays: Arc::default(),
            own: Arc::default(),
            listeners: Map::default(),
            unrouted,
        }
    }

    /// A snapshot without a route, for the time before the first desired state.
    pub(crate) fn empty(&self) -> Snapshot {
        self.snapshot(RouteTable::default())
    }

    /// The snapshot of `desired` after `earlier`, the one that was made last; what cannot be used is told beside.
    pub(crate) fn compile(
        &mut self,
        earlier: &Snapshot,
        desired: &Desired,
        pools: &mut Pools,
    ) -> (Snapshot, Vec<Problem>) {
        let services = self.services.follow(desired, pools);
        let plans = &self.services.plans;
        let plugins = self.plugins.follow(desired, self.builtin, plans, &services);
        let parts = Parts {
            services: plans,
            plugins: &self.plugins,
            metrics: &self.metrics,
            workers: self.workers,
            table: &earlier.table,
        };
        let table = self.routes.follow(desired, &services, &plugins, &parts);
        if !Arc::ptr_eq(&self.consumers, &desired.consumers) {
            self.consumers = Arc::clone(&desired.consumers);
            self.directory = Arc::new(Directory::of(desired));
        }
        let led_elsewhere = !services.is_empty() || plugins.everywhere || !plugins.services.is_empty();
        if led_elsewhere || !Arc::ptr_eq(&self.listeners, &desired.listeners) {
            self.follow_listeners(desired);
        }
        let problems = self.services.problems().chain(self.plugins.problems());
        let problems = problems.chain(self.routes.problems()).collect();
        (self.snapshot(table), problems)
    }

    fn snapshot(&self, table: RouteTable<RoutePlan>) -> Snapshot {
        Snapshot {
            table,
            directory: Arc::clone(&self.directory),
            relays: Arc::clone(&self.relays),
            own: Arc::clone(&self.own),
            unrouted: Arc::clone(&self.unrouted),
        }
    }

    fn follow_listeners(&mut self, desired: &Desired) {
        self.listeners = Arc::clone(&desired.listeners);
        self.relays = Arc::new(self.relay_plans(desired));
        self.own = Arc::new(self.own_tables(desired));
    }

    fn own_tables(&self, desired: &Desired) -> OwnTables {
        let with_http = |(name, entry): (&FullName, &Arc<Entry<Listener>>)| {
            let service = entry.spec.service.as_ref()?;
            if entry.spec.protocol != ListenerProtocol::Auto {
                return None;
            }
            let label = name.to_string();
            let nothing = RouteTable::default();
            let parts = Parts {
                services: &self.services.plans,
                plugins: &self.plugins,
                metrics: &self.metrics,
                workers: self.workers,
                table: self.own.get(&label).unwrap_or(&nothing),
            };
            let table = parts.own_table(name, service);
            Some((label, table))
        };
        desired.listeners.iter().filter_map(with_http).collect()
    }

    fn relay_plans(&self, desired: &Desired) -> Relays {
        let relays = desired
            .listeners
            .iter()
            .filter(|(_, entry)| !entry.spec.protocol.is_http());
        let plan = |(name, entry): (&FullName, &Arc<Entry<Listener>>)| {
            let label = name.to_string();
            let service = |service: &Name| {
                let service = FullName::new(name.project.clone(), service.clone());
                self.services.plans.get(&service).cloned()
            };
            let metrics = self.metrics.relay(&label, entry.spec.protocol);
            let plan = RelayPlan::new(&entry.spec, service, metrics);
            (label, Arc::new(plan))
        };
        relays.map(plan).collect()
    }
}

/// The names whose documents are others, or there in one of both only.
pub(crate) fn changed_names<T>(before: &Map<T>, now: &Map<T>) -> BTreeSet<FullName> {
    let differences = before.differences(now, Arc::ptr_eq);
    differences.into_iter().map(|change| change.key.clone()).collect()
}

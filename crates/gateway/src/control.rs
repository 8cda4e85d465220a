//! Keeps what workers read up to date: compiles on a new desired state, swaps pools on new endpoints, opens and
//! closes listeners.

use std::sync::Arc;
use std::time::Duration;

use hythe_model::{Desired, Endpoints};
use hythe_spine::{Latest, Publisher, Shutdown, Spine, latest, until};
use tokio::time::Instant;

use crate::Inputs;
use crate::compile::Compiler;
use crate::openings::{self, Openings};
use crate::pools::Pools;
use crate::snapshot::{Problem, Snapshot};
use crate::tls::ServerTls;

/// How far the gateway is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// The desired generation that it serves, endpoints included.
    pub generation: u64,
    /// What of the newest desired state is not served as it says.
    pub problems: Vec<Problem>,
}

/// Compiles what is there, then follows it in a task.
pub(crate) fn start(
    compiler: Compiler,
    openings: Openings,
    tls: Arc<ServerTls>,
    inputs: Inputs,
    spine: &Spine,
) -> (Latest<Snapshot>, Latest<Status>) {
    let (snapshot, snapshot_reader) = latest(compiler.empty());
    let (status, status_reader) = latest(Status::default());
    let pools = Pools::new(inputs.table);
    let mut control = Control {
        compiler,
        openings,
        tls,
        pools,
        desired: Arc::default(),
        problems: Vec::new(),
        unopened: Vec::new(),
        unshown: Vec::new(),
        unasked: Vec::new(),
        snapshot,
        retired: Vec::new(),
        sweep_at: None,
        status,
    };
    let (mut desired, mut endpoints) = (inputs.desired, inputs.endpoints);
    control.follow(&desired.get_and_mark(), &endpoints.get_and_mark());
    control.openings.forget_adopted();
    spine.spawn("gateway control", |shutdown| {
        run(control, desired, endpoints, shutdown)
    });
    (snapshot_reader, status_reader)
}

async fn run(
    mut control: Control,
    mut desired: Latest<Desired>,
    mut endpoints: Latest<Endpoints>,
    shutdown: Shutdown,
) {
    let changed = async {
        loop {
            tokio::select! {
                () = desired.changed() => {}
                () = endpoints.changed() => {}
                () = tokio::time::sleep(openings::RETRY), if !control.unopened.is_empty() => {}
                () = until(control.sweep_at) => control.sweep(),
            }
            control.follow(&desired.get_and_mark(), &endpoints.get_and_mark());
        }
    };
    shutdown.unless_requested(changed).await;
}

struct Control {
    compiler: Compiler,
    openings: Openings,
    tls: Arc<ServerTls>,
    pools: Pools,
    desired: Arc<Desired>,
    /// Of routes, services and plugins.
    problems: Vec<Problem>,
    /// Of listeners.
    unopened: Vec<Problem>,
    /// Of certificates.
    unshown: Vec<Problem>,
    /// Of the certificates that clients show.
    unasked: Vec<Problem>,
    snapshot: Publisher<Snapshot>,
    /// Snapshots that workers may still use. They are held here so that none has to free thousands of routes in the
    /// middle of a request.
    retired: Vec<Arc<Snapshot>>,
    /// When a look at the retired is due.
    sweep_at: Option<Instant>,
    status: Publisher<Status>,
}

/// How long after a snapshot was retired it is freed at the latest, if no request holds it then.
const LEISURE: Duration = Duration::from_secs(1);

impl Control {
    /// Takes the newest of both in. Pools first: a new route must find its endpoints.
    fn follow(&mut self, desired: &Arc<Desired>, endpoints: &Arc<Endpoints>) {
        self.pools.update(Arc::clone(endpoints));
        if !Arc::ptr_eq(&self.desired.certificates, &desired.certificates) {
            self.show_certificates(desired);
        }
        if concerns_routes(&self.desired, desired) {
            self.compile(desired);
        }
        if concerns_clients(&self.desired, desired) {
            self.ask_clients(desired);
        }
        if !self.unopened.is_empty() || !Arc::ptr_eq(&self.desired.listeners, &desired.listeners) {
            self.open(desired);
        }
        self.desired = Arc::clone(desired);
        let generation = desired.generation.min(endpoints.generation);
        let status = Status {
            generation,
            problems: [&self.problems, &self.unopened, &self.unshown, &self.unasked]
                .into_iter()
                .flatten()
                .cloned()
                .collect(),
        };
        if *self.status.get() != status {
            self.status.publish(status);
        }
    }

    /// Frees the snapshots that nobody but us holds, and the pools that no snapshot has any more.
    fn sweep(&mut self) {
        self.free_retired();
        self.pools.prune();
        self.sweep_at = None;
    }

    fn free_retired(&mut self) {
        self.retired.retain(|snapshot| Arc::strong_count(snapshot) > 1);
    }

    fn open(&mut self, desired: &Desired) {
        let problems = self.openings.follow(desired);
        for problem in problems.iter().filter(|problem| !self.unopened.contains(problem)) {
            tracing::error!(%problem, "not opened; trying again");
        }
        self.unopened = problems;
    }

    fn show_certificates(&mut self, desired: &Desired) {
        let problems = self.tls.show(desired);
        for problem in problems.iter().filter(|problem| !self.unshown.contains(problem)) {
            tracing::error!(%problem, "not served as it says");
        }
        self.unshown = problems;
    }

    fn ask_clients(&mut self, desired: &Desired) {
        let problems = self.tls.ask(desired);
        for problem in problems.iter().filter(|problem| !self.unasked.contains(problem)) {
            tracing::error!(%problem, "not served as it says");
        }
        self.unasked = problems;
    }

    fn compile(&mut self, desired: &Desired) {
        let earlier = self.snapshot.get();
        let (snapshot, problems) = self.compiler.compile(&earlier, desired, &mut self.pools);
        self.snapshot.publish(snapshot);
        self.free_retired();
        self.retired.push(earlier);
        // Further changes do not put it off: there may always be some.
        self.sweep_at.get_or_insert_with(|| Instant::now() + LEISURE);
        for problem in problems.iter().filter(|problem| !self.problems.contains(problem)) {
            tracing::error!(%problem, "not served as it says; what was served of it before goes on");
        }
        self.problems = problems;
    }
}

/// Whether what clients are asked for may be another than before.
fn concerns_clients(before: &Desired, now: &Desired) -> bool {
    !(Arc::ptr_eq(&before.listeners, &now.listeners)
        && Arc::ptr_eq(&before.ca_certificates, &now.ca_certificates))
}

/// Whether anything that routes are made of is another than before.
fn concerns_routes(before: &Desired, now: &Desired) -> bool {
    !(Arc::ptr_eq(&before.routes, &now.routes)
        && Arc::ptr_eq(&before.services, &now.services)
        && Arc::ptr_eq(&before.upstreams, &now.upstreams)
        && Arc::ptr_eq(&before.plugins, &now.plugins)
        && Arc::ptr_eq(&before.consumers, &now.consumers)
        && Arc::ptr_eq(&before.listeners, &now.listeners)
        && Arc::ptr_eq(&before.ca_certificates, &now.ca_certificates)
        && same_client_certificates(before, now)
        && same_names(before, now))
}

/// Which workloads there are decides what a service's host means; what they say does not.
fn same_names(before: &Desired, now: &Desired) -> bool {
    Arc::ptr_eq(&before.workloads, &now.workloads) || before.workloads.keys().eq(now.workloads.keys())
}

/// Certificates that only clients are shown are no part of routes.
fn same_client_certificates(before: &Desired, now: &Desired) -> bool {
    let is_used = || {
        let mut services = now.services.values();
        services.any(|entry| entry.spec.client_certificate.is_some())
    };
    Arc::ptr_eq(&before.certificates, &now.certificates) || !is_used()
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use hythe_balance::EndpointTable;
    use hythe_model::{FullName, Route, Service};
    use hythe_testkit::documents::entry;

    use super::*;
    use crate::listener::Listeners;
    use crate::pools::SharedPool;

    /// One route to one service.
    fn desired() -> Desired {
        let mut desired = Desired::default();
        let (name, service): (FullName, _) = ("a".parse().unwrap(), "a".parse().unwrap());
        Arc::make_mut(&mut desired.services).insert(name.clone(), entry(Service::at("a.test")));
        Arc::make_mut(&mut desired.routes).insert(name, entry(Route::to(Some(service))));
        desired
    }

    fn pool(snapshot: &Snapshot) -> Weak<SharedPool> {
        let mut routes = snapshot.table.in_order(None);
        let service = routes.next().unwrap().payload.service.as_ref();
        Arc::downgrade(&service.unwrap().pool)
    }

    #[tokio::test(start_paused = true)]
    async fn pools_of_the_past_go_however_often_endpoints_change() {
        let (desired, desired_reader) = latest(desired());
        let (endpoints, endpoints_reader) = latest(Endpoints::default());
        let spine = Spine::default();
        let inputs = Inputs {
            desired: desired_reader,
            endpoints: endpoints_reader,
            listeners: Listeners::default(),
            table: Arc::new(EndpointTable::default()),
        };
        let compiler = Compiler::new(&[], 1, Arc::default());
        let (openings, _) = Openings::new(Listeners::default(), 1, spine.shutdown());
        let tls = Arc::new(ServerTls::new(None).unwrap());
        let (snapshot, _) = start(compiler, openings, tls, inputs, &spine);
        let pool = pool(&snapshot.get());
        assert!(pool.upgrade().is_some());
        desired.publish(Desired::default());
        for _ in 0..6 {
            tokio::time::sleep(LEISURE / 3).await;
            endpoints.publish(Endpoints::default());
        }
        assert!(pool.upgrade().is_none());
    }
}

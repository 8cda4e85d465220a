//! Tasks beside each instance that has something to wait for: its health, or the end of its requests; and whether it
//! still lives.
//!
//! Which tasks there should be follows from the unit alone; [`Watches::keep`] starts what is missing and
//! ends what is not wanted any more, so a changed health check or a restart needs no rule of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hythe_model::workload::{HealthCheck, ListensBy};
use hythe_model::{Entry, InstanceId, Workload};
use hythe_ports::Traffic;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use crate::launch::environment;
use crate::owner::Event;
use crate::probe::{self, HealthSubject, Subject, Teller};
use crate::runtime::Runtime;
use crate::unit::{Check, Phase, Unit};

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aim {
    Accepts(SocketAddr),
    Takes(SocketAddr),
    Health,
    Drained(SocketAddr),
    Liveness,
}

/// The tasks: one for where the instance is in its life, one for its liveness.
pub(crate) struct Watches {
    tasks: BTreeMap<InstanceId, [Option<Watch>; 2]>,
    starter: Starter,
}

/// What a task needs.
struct Starter {
    runtime: Arc<dyn Runtime>,
    traffic: Arc<dyn Traffic>,
    events: mpsc::Sender<Event>,
    gateway_url: String,
}

struct Watch {
    pid: u32,
    aim: Aim,
    workload: Option<Arc<Entry<Workload>>>,
    _task: AbortOnDropHandle<()>,
}

/// How often it is looked whether an instance has drained. An address counts as drained when two looks
/// in a row found nothing: between them whoever was still working with an older list has picked.
const DRAIN_POLL: Duration = Duration::from_millis(15);

impl Watches {
    pub(crate) fn new(
        runtime: Arc<dyn Runtime>,
        traffic: Arc<dyn Traffic>,
        events: mpsc::Sender<Event>,
        gateway_url: String,
    ) -> Self {
        Self {
            tasks: BTreeMap::new(),
            starter: Starter {
                runtime,
                traffic,
                events,
                gateway_url,
            },
        }
    }

    /// Makes the tasks those that `units` need.
    pub(crate) fn keep(&mut self, units: &BTreeMap<InstanceId, Unit>) {
        self.tasks.retain(|id, _| units.contains_key(id));
        for unit in units.values() {
            let aims = aims(unit);
            if aims == [None; 2] {
                self.tasks.remove(&unit.id);
                continue;
            }
            let watches = self.tasks.entry(unit.id.clone()).or_default();
            for (watch, aim) in watches.iter_mut().zip(aims) {
                let wanted = unit.pid.zip(aim);
                let fits = |watch: &Watch| wanted.is_some_and(|(pid, aim)| watch.fits(unit, pid, aim));
                if !watch.as_ref().is_some_and(fits) {
                    *watch = wanted.and_then(|(pid, aim)| self.starter.start(unit, pid, aim));
                }
            }
        }
    }
}

impl Starter {
    fn start(&self, unit: &Unit, pid: u32, aim: Aim) -> Option<Watch> {
        let task = AbortOnDropHandle::new(self.spawn(unit, pid, aim)?);
        Some(Watch {
            pid,
            aim,
            workload: unit.workload.clone(),
            _task: task,
        })
    }

    fn spawn(&self, unit: &Unit, pid: u32, aim: Aim) -> Option<JoinHandle<()>> {
        let (id, events) = (unit.id.clone(), self.events.clone());
        let subject = match aim {
            Aim::Accepts(address) => Subject::Accepts(address),
            Aim::Takes(address) => Subject::Takes(address),
            Aim::Health => Subject::Health(self.health_subject(unit, aim)?),
            Aim::Liveness => Subject::Liveness(self.health_subject(unit, aim)?),
            Aim::Drained(address) => {
                let traffic = Arc::clone(&self.traffic);
                return Some(tokio::spawn(async move {
                    wait_until_drained(&*traffic, address).await;
                    let _ = events.send(Event::Drained { id, pid }).await;
                }));
            }
        };
        Some(tokio::spawn(probe::run(
            subject,
            unit.health(),
            Teller { id, pid, events },
        )))
    }

    fn health_subject(&self, unit: &Unit, aim: Aim) -> Option<HealthSubject> {
        let workload = &unit.workload.as_ref()?.spec;
        Some(HealthSubject {
            check: aim.check(workload)?.clone(),
            address: unit.address,
            is_given: workload.listens == ListensBy::Socket,
            working_dir: workload.working_dir.clone(),
            environment: environment(unit, workload, unit.address, &self.gateway_url),
            user: workload.user.clone(),
            runtime: Arc::clone(&self.runtime),
        })
    }
}

impl Watch {
    /// Whether it is what `unit` needs. Folder and environment cannot change under a running instance,
    /// its checks can.
    fn fits(&self, unit: &Unit, pid: u32, aim: Aim) -> bool {
        let same_check = match (&self.workload, &unit.workload) {
            (Some(ours), Some(theirs)) => {
                Arc::ptr_eq(ours, theirs) || aim.check(&ours.spec) == aim.check(&theirs.spec)
            }
            (ours, theirs) => ours.is_none() && theirs.is_none(),
        };
        self.pid == pid && self.aim == aim && (same_check || !aim.is_a_check())
    }
}

impl Aim {
    fn is_a_check(self) -> bool {
        matches!(self, Self::Health | Self::Liveness)
    }

    /// The check of `workload` that it is about.
    fn check(self, workload: &Workload) -> Option<&HealthCheck> {
        match self {
            Self::Health => workload.healthcheck.as_ref(),
            Self::Liveness => workload.liveness.as_ref(),
            Self::Accepts(_) | Self::Takes(_) | Self::Drained(_) => None,
        }
    }
}

fn aims(unit: &Unit) -> [Option<Aim>; 2] {
    [aim(unit), unit.liveness().map(|_| Aim::Liveness)]
}

fn aim(unit: &Unit) -> Option<Aim> {
    match unit.phase {
        Phase::Up { .. } => match unit.check()? {
            Check::Running | Check::Says | Check::Listens => None,
            Check::Accepts(_) | Check::Takes(_) if unit.is_serving() => None,
            Check::Accepts(address) => Some(Aim::Accepts(address)),
            Check::Takes(address) => Some(Aim::Takes(address)),
            Check::Health => Some(Aim::Health),
        },
        Phase::Draining { drained: false, .. } => unit.address.map(Aim::Drained),
        _ => None,
    }
}

async fn wait_until_drained(traffic: &dyn Traffic, address: SocketAddr) {
    let mut quiet = 0;
    while quiet < 2 {
        tokio::time::sleep(DRAIN_POLL).await;
        let busy = traffic.is_listed(address) || traffic.in_flight(address) > 0;
        quiet = if busy { 0 } else { quiet + 1 };
    }
}

//! The supervisor's seam, on the minder.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hythe_minder::protocol::Farewell;
use hythe_model::InstanceId;
use hythe_model::workload::Limits;
use hythe_ports::BoxFuture;
use hythe_supervisor::runtime::{
    Found, Listens, ProbeResult, ProbeSpec, Record, Runtime, RuntimeError, RuntimeEvent, StartSpec, Started,
    StopBy, Usage,
};
use tokio::sync::mpsc;

use crate::requests::Told;
use crate::{ProcessRuntime, addresses, confinement, probe, processes, requests, user};

impl Runtime for ProcessRuntime {
    fn start(&self, spec: StartSpec) -> BoxFuture<'_, Result<Started, RuntimeError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let identity = user::resolve_for(&spec).await?;
            let environment = user::complete(spec.environment, identity.as_ref());
            let spec = StartSpec {
                environment: shared.complete(environment),
                ..spec
            };
            self.run(move |connection| requests::start(&shared, connection, &spec, identity.as_ref()))
                .await
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Found>, RuntimeError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(self.run(move |connection| requests::list(&shared, connection)))
    }

    fn record<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<(), RuntimeError>> {
        let (shared, record) = (Arc::clone(&self.shared), record.clone());
        Box::pin(self.run(move |connection| requests::record(&shared, connection, &record)))
    }

    fn signal<'a>(
        &'a self,
        id: &'a InstanceId,
        signal: i32,
        group: bool,
    ) -> BoxFuture<'a, Result<(), RuntimeError>> {
        let (shared, id) = (Arc::clone(&self.shared), id.clone());
        Box::pin(self.run(move |connection| requests::signal(&shared, connection, &id, signal, group)))
    }

    fn ask_to_end<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<(), RuntimeError>> {
        Box::pin(async move {
            if let Some(farewell) = farewell(&record.stop_by) {
                let (shared, id) = (Arc::clone(&self.shared), record.id.clone());
                let told = self
                    .run(move |connection| requests::part(&shared, connection, &id, farewell))
                    .await?;
                match (told, &record.stop_by) {
                    (Told::Yes, StopBy::Message(_)) => return Ok(()),
                    (Told::Yes, _) if self.has_ended(&record.id).await => return Ok(()),
                    (Told::Yes | Told::No, _) => {}
                }
            }
            self.signal(&record.id, record.stop_signal, false).await
        })
    }

    /// An instance that has not ended is killed.
    fn forget<'a>(&'a self, id: &'a InstanceId) -> BoxFuture<'a, Result<(), RuntimeError>> {
        let (shared, id) = (Arc::clone(&self.shared), id.clone());
        Box::pin(self.run(move |connection| requests::forget(&shared, connection, &id)))
    }

    /// An address is kept for 30 seconds, or as long as an instance has it in its record.
    fn allocate_address(&self, listens: Listens) -> BoxFuture<'_, Result<Option<SocketAddr>, RuntimeError>> {
        Box::pin(async move {
            let rebinds = self.shared.rebinds.load(Ordering::Relaxed);
            let own = match listens {
                Listens::Nowhere => return Ok(None),
                Listens::Somewhere if !(rebinds && self.shared.learns.load(Ordering::Relaxed)) => {
                    return Ok(None);
                }
                Listens::Somewhere => Some(0),
                Listens::Given { port } => Some(port),
                Listens::On { port, .. } if rebinds => Some(port),
                Listens::On { .. } | Listens::AsTold => None,
            };
            let is_free = match listens {
                Listens::On { shared: true, .. } => addresses::can_be_shared,
                _ => addresses::can_be_bound,
            };
            let taken = self.shared.runs.addresses();
            let mut addresses = self.shared.addresses();
            let random = fastrand::u32(..);
            let address = addresses.allocate(own, &taken, random, Instant::now(), is_free);
            let range = addresses.range();
            let address = address.ok_or(RuntimeError::NoFreePort(*range.start(), *range.end()))?;
            Ok(Some(address))
        })
    }

    fn probe(&self, command: ProbeSpec) -> BoxFuture<'_, Result<ProbeResult, RuntimeError>> {
        Box::pin(async move {
            let identity = user::resolve(command.user.clone())
                .await
                .map_err(|source| probe::failed(&command, source))?;
            let environment = user::complete(command.environment, identity.as_ref());
            let command = ProbeSpec {
                environment: self.shared.complete(environment),
                ..command
            };
            probe::run(&command, identity.as_ref()).await
        })
    }

    fn unenforced(&self, limits: &Limits) -> Vec<String> {
        confinement::unenforced(&self.shared, limits)
    }

    fn usage(&self, id: &InstanceId) -> Option<Usage> {
        let run = self.shared.runs.of(id).filter(|run| !run.exited)?;
        let (pid, start_time) = run.process?;
        match self.shared.group_of(&run.name).usage() {
            Some(used) => Some(processes::usage_of_all(&used)),
            None => processes::usage_of_tree(pid, start_time),
        }
    }

    fn events(&self) -> mpsc::Receiver<RuntimeEvent> {
        self.shared.subscribe()
    }
}

/// How long a worker of Node's cluster has to end by itself before it gets its stop signal. One that has nothing left to
/// do takes a few milliseconds; one that keeps timers or connections to others never does.
const DISCONNECT_PATIENCE: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(5);

impl ProcessRuntime {
    async fn has_ended(&self, id: &InstanceId) -> bool {
        let runs = || self.shared.runs.of(id).is_some_and(|run| !run.exited);
        let ended = async {
            while runs() {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(DISCONNECT_PATIENCE, ended).await.is_ok()
    }
}

fn farewell(stop_by: &StopBy) -> Option<Farewell> {
    match stop_by {
        StopBy::Signal => None,
        StopBy::Message(message) => Some(Farewell::Message(message.clone())),
        StopBy::Disconnect => Some(Farewell::Disconnect),
    }
}

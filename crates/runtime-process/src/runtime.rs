//! The supervisor's seam, on the minder.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use hythe_model::InstanceId;
use hythe_ports::BoxFuture;
use hythe_supervisor::runtime::{
    Found, ProbeResult, ProbeSpec, Record, Runtime, RuntimeError, RuntimeEvent, StartSpec, Started, Usage,
};
use tokio::sync::mpsc;

use crate::{ProcessRuntime, addresses, probe, processes, requests};

impl Runtime for ProcessRuntime {
    fn start(&self, spec: StartSpec) -> BoxFuture<'_, Result<Started, RuntimeError>> {
        let shared = Arc::clone(&self.shared);
        let spec = StartSpec {
            environment: shared.complete(spec.environment),
            ..spec
        };
        Box::pin(self.run(move |connection| requests::start(&shared, connection, &spec)))
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

    /// An instance that has not ended is killed.
    fn forget<'a>(&'a self, id: &'a InstanceId) -> BoxFuture<'a, Result<(), RuntimeError>> {
        let (shared, id) = (Arc::clone(&self.shared), id.clone());
        Box::pin(self.run(move |connection| requests::forget(&shared, connection, &id)))
    }

    /// A port is kept for 30 seconds, or as long as an instance has it in its record.
    fn allocate_address(&self) -> BoxFuture<'_, Result<SocketAddr, RuntimeError>> {
        Box::pin(async {
            let taken = self.shared.runs.ports();
            let mut addresses = self.shared.addresses();
            let offset = fastrand::u16(..);
            let port = addresses.allocate(&taken, offset, Instant::now(), addresses::can_be_bound);
            let range = addresses.range();
            let port = port.ok_or(RuntimeError::NoFreePort(*range.start(), *range.end()))?;
            Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        })
    }

    fn probe(&self, command: ProbeSpec) -> BoxFuture<'_, Result<ProbeResult, RuntimeError>> {
        let environment = self.shared.complete(command.environment);
        Box::pin(async move {
            probe::run(&ProbeSpec {
                environment,
                ..command
            })
            .await
        })
    }

    fn usage(&self, id: &InstanceId) -> Option<Usage> {
        let run = self.shared.runs.of(id).filter(|run| !run.exited)?;
        let (pid, start_time) = run.process?;
        processes::usage_of_tree(pid, start_time)
    }

    fn events(&self) -> mpsc::Receiver<RuntimeEvent> {
        self.shared.subscribe()
    }
}

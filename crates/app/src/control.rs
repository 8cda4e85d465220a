//! What the API may ask of the server as a whole.

use std::path::Path;
use std::sync::Arc;

use hythe_model::{InstanceId, Instances, ProjectName};
use hythe_ports::BoxFuture;
use hythe_runtime_process::ProcessRuntime;
use hythe_spine::Latest;
use hythe_supervisor::runtime::{Runtime, RuntimeError};
use tokio::sync::mpsc;

use crate::shutdown::Ending;
use crate::upgrade;

/// The number of SIGKILL, which is the same on every platform.
const SIGKILL: i32 = 9;

struct Control {
    asked: mpsc::Sender<Ending>,
    instances: Latest<Instances>,
    runtime: ProcessRuntime,
}

/// What the API gets, and where its wish to stop the server arrives.
pub(crate) fn control(
    instances: Latest<Instances>,
    runtime: ProcessRuntime,
) -> (Arc<dyn hythe_api::Control>, mpsc::Receiver<Ending>) {
    let (asked, receiver) = mpsc::channel(1);
    let control = Control {
        asked,
        instances,
        runtime,
    };
    (Arc::new(control), receiver)
}

impl hythe_api::Control for Control {
    fn stop(&self, with_services: bool) {
        // When one is already waiting, the server is stopping.
        let _ = self.asked.try_send(Ending::ServerAndMinder { with_services });
    }

    fn upgrade<'a>(&'a self, binary: &'a Path) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            upgrade::check(binary)
                .await
                .map_err(|error| format!("{error:#}"))?;
            let handed = self.runtime.hand_over_minder(binary.to_owned()).await;
            handed.map_err(|error| format!("the minder does not go on: {}", hythe_stdx::chain(&error)))?;
            let left = self.runtime.leave_guard().await;
            left.map_err(|error| hythe_stdx::chain(&error))?;
            let binary = binary.to_owned();
            let asked = self.asked.try_send(Ending::Upgrade { binary });
            asked.map_err(|_| "the server is stopping".to_owned())
        })
    }

    fn kill<'a>(&'a self, project: &'a ProjectName) -> BoxFuture<'a, Result<Vec<InstanceId>, String>> {
        Box::pin(async move {
            let ids = alive(&self.instances.get(), project);
            for id in &ids {
                match self.runtime.signal(id, SIGKILL, true).await {
                    // It ended meanwhile, which is what was wanted.
                    Ok(()) | Err(RuntimeError::Unknown(_)) => {}
                    Err(error) => return Err(format!("kill {id}: {error}")),
                }
            }
            Ok(ids)
        })
    }

    fn signal<'a>(
        &'a self,
        instances: &'a [InstanceId],
        signal: i32,
    ) -> BoxFuture<'a, Result<Vec<InstanceId>, String>> {
        Box::pin(async move {
            let mut signalled = Vec::new();
            for id in instances {
                match self.runtime.signal(id, signal, false).await {
                    Ok(()) => signalled.push(id.clone()),
                    // It ended meanwhile: nobody is there to get it.
                    Err(RuntimeError::Unknown(_)) => {}
                    Err(error) => return Err(format!("signal {signal} for {id}: {error}")),
                }
            }
            Ok(signalled)
        })
    }
}

fn alive(instances: &Instances, project: &ProjectName) -> Vec<InstanceId> {
    let of_project = instances
        .services
        .iter()
        .filter(|(name, _)| name.project == *project);
    of_project
        .flat_map(|(_, service)| &service.instances)
        .filter(|instance| instance.state.is_alive())
        .map(|instance| instance.id.clone())
        .collect()
}

//! What the API may ask of the server as a whole.

use std::sync::Arc;

use hythe_model::{InstanceId, Instances, ProjectName};
use hythe_ports::BoxFuture;
use hythe_spine::Latest;
use hythe_supervisor::runtime::{Runtime, RuntimeError};
use tokio::sync::mpsc;

use crate::shutdown::Ending;

/// The number of SIGKILL, which is the same on every platform.
const SIGKILL: i32 = 9;

struct Control {
    asked: mpsc::Sender<Ending>,
    instances: Latest<Instances>,
    runtime: Arc<dyn Runtime>,
}

/// What the API gets, and where its wish to stop the server arrives.
pub(crate) fn control(
    instances: Latest<Instances>,
    runtime: Arc<dyn Runtime>,
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

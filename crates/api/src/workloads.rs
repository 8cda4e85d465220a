//! What is run, in full.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use hythe_model::desired::of_project;
use hythe_model::{Name, Workload};

use crate::code::Code;
use crate::extract::Door;
use crate::problem::{Answer, Refusal};
use crate::project::named;
use crate::wire::Problem;

/// What is run of a project, by service, with every value of its environments.
///
/// Those are secrets, so only the Unix socket answers this: who may use that may read the store as well.
#[utoipa::path(
    get, path = "/v1/projects/{project}/workloads", operation_id = "list_workloads", tag = "projects",
    params(("project" = String, Path, description = "The project's name.")),
    responses(
        (status = 200, body = Object, description = "Workloads by name."),
        (status = "default", response = Problem),
    ),
)]
pub(crate) async fn list(
    State(api): crate::State,
    Path(project): Path<String>,
    door: Door,
) -> Answer<Json<BTreeMap<Name, Workload>>> {
    if door != Door::Socket {
        let detail = "environments have secrets in them, which only the Unix socket shows";
        return Err(
            Refusal::new(Code::SocketOnly, detail).hint("use the command line on the server's machine")
        );
    }
    let project = named(&project)?;
    let desired = api.inputs.desired.get();
    let workloads = of_project(&desired.workloads, &project);
    Ok(Json(
        workloads
            .map(|(name, entry)| (name.name.clone(), entry.spec.clone()))
            .collect(),
    ))
}

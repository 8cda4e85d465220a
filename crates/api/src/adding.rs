//! Services that no manifest describes: added and removed one by one.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Path, State};
use hythe_model::view::ChangeView;
use hythe_model::{Name, ProjectSpec};

use crate::apply::{self, Facts, ItemKey};
use crate::code::Code;
use crate::extract::{Body, Door, Params};
use crate::problem::{Answer, Refusal};
use crate::project::{ActorParams, Change, change_project, named};
use crate::wire::{AddRequest, Problem};
use crate::{Api, service};

/// Has services run beside those of the project's manifest; other services stay as they are.
///
/// A service that is there already becomes what the request says, without losing a request; one that was stopped runs
/// again. Services of a manifest are refused.
#[utoipa::path(
    put, path = "/v1/projects/{project}/services", operation_id = "add_services", tag = "services",
    params(("project" = String, Path, description = "The project's name.")),
    request_body = AddRequest,
    responses((status = 200, body = ChangeView), (status = "default", response = Problem)),
)]
pub(crate) async fn add(
    State(api): crate::State,
    Path(project): Path<String>,
    door: Door,
    Body(request): Body<AddRequest>,
) -> Answer<Json<ChangeView>> {
    let project = named(&project)?;
    let names: Vec<&str> = request.workloads.keys().map(Name::as_str).collect();
    let change = Change {
        actor: request.actor.clone().unwrap_or_else(|| "somebody".to_owned()),
        owner: door.owner().to_owned(),
        reason: format!("start {}", names.join(" ")),
        dry_run: request.dry_run,
    };
    let spec = ProjectSpec {
        project: project.clone(),
        workloads: request.workloads,
        services: request.services,
        ..ProjectSpec::default()
    };
    change_project(&api, &project, &change, |facts| {
        refuse_of_file(facts, spec.workloads.keys().chain(spec.services.keys()))?;
        check(facts, &api, &spec)?;
        apply::add(facts, &spec, request.restart).map_err(|error| Refusal::failed(Code::Unreadable, &error))
    })
    .await
    .map(Json)
}

/// Removes a service that was added beside the manifest, and ends its instances.
#[utoipa::path(
    delete, path = "/v1/services/{name}", operation_id = "remove_service", tag = "services",
    params(("name" = String, Path, description = "The service."), ActorParams),
    responses((status = 200, body = ChangeView), (status = "default", response = Problem)),
)]
pub(crate) async fn remove(
    State(api): crate::State,
    Path(name): Path<String>,
    door: Door,
    Params(request): Params<ActorParams>,
) -> Answer<Json<ChangeView>> {
    let name = service::named(&name)?;
    let change = Change {
        actor: request.actor(),
        owner: door.owner().to_owned(),
        reason: format!("delete {name}"),
        dry_run: false,
    };
    change_project(&api, &name.project, &change, |facts| {
        refuse_of_file(facts, std::iter::once(&name.name))?;
        let plan = apply::remove_one(facts, &name.name);
        if plan.writes.is_empty() {
            return Err(service::no_service(&api, &name));
        }
        Ok(plan)
    })
    .await
    .map(Json)
}

fn refuse_of_file<'a>(facts: &Facts<'_>, services: impl Iterator<Item = &'a Name>) -> Answer<()> {
    let Some(apply::OfFile { service, path }) = facts.of_file(services) else {
        return Ok(());
    };
    let detail = format!("`{service}` is described by {path}");
    Err(Refusal::new(Code::OfManifest, detail)
        .hint("change it there and run `hythe up`, or take the whole project away with `hythe down`"))
}

fn check(facts: &Facts<'_>, api: &Api, spec: &ProjectSpec) -> Answer<()> {
    let live: BTreeSet<ItemKey> = facts.live.keys().cloned().collect();
    let check_routes = |project: &_, routes: &_| api.inputs.routes.problems(project, routes);
    let errors = apply::validate(spec, &live, &*api.inputs.plugin_check, check_routes);
    if errors.is_empty() {
        return Ok(());
    }
    Err(Refusal::new(
        Code::Invalid,
        "the services cannot be started as they are described",
    )
    .errors(errors))
}

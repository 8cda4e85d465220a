//! Projects: apply a manifest, remove one, list them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use hythe_model::desired::{AppliedManifest, Kind};
use hythe_model::view::ChangeView;
use hythe_model::{ProjectName, ProjectSpec};
use hythe_ports::documents::{CommitError, Document, Documents, Query, ReadError, Transaction};
use serde::Deserialize;

use crate::Api;
use crate::apply::{self, Facts, ItemKey, ItemKind, MANIFEST, Plan};
use crate::code::Code;
use crate::extract::{Body, Params};
use crate::problem::{Answer, Refusal};
use crate::wire::{ApplyRequest, Problem, ProjectView};

/// How often a change is planned anew because somebody else wrote in between.
pub(crate) const TRIES: usize = 5;

/// Every project that was applied.
#[utoipa::path(
    get, path = "/v1/projects", operation_id = "list_projects", tag = "projects",
    responses((status = 200, body = Vec<ProjectView>), (status = "default", response = Problem)),
)]
pub(crate) async fn list(State(api): crate::State) -> Json<Vec<ProjectView>> {
    let desired = api.inputs.desired.get();
    let view = |(name, entry): (&hythe_model::FullName, &Arc<hythe_model::Entry<AppliedManifest>>)| {
        let AppliedManifest { path, spec } = &entry.spec;
        let services: BTreeSet<_> = spec.workloads.keys().chain(spec.services.keys()).collect();
        ProjectView {
            name: name.project.to_string(),
            path: path.clone(),
            generation: entry.generation,
            services: services.into_iter().map(ToString::to_string).collect(),
        }
    };
    Json(desired.manifests.iter().map(view).collect())
}

/// Makes a project what a manifest says.
///
/// Only what changed in the manifest since it was applied last is written; what somebody else changed stays
/// and is told under `conflicts`. Nothing changed: the generation stays as it is.
#[utoipa::path(
    put, path = "/v1/projects/{project}", operation_id = "apply_project", tag = "projects",
    params(("project" = String, Path, description = "The project's name.")),
    request_body = ApplyRequest,
    responses((status = 200, body = ChangeView), (status = "default", response = Problem)),
)]
pub(crate) async fn apply(
    State(api): crate::State,
    Path(project): Path<String>,
    Body(request): Body<ApplyRequest>,
) -> Answer<Json<ChangeView>> {
    let project = named(&project)?;
    if request.spec.project != project {
        let detail = format!(
            "the manifest is of project `{}`, not `{project}`",
            request.spec.project
        );
        return Err(Refusal::new(Code::OtherProject, detail));
    }
    let change = Change {
        actor: request.actor.unwrap_or_else(|| "somebody".to_owned()),
        owner: format!("file:{project}"),
        reason: format!("up {}", request.path),
        dry_run: request.dry_run,
    };
    change_project(&api, &project, &change, |facts| {
        check(facts, &api, &request.path, &request.spec, request.force)?;
        apply::plan(facts, &request.path, &request.spec)
            .map_err(|error| Refusal::failed(Code::Unreadable, &error))
    })
    .await
    .map(Json)
}

/// Removes what the project's manifest has made; what others added to the project stays.
#[utoipa::path(
    delete, path = "/v1/projects/{project}", operation_id = "remove_project", tag = "projects",
    params(("project" = String, Path, description = "The project's name."), ActorParams),
    responses((status = 200, body = ChangeView), (status = "default", response = Problem)),
)]
pub(crate) async fn remove(
    State(api): crate::State,
    Path(project): Path<String>,
    Params(request): Params<ActorParams>,
) -> Answer<Json<ChangeView>> {
    let project = named(&project)?;
    let change = Change {
        actor: request.actor(),
        owner: format!("file:{project}"),
        reason: format!("down {project}"),
        dry_run: false,
    };
    change_project(&api, &project, &change, |facts| match facts.manifest {
        Some(_) => Ok(apply::remove(facts)),
        None => Err(no_project(&api, &project)),
    })
    .await
    .map(Json)
}

/// Kills what runs of a project, with everything it started: for a removal that takes too long.
///
/// What is still desired is started again, as after a crash.
#[utoipa::path(
    post, path = "/v1/projects/{project}/kill", operation_id = "kill_project", tag = "projects",
    params(("project" = String, Path, description = "The project's name.")),
    responses(
        (status = 200, body = Vec<String>, description = "The instances, by id."),
        (status = "default", response = Problem),
    ),
)]
pub(crate) async fn kill(State(api): crate::State, Path(project): Path<String>) -> Answer<Json<Vec<String>>> {
    let project = named(&project)?;
    let killed = api.inputs.control.kill(&project).await;
    let killed = killed.map_err(|why| Refusal::new(Code::RuntimeFailed, why))?;
    Ok(Json(killed.iter().map(ToString::to_string).collect()))
}

/// Who asks for a removal.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ActorParams {
    /// Who asks, for the history.
    actor: Option<String>,
}

impl ActorParams {
    pub(crate) fn actor(self) -> String {
        self.actor.unwrap_or_else(|| "somebody".to_owned())
    }
}

/// What surrounds a plan.
pub(crate) struct Change {
    pub(crate) actor: String,
    pub(crate) owner: String,
    pub(crate) reason: String,
    pub(crate) dry_run: bool,
}

/// Reads, plans and commits; again when somebody else wrote in between.
pub(crate) async fn change_project(
    api: &Api,
    project: &ProjectName,
    change: &Change,
    plan: impl Fn(&Facts<'_>) -> Answer<Plan>,
) -> Answer<ChangeView> {
    let documents = &*api.inputs.documents;
    for tries_left in (0..TRIES).rev() {
        let (manifest, live) = read_project(documents, project).await?;
        let facts = Facts {
            project,
            node: documents.node(),
            manifest: manifest.as_ref(),
            live: &live,
        };
        let Plan {
            writes,
            changes,
            conflicts,
        } = plan(&facts)?;
        let view = |generation| ChangeView {
            generation,
            changes,
            conflicts,
            warnings: Vec::new(),
        };
        if change.dry_run || writes.is_empty() {
            return Ok(view(documents.generation().await?));
        }
        let transaction = Transaction {
            actor: change.actor.clone(),
            owner: change.owner.clone(),
            reason: change.reason.clone(),
            writes,
        };
        match documents.commit(transaction).await {
            Err(CommitError::Conflict { .. }) if tries_left > 0 => {}
            committed => return Ok(view(committed?.generation)),
        }
    }
    Err(Refusal::new(
        Code::Conflict,
        "the project is being changed by somebody else",
    ))
}

/// The document of the last manifest, and every document that a manifest could make.
async fn read_project(
    documents: &dyn Documents,
    project: &ProjectName,
) -> Result<(Option<Document>, BTreeMap<ItemKey, Document>), ReadError> {
    let manifest = documents
        .get(AppliedManifest::KIND, project.as_str(), MANIFEST)
        .await?;
    let mut live = BTreeMap::new();
    for kind in ItemKind::ALL {
        let mut query = Query {
            scope: Some(project.to_string()),
            ..Query::new(kind.in_store())
        };
        loop {
            let page = documents.list(query.clone()).await?;
            for document in page.documents {
                let name = document.identity.name.clone();
                live.insert(ItemKey { kind, name }, document);
            }
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
    }
    Ok((manifest, live))
}

fn check(facts: &Facts<'_>, api: &Api, path: &str, spec: &ProjectSpec, force: bool) -> Answer<()> {
    let live: BTreeSet<ItemKey> = facts.live.keys().cloned().collect();
    let check_routes = |project: &_, routes: &_| api.inputs.routes.problems(project, routes);
    let errors = apply::validate(spec, &live, &*api.inputs.plugin_check, check_routes);
    if !errors.is_empty() {
        let detail = format!("project `{}` cannot be applied", facts.project);
        return Err(Refusal::new(Code::Invalid, detail).errors(errors));
    }
    match applied_elsewhere(facts, path) {
        Some(other) if !force => {
            let detail = format!("the default project was applied from {other}, which is still there");
            let refusal = Refusal::new(Code::ProjectElsewhere, detail);
            Err(refusal
                .hint("give one of the two manifests a `name:`, or replace the other one with --force"))
        }
        _ => Ok(()),
    }
}

/// Two folders without a project's name would replace one another's services.
fn applied_elsewhere(facts: &Facts<'_>, path: &str) -> Option<String> {
    let last = AppliedManifest::deserialize(&facts.manifest?.body).ok()?;
    let has_services = !(last.spec.workloads.is_empty() && last.spec.services.is_empty());
    let elsewhere = last.path != path && std::path::Path::new(&last.path).exists();
    (facts.project.is_default() && has_services && elsewhere).then_some(last.path)
}

pub(crate) fn named(project: &str) -> Answer<ProjectName> {
    project
        .parse()
        .map_err(|error: hythe_model::NameError| Refusal::new(Code::InvalidName, error.to_string()))
}

fn no_project(api: &Api, project: &ProjectName) -> Refusal {
    let known: Vec<String> = api
        .inputs
        .desired
        .get()
        .manifests
        .keys()
        .map(|name| name.project.to_string())
        .collect();
    let hint = (!known.is_empty()).then(|| format!("there are {}", known.join(", ")));
    let detail = format!("there is no project `{project}`");
    Refusal::new(Code::NoSuchProject, detail).maybe_hint(hint)
}

//! Services: what there is, and what is done to one by hand.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use hythe_model::desired::Kind;
use hythe_model::view::{ChangeLine, ChangeView, InstanceView, ServiceView};
use hythe_model::{FullName, ProjectName, Workload};
use hythe_ports::documents::{CommitError, Document, Transaction};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Api;
use crate::apply::ItemKind;
use crate::apply::differ;
use crate::code::Code;
use crate::extract::{Body, Door, Params};
use crate::observed::Observed;
use crate::problem::{Answer, Refusal};
use crate::project::TRIES;
use crate::wire::{ActionRequest, Problem, ScaleRequest, ServiceDetail};

/// Of which project.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ScopeParams {
    /// Only of this project.
    #[param(value_type = Option<String>)]
    pub(crate) project: Option<ProjectName>,
}

impl ScopeParams {
    fn services(&self, api: &Api) -> Vec<ServiceView> {
        let concerns = |name: &FullName| {
            self.project
                .as_ref()
                .is_none_or(|project| name.project == *project)
        };
        api.observe(|observed| observed.services(concerns))
    }
}

/// Every service, with its instances.
#[utoipa::path(
    get, path = "/v1/services", operation_id = "list_services", tag = "services",
    params(ScopeParams),
    responses((status = 200, body = Vec<ServiceView>), (status = "default", response = Problem)),
)]
pub(crate) async fn list(
    State(api): crate::State,
    Params(scope): Params<ScopeParams>,
) -> Json<Vec<ServiceView>> {
    Json(scope.services(&api))
}

/// Everything about one service.
#[utoipa::path(
    get, path = "/v1/services/{name}", operation_id = "describe_service", tag = "services",
    params(("name" = String, Path, description = "`users`, outside the default project `shop.users`.")),
    responses((status = 200, body = ServiceDetail), (status = "default", response = Problem)),
)]
pub(crate) async fn describe(
    State(api): crate::State,
    Path(name): Path<String>,
) -> Answer<Json<ServiceDetail>> {
    let name = named(&name)?;
    let service = api.observe(|observed| observed.service(&name));
    let service = service.ok_or_else(|| no_service(&api, &name))?;
    let desired = api.inputs.desired.get();
    let workload = desired
        .workloads
        .get(&name)
        .map(|entry| without_secrets(entry.spec.clone()));
    let gateway = desired.services.get(&name).map(|entry| entry.spec.clone());
    Ok(Json(ServiceDetail {
        service,
        workload,
        gateway,
    }))
}

/// Every instance of every service.
#[utoipa::path(
    get, path = "/v1/instances", operation_id = "list_instances", tag = "services",
    params(ScopeParams),
    responses((status = 200, body = Vec<InstanceView>), (status = "default", response = Problem)),
)]
pub(crate) async fn instances(
    State(api): crate::State,
    Params(scope): Params<ScopeParams>,
) -> Json<Vec<InstanceView>> {
    let services = scope.services(&api);
    Json(
        services
            .into_iter()
            .flat_map(|service| service.instances)
            .collect(),
    )
}

/// The service in the path, to be changed by hand by whoever asks.
pub(crate) struct ByHand {
    api: Arc<Api>,
    door: Door,
    name: FullName,
}

/// Sets how many copies run.
#[utoipa::path(
    post, path = "/v1/services/{name}/scale", operation_id = "scale_service", tag = "services",
    params(("name" = String, Path, description = "The service.")),
    request_body = ScaleRequest,
    responses((status = 200, body = ChangeView), (status = "default", response = Problem)),
)]
pub(crate) async fn scale(service: ByHand, Body(request): Body<ScaleRequest>) -> Answer<Json<ChangeView>> {
    let replicas = request.replicas.parse().ok_or_else(|| {
        let detail = "replicas must be a number, 0 to 1000, or `max`";
        Refusal::new(Code::Invalid, detail)
    })?;
    let desired = service.api.inputs.desired.get();
    let workload = desired.workloads.get(&service.name);
    if workload.is_some_and(|entry| entry.spec.autoscale.is_some()) {
        let detail = format!(
            "the load decides how many instances of `{}` there are",
            service.name
        );
        let refusal = Refusal::new(Code::Invalid, detail);
        return Err(refusal.hint("change `min` and `max` of its `autoscale`"));
    }
    let edit = |_: &Workload| vec![("replicas", json!(replicas))];
    service.change("scale", request.actor, edit).await
}

/// Replaces every instance by a new one of the same kind, as an update would.
#[utoipa::path(
    post, path = "/v1/services/{name}/restart", operation_id = "restart_service", tag = "services",
    params(("name" = String, Path, description = "The service.")),
    request_body = ActionRequest,
    responses((status = 200, body = ChangeView), (status = "default", response = Problem)),
)]
pub(crate) async fn restart(service: ByHand, Body(request): Body<ActionRequest>) -> Answer<Json<ChangeView>> {
    let edit = |workload: &Workload| {
        vec![
            ("restarts_asked", json!(workload.restarts_asked + 1)),
            ("stopped", json!(false)),
        ]
    };
    service.change("restart", request.actor, edit).await
}

/// Ends every instance and keeps the service.
#[utoipa::path(
    post, path = "/v1/services/{name}/stop", operation_id = "stop_service", tag = "services",
    params(("name" = String, Path, description = "The service.")),
    request_body = ActionRequest,
    responses((status = 200, body = ChangeView), (status = "default", response = Problem)),
)]
pub(crate) async fn stop(service: ByHand, Body(request): Body<ActionRequest>) -> Answer<Json<ChangeView>> {
    let edit = |_: &Workload| vec![("stopped", json!(true))];
    service.change("stop", request.actor, edit).await
}

/// Runs a stopped service again.
#[utoipa::path(
    post, path = "/v1/services/{name}/start", operation_id = "start_service", tag = "services",
    params(("name" = String, Path, description = "The service.")),
    request_body = ActionRequest,
    responses((status = 200, body = ChangeView), (status = "default", response = Problem)),
)]
pub(crate) async fn start(service: ByHand, Body(request): Body<ActionRequest>) -> Answer<Json<ChangeView>> {
    let edit = |_: &Workload| vec![("stopped", json!(false))];
    service.change("start", request.actor, edit).await
}

/// Reads a service's name.
pub(crate) fn named(text: &str) -> Answer<FullName> {
    text.parse()
        .map_err(|error: hythe_model::NameError| Refusal::new(Code::InvalidName, error.to_string()))
}

/// Says that there is no such service, and which ones it might have been.
pub(crate) fn no_service(api: &Api, name: &FullName) -> Refusal {
    let hint = api.observe(|observed| suggestion(name, observed));
    let detail = format!("there is no service `{name}`");
    Refusal::new(Code::NoSuchService, detail).maybe_hint(hint)
}

fn suggestion(name: &FullName, observed: &Observed<'_>) -> Option<String> {
    let same = observed.names().filter(|known| known.name == name.name);
    let elsewhere: BTreeSet<&str> = same.map(|known| known.project.as_str()).collect();
    if !elsewhere.is_empty() {
        let projects = Vec::from_iter(elsewhere).join(", ");
        return Some(format!(
            "`{}` is in project {projects}; choose it with -p",
            name.name
        ));
    }
    let near = observed
        .names()
        .filter(|known| known.project == name.project)
        .map(|known| {
            let distance = strsim::osa_distance(known.name.as_str(), name.name.as_str());
            (distance, known)
        });
    let (distance, near) = near.min()?;
    (distance <= 3).then(|| format!("did you mean `{near}`?"))
}

impl FromRequestParts<Arc<Api>> for ByHand {
    type Rejection = Refusal;
    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Answer<Self> {
        let Path(name) = Path::<String>::from_request_parts(parts, api)
            .await
            .map_err(|rejection| Refusal::new(Code::InvalidName, rejection.body_text()))?;
        let Ok(door) = Door::from_request_parts(parts, api).await;
        Ok(Self {
            api: Arc::clone(api),
            door,
            name: named(&name)?,
        })
    }
}

impl ByHand {
    /// Sets fields of the workload; again when somebody else wrote in between.
    async fn change(
        self,
        verb: &str,
        actor: Option<String>,
        edit: impl Fn(&Workload) -> Vec<(&'static str, Value)>,
    ) -> Answer<Json<ChangeView>> {
        let Self { api, door, name } = self;
        let documents = &*api.inputs.documents;
        for tries_left in (0..TRIES).rev() {
            let document = documents
                .get(Workload::KIND, name.project.as_str(), name.name.as_str())
                .await?;
            let document = document.ok_or_else(|| nothing_to_do_to(&api, &name))?;
            let (put, line) = edited(&document, &edit)?;
            let transaction = Transaction {
                actor: actor.clone().unwrap_or_else(|| "somebody".to_owned()),
                owner: door.owner().to_owned(),
                reason: format!("{verb} {name}"),
                writes: vec![put.into()],
            };
            match documents.commit(transaction).await {
                Err(CommitError::Conflict { .. }) if tries_left > 0 => {}
                committed => {
                    let committed = committed?;
                    let changes = if committed.changed { vec![line] } else { Vec::new() };
                    return Ok(Json(ChangeView {
                        generation: committed.generation,
                        changes,
                        ..ChangeView::default()
                    }));
                }
            }
        }
        Err(Refusal::new(
            Code::Conflict,
            format!("`{name}` is being changed by somebody else"),
        ))
    }
}

fn edited(
    document: &Document,
    edit: impl Fn(&Workload) -> Vec<(&'static str, Value)>,
) -> Answer<(hythe_ports::documents::Put, ChangeLine)> {
    let unreadable = |error: serde_json::Error| Refusal::failed(Code::Unreadable, &error);
    let before = Workload::deserialize(&document.body).map_err(unreadable)?;
    let mut put = document.to_put();
    let mut fields = Vec::new();
    for (field, value) in edit(&before) {
        if document.body.get(field) != Some(&value) {
            fields.push(differ::change(field, document.body.get(field), &value));
            put.body[field] = value;
        }
    }
    let after = Workload::deserialize(&put.body).map_err(unreadable)?;
    let line = ChangeLine {
        action: "update".to_owned(),
        kind: ItemKind::Workload.in_store().to_owned(),
        name: document.identity.name.clone(),
        fields,
        rolls: before.revision() != after.revision(),
    };
    Ok((put, line))
}

fn nothing_to_do_to(api: &Api, name: &FullName) -> Refusal {
    if api.inputs.desired.get().services.contains_key(name) {
        let detail = format!("`{name}` does not run here: it is only balanced");
        return Refusal::new(Code::NotAProcess, detail);
    }
    no_service(api, name)
}

fn without_secrets(workload: Workload) -> Workload {
    let hide = |(key, _)| (key, "(hidden)".to_owned());
    Workload {
        environment: workload.environment.into_iter().map(hide).collect(),
        ..workload
    }
}

impl Api {
    /// Lets `look` see everything at once.
    pub(crate) fn observe<T>(&self, look: impl FnOnce(&Observed<'_>) -> T) -> T {
        look(&Observed {
            desired: &self.inputs.desired.get(),
            instances: &self.inputs.instances.get(),
            endpoints: &self.inputs.endpoints.get(),
            traffic: &*self.inputs.traffic,
        })
    }
}

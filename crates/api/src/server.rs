//! The server's own end.

use std::path::Path;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use hythe_model::view::ServiceView;

use crate::code::Code;
use crate::extract::Body;
use crate::problem::{Answer, Refusal};
use crate::wire::{Problem, StopServerRequest, UpgradeRequest};

/// Begins to stop the server and the minder. Refused while services run, unless they shall end too.
///
/// The answer comes before the end: who wants to see that waits for the processes that `/v1/status` names.
#[utoipa::path(
    post, path = "/v1/server/stop", operation_id = "stop_server", tag = "server",
    request_body = StopServerRequest,
    responses((status = 202, description = "The server stops."), (status = "default", response = Problem)),
)]
pub(crate) async fn stop(
    State(api): crate::State,
    Body(request): Body<StopServerRequest>,
) -> Answer<(StatusCode, Json<serde_json::Value>)> {
    let services = api.observe(|observed| observed.services(|_| true));
    let running: Vec<String> = services.iter().filter_map(running).collect();
    if !running.is_empty() && !request.with_services {
        let refusal = Refusal::new(Code::ServicesRunning, "services are running").errors(running);
        return Err(refusal.hint("`hythe server stop --with-services` ends them too"));
    }
    api.inputs.control.stop(request.with_services);
    Ok((StatusCode::ACCEPTED, Json(serde_json::json!({}))))
}

/// Goes on as another binary: the minder at once, this server as soon as the next one has been started. Nothing that runs
/// is touched, and no connection refused; requests in flight are finished here.
///
/// The answer comes when the minder goes on and the server begins to. Who wants to see the end waits until another process
/// answers `/v1/status`.
#[utoipa::path(
    post, path = "/v1/server/upgrade", operation_id = "upgrade_server", tag = "server",
    request_body = UpgradeRequest,
    responses((status = 202, description = "The next server is on its way."), (status = "default", response = Problem)),
)]
pub(crate) async fn upgrade(
    State(api): crate::State,
    Body(request): Body<UpgradeRequest>,
) -> Answer<(StatusCode, Json<serde_json::Value>)> {
    let binary = Path::new(&request.binary);
    if !binary.is_absolute() {
        return Err(Refusal::new(Code::Invalid, "the binary's path must be absolute"));
    }
    let upgraded = api.inputs.control.upgrade(binary).await;
    upgraded.map_err(|why| Refusal::new(Code::UpgradeFailed, why))?;
    Ok((StatusCode::ACCEPTED, Json(serde_json::json!({}))))
}

fn running(service: &ServiceView) -> Option<String> {
    let alive = service
        .instances
        .iter()
        .filter(|instance| instance.state.is_alive())
        .count();
    (alive > 0).then(|| format!("{} ({alive})", service.name))
}

//! The server's own end.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use hythe_model::view::ServiceView;

use crate::code::Code;
use crate::extract::Body;
use crate::problem::{Answer, Refusal};
use crate::wire::{Problem, StopServerRequest};

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

fn running(service: &ServiceView) -> Option<String> {
    let alive = service
        .instances
        .iter()
        .filter(|instance| instance.state.is_alive())
        .count();
    (alive > 0).then(|| format!("{} ({alive})", service.name))
}

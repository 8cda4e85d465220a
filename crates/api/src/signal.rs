//! Signals for what runs.

use axum::Json;
use axum::extract::{Path, State};
use hythe_model::InstanceId;
use hythe_model::view::InstanceView;

use crate::code::Code;
use crate::extract::Body;
use crate::problem::{Answer, Refusal};
use crate::service::{named, no_service};
use crate::wire::{Problem, SignalRequest};

/// The highest number of a signal on Linux.
const LAST_SIGNAL: i32 = 64;

/// Sends a signal to the main process of each instance, not to what that has started; tells which got it.
///
/// What a program does then is its own business: one that ends is started again as after a crash.
#[utoipa::path(
    post, path = "/v1/services/{name}/signal", operation_id = "signal_service", tag = "services",
    params(("name" = String, Path, description = "The service.")),
    request_body = SignalRequest,
    responses(
        (status = 200, body = Vec<String>, description = "The instances, by id."),
        (status = "default", response = Problem),
    ),
)]
pub(crate) async fn send(
    State(api): crate::State,
    Path(name): Path<String>,
    Body(request): Body<SignalRequest>,
) -> Answer<Json<Vec<String>>> {
    let name = named(&name)?;
    if !(1..=LAST_SIGNAL).contains(&request.signal) {
        let detail = format!(
            "there is no signal {}: they go from 1 to {LAST_SIGNAL}",
            request.signal
        );
        return Err(Refusal::new(Code::Invalid, detail));
    }
    let service = api.observe(|observed| observed.service(&name));
    let service = service.ok_or_else(|| no_service(&api, &name))?;
    let is_meant = |instance: &&InstanceView| {
        instance.state.is_alive()
            && (request.instances.is_empty() || request.instances.contains(&instance.id))
    };
    let meant = service.instances.iter().filter(is_meant);
    let ids: Vec<InstanceId> = meant
        .map(|instance| InstanceId(instance.id.as_str().into()))
        .collect();
    let signalled = api.inputs.control.signal(&ids, request.signal).await;
    let signalled = signalled.map_err(|why| Refusal::new(Code::RuntimeFailed, why))?;
    Ok(Json(signalled.iter().map(ToString::to_string).collect()))
}

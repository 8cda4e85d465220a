//! The router and its description, made from one list.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::code::Code;
use crate::guard::{Rules, challenge, guard};
use crate::problem::{Refusal, method_not_allowed, not_found};
use crate::wire::Problem;
use crate::{
    Api, adding, events, history, logs, project, routes as gateway_routes, server, service, signal, status,
    wait, workloads,
};

/// A manifest with everything resolved may be larger than its file.
const LARGEST_BODY: usize = 16 << 20;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Hythe",
        description = "What runs, where it listens, who may reach it, and changes to all of that. \
            Version 1: fields are added, never renamed or removed.",
        version = "1",
    ),
    components(schemas(Problem), responses(Problem)),
    tags(
        (name = "services", description = "What runs."),
        (name = "projects", description = "What is applied."),
        (name = "gateway", description = "How requests are routed."),
        (name = "server", description = "The platform itself."),
    ),
)]
struct Description;

/// The OpenAPI document, as `/openapi.json` has it.
pub fn document() -> utoipa::openapi::OpenApi {
    described().split_for_parts().1
}

/// Everything behind the guard.
pub(crate) fn router(api: Arc<Api>, rules: Rules) -> Router {
    let (router, description) = described().split_for_parts();
    let description = Arc::new(description);
    router
        .route(
            "/openapi.json",
            get(move || async move { Json(Arc::unwrap_or_clone(description)) }),
        )
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(api)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(from_fn(in_time))
        .layer(from_fn_with_state(Arc::new(rules), guard))
        .layer(from_fn(challenge))
}

fn described() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(service::list))
        .routes(routes!(service::describe))
        .routes(routes!(adding::add))
        .routes(routes!(adding::remove))
        .routes(routes!(service::scale))
        .routes(routes!(service::restart))
        .routes(routes!(service::stop))
        .routes(routes!(service::start))
        .routes(routes!(signal::send))
        .routes(routes!(service::instances))
        .routes(routes!(logs::logs, logs::flush))
        .routes(routes!(logs::reopen))
        .routes(routes!(events::events))
        .routes(routes!(project::list))
        .routes(routes!(project::apply, project::remove))
        .routes(routes!(project::kill))
        .routes(routes!(workloads::list))
        .routes(routes!(history::list))
        .routes(routes!(gateway_routes::list))
        .routes(routes!(gateway_routes::explain))
        .routes(routes!(wait::wait))
        .routes(routes!(status::status))
        .routes(routes!(server::stop))
        .routes(routes!(server::upgrade))
        .routes(routes!(status::metrics))
        .routes(routes!(status::healthz))
}

/// Bounds the time to the beginning of the answer; streams go on for as long as they like.
async fn in_time(request: Request, next: Next) -> Response {
    let answered = tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await;
    answered
        .unwrap_or_else(|_| Refusal::new(Code::Timeout, "the server did not answer in time").into_response())
}

//! Output of services, a JSON object a line.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use hythe_model::view::LogLine;
use hythe_model::{FullName, ProjectName};
use hythe_ports::LogQuery;
use hythe_spine::Shutdown;
use serde::Deserialize;
use tokio::sync::mpsc;

use crate::Api;
use crate::code::Code;
use crate::extract::Params;
use crate::problem::{Answer, Refusal};
use crate::service::{named, no_service};
use crate::wire::Problem;

/// Lines that are sent in one piece when a follower is behind.
const BATCH: usize = 256;

/// Which lines.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct LogParams {
    /// Services, separated by commas; all if not given.
    service: Option<String>,
    /// Only services of this project.
    #[param(value_type = Option<String>)]
    project: Option<ProjectName>,
    /// Only lines read at or after this, Unix milliseconds.
    since: Option<u64>,
    /// At most this many of the last lines.
    last: Option<usize>,
    /// Go on with every new line.
    #[serde(default)]
    follow: bool,
}

/// Lines of output, oldest first, each a JSON object on a line of its own.
#[utoipa::path(
    get, path = "/v1/logs", tag = "services", params(LogParams),
    responses(
        (status = 200, body = LogLine, content_type = "application/x-ndjson"),
        (status = "default", response = Problem),
    ),
)]
pub(crate) async fn logs(State(api): crate::State, Params(params): Params<LogParams>) -> Answer<Response> {
    let services = services(&api, params.service.as_deref(), params.project.as_ref())?;
    let failed = |error: std::io::Error| Refusal::failed(Code::LogsFailed, &error);
    // An empty list means everything to the reader, and here it means an empty project.
    if services.is_empty() && params.project.is_some() {
        return Ok(ndjson(Body::empty()));
    }
    let query = LogQuery {
        services,
        since: params.since,
        last: params.last,
    };
    if params.follow {
        let lines = api.inputs.logs.follow(&query).await.map_err(failed)?;
        return Ok(ndjson(Body::from_stream(stream(lines, api.shutdown.clone()))));
    }
    let lines = api.inputs.logs.tail(&query).await.map_err(failed)?;
    Ok(ndjson(Body::from(text(&lines))))
}

/// Whose logs.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct FlushParams {
    /// Services, separated by commas; all if not given.
    service: Option<String>,
    /// Only services of this project.
    #[param(value_type = Option<String>)]
    project: Option<ProjectName>,
}

/// Deletes the lines that are kept of services. Files at paths of their own are emptied.
#[utoipa::path(
    delete, path = "/v1/logs", operation_id = "flush_logs", tag = "services", params(FlushParams),
    responses((status = 200, description = "They are gone."), (status = "default", response = Problem)),
)]
pub(crate) async fn flush(
    State(api): crate::State,
    Params(params): Params<FlushParams>,
) -> Answer<Json<serde_json::Value>> {
    let services = services(&api, params.service.as_deref(), params.project.as_ref())?;
    if !(services.is_empty() && params.project.is_some()) {
        let failed = |error: std::io::Error| Refusal::failed(Code::LogsFailed, &error);
        api.inputs.logs.flush(&services).await.map_err(failed)?;
    }
    Ok(Json(serde_json::json!({})))
}

/// Has every log file opened anew for its next line, after others have renamed some. A file that was renamed or deleted
/// is noticed without this, with the next line.
#[utoipa::path(
    post, path = "/v1/logs/reopen", operation_id = "reopen_logs", tag = "services",
    responses((status = 200, description = "They are closed."), (status = "default", response = Problem)),
)]
pub(crate) async fn reopen(State(api): crate::State) -> Json<serde_json::Value> {
    api.inputs.logs.reopen();
    Json(serde_json::json!({}))
}

fn services(api: &Api, names: Option<&str>, project: Option<&ProjectName>) -> Answer<Vec<FullName>> {
    let Some(names) = names.filter(|names| !names.is_empty()) else {
        let Some(project) = project else {
            return Ok(Vec::new());
        };
        let of_project = |name: &&FullName| name.project == *project;
        let mut names: Vec<FullName> =
            api.observe(|observed| observed.names().filter(of_project).cloned().collect());
        names.sort();
        names.dedup();
        return Ok(names);
    };
    names.split(',').map(|name| existing(api, named(name)?)).collect()
}

fn existing(api: &Api, name: FullName) -> Answer<FullName> {
    let exists = api.observe(|observed| observed.names().any(|known| *known == name));
    if exists {
        Ok(name)
    } else {
        Err(no_service(api, &name))
    }
}

/// Ends when the reader's end is gone or the server stops.
fn stream(
    lines: mpsc::Receiver<LogLine>,
    shutdown: Shutdown,
) -> impl stream::Stream<Item = std::io::Result<Bytes>> {
    stream::unfold((lines, shutdown), |(mut lines, shutdown)| async move {
        let mut batch = Vec::new();
        let received = shutdown
            .unless_requested(lines.recv_many(&mut batch, BATCH))
            .await?;
        (received > 0).then(|| (Ok(Bytes::from(text(&batch))), (lines, shutdown)))
    })
}

fn text(lines: &[LogLine]) -> Vec<u8> {
    let mut text = Vec::new();
    for line in lines {
        // Writing plain texts and numbers to memory cannot fail.
        if serde_json::to_writer(&mut text, line).is_ok() {
            text.push(b'\n');
        }
    }
    text
}

fn ndjson(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

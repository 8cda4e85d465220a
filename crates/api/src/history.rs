//! Who changed what, and when.

use axum::Json;
use axum::extract::State;
use hythe_model::view::HistoryView;
use hythe_ports::documents::{HistoryChange, HistoryEntry, HistoryFilter, Op};
use serde::Deserialize;

use crate::extract::Params;
use crate::problem::Answer;
use crate::wire::Problem;

const USUAL: usize = 50;

/// Which changes.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct HistoryParams {
    /// How many at most, 1 to 1,000; 50 if not given.
    limit: Option<usize>,
    /// Only changes to this project.
    project: Option<String>,
    /// Only changes to things of this name.
    name: Option<String>,
    /// Only changes by this actor.
    actor: Option<String>,
    /// Only changes before this generation: the last one's of a page leads to the next page.
    before: Option<u64>,
}

/// The newest changes, newest first.
#[utoipa::path(
    get, path = "/v1/history", operation_id = "list_history", tag = "projects", params(HistoryParams),
    responses((status = 200, body = Vec<HistoryView>), (status = "default", response = Problem)),
)]
pub(crate) async fn list(
    State(api): crate::State,
    Params(params): Params<HistoryParams>,
) -> Answer<Json<Vec<HistoryView>>> {
    let HistoryParams {
        limit,
        project,
        name,
        actor,
        before,
    } = params;
    let filter = HistoryFilter {
        actor,
        kind: None,
        scope: project,
        name,
        before,
    };
    let entries = api
        .inputs
        .documents
        .history(limit.unwrap_or(USUAL), filter)
        .await?;
    Ok(Json(entries.into_iter().map(view).collect()))
}

fn view(entry: HistoryEntry) -> HistoryView {
    HistoryView {
        generation: entry.generation,
        at: u64::try_from(entry.at).unwrap_or_default(),
        actor: entry.actor,
        reason: entry.reason,
        changes: entry.changes.iter().map(words).collect(),
    }
}

fn words(change: &HistoryChange) -> String {
    let verb = match change.op {
        Op::Create => "create",
        Op::Update => "update",
        Op::Delete => "delete",
    };
    format!("{verb} {} {}", change.identity.kind, change.identity.name)
}

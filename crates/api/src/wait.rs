//! Is a change live? Answers when supervisor, registry and gateway have acted on it.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use hythe_model::view::GenerationsView;
use hythe_model::{FullName, ProjectName};
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout_at};

use crate::events::Watcher;
use crate::extract::Params;
use crate::problem::Answer;
use crate::service::named;
use crate::wire::{Problem, WaitView};
use crate::{Api, GatewayProblem};

const LONGEST: Duration = Duration::from_secs(20);

/// How long the gateway's list may lag behind a ready instance before that is no longer waited for.
const LAST_HOP: Duration = Duration::from_secs(1);
const LAST_HOP_LOOK: Duration = Duration::from_millis(2);

/// What is waited for.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WaitParams {
    /// The generation of the change; 0 if not given.
    #[serde(default)]
    generation: u64,
    /// Services that must be settled, separated by commas.
    services: Option<String>,
    /// Every service of this project must be settled.
    #[param(value_type = Option<String>)]
    project: Option<ProjectName>,
    /// Answer after this time all the same, milliseconds; 20,000 at most, and if not given.
    timeout_ms: Option<u64>,
}

/// Waits until a change is live, or for a while.
///
/// A service that was removed counts as settled once its last instance is gone.
#[utoipa::path(
    get, path = "/v1/wait", tag = "server", params(WaitParams),
    responses((status = 200, body = WaitView), (status = "default", response = Problem)),
)]
pub(crate) async fn wait(
    State(api): crate::State,
    Params(params): Params<WaitParams>,
) -> Answer<Json<WaitView>> {
    let names = params
        .services
        .as_deref()
        .unwrap_or_default()
        .split(',')
        .filter(|name| !name.is_empty());
    let names = names.map(named).collect::<Answer<BTreeSet<FullName>>>()?;
    let goal = Goal {
        generation: params.generation,
        names,
        project: params.project,
    };
    let timeout = params
        .timeout_ms
        .map_or(LONGEST, Duration::from_millis)
        .min(LONGEST);
    let deadline = Instant::now() + timeout;
    let live = api.shutdown.unless_requested(goal.reached(&api));
    let reached = timeout_at(deadline, live).await.ok().flatten();
    Ok(Json(reached.unwrap_or_else(|| goal.look(&api))))
}

struct Goal {
    generation: u64,
    names: BTreeSet<FullName>,
    project: Option<ProjectName>,
}

impl Goal {
    async fn reached(&self, api: &Api) -> WaitView {
        let mut watcher = Watcher::new(api);
        loop {
            watcher.mark();
            if self.is_done(api) {
                self.listed(api).await;
                return self.look(api);
            }
            watcher.changed().await;
        }
    }

    /// Waits until the gateway may pick what is ready; nothing tells, so it is looked at.
    async fn listed(&self, api: &Api) {
        let deadline = Instant::now() + LAST_HOP;
        while !self.all_listed(api) && Instant::now() < deadline {
            sleep(LAST_HOP_LOOK).await;
        }
    }

    fn all_listed(&self, api: &Api) -> bool {
        api.observe(|observed| observed.are_listed(|name| self.concerns(name)))
    }

    fn concerns(&self, name: &FullName) -> bool {
        self.names.contains(name) || self.project.as_ref() == Some(&name.project)
    }

    fn is_done(&self, api: &Api) -> bool {
        let settled = || api.observe(|observed| observed.are_settled(|name| self.concerns(name)));
        self.is_acted_on(&api.generations()) && settled()
    }

    fn is_acted_on(&self, generations: &GenerationsView) -> bool {
        let behind = generations
            .supervisor
            .min(generations.registry)
            .min(generations.gateway);
        behind >= self.generation
    }

    fn look(&self, api: &Api) -> WaitView {
        let generations = api.generations();
        let acted = self.is_acted_on(&generations);
        let services = api.observe(|observed| observed.services(|name| self.concerns(name)));
        let done = acted && services.iter().all(|service| service.settled);
        let (problems, other_problems) = self.problems(api);
        WaitView {
            done,
            acted,
            generations,
            services,
            problems,
            other_problems,
        }
    }

    /// What the gateway does not serve: of the projects asked for, and of others.
    fn problems(&self, api: &Api) -> (Vec<String>, Vec<String>) {
        let gateway = api.inputs.gateway.get();
        let (own, others): (Vec<&GatewayProblem>, Vec<_>) = gateway.problems.iter().partition(|problem| {
            let project = problem.project.as_ref();
            project.is_some_and(|project| self.is_of_concern(project))
        });
        let texts =
            |problems: Vec<&GatewayProblem>| problems.iter().map(|problem| problem.text.clone()).collect();
        (texts(own), texts(others))
    }

    fn is_of_concern(&self, project: &ProjectName) -> bool {
        self.project.as_ref() == Some(project) || self.names.iter().any(|name| name.project == *project)
    }
}

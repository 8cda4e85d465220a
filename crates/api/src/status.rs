//! The platform itself: processes, addresses, generations, counts, metrics.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use hythe_model::InstanceState;
use hythe_model::view::{CountsView, GenerationsView, ListenView, MinderView, ServerView, StatusView};

use crate::Api;
use crate::problem::Answer;
use crate::wire::Problem;

/// The server and the minder.
#[utoipa::path(
    get, path = "/v1/status", tag = "server",
    responses((status = 200, body = StatusView), (status = "default", response = Problem)),
)]
pub(crate) async fn status(State(api): crate::State) -> Answer<Json<StatusView>> {
    let store = api.inputs.documents.generation().await?;
    let info = &api.inputs.info;
    Ok(Json(StatusView {
        version: 1,
        server: ServerView {
            program: info.program.display().to_string(),
            pid: info.pid,
            version: info.version.clone(),
            started_at: info.started_at,
            home: info.home.display().to_string(),
            workers: info.workers,
            memory_bytes: resident_bytes().unwrap_or_default(),
        },
        minder: MinderView {
            pid: (info.minder_pid)(),
        },
        generations: GenerationsView {
            store,
            ..api.generations()
        },
        listen: ListenView {
            proxy: info.proxy.iter().map(ToString::to_string).collect(),
            proxy_tls: info.proxy_tls.iter().map(ToString::to_string).collect(),
            api: api.api.map(|address| address.to_string()),
            socket: api.socket.display().to_string(),
        },
        counts: api.counts(),
        panics: api.spine.panics(),
        problems: problems(&api),
    }))
}

/// Metrics in Prometheus' text format.
#[utoipa::path(
    get, path = "/metrics", tag = "server",
    responses((status = 200, body = String, content_type = "application/openmetrics-text"), (status = "default", response = Problem)),
)]
pub(crate) async fn metrics(State(api): crate::State) -> impl IntoResponse {
    let text = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, text)], (api.inputs.metrics)())
}

/// Answers as long as the server does.
#[utoipa::path(
    get, path = "/healthz", tag = "server",
    responses((status = 200, body = String, content_type = "text/plain"), (status = "default", response = Problem)),
)]
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

fn problems(api: &Api) -> Vec<String> {
    let gateway = api.inputs.gateway.get();
    gateway
        .problems
        .iter()
        .map(|problem| problem.text.clone())
        .collect()
}

impl Api {
    /// Where the subsystems are; the store as far as the desired state has followed it.
    pub(crate) fn generations(&self) -> GenerationsView {
        GenerationsView {
            store: self.inputs.desired.get().generation,
            supervisor: self.inputs.instances.get().generation,
            registry: self.inputs.endpoints.get().generation,
            gateway: self.inputs.gateway.get().generation,
        }
    }

    fn counts(&self) -> CountsView {
        let services = self.observe(|observed| observed.names().collect::<BTreeSet<_>>().len());
        let running = self.inputs.instances.get();
        let instances = || running.services.values().flat_map(|service| &service.instances);
        let ready = instances().filter(|instance| instance.state == InstanceState::Ready);
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        CountsView {
            services: number(services),
            instances: number(instances().count()),
            ready: number(ready.count()),
            routes: number(self.inputs.desired.get().routes.len()),
        }
    }
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kibibytes * 1024)
}

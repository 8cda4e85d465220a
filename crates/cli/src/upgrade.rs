//! `upgrade`: server and minder go on as another binary.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use hythe_api::wire::UpgradeRequest;
use hythe_model::view::StatusView;

use crate::Context;
use crate::arguments::UpgradeOptions;
use crate::client::Presence;
use crate::failure::{Exit, Failure, Outcome};
use crate::server::{log_since, pause};

/// How long the next server may take to answer. One in the foreground finishes what is in flight before.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn run(context: &mut Context, options: &UpgradeOptions) -> Outcome {
    let binary = binary(options)?;
    let before: StatusView = context.client.get("/v1/status")?;
    let log = hythe_config::server_log(&context.home);
    let log_end = log.metadata().map_or(0, |metadata| metadata.len());
    let request = UpgradeRequest {
        binary: binary.display().to_string(),
    };
    let _: serde_json::Value = context.client.send("POST", "/v1/server/upgrade", &request)?;
    let Some(after) = await_next(context, &before) else {
        let message = format!("no server answers {} s after the upgrade", PATIENCE.as_secs());
        return Err(Failure::new(Exit::TimedOut, message).hint(format!("see {}", log.display())));
    };
    if after.server.program != request.binary {
        let said = log_since(&log, log_end);
        let message = format!(
            "{} did not come to serve: the server before goes on\n{said}",
            request.binary
        );
        return Err(Failure::new(Exit::Failed, message));
    }
    let services = after.counts.services;
    context.out.line(format!(
        "{} (pid {}) became {} (pid {}); {services} services noticed nothing",
        before.server.version, before.server.pid, after.server.version, after.server.pid
    ))
}

/// What was named, else this very program.
fn binary(options: &UpgradeOptions) -> Outcome<PathBuf> {
    let named = match &options.binary {
        Some(binary) => binary.canonicalize(),
        None => std::env::current_exe(),
    };
    named.map_err(|error| {
        let name = options.binary.clone().unwrap_or_default();
        Failure::new(Exit::Usage, format!("{}: {error}", name.display()))
    })
}

/// The status of another process than before; one that is its own successor has started later.
fn await_next(context: &Context, before: &StatusView) -> Option<StatusView> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if context.client.presence() == Presence::Answers
            && let Ok(status) = context.client.get::<StatusView>("/v1/status")
            && (status.server.pid, status.server.started_at) != (before.server.pid, before.server.started_at)
        {
            return Some(status);
        }
        pause();
    }
    None
}

//! `status`: the platform.

use std::time::Duration;

use hythe_model::view::{ListenView, StatusView};

use crate::Context;
use crate::arguments::ReadOptions;
use crate::failure::Outcome;
use crate::terminal::{Terminal, Tone};

pub(crate) fn run(context: &mut Context, options: &ReadOptions) -> Outcome {
    let status: StatusView = context.client.get("/v1/status")?;
    if options.json {
        return context.out.json(&status);
    }
    let out = &mut context.out;
    let server = &status.server;
    let up = Duration::from_millis(hythe_stdx::unix_ms().saturating_sub(server.started_at));
    let memory = hythe_stdx::format_size(server.memory_bytes);
    let since = hythe_stdx::format_duration(up);
    field(
        out,
        "server",
        &format!("{} (pid {}, up {since}, {memory})", server.version, server.pid),
    )?;
    let minder = match status.minder.pid {
        Some(pid) => format!("pid {pid}"),
        None => Tone::Bad.paint("cannot be reached"),
    };
    field(out, "minder", &minder)?;
    field(out, "home", &server.home)?;
    field(
        out,
        "gateway",
        &format!("{} ({} workers)", gateway(&status.listen), server.workers),
    )?;
    field(
        out,
        "api",
        status.listen.api.as_deref().unwrap_or("only on its socket"),
    )?;
    let counts = &status.counts;
    let running = format!(
        "{} services, {} of {} instances ready, {} routes",
        counts.services, counts.ready, counts.instances, counts.routes
    );
    field(out, "running", &running)?;
    let at = &status.generations;
    let generations = format!(
        "store {}, supervisor {}, registry {}, gateway {}",
        at.store, at.supervisor, at.registry, at.gateway
    );
    field(out, "generation", &generations)?;
    for problem in &status.problems {
        field(out, "not served", &Tone::Bad.paint(problem))?;
    }
    if status.panics > 0 {
        field(
            out,
            "panics",
            &Tone::Bad.paint(&format!("{} contained; see the server's log", status.panics)),
        )?;
    }
    Ok(())
}

/// Where the gateway listens.
pub(crate) fn gateway(listen: &ListenView) -> String {
    let tls = listen.proxy_tls.iter().map(|address| format!("https {address}"));
    listen
        .proxy
        .iter()
        .cloned()
        .chain(tls)
        .collect::<Vec<_>>()
        .join(", ")
}

fn field(out: &mut Terminal, name: &str, value: &str) -> Outcome {
    out.line(format!("{} {value}", Tone::Faint.paint(&format!("{name:10}"))))
}

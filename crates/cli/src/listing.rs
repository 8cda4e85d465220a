//! `ls`: services, and under each its instances.

use hythe_model::InstanceState;
use hythe_model::view::{InstanceView, ServiceView};

use crate::Context;
use crate::arguments::ListOptions;
use crate::failure::Outcome;
use crate::terminal::{Cell, Tone};
use crate::tree;

const HEADING: [&str; 8] = [
    "NAME",
    "STATE",
    "READY",
    "PID",
    "ADDRESS",
    "UP",
    "RESTARTS",
    "CPU / MEMORY",
];

pub(crate) fn run(context: &mut Context, options: &ListOptions) -> Outcome {
    let services = fetch(context, options.all_projects)?;
    if options.tree {
        return tree::show(context, &services, options.json);
    }
    if options.json {
        return context.out.json(&services);
    }
    if services.is_empty() {
        return context.out.line(
            "no services; `hythe up` in a folder with a hythe.yaml starts some, `hythe start app.js` one",
        );
    }
    context
        .out
        .table(&HEADING, &rows(&services, hythe_stdx::unix_ms()))
}

/// The services of the scope.
pub(crate) fn fetch(context: &Context, all_projects: bool) -> Outcome<Vec<ServiceView>> {
    if all_projects {
        return context.client.get("/v1/services");
    }
    context
        .client
        .get(&format!("/v1/services?project={}", context.scope()?.project))
}

fn rows(services: &[ServiceView], now: u64) -> Vec<Vec<Cell>> {
    let mut rows = Vec::new();
    for service in services {
        let (state, tone) = service_state(service);
        rows.push(vec![
            Cell::new(&service.name, Tone::Strong),
            Cell::new(state, tone),
            format!("{}/{}", service.ready, service.desired).into(),
        ]);
        rows.extend(
            service
                .instances
                .iter()
                .map(|instance| instance_row(instance, now)),
        );
    }
    rows
}

/// What a service is like as a whole.
pub(crate) fn service_state(service: &ServiceView) -> (String, Tone) {
    if service.failure.is_some() {
        return ("failed".to_owned(), Tone::Bad);
    }
    match service {
        ServiceView { stopped: true, .. } => ("stopped".to_owned(), Tone::Faint),
        ServiceView { asleep: true, .. } => ("asleep".to_owned(), Tone::Faint),
        ServiceView { kind, .. } if kind == "external" => ("external".to_owned(), Tone::Plain),
        ServiceView { settled: true, .. } => ("running".to_owned(), Tone::Good),
        _ => ("changing".to_owned(), Tone::Busy),
    }
}

fn instance_row(instance: &InstanceView, now: u64) -> Vec<Cell> {
    let up = instance
        .started_at
        .filter(|_| instance.pid.is_some())
        .map(|start| {
            hythe_stdx::format_duration(std::time::Duration::from_millis(now.saturating_sub(start)))
        });
    vec![
        format!("  {}", instance.id).into(),
        Cell::new(instance.state.to_string(), tone(instance.state)),
        "".into(),
        instance.pid.map(|pid| pid.to_string()).unwrap_or_default().into(),
        instance.address.clone().unwrap_or_default().into(),
        up.unwrap_or_default().into(),
        instance.restarts.to_string().into(),
        if instance.pid.is_some() {
            usage(instance).into()
        } else {
            instance.message.clone().unwrap_or_default().into()
        },
    ]
}

/// `12% / 40.5M`.
pub(crate) fn usage(instance: &InstanceView) -> String {
    format!(
        "{}% / {}",
        instance.cpu_millis / 10,
        hythe_stdx::format_size(instance.memory_bytes)
    )
}

/// The tone of a state.
pub(crate) fn tone(state: InstanceState) -> Tone {
    match state {
        InstanceState::Ready => Tone::Good,
        InstanceState::Completed => Tone::Faint,
        InstanceState::Unhealthy | InstanceState::Failed | InstanceState::Backoff => Tone::Bad,
        _ => Tone::Busy,
    }
}

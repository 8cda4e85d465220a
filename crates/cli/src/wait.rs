//! Waits until a change is live, and shows how it comes along.

use std::time::{Duration, Instant};

use hythe_api::wire::WaitView;
use hythe_model::view::{ChangeView, ServiceView};
use hythe_model::{InstanceState, ProjectName};

use crate::Context;
use crate::arguments::WaitOptions;
use crate::client::encode;
use crate::failure::{Exit, Failure, Outcome};
use crate::follow;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::terminal::{Tone, complain};

/// What is waited for.
pub(crate) enum Subject<'a> {
    /// Every service of a project.
    Project(&'a ProjectName),
    /// These services.
    Services(&'a [String]),
}

/// Time between two looks at what is on its way.
const LOOK_MS: u64 = 250;

/// Waits until the change is served and its services are settled.
///
/// Fails when a service did not become ready (with its reason and last output), when the gateway does not serve
/// something of the project, or when it takes too long.
pub(crate) fn until_live(
    context: &mut Context,
    subject: &Subject<'_>,
    change: &ChangeView,
    options: &WaitOptions,
    interrupt: &Interrupt,
) -> Outcome<Vec<ServiceView>> {
    let limit = hythe_stdx::parse_duration(&options.timeout)
        .map_err(|error| Failure::new(Exit::Usage, format!("--timeout: {error}")))?;
    let deadline = Instant::now() + limit;
    let mut progress = if options.json {
        Progress::silent()
    } else {
        Progress::start()
    };
    let path = subject.path(change.generation);
    loop {
        let view: WaitView = context.client.get(&path)?;
        progress.show(&mut context.out, &view.services)?;
        if view.done {
            progress.end();
            return judge(context, view);
        }
        if interrupt.is_raised() {
            progress.end();
            return Err(Failure::told(Exit::Interrupted));
        }
        if Instant::now() >= deadline {
            progress.end();
            return Err(too_slow(limit, &view));
        }
    }
}

impl Subject<'_> {
    fn path(&self, generation: u64) -> String {
        let of = match self {
            Self::Project(project) => format!("project={project}"),
            Self::Services(services) => format!("services={}", encode(&services.join(","))),
        };
        format!("/v1/wait?generation={generation}&timeout_ms={LOOK_MS}&{of}")
    }
}

fn judge(context: &mut Context, view: WaitView) -> Outcome<Vec<ServiceView>> {
    let WaitView {
        services,
        problems,
        other_problems,
        ..
    } = view;
    for problem in other_problems {
        complain(format_args!("{} not served: {problem}", Tone::Busy.paint("!")));
    }
    for problem in &problems {
        complain(format_args!("not served: {problem}"));
    }
    let failed = services
        .iter()
        .filter_map(|service| Some((service, reason(service)?)));
    let failed: Vec<(&ServiceView, String)> = failed.collect();
    for (service, reason) in &failed {
        complain(format_args!("{}: {reason}", service.name));
        follow::show_last(context, &service.name)?;
    }
    if !failed.is_empty() {
        let message = "not every service is ready; what served before goes on";
        return Err(Failure::new(Exit::NotReady, message)
            .hint("`hythe describe SERVICE` and `hythe logs SERVICE` tell more"));
    }
    if !problems.is_empty() {
        let message = "not everything is served by the gateway; the rest is";
        return Err(Failure::new(Exit::NotReady, message).hint("`hythe status` goes on telling what is not"));
    }
    Ok(services)
}

/// Why a settled service is not as it should be.
fn reason(service: &ServiceView) -> Option<String> {
    if let Some(failure) = &service.failure {
        return Some(failure.clone());
    }
    let failed = service
        .instances
        .iter()
        .find(|instance| instance.state == InstanceState::Failed)?;
    Some(format!(
        "{}: {}",
        failed.id,
        failed.message.as_deref().unwrap_or("failed")
    ))
}

fn too_slow(limit: Duration, view: &WaitView) -> Failure {
    let waiting: Vec<_> = view
        .services
        .iter()
        .filter(|service| !service.settled)
        .map(|service| service.name.as_str())
        .collect();
    let on = if waiting.is_empty() {
        "the gateway".to_owned()
    } else {
        waiting.join(", ")
    };
    let mut message = format!(
        "not live after {}: waiting for {on}",
        hythe_stdx::format_duration(limit)
    );
    for problem in &view.problems {
        message.push_str(&format!("\n  not served: {problem}"));
    }
    Failure::new(Exit::TimedOut, message).hint("it goes on; `hythe ls` shows how far it is")
}

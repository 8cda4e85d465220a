//! `up`: applies a manifest, shows it coming up, follows its logs.

use std::process::Child;
use std::sync::mpsc::Receiver;

use hythe_api::wire::{ApplyRequest, ProjectView};
use hythe_model::view::{ChangeView, RouteView, ServiceView, StatusView};
use hythe_model::{ProjectName, ProjectSpec};

use crate::arguments::UpOptions;
use crate::failure::{Exit, Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::manifest_file::Manifest;
use crate::terminal::{Terminal, Tone};
use crate::wait::{self, Subject};
use crate::{Context, change, down, follow, server};

/// Routes shown in the summary.
const MOST_URLS: usize = 8;

pub(crate) fn run(context: &mut Context, options: &UpOptions) -> Outcome {
    let manifest = Manifest::read(context, &options.path, &options.profiles)?;
    let (source, spec) = manifest.accept(context)?;
    let (interrupt, signals) = if options.detach {
        (Interrupt::never(), None)
    } else {
        Interrupt::listen().map(|(i, s)| (i, Some(s)))?
    };
    let mut started = server::ensure(context, &options.server)?;
    let project = spec.project.clone();
    let known = is_applied(context, &project)?;
    let applied = apply(
        context,
        &source.path.display().to_string(),
        spec,
        options,
        &interrupt,
    );
    if let Some(signals) = signals.filter(|_| !options.dry_run && is_running(&applied)) {
        if let Err(failure) = &applied {
            anstream::eprintln!("{failure}");
        }
        if !interrupt.is_raised() {
            follow_until_signal(context, &project, &signals)?;
        }
        return stop_what_was_started(context, &project, known, options, started.as_mut(), &interrupt);
    }
    if applied.is_err() && !is_applied(context, &project)? {
        // Nothing was applied, so a server that was only started for it has nothing to do.
        if let Some(child) = &mut started {
            server::end(context, false, Some(child))?;
        }
    }
    applied
}

/// Whether the project runs, maybe not wholly or not yet: then its logs are of interest.
fn is_running(applied: &Outcome) -> bool {
    match applied {
        Ok(()) => true,
        Err(failure) => matches!(failure.exit, Exit::NotReady | Exit::TimedOut | Exit::Interrupted),
    }
}

fn is_applied(context: &Context, project: &ProjectName) -> Outcome<bool> {
    let projects: Vec<ProjectView> = context.client.get("/v1/projects")?;
    Ok(projects.iter().any(|known| known.name == project.as_str()))
}

/// Applies the project and, unless told otherwise, waits until it is live.
fn apply(
    context: &mut Context,
    path: &str,
    spec: ProjectSpec,
    options: &UpOptions,
    interrupt: &Interrupt,
) -> Outcome {
    let project = spec.project.clone();
    let request = ApplyRequest {
        path: path.to_owned(),
        spec,
        actor: Some(Context::actor()),
        dry_run: options.dry_run,
        force: options.force,
    };
    let change: ChangeView = context
        .client
        .send("PUT", &format!("/v1/projects/{project}"), &request)?;
    if !options.wait.json {
        change::show(&mut context.out, &change)?;
    }
    if !options.dry_run && !options.wait.no_wait {
        let subject = Subject::Project(&project);
        let services = wait::until_live(context, &subject, &change, &options.wait, interrupt)?;
        if !options.wait.json {
            summarise(context, &services)?;
        }
    }
    if options.wait.json {
        context.out.json(&change)
    } else {
        Ok(())
    }
}

/// What runs, where to look, what to try.
fn summarise(context: &mut Context, services: &[ServiceView]) -> Outcome {
    let status: StatusView = context.client.get("/v1/status")?;
    let routes: Vec<RouteView> = context.client.get("/v1/routes")?;
    let gateway = status
        .listen
        .proxy
        .first()
        .map(|address| base_url(address))
        .unwrap_or_default();
    let out = &mut context.out;
    let count: u32 = services.iter().map(|service| service.ready).sum();
    out.line("")?;
    out.line(format!("{} services, {count} instances ready", services.len()))?;
    let names: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
    let own = |route: &&RouteView| {
        route
            .service
            .as_deref()
            .is_some_and(|service| names.contains(&service))
    };
    let urls: Vec<(String, &str)> = routes
        .iter()
        .filter(own)
        .flat_map(|route| {
            urls(&gateway, route)
                .into_iter()
                .map(|url| (url, route.service.as_deref().unwrap_or("")))
        })
        .collect();
    for (url, service) in urls.iter().take(MOST_URLS) {
        out.line(format!(
            "  {}  {}",
            Tone::Strong.paint(&format!("{url:42}")),
            Tone::Faint.paint(service)
        ))?;
    }
    if urls.len() > MOST_URLS {
        out.line(format!("  and {} more: hythe routes", urls.len() - MOST_URLS))?;
    }
    suggest(out, services, urls.first().map(|(url, _)| url.as_str()))
}

fn suggest(out: &mut Terminal, services: &[ServiceView], url: Option<&str>) -> Outcome {
    let Some(service) = services.iter().find(|service| service.kind == "process") else {
        return Ok(());
    };
    out.line(format!("\n{}", Tone::Faint.paint("Try:")))?;
    if let Some(url) = url {
        out.line(format!("  hythe explain GET {url}"))?;
    }
    out.line(format!("  hythe scale {}={}", service.name, service.desired + 2))?;
    out.line(format!("  hythe restart {}", service.name))
}

/// A gateway on every address is best reached as localhost.
fn base_url(address: &str) -> String {
    let any = ["0.0.0.0:", "[::]:", "127.0.0.1:"]
        .iter()
        .find_map(|prefix| address.strip_prefix(prefix));
    any.map_or_else(
        || format!("http://{address}"),
        |port| format!("http://localhost:{port}"),
    )
}

/// Addresses people can open: of plain paths, on the first host that is not a pattern.
fn urls(gateway: &str, route: &RouteView) -> Vec<String> {
    let paths = route.paths.iter().filter(|path| !path.starts_with('~'));
    match route.hosts.iter().find(|host| !host.contains('*')) {
        Some(host) => paths
            .map(|path| format!("{gateway}{path} (Host: {host})"))
            .collect(),
        None => paths.map(|path| format!("{gateway}{path}")).collect(),
    }
}

/// Shows new lines of the logs until a signal comes.
fn follow_until_signal(context: &Context, project: &ProjectName, signals: &Receiver<()>) -> Outcome {
    let lines = follow::open(&context.client, project.as_str(), hythe_stdx::unix_ms())?;
    std::thread::Builder::new()
        .name("logs".to_owned())
        .spawn(move || {
            // However it ends - nobody reads, the server is gone - the signal decides what happens next.
            let _ = follow::show_all(&mut Terminal::stdout(), lines);
        })?;
    let _ = signals.recv();
    Ok(())
}

/// Stops what this command started: the project, unless it was there before, and the server likewise. A
/// second signal does not wait for anybody's grace period.
fn stop_what_was_started(
    context: &mut Context,
    project: &ProjectName,
    known: bool,
    options: &UpOptions,
    started: Option<&mut Child>,
    interrupt: &Interrupt,
) -> Outcome {
    // Nobody may be reading any more; what was started is stopped all the same.
    if known {
        let _ = context
            .out
            .line("\nleft running, as it was before; `hythe down` removes it");
    } else {
        let _ = context.out.line(format!(
            "\n{}",
            Tone::Faint.paint("stopping; once more to stop at once")
        ));
        match down::remove(context, project, &options.wait, &Interrupt::after(interrupt)) {
            Err(Failure {
                exit: Exit::Interrupted,
                ..
            }) => server::kill_instances(context, project)?,
            other => other?,
        }
    }
    match started {
        Some(child) => server::end(context, true, Some(child)),
        None => Ok(()),
    }
}

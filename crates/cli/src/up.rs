//! `up`: applies a manifest, shows it coming up, follows its logs.

use std::process::Child;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use hythe_api::wire::{ApplyRequest, ProjectView};
use hythe_model::view::{ChangeView, RouteView, ServiceView, StatusView};
use hythe_model::{ProjectName, ProjectSpec};

use crate::arguments::UpOptions;
use crate::client::Presence;
use crate::failure::{Exit, Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::manifest_file::Manifest;
use crate::terminal::{Terminal, Tone, complain};
use crate::wait::{self, Subject};
use crate::{Context, change, down, follow, server};

/// Routes shown in the summary.
const MOST_URLS: usize = 8;

/// What this command found, and what it has to put in order at its end.
struct Session {
    project: ProjectName,
    /// Whether the project was applied before.
    known: bool,
    /// The server, if this command started it.
    server: Option<Child>,
}

/// Why logs are followed no longer.
enum Ending {
    /// A signal came.
    Signal,
    /// The logs have ended, or nobody reads them.
    Logs(Outcome),
}

pub(crate) fn run(context: &mut Context, options: &UpOptions) -> Outcome {
    let manifest = Manifest::read(context, &options.path, &options.profiles)?;
    let (source, spec) = manifest.accept(context)?;
    let request = ApplyRequest {
        path: source.path.display().to_string(),
        spec,
        actor: Some(Context::actor()),
        dry_run: options.dry_run,
        force: options.force,
    };
    if options.detach || options.dry_run {
        in_background(context, &request, options)
    } else {
        in_foreground(context, &request, options)
    }
}

fn in_background(context: &mut Context, request: &ApplyRequest, options: &UpOptions) -> Outcome {
    let mut session = Session::begin(context, &request.spec, options)?;
    let done = apply(context, request)
        .and_then(|change| bring_up(context, request, &change, options, &Interrupt::never()));
    let tidied = if done.is_err() || options.dry_run {
        session.end_unused_server(context)
    } else {
        Ok(())
    };
    done.and(tidied)
}

/// Whatever ends it once something was applied - a signal, nobody who reads, the end of the server - what this
/// command started is stopped.
fn in_foreground(context: &mut Context, request: &ApplyRequest, options: &UpOptions) -> Outcome {
    let (ends, ended) = sync_channel(1);
    let on_signal = ends.clone();
    let interrupt = Interrupt::listen(move || {
        // One that is not taken yet says as much as two.
        let _ = on_signal.try_send(Ending::Signal);
    })?;
    let mut session = Session::begin(context, &request.spec, options)?;
    let applied = apply(context, request);
    let Ok(change) = applied else {
        let tidied = session.end_unused_server(context);
        return applied.map(|_| ()).and(tidied);
    };
    let watched = bring_up(context, request, &change, options, &interrupt)
        .or_else(if_it_runs)
        .and_then(|()| follow_until_end(context, &session.project, ends, &ended));
    let stopped = session.stop(context, options, &interrupt);
    watched.and(stopped)
}

/// What runs in part, or not yet, has logs of interest: then the failure is told and no reason to end.
fn if_it_runs(failure: Failure) -> Outcome {
    match failure.exit {
        Exit::NotReady | Exit::TimedOut => {
            complain(failure);
            Ok(())
        }
        _ => Err(failure),
    }
}

fn is_applied(context: &Context, project: &ProjectName) -> Outcome<bool> {
    let projects: Vec<ProjectView> = context.client.get("/v1/projects")?;
    Ok(projects.iter().any(|known| known.name == project.as_str()))
}

fn apply(context: &Context, request: &ApplyRequest) -> Outcome<ChangeView> {
    let path = format!("/v1/projects/{}", request.spec.project);
    context.client.send("PUT", &path, request)
}

/// Shows what was applied and, unless told otherwise, waits until it is live.
fn bring_up(
    context: &mut Context,
    request: &ApplyRequest,
    change: &ChangeView,
    options: &UpOptions,
    interrupt: &Interrupt,
) -> Outcome {
    if !options.wait.json {
        change::show(&mut context.out, change)?;
    }
    if !options.dry_run && !options.wait.no_wait {
        let subject = Subject::Project(&request.spec.project);
        let services = wait::until_live(context, &subject, change, &options.wait, interrupt)?;
        let warnings = warnings_of(&services);
        if options.wait.json {
            let mut change = change.clone();
            change.warnings.extend(warnings);
            return context.out.json(&change);
        }
        for warning in warnings {
            context
                .out
                .line(Tone::Busy.paint(&format!("warning: {warning}")))?;
        }
        return summarise(context, &request.spec.project, &services);
    }
    if options.wait.json {
        context.out.json(change)
    } else {
        Ok(())
    }
}

/// What services ask for and do not get here.
fn warnings_of(services: &[ServiceView]) -> Vec<String> {
    let of_service = |service: &ServiceView| {
        let name = service.name.clone();
        let named = service
            .warnings
            .iter()
            .map(move |warning| format!("{name}: {warning}"));
        named.collect::<Vec<_>>()
    };
    services.iter().flat_map(of_service).collect()
}

/// What runs, where to look, what to try.
fn summarise(context: &mut Context, project: &ProjectName, services: &[ServiceView]) -> Outcome {
    let status: StatusView = context.client.get("/v1/status")?;
    let routes: Vec<RouteView> = context.client.get(&format!("/v1/routes?project={project}"))?;
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
    suggest(out, services, &urls)
}

/// Something to try with a service of several instances, if there is one: it shows most.
fn suggest(out: &mut Terminal, services: &[ServiceView], urls: &[(String, &str)]) -> Outcome {
    let mut own = services.iter().filter(|service| service.kind == "process");
    let Some(service) = own
        .clone()
        .find(|service| service.desired > 1)
        .or_else(|| own.next())
    else {
        return Ok(());
    };
    out.line(format!("\n{}", Tone::Faint.paint("Try:")))?;
    let its_own = urls.iter().find(|(_, of)| *of == service.name);
    if let Some((url, _)) = its_own.or(urls.first()) {
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

/// Shows new lines of the logs until a signal comes, the server has gone, or nobody reads any more.
fn follow_until_end(
    context: &Context,
    project: &ProjectName,
    ends: SyncSender<Ending>,
    ended: &Receiver<Ending>,
) -> Outcome {
    let lines = follow::open(&context.client, project.as_str(), hythe_stdx::unix_ms())?;
    std::thread::Builder::new()
        .name("logs".to_owned())
        .spawn(move || {
            let shown = follow::show_all(&mut Terminal::stdout(), lines);
            let _ = ends.send(Ending::Logs(shown));
        })?;
    match ended.recv() {
        Ok(Ending::Signal) => Ok(()),
        Ok(Ending::Logs(Err(failure))) if failure.message.is_empty() => Err(failure),
        Ok(Ending::Logs(_)) | Err(_) => Err(Failure::new(Exit::Failed, "the server has ended")
            .hint("services that run on are found again by `hythe up`")),
    }
}

impl Session {
    fn begin(context: &Context, spec: &ProjectSpec, options: &UpOptions) -> Outcome<Self> {
        let server = server::ensure(context, &options.server)?;
        let project = spec.project.clone();
        let known = is_applied(context, &project)?;
        Ok(Self {
            project,
            known,
            server,
        })
    }

    /// Stops what this command started: the project, unless it was there before, and the server likewise. A
    /// second signal does not wait for anybody's grace period. What is gone already needs no stop.
    fn stop(&mut self, context: &mut Context, options: &UpOptions, interrupt: &Interrupt) -> Outcome {
        if context.client.presence() == Presence::Absent {
            return Ok(());
        }
        context.out.may_be_unheard();
        if self.known {
            context
                .out
                .line("\nthe project stays applied, as it was before; `hythe down` removes it")?;
        } else {
            context.out.line(format!(
                "\n{}",
                Tone::Faint.paint("stopping; once more to stop at once")
            ))?;
            let removed = down::remove(
                context,
                &self.project,
                &options.wait,
                &Interrupt::after(interrupt),
            );
            let removed = match removed {
                Err(failure) if failure.exit == Exit::Interrupted => {
                    server::kill_instances(context, &self.project)
                }
                removed => removed,
            };
            if_gone(removed)?;
        }
        if_gone(self.end_server(context))
    }

    /// Ends a server that was only started for a project that was not applied.
    fn end_unused_server(&mut self, context: &mut Context) -> Outcome {
        if is_applied(context, &self.project)? {
            return Ok(());
        }
        self.end_server(context)
    }

    /// Ends the server if this command started it, unless other projects need it by now.
    fn end_server(&mut self, context: &mut Context) -> Outcome {
        let Some(child) = &mut self.server else {
            return Ok(());
        };
        let projects: Vec<ProjectView> = context.client.get("/v1/projects")?;
        if projects.iter().any(|other| other.name != self.project.as_str()) {
            return context.out.line("the server goes on for other projects");
        }
        server::end(context, true, Some(child))
    }
}

/// Without a server there is nothing left to stop, nor without the project.
fn if_gone(stopped: Outcome) -> Outcome {
    match stopped {
        Err(failure) if matches!(failure.exit, Exit::NoServer | Exit::NotFound) => Ok(()),
        stopped => stopped,
    }
}

//! `describe`: everything about one service.

use std::time::Duration;

use hythe_api::wire::ServiceDetail;
use hythe_model::Workload;
use hythe_model::instance::Listening;
use hythe_model::view::{EndpointView, InstanceView};
use hythe_model::workload::{
    Condition, HealthCheck, Limits, ListensBy, Probe, Replicas, RestartPolicy, Watch,
};

use crate::Context;
use crate::arguments::ServiceOptions;
use crate::client::encode;
use crate::failure::Outcome;
use crate::listing::{service_state, tone, usage};
use crate::terminal::{Terminal, Tone};

pub(crate) fn run(context: &mut Context, options: &ServiceOptions) -> Outcome {
    let name = context.scope()?.full(&options.service)?;
    let detail: ServiceDetail = context.client.get(&format!("/v1/services/{}", encode(&name)))?;
    if options.json {
        return context.out.json(&detail);
    }
    let out = &mut context.out;
    let service = &detail.service;
    let (state, tone) = service_state(service);
    out.line(format!(
        "{}  {}",
        Tone::Strong.paint(&service.name),
        tone.paint(&state)
    ))?;
    field(out, "project", &service.project)?;
    field(out, "ready", format!("{} of {}", service.ready, service.desired))?;
    if let Some(failure) = &service.failure {
        field(out, "failure", Tone::Bad.paint(failure))?;
    }
    for warning in &service.warnings {
        field(out, "warning", Tone::Busy.paint(warning))?;
    }
    if let Some(workload) = &detail.workload {
        show_workload(out, workload)?;
    }
    if let Some(gateway) = &detail.gateway {
        let timeouts = format!(
            "connect {}, write {}, read {}",
            span(gateway.connect_timeout_ms),
            span(gateway.write_timeout_ms),
            span(gateway.read_timeout_ms)
        );
        field(
            out,
            "upstream",
            format!("{}, {} retries, {timeouts}", gateway.host, gateway.retries),
        )?;
    }
    if !service.published.is_empty() {
        let places = service.published.join(", ");
        field(
            out,
            "published",
            format!("{places}, where the gateway listens for it"),
        )?;
    }
    if !service.routes.is_empty() {
        field(out, "routes", service.routes.join(", "))?;
    }
    for instance in &service.instances {
        show_instance(out, instance)?;
    }
    for endpoint in &service.endpoints {
        show_endpoint(out, endpoint)?;
    }
    Ok(())
}

fn show_workload(out: &mut Terminal, workload: &Workload) -> Outcome {
    field(out, "command", workload.command.join(" "))?;
    field(out, "folder", workload.working_dir.display())?;
    if let Some(port) = workload.port {
        field(
            out,
            "port",
            format!("{port} by hand; {}", own_address(workload.listens)),
        )?;
    }
    let replicas = match workload.replicas {
        Replicas::Count(count) => count.to_string(),
        Replicas::Max => "one for each core".to_owned(),
    };
    field(out, "replicas", replicas)?;
    let restart = match workload.restart {
        RestartPolicy::No => "no".to_owned(),
        RestartPolicy::Always => "always".to_owned(),
        RestartPolicy::UnlessStopped => "unless-stopped".to_owned(),
        RestartPolicy::OnFailure => "on-failure".to_owned(),
        RestartPolicy::OnFailureAtMost(times) => format!("on-failure:{times}"),
    };
    field(out, "restart", restart)?;
    show_rules(out, workload)?;
    if let Some(health) = &workload.healthcheck {
        field(out, "health", check(health))?;
    }
    if let Some(liveness) = &workload.liveness {
        field(out, "liveness", check(liveness))?;
    }
    if let Some(user) = &workload.user {
        field(out, "user", user)?;
    }
    let limits = limits(&workload.limits);
    if !limits.is_empty() {
        field(out, "limits", limits.join(", "))?;
    }
    for (name, dependency) in &workload.depends_on {
        field(
            out,
            "depends on",
            format!("{name} ({})", in_manifest(dependency.condition)),
        )?;
    }
    Ok(())
}

/// How each instance of a service with a port is to come to its own address.
fn own_address(listens: ListensBy) -> &'static str {
    match listens {
        ListensBy::Auto => "each instance gets its own address, by its bind or by PORT",
        ListensBy::Port => "each instance gets its own address, by PORT",
        ListensBy::Socket => "each instance gets its own address, with a socket (LISTEN_FDS)",
    }
}

/// How an instance has come to its own address.
fn listening(how: Listening, address: &str) -> String {
    match how {
        Listening::Bind { asked } => format!("its bind to {asked} is turned to {address}"),
        Listening::Cluster { asked } => {
            format!("worker of Node's cluster, which asked for {asked} and is served at {address}")
        }
        Listening::Port => "it is told by PORT".to_owned(),
        Listening::Socket => "it was given the socket (LISTEN_FDS)".to_owned(),
    }
}

/// What an instance may use at most: `64M memory`, `0.5 cores`, `nofile 1024:4096`.
fn limits(limits: &Limits) -> Vec<String> {
    #[expect(clippy::cast_precision_loss, reason = "far fewer cores than that")]
    let cores = |millis: u64| format!("{} cores", millis as f64 / 1_000.0);
    let memory = |bytes| format!("{} memory", hythe_stdx::format_exact_size(bytes));
    let of_group = [
        limits.memory_bytes.map(memory),
        limits.cpu_millis.map(cores),
        limits.pids.map(|pids| format!("{pids} processes")),
    ];
    let bound = |bound: Option<u64>| bound.map_or_else(|| "unlimited".to_owned(), |bound| bound.to_string());
    let of_each = limits.ulimits.iter().map(|(ulimit, bounds)| {
        let (soft, hard) = (bound(bounds.soft), bound(bounds.hard));
        if soft == hard {
            format!("{} {soft}", ulimit.as_str())
        } else {
            format!("{} {soft}:{hard}", ulimit.as_str())
        }
    });
    of_group.into_iter().flatten().chain(of_each).collect()
}

/// What ends an instance for good, and what replaces it.
fn show_rules(out: &mut Terminal, workload: &Workload) -> Outcome {
    let rules = &workload.restart_rules;
    if !rules.stop_exit_codes.is_empty() {
        let codes: Vec<String> = rules.stop_exit_codes.iter().map(i32::to_string).collect();
        field(out, "final", format!("exit code {}", codes.join(", ")))?;
    }
    if let Some(min_uptime) = rules.min_uptime_ms {
        field(out, "min uptime", span(min_uptime))?;
    }
    if let Some(most) = rules.max_quick_exits.filter(|most| *most != u32::MAX) {
        field(out, "gives up", format!("after {most} quick exits in a row"))?;
    }
    match (rules.backoff_ms, rules.delay_ms) {
        (Some(first), _) => field(out, "waits", format!("{}, then ever longer", span(first)))?,
        (None, Some(delay)) => field(out, "waits", span(delay))?,
        (None, None) => {}
    }
    if let Some(most) = workload.memory_restart_bytes {
        field(
            out,
            "memory",
            format!("replaced above {}", hythe_stdx::format_size(most)),
        )?;
    }
    if let Some(cron) = &workload.cron_restart {
        field(out, "cron", cron)?;
    }
    if let Some(watch) = &workload.watch {
        field(out, "watches", watched(watch))?;
    }
    Ok(())
}

/// `src, views (*.js) without *.log`.
fn watched(watch: &Watch) -> String {
    let mut text = match &watch.paths[..] {
        [] => "its folder".to_owned(),
        paths => list(paths.iter().map(|path| path.display().to_string())),
    };
    if !watch.extensions.is_empty() {
        text += &format!(" (*.{})", watch.extensions.join(", *."));
    }
    if !watch.ignore.is_empty() {
        text += &format!(" without {}", list(watch.ignore.iter().cloned()));
    }
    text
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

/// `GET /health, every 30s, 3 failures in a row`.
fn check(check: &HealthCheck) -> String {
    let probe = match &check.probe {
        Probe::Http(path) => format!("GET {path}"),
        Probe::Tcp => "connects to its port".to_owned(),
        Probe::Command(command) => command.join(" "),
    };
    format!(
        "{probe}, every {}, {} failures in a row",
        span(check.interval_ms),
        check.retries
    )
}

fn show_instance(out: &mut Terminal, instance: &InstanceView) -> Outcome {
    let state = tone(instance.state).paint(&instance.state.to_string());
    out.line(format!("\n{}  {state}", Tone::Strong.paint(&instance.id)))?;
    if let Some(pid) = instance.pid {
        field(out, "pid", pid)?;
        field(out, "use", usage(instance))?;
        field(out, "in flight", instance.in_flight)?;
    }
    if let Some(address) = &instance.address {
        field(out, "address", address)?;
        if let Some(how) = instance.listening {
            field(out, "listens", listening(how, address))?;
        }
    }
    field(out, "revision", &instance.revision)?;
    field(out, "restarts", instance.restarts)?;
    if let Some(exit) = instance.last_exit {
        field(out, "last exit", exit)?;
    }
    if let Some(cause) = &instance.cause {
        field(out, "because", cause)?;
    }
    if let Some(message) = &instance.message {
        field(out, "why", message)?;
    }
    Ok(())
}

fn show_endpoint(out: &mut Terminal, endpoint: &EndpointView) -> Outcome {
    let state = if endpoint.healthy {
        Tone::Good.paint("healthy")
    } else {
        Tone::Bad.paint("unhealthy")
    };
    out.line(format!("\n{}  {state}", Tone::Strong.paint(&endpoint.id)))?;
    field(out, "weight", endpoint.weight)?;
    field(out, "in flight", endpoint.in_flight)?;
    if let Some(health) = &endpoint.health {
        field(out, "health", since(health, endpoint.health_since))?;
    }
    Ok(())
}

/// `active check: connection refused, 3 failures, since 2026-01-31T12:00:00Z`.
fn since(health: &str, at: Option<u64>) -> String {
    let at = at.and_then(|at| jiff::Timestamp::from_millisecond(i64::try_from(at).ok()?).ok());
    match at {
        Some(at) => format!("{health}, since {at:.0}"),
        None => health.to_owned(),
    }
}

/// The manifest's word.
fn in_manifest(condition: Condition) -> &'static str {
    match condition {
        Condition::ServiceStarted => "service_started",
        Condition::ServiceHealthy => "service_healthy",
        Condition::ServiceCompletedSuccessfully => "service_completed_successfully",
    }
}

/// Milliseconds as people write them: `1500ms`, `2s`, `1m30s`.
fn span(milliseconds: u64) -> String {
    if milliseconds.is_multiple_of(1000) && milliseconds > 0 {
        hythe_stdx::format_duration(Duration::from_millis(milliseconds))
    } else {
        format!("{milliseconds}ms")
    }
}

fn field(out: &mut Terminal, name: &str, value: impl std::fmt::Display) -> Outcome {
    out.line(format!("  {} {value}", Tone::Faint.paint(&format!("{name:10}"))))
}

#[cfg(test)]
mod tests {
    use hythe_model::workload::{Bounds, Ulimit};

    use super::*;

    #[test]
    fn the_words_are_the_manifests() {
        for condition in [
            Condition::ServiceStarted,
            Condition::ServiceHealthy,
            Condition::ServiceCompletedSuccessfully,
        ] {
            assert_eq!(serde_json::json!(condition), in_manifest(condition));
        }
    }

    #[test]
    fn limits_in_a_few_words() {
        let bounds = |soft, hard| Bounds { soft, hard };
        let all = Limits {
            cpu_millis: Some(500),
            memory_bytes: Some(64 << 20),
            pids: Some(20),
            ulimits: [
                (Ulimit::Nofile, bounds(Some(1024), Some(4096))),
                (Ulimit::Core, bounds(Some(0), Some(0))),
                (Ulimit::Memlock, bounds(None, None)),
            ]
            .into(),
        };
        assert_eq!(
            limits(&all).join(", "),
            "64M memory, 0.5 cores, 20 processes, core 0, memlock unlimited, nofile 1024:4096"
        );
        assert!(limits(&Limits::default()).is_empty());
    }

    #[test]
    fn how_an_instance_listens_in_a_few_words() {
        let asked = ([0, 0, 0, 0], 3000).into();
        let rows = [
            (
                Listening::Bind { asked },
                "its bind to 0.0.0.0:3000 is turned to 127.64.1.2:3000",
            ),
            (
                Listening::Cluster { asked },
                "worker of Node's cluster, which asked for 0.0.0.0:3000 and is served at 127.64.1.2:3000",
            ),
            (Listening::Port, "it is told by PORT"),
            (Listening::Socket, "it was given the socket (LISTEN_FDS)"),
        ];
        for (how, text) in rows {
            assert_eq!(listening(how, "127.64.1.2:3000"), text);
        }
    }

    #[test]
    fn health_says_since_when() {
        let text = since("active check: status 500, 3 failures", Some(1_000));
        assert_eq!(
            text,
            "active check: status 500, 3 failures, since 1970-01-01T00:00:01Z"
        );
        assert_eq!(since("not checked yet", None), "not checked yet");
    }

    #[test]
    fn spans_lose_nothing() {
        let rows = [
            (0, "0ms"),
            (850, "850ms"),
            (1500, "1500ms"),
            (2000, "2s"),
            (90_000, "1m30s"),
        ];
        for (milliseconds, text) in rows {
            assert_eq!(span(milliseconds), text);
        }
    }
}

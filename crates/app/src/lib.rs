//! Builds every subsystem in order, runs until told to stop, and takes everything down again.
//!
//! The order is the architecture: store, runtime, supervisor, registry, gateway, API; each needs only what
//! stands above it. Addresses are bound before anything is planned, so that a port that is taken is said
//! first and changes nothing: the API's before the minder is spoken to, the gateway's right after it, as the
//! minder may keep sockets of an earlier server. The gateway accepts last, once it knows what runs: a boot
//! with instances running answers nobody 503 for them, and until then connections wait in the kernel.

pub mod builtin;
mod control;
mod desired;
mod gateway_setup;
mod home;
mod instance_ids;
mod kept_sockets;
mod output;
mod published;
mod readiness;
mod shutdown;
mod tidy;
mod upgrade;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::iter;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use hythe_balance::EndpointTable;
use hythe_config::NodeConfig;
use hythe_gateway::Listeners;
use hythe_model::{FullName, Instances, desired::Desired};
use hythe_ports::documents::{Documents, NodeId};
use hythe_runtime_process::{Guarded, ProcessRuntime};
use hythe_spine::{Latest, Spine};
use prometheus_client::registry::Registry;

use crate::instance_ids::InstanceIds;
use crate::readiness::State;
use crate::shutdown::{Ending, Signals};

/// How long the supervisor may take to find what an earlier server left.
const ADOPTION: Duration = Duration::from_secs(10);
/// After how long a thread for blocking work ends that has none: its stack is memory, too.
const IDLE_THREAD: Duration = Duration::from_secs(1);
/// How long tasks may take to end.
const TASKS_END: Duration = Duration::from_secs(5);
/// What workers have seen of endpoints and the registry has not heard yet; beyond, it is told again later.
const OBSERVATIONS: usize = 256;

/// Runs a server until it is told to stop. `exe` is this program, which is also the minder. `guarded`: whether the
/// minder is to start this process again, as it was started, when it dies.
///
/// # Errors
/// When something cannot be opened or bound. What ran before goes on, and nothing is left half started.
pub fn run(config: NodeConfig, exe: PathBuf, guarded: bool) -> anyhow::Result<()> {
    // One for each worker, so that they do not wait for one another, and two for all others.
    hythe_memory::limit_areas(config.workers + 2);
    hythe_telemetry::init_logging(&config.log);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(16)
        .thread_keep_alive(IDLE_THREAD)
        .build()
        .context("start the control runtime")?;
    let ended = runtime.block_on(serve(config, exe, guarded));
    // Blocking work that hangs (a resolver, a disk) must not hold the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

async fn serve(config: NodeConfig, exe: PathBuf, guarded: bool) -> anyhow::Result<()> {
    let started_at = hythe_stdx::unix_ms();
    home::prepare(&config.home)?;
    let signals = Signals::install()?;
    let spine = Spine::default();

    let node = NodeId(home::node_id(&config.home)?);
    let store = hythe_store::open(hythe_store::Config::new(&config.home, node)).context("open the store")?;
    let documents: Arc<dyn Documents> = Arc::new(store.clone());
    let desired = desired::follow(Arc::clone(&documents), &spine)
        .await
        .context("read the desired state")?;

    let api = hythe_api::bind(hythe_api::Config {
        api_listen: config.api_listen,
        socket: hythe_config::socket(&config.home),
        token_file: hythe_config::token_file(&config.home),
    })?;
    let command = guarded.then(|| this_command(&exe, &config.home)).flatten();
    let is_guarded = command.is_some();
    let processes = hythe_runtime_process::Config {
        inherited: inherited_environment(),
        ..hythe_runtime_process::Config::new(config.home.clone(), exe)
    };
    let (runtime, output) = ProcessRuntime::connect(processes, &spine).await?;
    // After the minder was started: services get the limit that this server was given.
    gateway_setup::raise_descriptor_limit();
    let listeners = listen(&config, &runtime).await?;
    let (proxy_tls, proxy) = addresses(&listeners);

    let logs = output::collect(&config, desired.clone(), &runtime, output, &spine)?;
    let (observer, observations) = tokio::sync::mpsc::channel(OBSERVATIONS);
    let endpoint_table = Arc::new(EndpointTable::observed_by(observer));
    let supervisor = hythe_supervisor::build(
        hythe_supervisor::Config {
            cores: cores(),
            gateway_url: gateway_url(&proxy),
            drain_timeout: config.drain_timeout,
            backoff: hythe_supervisor::Backoff::default(),
        },
        hythe_supervisor::Inputs {
            desired: desired.clone(),
            traffic: Arc::new(upgrade::WithPredecessor::of(endpoint_table.clone())),
            logs: logs.clone(),
            runtime: Arc::new(runtime.clone()),
            ids: Arc::new(InstanceIds::open(config.home.join("instance-ids.json"))?),
        },
        &spine,
    );
    adopted(&supervisor.instances, &desired).await?;
    let endpoints = hythe_registry::build(
        &hythe_registry::Config {
            resolvers: config.resolvers.clone(),
        },
        hythe_registry::Inputs {
            desired: desired.clone(),
            instances: supervisor.instances.clone(),
            observations,
        },
        &spine,
    );
    let (gateway, traffic) = hythe_gateway::build(
        gateway_setup::config(&config)?,
        hythe_gateway::Inputs {
            desired: published::follow(
                &desired,
                &supervisor.instances,
                config.home.join("published.json"),
                &spine,
            ),
            endpoints: endpoints.clone(),
            table: Arc::clone(&endpoint_table),
            listeners,
        },
        &spine,
    )?;
    let (control, stop_asked) = control::control(supervisor.instances.clone(), runtime.clone());
    hythe_api::serve(
        api,
        hythe_api::Inputs {
            documents,
            desired: desired.clone(),
            instances: supervisor.instances.clone(),
            endpoints,
            gateway: gateway_status(traffic.status.clone(), &spine),
            routes: Arc::new(traffic.explainer),
            traffic: endpoint_table,
            logs,
            metrics: metrics(&traffic.metrics),
            info: server_info(&config, (proxy.clone(), proxy_tls.clone()), started_at, &runtime),
            control,
            plugin_check: Arc::new(builtin::plugin_findings),
        },
        &spine,
    )?;
    kept_sockets::follow(&runtime, traffic.listeners, &spine).await?;
    tidy::follow(desired, supervisor.instances.clone(), &spine);
    let workers = gateway.serve()?;
    if is_guarded {
        runtime
            .guard(command.clone())
            .await
            .context("have the minder guard this server")?;
    }
    tracing::info!(home = %config.home.display(), proxy = ?proxy, proxy_tls = ?proxy_tls, "ready");
    readiness::tell(State::Ready);

    let ending = signals.wait(stop_asked).await;
    tracing::info!(?ending, "stopping");
    if let Ending::Upgrade { binary } = ending {
        upgrade::let_held_go(|| traffic.metrics.held(), &signals).await;
        traffic.succession.is_settled();
        end_tasks(&spine).await;
        store.close().await;
        return upgrade::hand_over(&config.home, &binary, command, workers, &signals).await;
    }
    readiness::tell(State::Stopping);
    if is_guarded && let Err(error) = runtime.guard(None).await {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the minder may start a server again"
        );
    }
    if let Ending::ServerAndMinder { with_services: true } = ending {
        supervisor
            .handle
            .stop_all(config.drain_timeout + Duration::from_secs(10))
            .await;
    }
    let mut ended = Ok(());
    if let Ending::ServerAndMinder { with_services } = ending {
        ended = runtime.shutdown_minder(with_services).await;
        if let Err(error) = &ended {
            tracing::error!(error = error as &dyn std::error::Error, "the minder goes on");
        }
    }
    end(&spine, workers, &signals).await;
    store.close().await;
    ended.context("end the minder")
}

/// Stops tasks and workers; workers finish what is in flight unless a second signal comes.
async fn end(spine: &Spine, workers: Vec<std::thread::JoinHandle<()>>, signals: &Signals) {
    let workers_ended = tokio::task::spawn_blocking(move || {
        for worker in workers {
            let _ = worker.join();
        }
    });
    end_tasks(spine).await;
    tokio::select! {
        _ = workers_ended => {}
        () = signals.again() => tracing::warn!("a second signal: open requests are cut off"),
    }
}

async fn end_tasks(spine: &Spine) {
    if !spine.stop(TASKS_END).await {
        tracing::warn!("some tasks did not end in time");
    }
}

/// The gateway's sockets: those that an earlier server listened on, new ones where there are none.
async fn listen(config: &NodeConfig, runtime: &ProcessRuntime) -> anyhow::Result<Listeners> {
    let kept = kept_sockets::take(runtime).await?;
    match Listeners::bind(&gateway_setup::listeners(config), config.workers, kept) {
        Ok(listeners) => Ok(listeners),
        Err(error) => {
            // A minder without services was only started for this server; one that has some refuses.
            let _ = runtime.shutdown_minder(false).await;
            Err(error.into())
        }
    }
}

/// Where TLS is spoken, and where it is not.
fn addresses(listeners: &Listeners) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
    let (tls, clear): (Vec<_>, Vec<_>) = listeners.plans().partition(|plan| plan.tls());
    let address = |plan: &hythe_gateway::ListenerPlan| plan.address;
    (
        tls.into_iter().map(address).collect(),
        clear.into_iter().map(address).collect(),
    )
}

/// Waits until the supervisor knows what an earlier server left running.
async fn adopted(instances: &Latest<Instances>, desired: &Latest<Desired>) -> anyhow::Result<()> {
    let generation = desired.get().generation;
    let found = |instances: &Instances| instances.synced && instances.generation >= generation;
    let mut instances = instances.clone();
    let waited = tokio::time::timeout(ADOPTION, instances.wait_for(found)).await;
    waited
        .context("the minder did not tell in time what is running")
        .map(|_| ())
}

/// Where services on this machine reach the gateway.
fn gateway_url(proxy: &[SocketAddr]) -> String {
    let reachable = |address: &SocketAddr| match address.ip() {
        ip if ip.is_unspecified() => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port()),
        _ => *address,
    };
    proxy
        .first()
        .map(|address| format!("http://{}", reachable(address)))
        .unwrap_or_default()
}

/// What services get of this server's own environment: enough to find programs and to know the user and the
/// language. Everything else they are told by their manifest.
fn inherited_environment() -> BTreeMap<String, String> {
    const NAMES: [&str; 10] = [
        "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR",
    ];
    let value = |name: &str| Some((name.to_owned(), std::env::var(name).ok()?));
    NAMES.into_iter().filter_map(value).collect()
}

/// How this process was started. `None` if that cannot be told to the minder, which knows UTF-8 only: without one of its
/// arguments it would be another command.
fn this_command(exe: &Path, home: &Path) -> Option<Guarded> {
    let text = |value: OsString| value.into_string().ok();
    let words = iter::once(exe.as_os_str().to_owned()).chain(std::env::args_os().skip(1));
    let argv: Option<Vec<_>> = words.map(text).collect();
    if argv.is_none() {
        tracing::warn!("arguments are not UTF-8: the minder will not start this server again if it dies");
    }
    Some(Guarded {
        argv: argv?,
        env: std::env::vars_os()
            .filter(|(name, _)| name != upgrade::PREDECESSOR)
            .filter_map(|(name, value)| Some((text(name)?, text(value)?)))
            .collect(),
        log: hythe_config::server_log(home),
    })
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The gateway's status in the API's words.
fn gateway_status(
    mut status: Latest<hythe_gateway::Status>,
    spine: &Spine,
) -> Latest<hythe_api::GatewayStatus> {
    let (publisher, told) = hythe_spine::latest(in_words(&status.get()));
    spine.spawn("gateway status", |shutdown| async move {
        let follow = async {
            loop {
                publisher.publish(in_words(&status.get_and_mark()));
                status.changed().await;
            }
        };
        shutdown.unless_requested(follow).await;
    });
    told
}

fn in_words(status: &hythe_gateway::Status) -> hythe_api::GatewayStatus {
    let problem = |problem: &hythe_gateway::Problem| hythe_api::GatewayProblem {
        project: problem.name.parse().ok().map(|name: FullName| name.project),
        text: problem.to_string(),
    };
    hythe_api::GatewayStatus {
        generation: status.generation,
        problems: status.problems.iter().map(problem).collect(),
    }
}

fn metrics(gateway: &Arc<hythe_gateway::Metrics>) -> Arc<dyn Fn() -> String + Send + Sync> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(hythe_gateway::MetricsCollector(Arc::clone(gateway))));
    Arc::new(move || {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
        text
    })
}

fn server_info(
    config: &NodeConfig,
    (proxy, proxy_tls): (Vec<SocketAddr>, Vec<SocketAddr>),
    started_at: u64,
    runtime: &ProcessRuntime,
) -> hythe_api::ServerInfo {
    let runtime = runtime.clone();
    hythe_api::ServerInfo {
        program: std::env::current_exe().unwrap_or_default(),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at,
        home: config.home.clone(),
        workers: u32::try_from(config.workers).unwrap_or(u32::MAX),
        proxy,
        proxy_tls,
        minder_pid: Arc::new(move || runtime.minder_pid()),
    }
}

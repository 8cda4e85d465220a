//! What the request path reads: routes with everything decided in advance.
//!
//! [`Compiler::compile`] is pure but for reusing what stands unchanged: plugins keep their state, counters
//! go on counting, and pools are shared cells that change under every snapshot that holds them (a health
//! flap swaps one pool and compiles nothing).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hythe_model::endpoint::pool_name;
use hythe_model::traffic::{PathHandling, Protocol, Service};
use hythe_model::{Desired, FullName};
use hythe_routing::{RouteEntry, RouteTable};

use crate::metrics::{Metrics, RouteMetrics};
use crate::plugin::PluginKind;
use crate::plugin::chain::{Chain, Plugins};
use crate::pools::{Pools, SharedPool};

/// Everything the request path needs to know at one generation.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// The desired generation this was made of.
    pub(crate) generation: u64,
    /// Routes.
    pub(crate) table: RouteTable<RoutePlan>,
    /// Counters of requests that no route takes.
    pub(crate) unrouted: Arc<RouteMetrics>,
}

/// One route, decided.
#[derive(Debug)]
pub(crate) struct RoutePlan {
    pub(crate) label: String,
    pub(crate) service: Option<Arc<ServicePlan>>,
    pub(crate) strip_path: bool,
    pub(crate) preserve_host: bool,
    pub(crate) path_handling: PathHandling,
    pub(crate) https_redirect: u16,
    pub(crate) chain: Chain,
    pub(crate) metrics: Arc<RouteMetrics>,
}

/// One service, decided.
#[derive(Debug)]
pub(crate) struct ServicePlan {
    pub(crate) label: String,
    pub(crate) pool: Arc<SharedPool>,
    pub(crate) pool_label: String,
    pub(crate) host: String,
    pub(crate) path: Option<String>,
    pub(crate) retries: u32,
    pub(crate) connect_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) read_timeout: Duration,
}

/// Something that keeps a configuration from being served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} `{name}`: {message}")]
pub struct Problem {
    /// Kind of document.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// What is wrong.
    pub message: String,
}

/// Makes snapshots, and remembers what the next one may reuse.
pub(crate) struct Compiler {
    builtin: &'static [PluginKind],
    workers: usize,
    metrics: Arc<Metrics>,
    plugins: Plugins,
    counters: BTreeMap<String, Arc<RouteMetrics>>,
    unrouted: Arc<RouteMetrics>,
}

impl Compiler {
    pub(crate) fn new(builtin: &'static [PluginKind], workers: usize, metrics: Arc<Metrics>) -> Self {
        let unrouted = metrics.route("", None, workers);
        Self {
            builtin,
            workers,
            metrics,
            plugins: Plugins::default(),
            counters: BTreeMap::new(),
            unrouted,
        }
    }

    /// A snapshot without a route, for the time before the first desired state.
    pub(crate) fn empty(&self) -> Snapshot {
        Snapshot {
            generation: 0,
            table: RouteTable::default(),
            unrouted: Arc::clone(&self.unrouted),
        }
    }

    /// Compiles all of `desired`.
    ///
    /// # Errors
    /// Every problem; nothing is remembered then, and the earlier snapshot goes on serving.
    pub(crate) fn compile(&mut self, desired: &Desired, pools: &mut Pools) -> Result<Snapshot, Vec<Problem>> {
        let plugins = Plugins::read(desired, self.builtin, &self.plugins).map_err(plugin_problems)?;
        let services = service_plans(desired, pools)?;
        let mut counters = BTreeMap::new();
        let entries = desired.routes.iter().map(|(name, entry)| {
            let service_name = entry
                .spec
                .service
                .clone()
                .map(|service| FullName::new(name.project.clone(), service));
            let service = service_name
                .as_ref()
                .and_then(|service| services.get(service))
                .cloned();
            let metrics = self.counters_of(name, service_name.as_ref());
            counters.insert(name.to_string(), Arc::clone(&metrics));
            let plan = RoutePlan {
                label: name.to_string(),
                service,
                strip_path: entry.spec.strip_path,
                preserve_host: entry.spec.preserve_host,
                path_handling: entry.spec.path_handling,
                https_redirect: entry.spec.https_redirect_status_code,
                chain: plugins.chain(name, service_name.as_ref()),
                metrics,
            };
            RouteEntry {
                name: name.clone(),
                created_at: entry.created_at,
                route: Arc::new(entry.spec.clone()),
                payload: plan,
            }
        });
        let table = RouteTable::compile(entries).map_err(|problems| {
            let problem = |problem: hythe_routing::CompileProblem| Problem {
                kind: "route",
                name: problem.route.to_string(),
                message: problem.message,
            };
            problems.into_iter().map(problem).collect::<Vec<_>>()
        })?;
        (self.plugins, self.counters) = (plugins, counters);
        Ok(Snapshot {
            generation: desired.generation,
            table,
            unrouted: Arc::clone(&self.unrouted),
        })
    }

    fn counters_of(&self, route: &FullName, service: Option<&FullName>) -> Arc<RouteMetrics> {
        let label = route.to_string();
        match self.counters.get(&label) {
            Some(known) if known.is_of(&label, service) => Arc::clone(known),
            _ => self.metrics.route(&label, service, self.workers),
        }
    }
}

fn plugin_problems(problems: Vec<crate::plugin::chain::PluginProblem>) -> Vec<Problem> {
    let flat = problems.into_iter().flat_map(|problem| {
        let name = problem.document.to_string();
        problem.problems.into_iter().map(move |message| Problem {
            kind: "plugin",
            name: name.clone(),
            message,
        })
    });
    flat.collect()
}

fn service_plans(
    desired: &Desired,
    pools: &mut Pools,
) -> Result<BTreeMap<FullName, Arc<ServicePlan>>, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut plans = BTreeMap::new();
    for (name, entry) in desired.services.iter().filter(|(_, entry)| entry.spec.enabled) {
        if entry.spec.protocol != Protocol::Http {
            let message = "only `http` upstreams are served yet".to_owned();
            problems.push(Problem {
                kind: "service",
                name: name.to_string(),
                message,
            });
            continue;
        }
        let pool = pool_name(desired, name, &entry.spec);
        plans.insert(
            name.clone(),
            Arc::new(service_plan(desired, name, &entry.spec, &pool, pools)),
        );
    }
    if problems.is_empty() {
        Ok(plans)
    } else {
        Err(problems)
    }
}

fn service_plan(
    desired: &Desired,
    name: &FullName,
    spec: &Service,
    pool: &FullName,
    pools: &mut Pools,
) -> ServicePlan {
    let upstream = desired.upstreams.get(pool).map(|entry| &entry.spec);
    let algorithm = upstream.map(|upstream| upstream.algorithm).unwrap_or_default();
    let host_header = upstream.and_then(|upstream| upstream.host_header.clone());
    let is_external = pool.name != name.name
        && !desired.upstreams.contains_key(pool)
        && !desired.workloads.contains_key(pool);
    let own_host = if is_external && spec.port != 80 {
        format!("{}:{}", spec.host, spec.port)
    } else {
        spec.host.clone()
    };
    ServicePlan {
        label: name.to_string(),
        pool: pools.pool(pool, algorithm),
        pool_label: pool.to_string(),
        host: host_header.unwrap_or(own_host),
        path: spec.path.clone(),
        retries: spec.retries,
        connect_timeout: Duration::from_millis(spec.connect_timeout_ms),
        write_timeout: Duration::from_millis(spec.write_timeout_ms),
        read_timeout: Duration::from_millis(spec.read_timeout_ms),
    }
}

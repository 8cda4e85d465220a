//! What the request path reads: routes with everything decided in advance.
//!
//! [`Compiler::compile`] is pure but for reusing what stands unchanged: routes are not read again (regexes are what
//! costs), plugins keep their state, counters go on counting, and pools are shared cells that change under every
//! snapshot that holds them (a health flap swaps one pool and compiles nothing).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hythe_balance::{BreakerRules, RetryShare};
use hythe_model::balancing::{CircuitBreaker, RetryOn};
use hythe_model::desired::Map;
use hythe_model::endpoint::pool_name;
use hythe_model::traffic::{Algorithm, PathHandling, Protocol, Service};
use hythe_model::{Consumer, Desired, Entry, FullName, Listener, Name, Route, Upstream};
use hythe_routing::{CompileProblem, RouteEntry, RouteTable};
use hythe_upstream::proxy_protocol;

use crate::announce;
use crate::directory::Directory;
use crate::hash_key::HashKey;
use crate::metrics::{Metrics, RouteMetrics};
use crate::plugin::PluginKind;
use crate::plugin::chain::Chain;
use crate::plugin::configured::{PluginProblem, Plugins};
use crate::pools::{Pools, SharedPool};
use crate::relay::RelayPlan;
use crate::sticky::StickyCookie;
use crate::upstream_tls::{UpstreamConfigs, UpstreamTls};

/// Everything the request path needs to know at one generation.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Routes.
    pub(crate) table: RouteTable<RoutePlan>,
    /// Who may call.
    pub(crate) directory: Arc<Directory>,
    /// Where listeners below HTTP lead, by the listener's name.
    pub(crate) relays: Relays,
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
    /// Whether it takes calls of gRPC only.
    pub(crate) is_grpc: bool,
    pub(crate) chain: Chain,
    pub(crate) metrics: Arc<RouteMetrics>,
    /// Counters of what is sent to another service than the route's, by services that plugins may send to.
    pub(crate) elsewhere: Box<[(String, Arc<RouteMetrics>)]>,
}

/// One service, decided.
#[derive(Debug)]
pub(crate) struct ServicePlan {
    pub(crate) label: String,
    pub(crate) pool: Arc<SharedPool>,
    pub(crate) pool_label: String,
    /// Whether the pool picks by the client's address.
    pub(crate) by_client: bool,
    /// By which key it picks.
    pub(crate) hash_key: Option<HashKey>,
    pub(crate) host: String,
    pub(crate) path: Option<String>,
    pub(crate) retries: u32,
    pub(crate) retry_on: RetryRules,
    pub(crate) retry_share: RetryShare,
    pub(crate) breaker: Option<BreakerRules>,
    /// The cookie by which clients come back to a member.
    pub(crate) sticky: Option<StickyCookie>,
    /// How long requests wait while the pool has nobody.
    pub(crate) hold: Option<Duration>,
    pub(crate) total_timeout: Option<Duration>,
    pub(crate) try_timeout: Option<Duration>,
    /// After how long without an answer a second member is asked.
    pub(crate) hedge_after: Option<Duration>,
    pub(crate) connect_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) read_timeout: Duration,
    /// Whether it is asked in HTTP/2, many requests over one connection.
    pub(crate) speaks_http2: bool,
    /// How TLS is spoken to it, if it is.
    pub(crate) tls: Option<UpstreamTls>,
    /// The header that tells it whose connection it is. Such a connection is used for one request.
    pub(crate) announce: Option<proxy_protocol::Version>,
}

impl RoutePlan {
    /// All its counters.
    fn counters(&self) -> impl Iterator<Item = &Arc<RouteMetrics>> {
        let elsewhere = self.elsewhere.iter().map(|(_, metrics)| metrics);
        std::iter::once(&self.metrics).chain(elsewhere)
    }

    /// The counters of requests that were sent to this service instead of the route's, if they were.
    pub(crate) fn metrics_of(&self, chosen: Option<&ServicePlan>) -> &Arc<RouteMetrics> {
        let of_chosen = |chosen: &ServicePlan| {
            let mut counters = self.elsewhere.iter();
            counters.find(|(label, _)| *label == chosen.label)
        };
        chosen
            .and_then(of_chosen)
            .map_or(&self.metrics, |(_, metrics)| metrics)
    }
}

/// After which failures another member is asked.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "nginx's words, each by itself")]
pub(crate) struct RetryRules {
    pub(crate) error: bool,
    pub(crate) timeout: bool,
    pub(crate) invalid_header: bool,
    pub(crate) non_idempotent: bool,
    pub(crate) statuses: Vec<u16>,
}

/// Something of the desired state that is not served as it says.
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
///
/// One bad thing must not hold everything else back, nor change what already serves: a route, service or
/// plugin that cannot be used stays as it was served last; one that never was is left out (a route), missing
/// (a service: its routes answer 503), or closed (a plugin: its routes answer 503, since passing requests
/// by a guard that cannot be read is worse than refusing them).
pub(crate) struct Compiler {
    builtin: &'static [PluginKind],
    workers: usize,
    metrics: Arc<Metrics>,
    plugins: Plugins,
    directory: Arc<Directory>,
    /// Of which the directory was made.
    consumers: Map<Consumer>,
    services: Services,
    routes: Routes,
    /// By route and service.
    counters: BTreeMap<(String, String), Arc<RouteMetrics>>,
    unrouted: Arc<RouteMetrics>,
    upstream_tls: UpstreamConfigs,
}

/// Each by itself, since a connection holds its own for as long as it lives.
type Relays = BTreeMap<String, Arc<RelayPlan>>;
type Services = BTreeMap<FullName, Arc<ServicePlan>>;
type Routes = BTreeMap<FullName, ServedRoute>;

/// A route, apart from its document so that what was made of it is known by its address.
#[derive(Clone)]
struct ServedRoute {
    document: Arc<Entry<Route>>,
    route: Arc<Route>,
}

impl Compiler {
    pub(crate) fn new(builtin: &'static [PluginKind], workers: usize, metrics: Arc<Metrics>) -> Self {
        let unrouted = metrics.route("", "", workers);
        Self {
            builtin,
            workers,
            metrics,
            plugins: Plugins::default(),
            directory: Arc::default(),
            consumers: Map::default(),
            services: Services::new(),
            routes: Routes::new(),
            counters: BTreeMap::new(),
            unrouted,
            upstream_tls: UpstreamConfigs::default(),
        }
    }

    /// A snapshot without a route, for the time before the first desired state.
    pub(crate) fn empty(&self) -> Snapshot {
        self.snapshot(RouteTable::default(), BTreeMap::new())
    }

    /// Compiles all of `desired`, reading only what is not served in `earlier`, the snapshot before; what cannot be
    /// used is told beside.
    pub(crate) fn compile(
        &mut self,
        earlier: &Snapshot,
        desired: &Desired,
        pools: &mut Pools,
    ) -> (Snapshot, Vec<Problem>) {
        let mut problems = Vec::new();
        self.services = self.service_plans(desired, pools, &mut problems);
        self.upstream_tls.prune();
        let (plugins, unread) = Plugins::read(desired, self.builtin, &self.plugins, &self.services);
        problems.extend(unread.into_iter().flat_map(plugin_problems));
        self.plugins = plugins;
        if !Arc::ptr_eq(&self.consumers, &desired.consumers) {
            self.consumers = Arc::clone(&desired.consumers);
            self.directory = Arc::new(Directory::of(desired));
        }
        let wanted = self.wanted(desired);
        let (table, served) = match RouteTable::compile_after(&earlier.table, self.entries(&wanted)) {
            Ok(table) => (table, wanted),
            Err(refused) => self.compile_without(&earlier.table, wanted, refused, &mut problems),
        };
        let counters = table.in_order().flat_map(|entry| entry.payload.counters());
        self.counters = counters
            .map(|counters| (counters.key(), Arc::clone(counters)))
            .collect();
        self.routes = served;
        (self.snapshot(table, self.relay_plans(desired)), problems)
    }

    /// Compiles again with the routes that were refused as they were served last, or without them.
    fn compile_without(
        &self,
        earlier: &RouteTable<RoutePlan>,
        mut routes: Routes,
        refused: Vec<CompileProblem>,
        problems: &mut Vec<Problem>,
    ) -> (RouteTable<RoutePlan>, Routes) {
        for CompileProblem { route, message } in refused {
            problems.push(Problem {
                kind: "route",
                name: route.to_string(),
                message,
            });
            match self.routes.get(&route) {
                Some(served) => routes.insert(route, served.clone()),
                None => routes.remove(&route),
            };
        }
        match RouteTable::compile_after(earlier, self.entries(&routes)) {
            Ok(table) => (table, routes),
            Err(refused) => {
                // Together they are too much, although each was fine before: those named are left out.
                routes.retain(|name, _| !refused.iter().any(|problem| problem.route == *name));
                let table = RouteTable::compile_after(earlier, self.entries(&routes)).unwrap_or_default();
                (table, routes)
            }
        }
    }

    fn snapshot(&self, table: RouteTable<RoutePlan>, relays: Relays) -> Snapshot {
        Snapshot {
            table,
            directory: Arc::clone(&self.directory),
            relays,
            unrouted: Arc::clone(&self.unrouted),
        }
    }

    /// All routes of `desired`; those whose documents are as before, as they were.
    fn wanted(&self, desired: &Desired) -> Routes {
        let served = |(name, document): (&FullName, &Arc<Entry<Route>>)| {
            let known = self
                .routes
                .get(name)
                .filter(|known| Arc::ptr_eq(&known.document, document));
            let read = || ServedRoute {
                document: Arc::clone(document),
                route: Arc::new(document.spec.clone()),
            };
            (name.clone(), known.cloned().unwrap_or_else(read))
        };
        desired.routes.iter().map(served).collect()
    }

    fn entries(&self, routes: &Routes) -> impl Iterator<Item = RouteEntry<RoutePlan>> {
        routes.iter().map(|(name, served)| RouteEntry {
            name: name.clone(),
            created_at: served.document.created_at,
            route: Arc::clone(&served.route),
            payload: self.route_plan(name, &served.route),
        })
    }

    fn route_plan(&self, name: &FullName, route: &Route) -> RoutePlan {
        let service_name = route
            .service
            .clone()
            .map(|service| FullName::new(name.project.clone(), service));
        let service = service_name
            .as_ref()
            .and_then(|service| self.services.get(service));
        let service_label = service_name.as_ref().map(ToString::to_string).unwrap_or_default();
        let chain = self.plugins.chain(name, service_name.as_ref());
        RoutePlan {
            label: name.to_string(),
            service: service.cloned(),
            strip_path: route.strip_path,
            preserve_host: route.preserve_host,
            path_handling: route.path_handling,
            https_redirect: route.https_redirect_status_code,
            is_grpc: route
                .protocols
                .iter()
                .any(|protocol| matches!(protocol, Protocol::Grpc | Protocol::Grpcs)),
            elsewhere: self.counters_of_destinations(name, &chain),
            chain,
            metrics: self.counters_of(name, &service_label),
        }
    }

    fn relay_plans(&self, desired: &Desired) -> Relays {
        let relays = desired
            .listeners
            .iter()
            .filter(|(_, entry)| !entry.spec.protocol.is_http());
        let plan = |(name, entry): (&FullName, &Arc<Entry<Listener>>)| {
            let label = name.to_string();
            let service = |service: &Name| {
                let service = FullName::new(name.project.clone(), service.clone());
                self.services.get(&service).cloned()
            };
            let metrics = self.metrics.relay(&label, entry.spec.protocol);
            let plan = RelayPlan::new(&entry.spec, service, metrics);
            (label, Arc::new(plan))
        };
        relays.map(plan).collect()
    }

    fn counters_of(&self, route: &FullName, service: &str) -> Arc<RouteMetrics> {
        let key = (route.to_string(), service.to_owned());
        let known = self.counters.get(&key).cloned();
        known.unwrap_or_else(|| self.metrics.route(&key.0, &key.1, self.workers))
    }

    fn counters_of_destinations(
        &self,
        route: &FullName,
        chain: &Chain,
    ) -> Box<[(String, Arc<RouteMetrics>)]> {
        let destinations = chain.links().flat_map(|link| link.destinations.iter().flatten());
        let labels: BTreeSet<&str> = destinations.map(|service| service.label.as_str()).collect();
        let counters = |service: &str| (service.to_owned(), self.counters_of(route, service));
        labels.into_iter().map(counters).collect()
    }

    fn service_plans(
        &mut self,
        desired: &Desired,
        pools: &mut Pools,
        problems: &mut Vec<Problem>,
    ) -> Services {
        let mut plans = Services::new();
        for (name, entry) in desired.services.iter().filter(|(_, entry)| entry.spec.enabled) {
            match self.upstream_tls.of(desired, name, &entry.spec) {
                Ok(tls) => {
                    let pool = pool_name(desired, name, &entry.spec);
                    let mut plan = service_plan(desired, name, &entry.spec, &pool, pools);
                    plan.tls = tls.map(|config| UpstreamTls::new(&plan.host, config));
                    plans.insert(name.clone(), Arc::new(plan));
                }
                Err(message) => {
                    problems.push(Problem {
                        kind: "service",
                        name: name.to_string(),
                        message,
                    });
                    let earlier = self.services.get(name);
                    plans.extend(earlier.map(|earlier| (name.clone(), Arc::clone(earlier))));
                }
            }
        }
        plans
    }
}

fn plugin_problems(problem: PluginProblem) -> impl Iterator<Item = Problem> {
    let name = problem.document.to_string();
    problem.problems.into_iter().map(move |message| Problem {
        kind: "plugin",
        name: name.clone(),
        message,
    })
}

impl RetryRules {
    fn of(words: &[RetryOn]) -> Self {
        Self {
            error: words.contains(&RetryOn::Error),
            timeout: words.contains(&RetryOn::Timeout),
            invalid_header: words.contains(&RetryOn::InvalidHeader),
            non_idempotent: words.contains(&RetryOn::NonIdempotent),
            statuses: words.iter().filter_map(|word| word.status()).collect(),
        }
    }
}

fn retry_share(upstream: Option<&Upstream>) -> RetryShare {
    let budget = upstream.map(|upstream| upstream.retry_budget).unwrap_or_default();
    RetryShare {
        percent: budget.percent,
        per_second: budget.per_second,
    }
}

fn breaker(rules: &CircuitBreaker) -> BreakerRules {
    BreakerRules {
        max_requests: rules.max_requests,
        error_percent: rules.error_percent,
        min_requests: rules.min_requests,
        window: Duration::from_millis(rules.window_ms),
        open: Duration::from_millis(rules.open_ms),
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
        pool: pools.pool(pool, upstream),
        hash_key: upstream
            .filter(|upstream| upstream.algorithm == Algorithm::ConsistentHashing)
            .and_then(HashKey::of),
        by_client: upstream.is_some_and(|upstream| upstream.algorithm == Algorithm::IpHash),
        pool_label: pool.to_string(),
        host: host_header.unwrap_or(own_host),
        path: spec.path.clone(),
        retries: spec.retries,
        retry_on: RetryRules::of(&spec.retry_on),
        retry_share: retry_share(upstream),
        breaker: upstream
            .and_then(|upstream| upstream.circuit_breaker.as_ref())
            .map(breaker),
        sticky: upstream
            .and_then(|upstream| upstream.sticky.as_ref())
            .map(StickyCookie::of),
        hold: upstream
            .and_then(|upstream| upstream.hold_ms)
            .map(Duration::from_millis),
        total_timeout: spec.total_timeout_ms.map(Duration::from_millis),
        try_timeout: spec.try_timeout_ms.map(Duration::from_millis),
        hedge_after: spec.hedge_after_ms.map(Duration::from_millis),
        connect_timeout: Duration::from_millis(spec.connect_timeout_ms),
        write_timeout: Duration::from_millis(spec.write_timeout_ms),
        read_timeout: Duration::from_millis(spec.read_timeout_ms),
        speaks_http2: matches!(spec.protocol, Protocol::Grpc | Protocol::Grpcs),
        tls: None,
        announce: spec.send_proxy_protocol.map(announce::version),
    }
}

#[cfg(test)]
mod tests {
    use hythe_balance::EndpointTable;
    use hythe_routing::RequestKey;

    use super::*;

    struct Fixture {
        compiler: Compiler,
        snapshot: Snapshot,
        pools: Pools,
        desired: Desired,
    }

    impl Fixture {
        fn new() -> Self {
            let compiler = Compiler::new(&[], 1, Arc::default());
            let mut fixture = Self {
                snapshot: compiler.empty(),
                compiler,
                pools: Pools::new(Arc::new(EndpointTable::default())),
                desired: Desired::default(),
            };
            for name in ["good", "other"] {
                fixture.service(name, None);
                fixture.route(name, &format!("/{name}"));
            }
            fixture
        }

        fn service(&mut self, name: &str, authority: Option<&str>) {
            let spec = Service {
                protocol: authority.map_or(Protocol::Http, |_| Protocol::Https),
                ca_certificates: authority.into_iter().map(|name| name.parse().unwrap()).collect(),
                ..Service::at("far.test")
            };
            Arc::make_mut(&mut self.desired.services).insert(name.parse().unwrap(), entry(spec));
        }

        fn route(&mut self, name: &str, path: &str) {
            let mut spec = Route::to(Some(name.parse().unwrap()));
            spec.paths = vec![path.to_owned()];
            Arc::make_mut(&mut self.desired.routes).insert(name.parse().unwrap(), entry(spec));
        }

        /// The service that each path leads to now, and the problems.
        fn compiled(&mut self, paths: &[&str]) -> (Vec<String>, Vec<String>) {
            let (snapshot, problems) = self
                .compiler
                .compile(&self.snapshot, &self.desired, &mut self.pools);
            self.snapshot = snapshot;
            let served = paths
                .iter()
                .map(|path| service_of(&self.snapshot, path))
                .collect();
            (served, problems.iter().map(ToString::to_string).collect())
        }
    }

    fn entry<T>(spec: T) -> Arc<Entry<T>> {
        Arc::new(Entry {
            uid: String::new(),
            generation: 1,
            created_at: 0,
            spec,
        })
    }

    fn service_of(snapshot: &Snapshot, path: &str) -> String {
        let headers: Vec<(String, String)> = Vec::new();
        let key = RequestKey {
            method: b"GET",
            host: b"a",
            path: path.as_bytes(),
            https: false,
            sni: None,
            listener: None,
            headers: &headers,
        };
        match snapshot.table.find(&key) {
            None => "no route".to_owned(),
            Some(found) => {
                let service = found.entry.payload.service.as_ref();
                service.map_or_else(|| "no service".to_owned(), |service| service.label.clone())
            }
        }
    }

    #[test]
    fn a_bad_service_is_missing_and_the_others_are_served() {
        let mut fixture = Fixture::new();
        fixture.service("other", Some("nobody"));
        let (served, problems) = fixture.compiled(&["/good", "/other"]);
        assert_eq!(served, ["good", "no service"]);
        assert_eq!(problems, ["service `other`: there is no CA certificate `nobody`"]);
    }

    #[test]
    fn what_became_bad_stays_as_it_was() {
        let mut fixture = Fixture::new();
        assert_eq!(fixture.compiled(&[]).1, [""; 0]);
        fixture.service("other", Some("nobody"));
        fixture.route("good", "~/(?!look-around)");
        let (served, problems) = fixture.compiled(&["/good", "/other"]);
        assert_eq!(served, ["good", "other"]);
        assert_eq!(problems.len(), 2, "{problems:?}");
    }

    #[test]
    fn a_bad_route_that_never_was_is_left_out() {
        let mut fixture = Fixture::new();
        fixture.route("new", "~/(?!look-around)");
        let (served, problems) = fixture.compiled(&["/good", "/new"]);
        assert_eq!(served, ["good", "no route"]);
        assert!(problems[0].starts_with("route `new`: "), "{problems:?}");
    }
}

//! Every pool the gateway may pick from, each behind a cell that is swapped by itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use hythe_balance::{
    CircuitBreaker, EndpointTable, OutlierRules, PassiveRules, Pool, PoolCell, RetryBudget, RetryShare, Rules,
};
use hythe_model::balancing::Outlier;
use hythe_model::endpoint::PoolEndpoints;
use hythe_model::health::{CheckType, PassiveChecks};
use hythe_model::{Endpoints, FullName, Upstream};
use tokio::sync::Notify;

use crate::respond::Failure;

/// A pool as workers hold it.
#[derive(Debug)]
pub(crate) struct SharedPool {
    pub(crate) cell: PoolCell,
    pub(crate) breaker: CircuitBreaker,
    budget: RetryBudget,
    /// Whether it has members whose names were never resolved, and no others.
    nameless: AtomicBool,
    /// Told of every change of the members.
    pub(crate) changed: Notify,
}

/// Whether a request may be sent to another member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// It may.
    Granted,
    /// There is none.
    NobodyElse,
    /// The budget is used up.
    Refused,
}

/// The pools by name. Only the control task changes it; workers hold the cells.
pub(crate) struct Pools {
    table: Arc<EndpointTable>,
    pools: BTreeMap<FullName, Known>,
    endpoints: Arc<Endpoints>,
}

struct Known {
    pool: Arc<SharedPool>,
    rules: Rules,
    endpoints: Arc<PoolEndpoints>,
}

impl SharedPool {
    /// Whether it has members that may be picked when they are neither full nor left alone for their failures.
    pub(crate) fn has_members(&self) -> bool {
        self.cell.load().open_members().next().is_some()
    }

    /// Why nobody could be picked.
    pub(crate) fn nobody(&self) -> Failure {
        if self.has_members() {
            // nginx: no live upstreams.
            Failure::BadUpstream
        } else if self.nameless.load(Ordering::Relaxed) {
            Failure::NameResolution
        } else {
            Failure::NoEndpoint
        }
    }

    /// Whether there is a member besides those that were `asked`, which are `count` with those that nobody names here,
    /// and a retry in the budget, which is taken. Those that were asked may have left the pool since.
    pub(crate) fn may_retry(&self, share: RetryShare, asked: &[u64], count: u32, now: Instant) -> Retry {
        let pool = self.cell.load();
        let requests = pool.members().iter().map(|member| member.stats.requests_total());
        let others = pool.open_members();
        let others = others.filter(|member| !asked.contains(&member.stats.id()));
        if others.count() <= (count as usize).saturating_sub(asked.len()) {
            Retry::NobodyElse
        } else if self.budget.take(share, requests.sum(), now) {
            Retry::Granted
        } else {
            Retry::Refused
        }
    }
}

impl Pools {
    pub(crate) fn new(table: Arc<EndpointTable>) -> Self {
        Self {
            table,
            pools: BTreeMap::new(),
            endpoints: Arc::default(),
        }
    }

    /// A pool; made when it is asked for first.
    pub(crate) fn pool(&mut self, name: &FullName, upstream: Option<&Upstream>) -> Arc<SharedPool> {
        let rules = rules(upstream);
        let endpoints = self.endpoints.pools.get(name).cloned().unwrap_or_default();
        let table = &self.table;
        let known = self.pools.entry(name.clone()).or_insert_with(|| {
            let members = endpoints.endpoints.iter().cloned();
            let pool = Pool::new(name.clone(), rules.clone(), members, table, Instant::now());
            Known {
                pool: Arc::new(SharedPool {
                    cell: PoolCell::new(pool),
                    breaker: CircuitBreaker::default(),
                    budget: RetryBudget::default(),
                    nameless: AtomicBool::new(is_nameless(&endpoints)),
                    changed: Notify::new(),
                }),
                rules: rules.clone(),
                endpoints,
            }
        });
        if known.rules != rules {
            known.rules = rules;
            known.swap(table);
        }
        Arc::clone(&known.pool)
    }

    /// Takes new endpoints in: pools whose endpoints are another `Arc` are swapped, others not touched.
    pub(crate) fn update(&mut self, endpoints: Arc<Endpoints>) {
        for (name, known) in &mut self.pools {
            let now = endpoints.pools.get(name).cloned().unwrap_or_default();
            let is_other = !Arc::ptr_eq(&now, &known.endpoints) && now != known.endpoints;
            known.endpoints = now;
            if is_other {
                known.swap(&self.table);
            }
        }
        self.endpoints = endpoints;
    }

    /// Forgets pools that only this table still knows.
    pub(crate) fn prune(&mut self) {
        self.pools.retain(|_, known| Arc::strong_count(&known.pool) > 1);
    }
}

impl Known {
    /// Puts the pool's next version in place.
    fn swap(&self, table: &EndpointTable) {
        let cell = &self.pool.cell;
        let members = self.endpoints.endpoints.iter().cloned();
        cell.replace(
            cell.load()
                .next_version(self.rules.clone(), members, table, Instant::now()),
        );
        let nameless = is_nameless(&self.endpoints);
        self.pool.nameless.store(nameless, Ordering::Relaxed);
        self.pool.changed.notify_waiters();
    }
}

fn rules(upstream: Option<&Upstream>) -> Rules {
    upstream.map_or_else(Rules::default, |upstream| Rules {
        algorithm: upstream.algorithm,
        panic_threshold: upstream.panic_threshold,
        slots: upstream.slots.unwrap_or(Rules::default().slots),
        passive: upstream
            .healthchecks
            .as_ref()
            .map(|checks| &checks.passive)
            .filter(|passive| passive.is_on())
            .map(|passive| Arc::new(passive_rules(passive))),
        outlier: upstream.outlier.as_ref().map(outlier_rules),
        slow_start_ms: upstream.slow_start_ms.unwrap_or_default(),
    })
}

fn passive_rules(checks: &PassiveChecks) -> PassiveRules {
    // The model's thresholds are below 256.
    let count = |threshold: u32| u8::try_from(threshold).unwrap_or(u8::MAX);
    let thresholds = checks.thresholds();
    let by_status = checks.kind != CheckType::Tcp;
    PassiveRules {
        success: by_status.then(|| checks.healthy.http_statuses.iter().copied().collect()),
        failure: checks.unhealthy.http_statuses.iter().copied().collect(),
        successes: count(thresholds.successes),
        http_failures: count(thresholds.http_failures),
        tcp_failures: count(thresholds.tcp_failures),
        timeouts: count(thresholds.timeouts),
    }
}

fn outlier_rules(outlier: &Outlier) -> OutlierRules {
    OutlierRules {
        consecutive_errors: outlier.consecutive_errors,
        ejection_ms: outlier.ejection_time_ms,
        max_ejection_ms: outlier.max_ejection_time_ms,
        max_percent: outlier.max_ejection_percent,
    }
}

fn is_nameless(endpoints: &PoolEndpoints) -> bool {
    endpoints.endpoints.is_empty() && !endpoints.unresolved.is_empty()
}

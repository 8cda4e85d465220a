//! Every pool the gateway may pick from, each behind a cell that is swapped by itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hythe_balance::{EndpointTable, Pool, PoolCell};
use hythe_model::endpoint::PoolEndpoints;
use hythe_model::traffic::Algorithm;
use hythe_model::{Endpoints, FullName};

/// A pool as workers hold it.
#[derive(Debug)]
pub(crate) struct SharedPool {
    pub(crate) cell: PoolCell,
    /// Whether it has members whose names were never resolved, and no others.
    nameless: AtomicBool,
}

/// The pools by name. Only the control task changes it; workers hold the cells.
pub(crate) struct Pools {
    table: Arc<EndpointTable>,
    pools: BTreeMap<FullName, Known>,
    endpoints: Arc<Endpoints>,
}

struct Known {
    pool: Arc<SharedPool>,
    algorithm: Algorithm,
    endpoints: Arc<PoolEndpoints>,
}

impl SharedPool {
    pub(crate) fn is_nameless(&self) -> bool {
        self.nameless.load(Ordering::Relaxed)
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
    pub(crate) fn pool(&mut self, name: &FullName, algorithm: Algorithm) -> Arc<SharedPool> {
        let endpoints = self.endpoints.pools.get(name).cloned().unwrap_or_default();
        let table = &self.table;
        let known = self.pools.entry(name.clone()).or_insert_with(|| Known {
            pool: Arc::new(SharedPool {
                cell: PoolCell::new(pool(table, name, algorithm, &endpoints)),
                nameless: AtomicBool::new(is_nameless(&endpoints)),
            }),
            algorithm,
            endpoints: Arc::clone(&endpoints),
        });
        if known.algorithm != algorithm {
            known.algorithm = algorithm;
            known.pool.cell.replace(pool(table, name, algorithm, &endpoints));
        }
        Arc::clone(&known.pool)
    }

    /// Takes new endpoints in: pools whose endpoints are another `Arc` are swapped, others not touched.
    pub(crate) fn update(&mut self, endpoints: Arc<Endpoints>) {
        for (name, known) in &mut self.pools {
            let now = endpoints.pools.get(name).cloned().unwrap_or_default();
            if !Arc::ptr_eq(&now, &known.endpoints) && now != known.endpoints {
                known
                    .pool
                    .cell
                    .replace(pool(&self.table, name, known.algorithm, &now));
                known.pool.nameless.store(is_nameless(&now), Ordering::Relaxed);
            }
            known.endpoints = now;
        }
        self.endpoints = endpoints;
    }

    /// Forgets pools that only this table still knows.
    pub(crate) fn prune(&mut self) {
        self.pools.retain(|_, known| Arc::strong_count(&known.pool) > 1);
    }
}

fn pool(
    table: &Arc<EndpointTable>,
    name: &FullName,
    algorithm: Algorithm,
    endpoints: &PoolEndpoints,
) -> Pool {
    Pool::new(
        name.clone(),
        algorithm,
        endpoints.endpoints.iter().cloned(),
        table,
    )
}

fn is_nameless(endpoints: &PoolEndpoints) -> bool {
    endpoints.endpoints.is_empty() && !endpoints.unresolved.is_empty()
}

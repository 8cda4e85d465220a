//! Which core does what: the proxy under measurement has one to itself, and everything else shares another.

use anyhow::{Result, ensure};
use rustix::thread::{CpuSet, sched_getaffinity};

/// The two cores of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    /// For the backend and the load.
    pub(crate) load: usize,
    /// For the proxy.
    pub(crate) proxy: usize,
}

impl Cores {
    /// The first two cores this process may use.
    pub(crate) fn choose() -> Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let mut usable = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core));
        let (load, proxy) = (usable.next(), usable.next());
        ensure!(
            proxy.is_some(),
            "needs two cores, one for the proxy and one for the load: on a single core they would measure each other"
        );
        Ok(Self {
            load: load.unwrap_or_default(),
            proxy: proxy.unwrap_or_default(),
        })
    }
}

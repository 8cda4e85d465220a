//! Makes what runs equal what should run: a pure plan and a plain executor.
//!
//! One task owns the observed state. Whatever happens - another desired state, an exit, a probe's result,
//! an answer of the runtime, a timer - wakes it, and each time it does the same:
//!
//! ```text
//!  Latest<Desired> --.                                        .--> Latest<Instances>
//!  runtime events  --+-> observe -> plan -> perform -> publish+--> notes in the instances' logs
//!  probes, drains  --|               ^         |              '--> probe and drain tasks
//!  answers, timer  --'               +---------+
//!                            until there is nothing to do
//! ```
//!
//! The plan (the module `plan` draws its states) is a pure function. Its actions are performed by tasks of
//! their own that report back as events, so a slow start delays nobody; an action that is under way is
//! marked in the observed state and not wanted again. The same path runs at boot, where instances of an
//! earlier server are adopted before anything is published, and after the runtime was lost.
//!
//! Services outlive the server: at its end the supervisor just ends. [`Handle::stop_all`] is there for
//! those who want the services to end too.
//!
//! Deliberately left out: what instances are made of (a [`runtime::Runtime`] knows), who may reach them
//! (the registry and the gateway, which read [`Outputs::instances`]), and every number of the desired
//! state's own (nothing is written back).

mod backoff;
mod clock;
mod dependency;
mod execute;
mod files;
mod goal;
mod handle;
mod ids;
mod launch;
mod observed;
mod owner;
mod plan;
mod probe;
mod prospect;
pub mod runtime;
mod scaling;
mod unit;
mod view;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use hythe_model::{Desired, Instances};
use hythe_ports::{Logs, Traffic};
use hythe_spine::{Latest, Spine};

pub use backoff::Backoff;
pub use handle::Handle;
pub use ids::{IdSource, VolatileIds};

/// Settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Cores of this machine: what `replicas: max` means.
    pub cores: usize,
    /// Where instances reach the gateway; they get it as `HYTHE_GATEWAY_URL`.
    pub gateway_url: String,
    /// How long requests in flight may hold up the stop of an instance; more than 30 s counts as 30 s.
    pub drain_timeout: Duration,
    /// When crashed instances are started again.
    pub backoff: Backoff,
}

/// What the supervisor reads and uses.
pub struct Inputs {
    /// What should run.
    pub desired: Latest<Desired>,
    /// Tells when an instance has drained, how much is asked of a service, and who waits for one that sleeps.
    pub traffic: Arc<dyn Traffic>,
    /// Where notes go: started, exited, restarting.
    pub logs: Arc<dyn Logs>,
    /// Runs the instances.
    pub runtime: Arc<dyn runtime::Runtime>,
    /// Remembers instance numbers.
    pub ids: Arc<dyn IdSource>,
}

/// What the supervisor offers.
#[derive(Debug)]
pub struct Outputs {
    /// What runs. Before the runtime was asked for what an earlier server left: nothing, not `synced`.
    pub instances: Latest<Instances>,
    /// Asks things of the supervisor.
    pub handle: Handle,
}

/// What a plan has to know beside desired and observed state.
#[derive(Debug, Clone)]
struct Rules {
    cores: usize,
    drain_timeout: Duration,
    backoff: Backoff,
}

const LONGEST_DRAIN: Duration = Duration::from_secs(30);

/// Starts the supervisor's task on the current runtime.
pub fn build(config: Config, inputs: Inputs, spine: &Spine) -> Outputs {
    let rules = Rules {
        cores: config.cores,
        drain_timeout: config.drain_timeout.min(LONGEST_DRAIN),
        backoff: config.backoff,
    };
    let (publisher, instances) = hythe_spine::latest(Instances::default());
    let (handle, commands) = handle::handle();
    let (scales_publisher, scales) = hythe_spine::latest(scaling::Scales::new());
    let scaling = scaling::Inputs {
        desired: inputs.desired.clone(),
        instances: instances.clone(),
        traffic: Arc::clone(&inputs.traffic),
        cores: config.cores,
    };
    let owner = owner::Owner::new(
        rules,
        config.gateway_url,
        inputs,
        scales,
        publisher,
        commands,
        spine.clone(),
    );
    spine.spawn("supervisor", |shutdown| owner.run(shutdown));
    spine.spawn("scaling", |shutdown| {
        scaling::run(scaling, scales_publisher, shutdown)
    });
    Outputs { instances, handle }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cores: 1,
            gateway_url: "http://127.0.0.1:8000".to_owned(),
            drain_timeout: LONGEST_DRAIN,
            backoff: Backoff::default(),
        }
    }
}

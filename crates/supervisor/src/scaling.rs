//! How many instances a service should have now, where its load decides: from its minimum to its maximum, and none while
//! nobody needs it.
//!
//! ```text
//!   every second: requests in flight, CPU ──► Scaler::step ──► Latest<Scales> ──► the plan's goals
//!   at once: a request waits for a service that sleeps ──┘
//! ```
//!
//! The number for a load is that load by what one instance should carry, both over the last five seconds. It goes up at
//! once and down to the highest number that was right within the cooldown, so a load that comes and goes keeps what it
//! needs at its peaks (Kubernetes: the stabilization window of a HorizontalPodAutoscaler). A tenth more or less than the
//! instances there are should carry changes nothing.
//!
//! A service sleeps when no request was sent to it, none was in flight and none waited for it for as long as it says. What is
//! decided lives in memory: the next server begins with the instances that there are, and starts once what slept.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hythe_model::workload::{Autoscale, ScaleTarget};
use hythe_model::{Desired, FullName, Instance, InstanceState, Instances, Workload};
use hythe_ports::Traffic;
use hythe_spine::{Latest, Publisher, Shutdown};

use crate::clock::Clock;

/// How many instances there should be, of each service whose load decides.
pub(crate) type Scales = BTreeMap<FullName, u32>;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks that a load is averaged over.
const LOOKS: usize = 5;
/// Parts of what the instances there are should carry, in hundredths, that make no difference.
const TOLERANCE: u64 = 10;
/// A service that has just been woken is not put to sleep again before this, milliseconds, however short its idleness.
const AWAKE_MS: u64 = 1_000;

/// What a service is like at one look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// Requests in flight.
    pub(crate) in_flight: u64,
    /// CPU, in thousandths of a core.
    pub(crate) cpu_millis: u64,
    /// Whether requests were sent since the last look, are in flight, or wait.
    pub(crate) is_used: bool,
}

/// What a service says about its number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bounds {
    pub(crate) min: u32,
    pub(crate) max: u32,
    pub(crate) target: Option<ScaleTarget>,
    pub(crate) cooldown_ms: u64,
    pub(crate) sleep_after_ms: Option<u64>,
}

/// Decides for one service. Times are milliseconds of any clock.
#[derive(Debug, Clone)]
pub(crate) struct Scaler {
    number: u32,
    loads: VecDeque<Load>,
    /// What was right at which time, the newest last.
    right: VecDeque<(u64, u32)>,
    used_at: u64,
}

impl Bounds {
    /// Those of a workload; `None`: its number is what it says.
    pub(crate) fn of(workload: &Workload, cores: usize) -> Option<Self> {
        if workload.stopped || (workload.autoscale.is_none() && workload.sleep_after_ms.is_none()) {
            return None;
        }
        let replicas = workload.replicas.on(cores);
        if workload.autoscale.is_none() && replicas == 0 {
            return None;
        }
        Some(match workload.autoscale {
            Some(Autoscale {
                min,
                max,
                target,
                cooldown_ms,
            }) => Self {
                min: min.max(1),
                max: max.max(min).max(1),
                target: Some(target),
                cooldown_ms,
                sleep_after_ms: workload.sleep_after_ms,
            },
            None => Self {
                min: replicas,
                max: replicas,
                target: None,
                cooldown_ms: 0,
                sleep_after_ms: workload.sleep_after_ms,
            },
        })
    }
}

impl Scaler {
    /// For a service that has so many instances, which counts as right until a cooldown has shown that it is not.
    pub(crate) fn new(number: u32, now: u64) -> Self {
        Self {
            number,
            loads: VecDeque::new(),
            right: VecDeque::from([(now, number)]),
            used_at: now,
        }
    }

    /// Requests wait for it.
    pub(crate) fn wake(&mut self, bounds: &Bounds, now: u64) {
        self.used_at = now;
        if self.number == 0 {
            self.number = bounds.min;
            self.loads.clear();
            self.right.clear();
        }
    }

    /// How many there should be after one more look.
    pub(crate) fn step(&mut self, bounds: &Bounds, load: Load, now: u64) -> u32 {
        if load.is_used {
            self.used_at = now;
        }
        let idle_for = now.saturating_sub(self.used_at);
        let sleeps = bounds
            .sleep_after_ms
            .is_some_and(|after| idle_for >= after.max(AWAKE_MS));
        self.number = match self.number {
            _ if sleeps => 0,
            // Only a request wakes it.
            0 if bounds.sleep_after_ms.is_some() => 0,
            _ => self.awake(bounds, load, now),
        };
        self.number
    }

    fn awake(&mut self, bounds: &Bounds, load: Load, now: u64) -> u32 {
        self.loads.push_back(load);
        if self.loads.len() > LOOKS {
            self.loads.pop_front();
        }
        let right = bounds.target.map_or(bounds.min, |target| self.right_for(target));
        let right = right.clamp(bounds.min, bounds.max);
        self.right.push_back((now, right));
        let since = now.saturating_sub(bounds.cooldown_ms);
        self.right.retain(|(at, _)| *at >= since);
        let highest = self.right.iter().map(|(_, right)| *right).max().unwrap_or(right);
        self.number.clamp(right, highest).clamp(bounds.min, bounds.max)
    }

    /// The number that carries the load of the last looks.
    fn right_for(&self, target: ScaleTarget) -> u32 {
        let (load, each) = match target {
            ScaleTarget::InFlight(each) => (self.sum(|load| load.in_flight), u64::from(each)),
            ScaleTarget::Cpu(percent) => (self.sum(|load| load.cpu_millis), u64::from(percent) * 10),
        };
        let looks = self.loads.len() as u64;
        let carried = u64::from(self.number) * each * looks;
        if load.abs_diff(carried) * 100 <= carried * TOLERANCE {
            return self.number;
        }
        u32::try_from(load.div_ceil((each * looks).max(1))).unwrap_or(u32::MAX)
    }

    fn sum(&self, of: impl Fn(&Load) -> u64) -> u64 {
        self.loads.iter().map(of).sum()
    }
}

/// What the task reads.
pub(crate) struct Inputs {
    pub(crate) desired: Latest<Desired>,
    pub(crate) instances: Latest<Instances>,
    pub(crate) traffic: Arc<dyn Traffic>,
    pub(crate) cores: usize,
}

/// Looks and decides until the server stops.
pub(crate) async fn run(inputs: Inputs, publisher: Publisher<Scales>, shutdown: Shutdown) {
    let Inputs {
        mut desired,
        instances,
        traffic,
        cores,
    } = inputs;
    let clock = Clock::start();
    let mut scalers = Scalers {
        cores,
        known: BTreeMap::new(),
    };
    let follow = async {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let awaited = tokio::select! {
                awaited = traffic.awaited() => Some(awaited),
                () = desired.changed() => None,
                _ = looks.tick() => None,
            };
            let (desired, now) = (desired.get_and_mark(), clock.now_ms());
            match awaited {
                Some(awaited) => scalers.wake(&desired, &awaited, now),
                None => scalers.look(&desired, &instances.get(), &*traffic, now),
            }
            let scales = scalers.scales();
            if *publisher.get() != scales {
                publisher.publish(scales);
            }
        }
    };
    shutdown.unless_requested(follow).await;
}

/// One for each service whose load decides, with what was sent to its addresses by the last look.
struct Scalers {
    cores: usize,
    known: BTreeMap<FullName, (Scaler, BTreeMap<SocketAddr, u64>)>,
}

impl Scalers {
    fn scales(&self) -> Scales {
        let scale = |(service, (scaler, _)): (&FullName, &(Scaler, _))| (service.clone(), scaler.number);
        self.known.iter().map(scale).collect()
    }

    fn wake(&mut self, desired: &Desired, awaited: &BTreeSet<FullName>, now: u64) {
        for service in awaited {
            let bounds = desired
                .workloads
                .get(service)
                .and_then(|entry| Bounds::of(&entry.spec, self.cores));
            if let Some((bounds, (scaler, _))) = bounds.zip(self.known.get_mut(service)) {
                scaler.wake(&bounds, now);
            }
        }
    }

    fn look(&mut self, desired: &Desired, instances: &Instances, traffic: &dyn Traffic, now: u64) {
        if !instances.synced {
            return;
        }
        let bounds: BTreeMap<&FullName, Bounds> = desired
            .workloads
            .iter()
            .filter_map(|(service, entry)| Some((service, Bounds::of(&entry.spec, self.cores)?)))
            .collect();
        self.known.retain(|service, _| bounds.contains_key(service));
        for (service, bounds) in bounds {
            let running = instances.services.get(service);
            let running: Vec<&Instance> = running
                .into_iter()
                .flat_map(|service| service.instances.iter().map(AsRef::as_ref))
                .filter(|instance| is_up(instance))
                .collect();
            let (scaler, sent) = self.known.entry(service.clone()).or_insert_with(|| {
                let there = u32::try_from(running.len()).unwrap_or(u32::MAX);
                let number = if there == 0 { bounds.min } else { there };
                (
                    Scaler::new(number.clamp(bounds.min, bounds.max), now),
                    BTreeMap::new(),
                )
            });
            let load = load(&running, traffic, sent);
            scaler.step(&bounds, load, now);
        }
    }
}

fn is_up(instance: &Instance) -> bool {
    matches!(
        instance.state,
        InstanceState::Starting | InstanceState::Ready | InstanceState::Unhealthy
    )
}

/// What `instances` carry now; `sent` are their requests by the last look.
fn load(instances: &[&Instance], traffic: &dyn Traffic, sent: &mut BTreeMap<SocketAddr, u64>) -> Load {
    let addresses: Vec<SocketAddr> = instances.iter().filter_map(|instance| instance.address).collect();
    let now: BTreeMap<SocketAddr, u64> = addresses
        .iter()
        .map(|address| (*address, traffic.requests(*address)))
        .collect();
    let in_flight = addresses.iter().map(|address| traffic.in_flight(*address)).sum();
    let was_used = now
        .iter()
        .any(|(address, requests)| sent.get(address).copied().unwrap_or(0) != *requests);
    // One that is not ready yet is on its way for somebody.
    let starts = instances
        .iter()
        .any(|instance| instance.state == InstanceState::Starting);
    *sent = now;
    Load {
        in_flight,
        cpu_millis: instances
            .iter()
            .map(|instance| u64::from(instance.cpu_millis))
            .sum(),
        is_used: was_used || in_flight > 0 || starts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000;

    fn bounds(min: u32, max: u32) -> Bounds {
        Bounds {
            min,
            max,
            target: Some(ScaleTarget::InFlight(10)),
            cooldown_ms: 30 * SECOND,
            sleep_after_ms: None,
        }
    }

    /// The numbers after each second of `in_flight`.
    fn numbers(
        scaler: &mut Scaler,
        bounds: &Bounds,
        from: u64,
        in_flight: impl IntoIterator<Item = u64>,
    ) -> Vec<u32> {
        let looks = in_flight.into_iter().zip(from..);
        looks
            .map(|(in_flight, second)| {
                let load = Load {
                    in_flight,
                    cpu_millis: in_flight * 100,
                    is_used: in_flight > 0,
                };
                scaler.step(bounds, load, second * SECOND)
            })
            .collect()
    }

    #[test]
    fn a_ramp_is_followed_up_at_once_and_down_after_the_cooldown() {
        let mut scaler = Scaler::new(1, 0);
        let up = numbers(&mut scaler, &bounds(1, 8), 0, (0..60).map(|second| second * 2));
        assert!(up.is_sorted(), "{up:?}");
        assert_eq!((up[0], up[59]), (1, 8), "never above the maximum: {up:?}");
        let reached = |wanted| up.iter().position(|number| *number >= wanted).unwrap();
        assert!(reached(4) <= 20, "40 in flight need four: {up:?}");

        let down = numbers(&mut scaler, &bounds(1, 8), 60, std::iter::repeat_n(0, 60));
        assert!(down[..29].iter().all(|number| *number == 8), "{down:?}");
        assert_eq!(down[59], 1);
    }

    #[test]
    fn noise_changes_nothing() {
        // 25 in flight, give or take 15, as a fast changing load is seen once a second.
        let noise = (0..600u64).map(|second| 10 + (second * 7919 + second * second * 31) % 31);
        let mut scaler = Scaler::new(3, 0);
        let seen = numbers(&mut scaler, &bounds(1, 8), 0, noise);
        let changes = seen.windows(2).filter(|pair| pair[0] != pair[1]).count();
        let (lowest, highest) = (seen.iter().min().unwrap(), seen.iter().max().unwrap());
        assert!(*lowest >= 3 && *highest <= 4, "{seen:?}");
        assert!(changes <= 2, "{changes} changes: {seen:?}");
    }

    #[test]
    fn cpu_is_a_target_too() {
        let by_cpu = Bounds {
            target: Some(ScaleTarget::Cpu(50)),
            ..bounds(1, 8)
        };
        let mut scaler = Scaler::new(1, 0);
        // 18 in flight take 1.8 cores here; half a core each makes four.
        let seen = numbers(&mut scaler, &by_cpu, 0, std::iter::repeat_n(18, 10));
        assert_eq!(seen[9], 4);
    }

    #[test]
    fn what_is_idle_sleeps_and_only_a_request_wakes_it() {
        let sleepy = Bounds {
            sleep_after_ms: Some(5 * SECOND),
            target: None,
            ..bounds(2, 2)
        };
        let mut scaler = Scaler::new(2, 0);
        assert_eq!(
            numbers(&mut scaler, &sleepy, 0, [1, 0, 0, 0, 0, 0, 0]),
            [2, 2, 2, 2, 2, 0, 0]
        );
        scaler.wake(&sleepy, 7 * SECOND);
        assert_eq!(scaler.number, 2);
        assert_eq!(
            numbers(&mut scaler, &sleepy, 8, [0, 3, 0, 0, 0, 0, 0]),
            [2, 2, 2, 2, 2, 2, 0]
        );
    }

    #[test]
    fn new_bounds_hold_at_once() {
        let mut scaler = Scaler::new(6, 0);
        assert_eq!(numbers(&mut scaler, &bounds(1, 4), 0, [60]), [4]);
        assert_eq!(numbers(&mut scaler, &bounds(5, 9), 1, [0]), [5]);
    }
}

//! Active and passive checks of endpoints, and what is concluded from them.
//!
//! ```text
//! due (a heap by time) ──► probe, so many at a time ──► Verdict ──► the pool is judged anew
//!          ▲                                             │  ▲
//!          └──────────── interval of its side, jitter ───┘  └── observations: what requests have shown
//! ```
//!
//! An endpoint is checked at once when it is first seen, and again an interval after each check ended; slow
//! answers so spread the checks of many endpoints by themselves. What is known is held by pool and address: it
//! outlives changes of the configuration and is forgotten with the endpoint. Pools without checks cost nothing.
//!
//! Clients' requests are counted where they are served (`hythe-balance`); when they have shown enough, that comes in as
//! an observation and decides at once. Whom they took out active checks bring back, at the interval of unhealthy endpoints;
//! where there are none that could, it is tried again after the `recovery_time`.
//!
//! Left out on purpose: checks of pools no upstream is named for, more than one kind of check for a pool, and
//! keeping verdicts across restarts of the server (the first check is made at once).

mod grpc;
mod http;
pub(crate) mod judge;
mod probe;
mod settings;
#[cfg(test)]
mod tests;
pub(crate) mod verdict;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hythe_model::endpoint::{Observation, PoolEndpoints};
use hythe_model::{Desired, Endpoints, FullName, Upstream};
use hythe_spine::until;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::health::probe::Target;
use crate::health::settings::Settings;
use crate::health::verdict::{Outcome, Verdict};

/// Checks under way at the same time, of all pools; each holds a socket.
const MOST_AT_ONCE: usize = 256;

/// Every pool with checks.
pub(crate) struct Checks {
    pools: BTreeMap<FullName, CheckedPool>,
    due: BinaryHeap<Reverse<(Instant, Place)>>,
    running: JoinSet<Answer>,
    observations: Receiver<Observation>,
    everywhere: Arc<Semaphore>,
}

/// One endpoint of one pool.
type Place = (FullName, SocketAddr);

/// What came of a check, with the settings by which it was made.
struct Answer {
    place: Place,
    settings: Arc<Settings>,
    outcome: Outcome,
}

struct CheckedPool {
    settings: Arc<Settings>,
    members: BTreeMap<SocketAddr, Member>,
    /// Kong's `concurrency`.
    slots: Arc<Semaphore>,
}

struct Member {
    verdict: Verdict,
    host: Arc<str>,
    /// Whether it has its place in the round of the settings as they are.
    is_planned: bool,
    /// When it is due; an entry of the heap with another time is void.
    due: Option<Instant>,
}

impl Checks {
    pub(crate) fn new(observations: Receiver<Observation>) -> Self {
        Self {
            pools: BTreeMap::new(),
            due: BinaryHeap::new(),
            running: JoinSet::new(),
            observations,
            everywhere: Arc::new(Semaphore::new(MOST_AT_ONCE)),
        }
    }

    /// Checks exactly what `desired` says, of the endpoints there are.
    pub(crate) fn want(&mut self, desired: &Desired, endpoints: &Endpoints) {
        let mut before = std::mem::take(&mut self.pools);
        for (name, entry) in desired.upstreams.iter() {
            let Some(mut pool) = CheckedPool::of(name, &entry.spec, before.remove(name)) else {
                continue;
            };
            let endpoints = endpoints.pools.get(name).map(AsRef::as_ref);
            for (address, at) in pool.follow(endpoints) {
                self.due.push(Reverse((at, (name.clone(), address))));
            }
            self.pools.insert(name.clone(), pool);
        }
    }

    /// Makes what is due, and waits until an endpoint changes sides; says of which pool. Cancel-safe.
    pub(crate) async fn changed(&mut self) -> FullName {
        loop {
            if let Some(pool) = self.start_what_is_due() {
                return pool;
            }
            let next = self.due.peek().map(|Reverse((at, _))| *at);
            tokio::select! {
                () = until(next) => {}
                Some(answered) = self.running.join_next() => {
                    if let Ok(answer) = answered && let Some(pool) = self.take(answer) {
                        return pool;
                    }
                }
                Some(observation) = self.observations.recv() => {
                    if let Some(pool) = self.observe(observation) {
                        return pool;
                    }
                }
            }
        }
    }

    /// The pool as its checks see it; the same `Arc` if they have nothing to say.
    pub(crate) fn judge(&self, name: &FullName, pool: &Arc<PoolEndpoints>) -> Arc<PoolEndpoints> {
        let Some(checked) = self.pools.get(name) else {
            return Arc::clone(pool);
        };
        let verdict = |address| Some(&checked.members.get(&address)?.verdict);
        Arc::new(judge::judged(pool, verdict, checked.settings.checks.threshold))
    }

    /// Starts checks; the pool's name if an endpoint of it changed sides without one.
    fn start_what_is_due(&mut self) -> Option<FullName> {
        let now = Instant::now();
        while let Some(Reverse((at, _))) = self.due.peek()
            && *at <= now
        {
            let Reverse((at, place)) = self.due.pop()?;
            if self.start(&place, at) {
                return Some(place.0);
            }
        }
        None
    }

    /// Starts the check of an endpoint. Where none can bring it back it comes back at once, and that is told.
    fn start(&mut self, place: &Place, at: Instant) -> bool {
        let Some(pool) = self.pools.get_mut(&place.0) else {
            return false;
        };
        let Some(member) = pool
            .members
            .get_mut(&place.1)
            .filter(|member| member.due == Some(at))
        else {
            return false;
        };
        member.due = None;
        if let Some(time) = recovery_time(&pool.settings, &member.verdict) {
            let time = hythe_stdx::format_duration(time);
            let reason = format!("passive check: tried again after {time}");
            return conclude(place, &mut member.verdict, true, reason);
        }
        let place = place.clone();
        let settings = Arc::clone(&pool.settings);
        let target = Target {
            address: checked_address(place.1, settings.active().port),
            host: Arc::clone(&member.host),
        };
        let slots = [Arc::clone(&pool.slots), Arc::clone(&self.everywhere)];
        self.running.spawn(async move {
            let _slots = acquire(&slots).await;
            let outcome = Box::pin(probe::probe(&settings, &target)).await;
            Answer {
                place,
                settings,
                outcome,
            }
        });
        false
    }

    /// Takes in what requests have shown; the pool's name if an endpoint of it changed sides.
    fn observe(&mut self, observation: Observation) -> Option<FullName> {
        let place = (observation.pool, observation.address);
        let pool = self.pools.get_mut(&place.0)?;
        let member = pool.members.get_mut(&place.1)?;
        if !pool.settings.checks.passive.is_on()
            || !conclude(
                &place,
                &mut member.verdict,
                observation.healthy,
                observation.reason,
            )
        {
            return None;
        }
        let wait = interval(&pool.settings, &member.verdict)
            .or_else(|| recovery_time(&pool.settings, &member.verdict));
        member.due = wait.map(|wait| Instant::now() + wait);
        let due = member.due.map(|at| Reverse((at, place.clone())));
        self.due.extend(due);
        Some(place.0)
    }

    /// Takes an answer in; the pool's name if an endpoint of it changed sides.
    fn take(&mut self, answer: Answer) -> Option<FullName> {
        let (name, address) = &answer.place;
        let pool = self.pools.get_mut(name)?;
        // What was asked by other settings says nothing, and by these it is asked already.
        if !Arc::ptr_eq(&pool.settings, &answer.settings) {
            return None;
        }
        let member = pool.members.get_mut(address)?;
        let thresholds = pool.settings.active().thresholds();
        let verdict = &mut member.verdict;
        let changed = verdict.take(
            &answer.outcome,
            &thresholds,
            "active check",
            hythe_stdx::unix_ms(),
        );
        if changed {
            tell_change(&answer.place, verdict);
        }
        if let Some(interval) = interval(&pool.settings, verdict) {
            let at = Instant::now() + interval;
            member.due = Some(at);
            self.due.push(Reverse((at, answer.place.clone())));
        }
        changed.then_some(answer.place.0)
    }
}

impl CheckedPool {
    /// The pool of `upstream` with what was known of it; `None` if nothing of it is checked.
    fn of(name: &FullName, upstream: &Upstream, before: Option<Self>) -> Option<Self> {
        let checks = upstream
            .healthchecks
            .as_ref()
            .filter(|checks| checks.active.is_on() || checks.passive.is_on())?;
        let host = upstream.host_header.clone();
        let before = match before {
            Some(same) if same.settings.checks == *checks && same.settings.host == host => return Some(same),
            other => other,
        };
        let settings = Settings::new(checks.clone(), host)
            .inspect_err(|error| tracing::error!(pool = %name, %error, "its health checks cannot be made"))
            .ok()?;
        let mut members = before.map(|pool| pool.members).unwrap_or_default();
        for member in members.values_mut() {
            member.is_planned = false;
        }
        Some(Self {
            slots: Arc::new(Semaphore::new(checks.active.concurrency.max(1) as usize)),
            settings: Arc::new(settings),
            members,
        })
    }

    /// Takes the pool's endpoints over; those that are to be checked now, each with its time.
    fn follow(&mut self, endpoints: Option<&PoolEndpoints>) -> Vec<(SocketAddr, Instant)> {
        let mut before = std::mem::take(&mut self.members);
        let mut due = Vec::new();
        for endpoint in endpoints
            .map(|pool| pool.endpoints.as_slice())
            .unwrap_or_default()
        {
            let address = endpoint.address;
            if self.members.contains_key(&address) {
                continue;
            }
            let known = before
                .remove(&address)
                .map(|member| (member.verdict, member.is_planned, member.due));
            let active = self.settings.active();
            let new = || (Verdict::new(active.is_on() && active.mandatory), false, None);
            let (verdict, is_planned, at) = known.unwrap_or_else(new);
            let mut member = Member {
                verdict,
                host: self.host(address, endpoints),
                is_planned: true,
                due: at,
            };
            if !is_planned {
                member.due = interval(&self.settings, &member.verdict).map(|_| Instant::now());
                due.extend(member.due.map(|at| (address, at)));
            }
            self.members.insert(address, member);
        }
        due
    }

    fn host(&self, address: SocketAddr, endpoints: Option<&PoolEndpoints>) -> Arc<str> {
        if let Some(host) = &self.settings.host {
            return host.as_str().into();
        }
        match endpoints.and_then(|pool| pool.hosts.get(&address)) {
            Some(host) => format!("{host}:{}", address.port()).into(),
            None => address.to_string().into(),
        }
    }
}

/// Time to the next check of an endpoint that is on this side; `None`: none is made.
fn interval(settings: &Settings, verdict: &Verdict) -> Option<Duration> {
    let active = settings.active();
    let (healthy, unhealthy) = (active.healthy.interval, active.unhealthy.interval);
    let interval = match verdict.healthy {
        true => healthy,
        false if verdict.is_unproven() && unhealthy.is_zero() => healthy,
        false => unhealthy,
    };
    let spread = active.jitter.mul_f64(fastrand::f64());
    (!interval.is_zero()).then(|| interval + spread)
}

/// After how long an endpoint comes back by itself: one that requests took out, where no check can bring it back.
fn recovery_time(settings: &Settings, verdict: &Verdict) -> Option<Duration> {
    let time = settings.checks.passive.healthy.recovery_time;
    let by_itself = verdict.is_by_requests() && !settings.active().can_heal();
    (by_itself && !time.is_zero()).then_some(time)
}

/// Decides about an endpoint; whether it changed sides by it.
fn conclude(place: &Place, verdict: &mut Verdict, healthy: bool, reason: String) -> bool {
    let changed = verdict.conclude(healthy, reason, hythe_stdx::unix_ms());
    if changed {
        tell_change(place, verdict);
    }
    changed
}

fn tell_change((pool, address): &Place, verdict: &Verdict) {
    let reason = verdict.reason.as_deref().unwrap_or_default();
    tracing::info!(%pool, %address, healthy = verdict.healthy, reason, "health changed");
}

fn checked_address(address: SocketAddr, port: Option<u16>) -> SocketAddr {
    SocketAddr::new(address.ip(), port.unwrap_or(address.port()))
}

/// One permit of each, held until they are dropped.
async fn acquire(slots: &[Arc<Semaphore>; 2]) -> Vec<tokio::sync::SemaphorePermit<'_>> {
    let mut held = Vec::with_capacity(slots.len());
    for slot in slots {
        // Nobody closes them, so this cannot fail.
        held.extend(slot.acquire().await.ok());
    }
    held
}

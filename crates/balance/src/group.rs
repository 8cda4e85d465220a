//! The members of a pool that are asked together: its primaries, or its backups.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use hythe_model::traffic::Algorithm;

use crate::ip_hash::{IpHash, place_of};
use crate::member::{Member, WHOLE};
use crate::pool::Rules;
use crate::query::Query;
use crate::rotation::Cycle;
use crate::slots::{Owner, Slots, scattered};

/// See the module.
#[derive(Debug)]
pub(crate) struct Group {
    all: Box<[Arc<Member>]>,
    weights: Box<[u16]>,
    /// Those whose configuration and health allow it.
    open: Box<[Arc<Member>]>,
    open_weights: Box<[u16]>,
    /// `None`: it is too long, or turns depend on more than weights.
    cycle: Option<Arc<ArcSwap<Cycle>>>,
    /// Whether somebody's weight is growing, and no turn is even until it has.
    warming: AtomicBool,
    /// What a weight of 1 counts: more than 1 where weights grow.
    unit: u64,
    /// Of pools that hash by a key.
    slots: Option<Arc<Slots>>,
}

/// One choice to be made.
pub(crate) struct Choice<'q> {
    pub(crate) algorithm: Algorithm,
    pub(crate) query: &'q Query,
    pub(crate) now: u64,
    /// Whether failures are overlooked.
    pub(crate) forgiving: bool,
    /// Whether it counts as a turn.
    pub(crate) in_earnest: bool,
}

impl Choice<'_> {
    pub(crate) fn in_earnest(self) -> Self {
        Self {
            in_earnest: true,
            ..self
        }
    }

    fn allows(&self, member: &Member) -> bool {
        !self.query.has_tried(member)
            && member.stats.is_listed()
            && member.obstacle(self.now, self.forgiving).is_none()
    }
}

impl Group {
    pub(crate) fn new<'m>(
        members: impl Iterator<Item = &'m Arc<Member>>,
        rules: &Rules,
        before: Option<&Self>,
        now: u64,
    ) -> Self {
        let all: Box<[Arc<Member>]> = members.cloned().collect();
        let open = open_members(&all, rules.panic_threshold);
        let mut group = Self {
            weights: weights_of(&all),
            open_weights: weights_of(&open),
            all,
            open,
            cycle: None,
            warming: AtomicBool::new(false),
            unit: if rules.slow_start_ms > 0 { WHOLE } else { 1 },
            slots: None,
        };
        *group.warming.get_mut() = !group.open.iter().all(|member| member.is_warm(now));
        if rules.algorithm == Algorithm::ConsistentHashing {
            group.slots = Some(group.slots_after(before, rules.slots));
        }
        let is_plain = group.open.iter().all(|member| member.rules().max_conns == 0);
        if rules.algorithm == Algorithm::RoundRobin && is_plain {
            group.cycle = before
                .filter(|before| before.has_same_turns(&group))
                .and_then(|before| before.cycle.clone())
                .or_else(|| {
                    Cycle::new(group.open_weights.clone()).map(|cycle| Arc::new(ArcSwap::from_pointee(cycle)))
                });
        }
        group
    }

    pub(crate) fn open(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.open.iter()
    }

    pub(crate) fn has_cycle(&self) -> bool {
        self.cycle.is_some() && !self.warming.load(Ordering::Relaxed)
    }

    /// What `take` makes of the first member that it wants, in order from an even turn on.
    pub(crate) fn starting_at<'g, T>(
        &'g self,
        turn: u64,
        mut take: impl FnMut(&'g Arc<Member>) -> Option<T>,
    ) -> Option<T> {
        let cycle = self.cycle.as_ref()?.load();
        cycle
            .starting_at(turn)
            .find_map(|place| take(self.open.get(place)?))
    }

    /// Sets the running values to what they are at an even turn.
    pub(crate) fn set_values_at(&self, turn: u64) {
        let Some(cycle) = &self.cycle else { return };
        for (member, value) in self.open.iter().zip(cycle.load().values_at(turn)) {
            member.standing.set_current(value * self.scale());
        }
    }

    /// Makes the cycle begin at the running values. If they are not part of one: its length.
    pub(crate) fn begin_cycle_again(&self) -> Option<u32> {
        let cycle = self.cycle.as_ref()?;
        let values = self.values();
        let now = cycle.load();
        let Some(next) = now.beginning_at(values) else {
            return Some(u32::try_from(now.len()).unwrap_or(u32::MAX));
        };
        cycle.store(Arc::new(next));
        self.warming.store(false, Ordering::Relaxed);
        None
    }

    /// The running values, as a cycle counts them. Those that growing weights have left behind are no part of any: they
    /// begin anew.
    fn values(&self) -> Box<[i64]> {
        let current = || self.open.iter().map(|member| member.standing.current());
        if current().all(|value| value % self.scale() == 0) {
            current().map(|value| value / self.scale()).collect()
        } else {
            self.open.iter().map(|_| 0).collect()
        }
    }

    fn scale(&self) -> i64 {
        i64::try_from(self.unit).unwrap_or(1)
    }

    /// Whether turns depend on weights alone.
    pub(crate) fn is_clean(&self, now: u64) -> bool {
        self.cycle.is_some() && self.open.iter().all(|member| member.is_clean(now))
    }

    /// Whether anybody could be picked.
    pub(crate) fn is_available(&self, now: u64) -> bool {
        self.open
            .iter()
            .any(|member| member.obstacle(now, false).is_none())
    }

    /// How many of those that are not down could be picked. All of none.
    pub(crate) fn available_percent(&self, now: u64) -> u8 {
        let available = self
            .open
            .iter()
            .filter(|member| member.obstacle(now, false).is_none());
        percent(available.count(), up(&self.all).count())
    }

    /// The member whose turn it is, by one that holds the lock.
    pub(crate) fn choose(&self, choice: &Choice<'_>) -> Option<&Arc<Member>> {
        let place = match choice.algorithm {
            Algorithm::LeastConnections => self.least_loaded(choice),
            Algorithm::Random | Algorithm::Latency => return self.choose_at_random(0, choice),
            Algorithm::RoundRobin | Algorithm::IpHash | Algorithm::ConsistentHashing => {
                self.step(0, choice, |_| true)
            }
        }?;
        self.open.get(place)
    }

    /// The first member that the client's address leads to; `None`: its turn decides.
    pub(crate) fn choose_by_address(
        &self,
        hash: &mut IpHash,
        query: &Query,
        now: u64,
    ) -> Option<&Arc<Member>> {
        if self.all.len() < 2 {
            return None;
        }
        let may_take = |place: usize| self.may_take(place, query, now);
        let place = hash.choose(&self.weights, may_take)?;
        self.all.get(place)
    }

    /// The member that the key leads to; `None`: its turn decides.
    pub(crate) fn choose_by_key(&self, key: u64, query: &Query, now: u64) -> Option<&Arc<Member>> {
        let slots = self.slots.as_ref()?;
        let place = slots.choose(key, |place| self.may_take(place, query, now))?;
        self.all.get(place)
    }

    /// The member of this token, if it may be picked.
    pub(crate) fn choose_again(&self, token: u64, query: &Query, now: u64) -> Option<&Arc<Member>> {
        let place = self.all.iter().position(|member| member.token == token)?;
        self.may_take(place, query, now).then(|| self.all.get(place))?
    }

    /// Whether one of all members may be picked by a request that turns to it and not to whose turn it is.
    fn may_take(&self, place: usize, query: &Query, now: u64) -> bool {
        self.all.get(place).is_some_and(|member| {
            member.endpoint.healthy
                && !member.rules().down
                && !query.has_tried(member)
                && member.stats.is_listed()
                && member.obstacle(now, false).is_none()
        })
    }

    /// The better of two that chance chooses by weight, less busy or quicker; any other, if neither may be picked.
    pub(crate) fn choose_at_random(&self, seed: u64, choice: &Choice<'_>) -> Option<&Arc<Member>> {
        let total: u32 = self.open_weights.iter().copied().map(u32::from).sum();
        let chance = scattered(seed);
        let drawn = |bits: u64| {
            let point = u32::try_from(bits % u64::from(total.max(1))).ok()?;
            place_of(&self.open_weights, point)
        };
        let (first, second) = (drawn(chance >> 32)?, drawn(chance & 0xffff_ffff)?);
        let allowed = |place: &usize| choice.allows(&self.open[*place]);
        let drawn = |place: &usize| allowed(place) && self.is_warm_enough(*place, chance, choice.now);
        let place = match (Some(first).filter(drawn), Some(second).filter(drawn)) {
            (Some(first), Some(second)) if self.is_better(second, first, choice) => second,
            (Some(one), _) | (None, Some(one)) => one,
            (None, None) => (first + 1..self.open.len()).chain(0..=first).find(allowed)?,
        };
        self.open.get(place)
    }

    /// Whether one is to be preferred to another, both drawn as often as their weights have grown.
    fn is_better(&self, one: usize, other: usize, choice: &Choice<'_>) -> bool {
        let (one, other) = (&self.open[one], &self.open[other]);
        match choice.algorithm {
            Algorithm::Latency => one.cost(choice.now) < other.cost(choice.now),
            _ => Load::of(one).is_below(&Load::of(other)),
        }
    }

    /// A weight that has grown to a part is drawn as often.
    fn is_warm_enough(&self, place: usize, chance: u64, now: u64) -> bool {
        self.unit == 1 || scattered(chance ^ place as u64) % WHOLE < self.open[place].warmth(now)
    }

    /// One step of smooth weighted round robin, from the place `from` on, among those that `also` takes.
    fn step(&self, from: usize, choice: &Choice<'_>, also: impl Fn(usize) -> bool) -> Option<usize> {
        let mut total = 0;
        let mut best: Option<(usize, i64)> = None;
        for (place, member) in self.open.iter().enumerate().skip(from) {
            if !also(place) || !choice.allows(member) {
                continue;
            }
            let standing = &member.standing;
            let effective =
                standing.effective_weight(member.endpoint.weight) * self.warmth(member, choice.now);
            let current = standing.current() + effective;
            total += effective;
            if choice.in_earnest {
                standing.set_current(current);
                standing.recover();
            }
            if best.is_none_or(|(_, most)| current > most) {
                best = Some((place, current));
            }
        }
        let (place, current) = best?;
        if choice.in_earnest {
            self.open[place].standing.set_current(current - total);
        }
        Some(place)
    }

    /// The least loaded; smooth weighted round robin among equals.
    fn least_loaded(&self, choice: &Choice<'_>) -> Option<usize> {
        let mut least: Option<(usize, Load)> = None;
        let mut has_equals = false;
        for (place, _) in self
            .open
            .iter()
            .enumerate()
            .filter(|(_, member)| choice.allows(member))
        {
            let load = self.load(place, choice.now);
            match &least {
                Some((_, lowest)) if load.is_level_with(lowest) => has_equals = true,
                Some((_, lowest)) if !load.is_below(lowest) => {}
                _ => {
                    least = Some((place, load));
                    has_equals = false;
                }
            }
        }
        let (place, load) = least?;
        if !has_equals {
            return Some(place);
        }
        // Others may have become busier since they were compared; then the first found is as good.
        self.step(place, choice, |place| {
            self.load(place, choice.now).is_level_with(&load)
        })
        .or(Some(place))
    }

    fn load(&self, place: usize, now: u64) -> Load {
        let member = &self.open[place];
        let load = Load::of(member);
        if self.unit == 1 {
            return load;
        }
        // The request itself counts, or whoever has nothing to do would get all, however little it weighs yet.
        Load {
            in_flight: load.in_flight + 1,
            weight: load.weight * member.warmth(now),
        }
    }

    fn warmth(&self, member: &Member, now: u64) -> i64 {
        if self.unit == 1 {
            return 1;
        }
        i64::try_from(member.warmth(now)).unwrap_or(1)
    }

    /// The table of slots; the one before, if the members are the same.
    fn slots_after(&self, before: Option<&Self>, count: u32) -> Arc<Slots> {
        let owner = |member: &Arc<Member>| Owner {
            id: member.token,
            weight: if member.rules().down {
                0
            } else {
                member.endpoint.weight
            },
        };
        let owners: Box<[Owner]> = self.all.iter().map(owner).collect();
        let before = before.and_then(|before| before.slots.clone());
        before
            .filter(|slots| slots.is_of(&owners, count))
            .unwrap_or_else(|| Arc::new(Slots::new(owners, count)))
    }

    fn has_same_turns(&self, other: &Self) -> bool {
        let addresses = |group: &Self| {
            group
                .open
                .iter()
                .map(|member| member.endpoint.address)
                .collect::<Vec<_>>()
        };
        let weights = self.cycle.as_ref().map(|cycle| cycle.load());
        weights.is_some_and(|cycle| *cycle.weights() == *other.open_weights)
            && addresses(self) == addresses(other)
    }
}

/// Requests in flight by weight, compared as fractions.
#[derive(Clone, Copy)]
struct Load {
    in_flight: u64,
    weight: u64,
}

impl Load {
    fn of(member: &Member) -> Self {
        Self {
            in_flight: member.stats.in_flight(),
            weight: u64::from(member.endpoint.weight.max(1)),
        }
    }

    fn is_below(&self, other: &Self) -> bool {
        self.in_flight * other.weight < other.in_flight * self.weight
    }

    fn is_level_with(&self, other: &Self) -> bool {
        self.in_flight * other.weight == other.in_flight * self.weight
    }
}

/// The healthy ones; all that are not down, when too few are healthy.
fn open_members(all: &[Arc<Member>], panic_threshold: Option<u8>) -> Box<[Arc<Member>]> {
    let healthy: Box<[_]> = up(all)
        .filter(|member| member.endpoint.healthy)
        .cloned()
        .collect();
    let share = percent(healthy.len(), up(all).count());
    if panic_threshold.is_some_and(|threshold| share < threshold) {
        up(all).cloned().collect()
    } else {
        healthy
    }
}

fn up(all: &[Arc<Member>]) -> impl Iterator<Item = &Arc<Member>> {
    all.iter().filter(|member| !member.rules().down)
}

fn weights_of(members: &[Arc<Member>]) -> Box<[u16]> {
    members.iter().map(|member| member.endpoint.weight).collect()
}

fn percent(part: usize, whole: usize) -> u8 {
    u8::try_from(part * 100 / whole.max(1)).unwrap_or(100)
}

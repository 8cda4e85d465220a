//! One version of a pool.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard};
use std::time::Instant;

use hythe_model::traffic::Algorithm;
use hythe_model::{Endpoint, FullName};
use hythe_stdx::StableHash;

use crate::conduct::{Conduct, PassiveRules};
use crate::endpoint_table::EndpointTable;
use crate::group::{Choice, Group};
use crate::lease::Lease;
use crate::member::{Clock, Member, Memory, Obstacle};
use crate::outlier::{OutlierRules, Roster};
use crate::query::Query;
use crate::turn::{Turn, Uneven};

/// How a pool picks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// By what.
    pub algorithm: Algorithm,
    /// Percent of members: while fewer are available, neither failures nor health are held against any. `None`:
    /// only failures are forgiven, and only when nobody would be left. `Some(0)`: nothing is.
    pub panic_threshold: Option<u8>,
    /// Size of the table of consistent hashing.
    pub slots: u32,
    /// What is concluded from answers, if anything is and the table has an observer.
    pub passive: Option<Arc<PassiveRules>>,
    /// Whom errors eject, if they do.
    pub outlier: Option<OutlierRules>,
    /// In which the weight of a member grows after it came or came back, milliseconds; 0: at once. Addresses and
    /// keys lead to a member regardless.
    pub slow_start_ms: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::default(),
            panic_threshold: None,
            slots: 10_000,
            passive: None,
            outlier: None,
            slow_start_ms: 0,
        }
    }
}

/// The endpoints of a pool as they are now. Never changes but in what is counted.
///
/// Lists the members that it may pick until [`PoolCell::replace`](crate::PoolCell::replace) puts another pool in its
/// place, or until it is dropped.
#[derive(Debug)]
pub struct Pool {
    name: FullName,
    rules: Rules,
    members: Box<[Arc<Member>]>,
    primaries: Group,
    backups: Group,
    memory: Arc<Memory>,
    lists: AtomicBool,
}

impl Pool {
    /// A pool of `endpoints`, which take turns in the order given. Lists those it may pick in `table` at once.
    pub fn new(
        name: FullName,
        rules: Rules,
        endpoints: impl IntoIterator<Item = Endpoint>,
        table: &EndpointTable,
        now: Instant,
    ) -> Self {
        let memory = Arc::new(Memory {
            turn: Turn::default(),
            clock: Clock(now),
            roster: Roster::default(),
        });
        Self::with_memory(name, rules, endpoints, table, memory, None, now)
    }

    /// What this pool becomes with other rules or endpoints: turns go on, and failures stay with the addresses.
    pub fn next_version(
        &self,
        rules: Rules,
        endpoints: impl IntoIterator<Item = Endpoint>,
        table: &EndpointTable,
        now: Instant,
    ) -> Self {
        let memory = Arc::clone(&self.memory);
        Self::with_memory(
            self.name.clone(),
            rules,
            endpoints,
            table,
            memory,
            Some(self),
            now,
        )
    }

    fn with_memory(
        name: FullName,
        rules: Rules,
        endpoints: impl IntoIterator<Item = Endpoint>,
        table: &EndpointTable,
        memory: Arc<Memory>,
        before: Option<&Self>,
        now: Instant,
    ) -> Self {
        let now = memory.clock.ms(now);
        let endpoints: Vec<Endpoint> = endpoints.into_iter().collect();
        let is_alone = endpoints.len() == 1;
        let member = |endpoint: Endpoint| {
            let before = before.and_then(|before| before.member_at(endpoint.address));
            Arc::new(Member {
                token: StableHash::default().with(endpoint.id.as_bytes()).finish(),
                stats: table.get(endpoint.address),
                standing: before
                    .map(|before| Arc::clone(&before.standing))
                    .unwrap_or_default(),
                memory: Arc::clone(&memory),
                may_fail: !is_alone && endpoint.rules.max_fails > 0,
                conduct: conduct(&name, &rules, &endpoint, table, before),
                outlier: rules.outlier.map(|rules| {
                    let before = before.and_then(|before| before.outlier.as_ref());
                    (
                        rules,
                        before.map(|(_, outlier)| Arc::clone(outlier)).unwrap_or_default(),
                    )
                }),
                pace: (rules.algorithm == Algorithm::Latency).then(|| {
                    let before = before.and_then(|before| before.pace.clone());
                    before.unwrap_or_default()
                }),
                slow_start_ms: rules.slow_start_ms,
                endpoint,
            })
        };
        let members: Box<[Arc<Member>]> = endpoints.into_iter().map(member).collect();
        if let Some(before) = before {
            before.start_slowly(&members, now);
        }
        let group = |backup: bool, before: Option<&Group>| {
            let members = members.iter().filter(|member| member.rules().backup == backup);
            Group::new(members, &rules, before, now)
        };
        let primaries = group(false, before.map(|before| &before.primaries));
        let backups = group(true, before.map(|before| &before.backups));
        let pool = Self {
            name,
            rules,
            primaries,
            backups,
            members,
            memory,
            lists: AtomicBool::new(true),
        };
        pool.open_members().for_each(|member| member.stats.list());
        if pool.rules.outlier.is_some() {
            let outliers = pool.primaries.open().filter_map(|member| member.outlier.clone());
            let roster = outliers.map(|(_, outlier)| outlier).collect();
            pool.memory.roster.store(Arc::new(roster));
        }
        pool
    }

    /// Its name.
    pub fn name(&self) -> &FullName {
        &self.name
    }

    /// How it picks.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// All members, also those that may not be picked.
    pub fn members(&self) -> &[Arc<Member>] {
        &self.members
    }

    /// The members that it may pick when nothing but health and configuration is asked.
    pub fn open_members(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.primaries.open().chain(self.backups.open())
    }

    /// Picks a member that was not tried. `None` if there is none, or if this pool was replaced and no current
    /// pool has its members; [`PoolCell::pick`](crate::PoolCell::pick) looks again in the new one.
    pub fn pick(&self, query: &mut Query, now: Instant) -> Option<Lease> {
        if let Some(lease) = self.pick_again(query, now) {
            return Some(lease);
        }
        match self.rules.algorithm {
            Algorithm::RoundRobin => self.pick_by_turn(query).or_else(|| self.pick_locked(query, now)),
            Algorithm::LeastConnections => self.pick_locked(query, now),
            Algorithm::IpHash => self
                .pick_by_address(query, now)
                .or_else(|| self.pick_locked(query, now)),
            Algorithm::ConsistentHashing => self
                .pick_by_key(query, now)
                .or_else(|| self.pick_locked(query, now)),
            Algorithm::Random | Algorithm::Latency => self.pick_at_random(query, now),
        }
    }

    /// Who `query` would get now, without taking a turn.
    pub fn peek(&self, query: &Query, now: Instant) -> Option<&Arc<Member>> {
        let now = self.memory.clock.ms(now);
        let mut query = query.clone();
        let had = query
            .token
            .and_then(|token| self.choose_again(token, &query, now));
        if had.is_some() {
            return had;
        }
        match (self.rules.algorithm, query.ip_hash.take()) {
            (Algorithm::RoundRobin, _) if query.is_first() && self.primaries.has_cycle() => {
                if let Some(turn) = self.memory.turn.peek() {
                    return self.primaries.starting_at(turn, Some);
                }
            }
            (Algorithm::IpHash, Some(mut hash)) => {
                let found = self.primaries.choose_by_address(&mut hash, &query, now);
                if found.is_some() {
                    return found;
                }
            }
            (Algorithm::ConsistentHashing, _) => {
                let by_key = |key| self.primaries.choose_by_key(key, &query, now);
                let found = query.key.and_then(by_key);
                if found.is_some() {
                    return found;
                }
            }
            _ => {}
        }
        let mut uneven = self.memory.turn.lock();
        self.work_values_out(&mut uneven);
        self.passes(now)
            .into_iter()
            .find_map(|(group, forgiving)| group.choose(&self.choice(&query, now, forgiving)))
    }

    /// Why `member` of this pool would not be picked now; `None` if it could be.
    pub fn obstacle(&self, member: &Member, now: Instant) -> Option<Obstacle> {
        let now = self.memory.clock.ms(now);
        let is_open = self.open_members().any(|open| std::ptr::eq(&**open, member));
        if member.rules().down {
            return Some(Obstacle::Down);
        }
        if !is_open {
            return Some(Obstacle::Unhealthy);
        }
        if member.rules().backup && self.primaries.is_available(now) {
            return Some(Obstacle::Backup);
        }
        member.obstacle(now, self.is_in_panic(&self.primaries, now))
    }

    /// Takes the members off. Once is enough and more does no harm.
    pub(crate) fn unlist(&self) {
        if self.lists.swap(false, Ordering::SeqCst) {
            self.open_members().for_each(|member| member.stats.unlist());
        }
    }

    /// Lets the weight of those of the next version grow that were not there, or not well.
    fn start_slowly(&self, next: &[Arc<Member>], now: u64) {
        let was_well = |member: &Member| {
            let before = self.member_at(member.endpoint.address);
            before.is_some_and(|before| before.endpoint.healthy && !before.rules().down)
        };
        for member in next.iter().filter(|member| !was_well(member)) {
            member.standing.warm_from(now);
        }
    }

    fn member_at(&self, address: SocketAddr) -> Option<&Arc<Member>> {
        self.members
            .iter()
            .find(|member| member.endpoint.address == address)
    }

    /// The way of nearly all requests: no lock, one increment.
    fn pick_by_turn(&self, query: &Query) -> Option<Lease> {
        if !query.is_first() || !self.primaries.has_cycle() {
            return None;
        }
        let turn = self.memory.turn.take()?;
        // Only in a pool that was replaced is the first one not listed any more.
        self.primaries.starting_at(turn, Lease::take)
    }

    fn pick_by_address(&self, query: &mut Query, now: Instant) -> Option<Lease> {
        let mut hash = query.ip_hash.take()?;
        let now = self.memory.clock.ms(now);
        let lease = loop {
            let Some(member) = self.primaries.choose_by_address(&mut hash, query, now) else {
                break None;
            };
            if let Some(lease) = Lease::take(member) {
                member.note_pick(now);
                break Some(lease);
            }
        };
        query.ip_hash = Some(hash);
        lease
    }

    /// The member that the client had before.
    fn pick_again(&self, query: &Query, now: Instant) -> Option<Lease> {
        let token = query.token?;
        let now = self.memory.clock.ms(now);
        let lease = Lease::take(self.choose_again(token, query, now)?)?;
        lease.member().note_pick(now);
        Some(lease)
    }

    /// A backup is only gone back to while it is needed.
    fn choose_again(&self, token: u64, query: &Query, now: u64) -> Option<&Arc<Member>> {
        let primary = self.primaries.choose_again(token, query, now);
        primary.or_else(|| {
            let needs_backups = !self.primaries.is_available(now);
            needs_backups
                .then(|| self.backups.choose_again(token, query, now))
                .flatten()
        })
    }

    fn pick_by_key(&self, query: &Query, now: Instant) -> Option<Lease> {
        let key = query.key?;
        let now = self.memory.clock.ms(now);
        loop {
            let member = self.primaries.choose_by_key(key, query, now)?;
            if let Some(lease) = Lease::take(member) {
                member.note_pick(now);
                return Some(lease);
            }
        }
    }

    fn pick_at_random(&self, query: &Query, now: Instant) -> Option<Lease> {
        let now = self.memory.clock.ms(now);
        for (group, forgiving) in self.passes(now) {
            while let Some(member) =
                group.choose_at_random(self.memory.turn.seed(), &self.choice(query, now, forgiving))
            {
                if let Some(lease) = Lease::take(member) {
                    member.note_pick(now);
                    return Some(lease);
                }
            }
        }
        None
    }

    /// By nginx's running values, one request after the other.
    fn pick_locked(&self, query: &Query, now: Instant) -> Option<Lease> {
        let now = self.memory.clock.ms(now);
        let mut uneven = self.memory.turn.lock();
        self.memory.turn.make_uneven(&mut uneven);
        self.work_values_out(&mut uneven);
        for (group, forgiving) in self.passes(now) {
            let choice = self.choice(query, now, forgiving).in_earnest();
            // A member that was taken off or filled up in this moment is not chosen again.
            while let Some(member) = group.choose(&choice) {
                if let Some(lease) = Lease::take(member) {
                    member.standing.picked(member.rules(), now);
                    self.make_even_again(&mut uneven, now);
                    return Some(lease);
                }
            }
        }
        None
    }

    fn choice<'q>(&self, query: &'q Query, now: u64, forgiving: bool) -> Choice<'q> {
        Choice {
            algorithm: self.rules.algorithm,
            query,
            now,
            forgiving,
            in_earnest: false,
        }
    }

    /// In which order the groups are asked, and whether failures are forgiven.
    fn passes(&self, now: u64) -> impl IntoIterator<Item = (&Group, bool)> + use<'_> {
        let panic = self.is_in_panic(&self.primaries, now);
        let strict = [(&self.primaries, panic), (&self.backups, false)];
        let forgives = self.rules.panic_threshold != Some(0);
        let last = [(&self.primaries, true), (&self.backups, true)];
        strict
            .into_iter()
            .chain(last.into_iter().filter(move |_| forgives))
    }

    fn is_in_panic(&self, group: &Group, now: u64) -> bool {
        self.rules
            .panic_threshold
            .is_some_and(|threshold| threshold > 0 && group.available_percent(now) < threshold)
    }

    /// The running values where even turns have stopped.
    fn work_values_out(&self, uneven: &mut MutexGuard<'_, Uneven>) {
        if let Some(turn) = uneven.stopped_at.take() {
            self.primaries.set_values_at(turn);
        }
    }

    fn make_even_again(&self, uneven: &mut MutexGuard<'_, Uneven>, now: u64) {
        if self.rules.algorithm != Algorithm::RoundRobin || !self.primaries.is_clean(now) {
            return;
        }
        if uneven.patience > 0 {
            uneven.patience -= 1;
        } else if let Some(length) = self.primaries.begin_cycle_again() {
            uneven.patience = length;
        } else {
            self.memory.turn.make_even();
        }
    }
}

/// What the answers of `endpoint` show; goes on from `before` while the rules are the same.
fn conduct(
    pool: &FullName,
    rules: &Rules,
    endpoint: &Endpoint,
    table: &EndpointTable,
    before: Option<&Arc<Member>>,
) -> Option<Arc<Conduct>> {
    let (rules, observer) = (rules.passive.as_ref()?, table.observer()?);
    let before = before.and_then(|before| before.conduct.as_ref());
    let kept = before.filter(|conduct| conduct.is_by(rules)).cloned();
    let new = || {
        Conduct::new(
            Arc::clone(rules),
            pool.clone(),
            endpoint.address,
            observer.clone(),
        )
    };
    let conduct = kept.unwrap_or_else(|| Arc::new(new()));
    conduct.stands(endpoint.healthy);
    Some(conduct)
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.unlist();
    }
}

//! Smooth weighted round robin: nginx's order of members.
//!
//! Each pick adds every member's weight to its running value, takes the member with the largest (the first
//! of equals) and takes the sum of weights off it. The order repeats after sum / greatest common divisor picks,
//! so for all usual weights it is worked out once, and a pick is one increment of a shared counter: exact between
//! threads and without a lock. Only weights with a very long cycle keep running values under a mutex; these begin
//! anew with every version of the pool.
//!
//! When the member whose turn it is may not be taken, the next one in the order is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Whose turn it is among some members, which are known by their index.
#[derive(Debug)]
pub(crate) struct Rotation {
    order: Order,
    turn: Arc<Turn>,
}

/// How many picks there were. Outlives the pool, so that a replaced pool does not begin with its first member again.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Turn(AtomicU64);

#[derive(Debug)]
enum Order {
    /// One cycle.
    Cycle(Box<[usize]>),
    /// Running values, for cycles that are too long.
    Running(Mutex<Box<[Running]>>),
}

#[derive(Debug, Clone)]
struct Running {
    index: usize,
    weight: i64,
    current: i64,
}

/// Longest cycle that is worked out for unequal weights.
const LONGEST_CYCLE: i64 = 4096;

impl Rotation {
    /// The rotation of members by `(index, weight)`.
    pub(crate) fn new(members: impl Iterator<Item = (usize, u16)>) -> Self {
        let members = members.map(|(index, weight)| Running {
            index,
            weight: i64::from(weight.max(1)),
            current: 0,
        });
        Self {
            order: Order::new(members.collect()),
            turn: Arc::default(),
        }
    }

    /// Goes on counting where another rotation is.
    pub(crate) fn continue_from(&mut self, turn: Arc<Turn>) {
        self.turn = turn;
    }

    pub(crate) fn turn(&self) -> Arc<Turn> {
        Arc::clone(&self.turn)
    }

    /// The next member that `may_take` allows.
    pub(crate) fn next(&self, may_take: impl Fn(usize) -> bool) -> Option<usize> {
        match &self.order {
            Order::Cycle(cycle) => from_turn(cycle, self.turn.0.fetch_add(1, Ordering::Relaxed), may_take),
            Order::Running(members) => {
                // A step that panicked halfway leaves values that are uneven, not wrong.
                step(
                    &mut members.lock().unwrap_or_else(PoisonError::into_inner),
                    may_take,
                )
            }
        }
    }

    /// Who [`next`](Self::next) would give, without taking the turn.
    pub(crate) fn peek(&self, may_take: impl Fn(usize) -> bool) -> Option<usize> {
        match &self.order {
            Order::Cycle(cycle) => from_turn(cycle, self.turn.0.load(Ordering::Relaxed), may_take),
            Order::Running(members) => {
                let mut members = members.lock().unwrap_or_else(PoisonError::into_inner).clone();
                step(&mut members, may_take)
            }
        }
    }
}

impl Order {
    fn new(mut members: Box<[Running]>) -> Self {
        if members.windows(2).all(|pair| pair[0].weight == pair[1].weight) {
            return Self::Cycle(members.iter().map(|member| member.index).collect());
        }
        let divisor = members
            .iter()
            .fold(0, |divisor, member| gcd(divisor, member.weight));
        let length = members.iter().map(|member| member.weight).sum::<i64>() / divisor;
        if length > LONGEST_CYCLE {
            return Self::Running(Mutex::new(members));
        }
        Self::Cycle((0..length).filter_map(|_| step(&mut members, |_| true)).collect())
    }
}

fn from_turn(cycle: &[usize], turn: u64, may_take: impl Fn(usize) -> bool) -> Option<usize> {
    if cycle.is_empty() {
        return None;
    }
    let (before, after) = cycle.split_at((turn % cycle.len() as u64) as usize);
    after.iter().chain(before).copied().find(|index| may_take(*index))
}

fn step(members: &mut [Running], may_take: impl Fn(usize) -> bool) -> Option<usize> {
    let mut total = 0;
    let mut best: Option<&mut Running> = None;
    for member in members.iter_mut().filter(|member| may_take(member.index)) {
        member.current += member.weight;
        total += member.weight;
        if best.as_ref().is_none_or(|best| member.current > best.current) {
            best = Some(member);
        }
    }
    let best = best?;
    best.current -= total;
    Some(best.index)
}

fn gcd(left: i64, right: i64) -> i64 {
    if right == 0 {
        left
    } else {
        gcd(right, left % right)
    }
}

//! Smooth weighted round robin: nginx's order of members.
//!
//! Each pick adds every member's effective weight to its running value, takes the member with the largest (the first
//! of equals) and takes the sum of weights off it. Members that may not be picked are left as they are.
//!
//! While all members may be picked at their full weights, the order repeats after sum / greatest common divisor picks:
//! a [`Cycle`], which is worked out once. What interrupts it is the matter of [`turn`](crate::turn). It can begin at
//! any running values that come back to themselves, which those that failures leave behind soon do.

/// One round of turns, and the running values it begins and ends with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cycle {
    /// Places in the list of members it was made of.
    order: Box<[u32]>,
    weights: Box<[u16]>,
    start: Box<[i64]>,
}

/// Most steps, members by turns, that are gone through to work a cycle out.
const MOST_STEPS: usize = 1 << 18;
/// As [`MOST_STEPS`], where a request would wait for it.
const FEW_STEPS: usize = 1 << 14;

impl Cycle {
    /// The cycle of members that have had no turn. `None`: it is too long.
    pub(crate) fn new(weights: Box<[u16]>) -> Option<Self> {
        let start = vec![0; weights.len()].into_boxed_slice();
        if weights.windows(2).all(|pair| pair[0] == pair[1]) {
            let order = (0..u32::try_from(weights.len()).ok()?).collect();
            return Some(Self {
                order,
                weights,
                start,
            });
        }
        Self::from_values(weights, start, MOST_STEPS)
    }

    /// The cycle of the same members that begins at other running values. `None`: they are not part of one, or it is
    /// too long to be worked out now.
    pub(crate) fn beginning_at(&self, start: Box<[i64]>) -> Option<Self> {
        Self::from_values(self.weights.clone(), start, FEW_STEPS)
    }

    fn from_values(weights: Box<[u16]>, start: Box<[i64]>, most: usize) -> Option<Self> {
        let length = length(&weights);
        if length.saturating_mul(weights.len()) > most {
            return None;
        }
        let mut values = start.clone();
        let order = (0..length).filter_map(|_| step(&mut values, &weights)).collect();
        (values == start).then_some(Self {
            order,
            weights,
            start,
        })
    }

    /// How many turns it has.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// The weights it was made of.
    pub(crate) fn weights(&self) -> &[u16] {
        &self.weights
    }

    /// The places of members from this turn on.
    pub(crate) fn starting_at(&self, turn: u64) -> impl Iterator<Item = usize> {
        let (before, after) = self.order.split_at(self.position(turn));
        after.iter().chain(before).map(|place| *place as usize)
    }

    /// The running values when this turn is next.
    pub(crate) fn values_at(&self, turn: u64) -> Box<[i64]> {
        let position = self.position(turn);
        let total: i64 = self.weights.iter().copied().map(i64::from).sum();
        let mut values = self.start.clone();
        for (value, weight) in values.iter_mut().zip(&self.weights) {
            *value += i64::from(*weight) * i64::try_from(position).unwrap_or(0);
        }
        for place in &self.order[..position] {
            values[*place as usize] -= total;
        }
        values
    }

    fn position(&self, turn: u64) -> usize {
        (turn % self.order.len().max(1) as u64) as usize
    }
}

/// One turn of members that may all be picked.
fn step(values: &mut [i64], weights: &[u16]) -> Option<u32> {
    let mut total = 0;
    let mut best: Option<(usize, i64)> = None;
    for (place, (value, weight)) in values.iter_mut().zip(weights).enumerate() {
        *value += i64::from(*weight);
        total += i64::from(*weight);
        if best.is_none_or(|(_, most)| *value > most) {
            best = Some((place, *value));
        }
    }
    let (place, _) = best?;
    values[place] -= total;
    u32::try_from(place).ok()
}

fn length(weights: &[u16]) -> usize {
    let divisor = weights
        .iter()
        .fold(0, |divisor, weight| gcd(divisor, usize::from(*weight)));
    let total: usize = weights.iter().copied().map(usize::from).sum();
    total / divisor.max(1)
}

fn gcd(left: usize, right: usize) -> usize {
    if right == 0 {
        left
    } else {
        gcd(right, left % right)
    }
}

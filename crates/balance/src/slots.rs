//! Consistent hashing: the same key leads to the same member, and few keys move when members come and go.
//!
//! A key falls into one of a fixed number of slots (Kong's word), and each slot belongs to the member with the
//! highest score for it: weighted rendezvous hashing, worked out once for each set of members. A member's score for
//! a slot depends on nothing but the two and its weight. So a member that leaves gives up its own slots and no others
//! move; one that comes takes its share from all; a change of weight moves the difference. A ring of points would
//! need thousands of them for each member to share as evenly. A request costs one look into a table.
//!
//! Members that are merely out keep their slots. Their keys go to the member with the next highest score, slot by slot,
//! and come back to them.

/// Who owns which slot.
#[derive(Debug)]
pub(crate) struct Slots {
    members: Box<[Owner]>,
    owners: Box<[u32]>,
}

/// A member, as far as slots care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    /// Differs from every other's, and stays the same while the member exists.
    pub(crate) id: u64,
    pub(crate) weight: u16,
}

impl Slots {
    pub(crate) fn new(members: Box<[Owner]>, count: u32) -> Self {
        let owner = |slot| best(&members, slot, |_| true).and_then(|place| u32::try_from(place).ok());
        let owners = (0..u64::from(count)).map_while(owner).collect();
        Self { members, owners }
    }

    /// Whether it is the table of these members.
    pub(crate) fn is_of(&self, members: &[Owner], count: u32) -> bool {
        *self.members == *members && (self.owners.len() == count as usize || members.is_empty())
    }

    /// The place of the member that `key` leads to, among those that `may_take` allows.
    pub(crate) fn choose(&self, key: u64, may_take: impl Fn(usize) -> bool) -> Option<usize> {
        let slot = scattered(key).checked_rem(self.owners.len() as u64)?;
        let owner = usize::try_from(slot)
            .ok()
            .and_then(|slot| self.owners.get(slot))?;
        let owner = *owner as usize;
        if may_take(owner) {
            return Some(owner);
        }
        best(&self.members, slot, may_take)
    }
}

/// The member with the highest score for a slot.
fn best(members: &[Owner], slot: u64, may_take: impl Fn(usize) -> bool) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (place, member) in members.iter().enumerate() {
        if may_take(place) {
            let score = score(slot, *member);
            if best.is_none_or(|(_, highest)| score > highest) {
                best = Some((place, score));
            }
        }
    }
    best.map(|(place, _)| place)
}

/// `weight / -ln(chance)`, with a chance between 0 and 1 that slot and member decide: the highest score falls to each
/// member in proportion to its weight.
#[expect(clippy::cast_precision_loss, reason = "53 bits of chance are enough")]
fn score(slot: u64, member: Owner) -> f64 {
    let bits = scattered(member.id ^ scattered(slot)) >> 11;
    let chance = (bits as f64 + 0.5) / (1u64 << 53) as f64;
    f64::from(member.weight) / -chance.ln()
}

/// As good as random, and the same each time (splitmix64).
pub(crate) fn scattered(seed: u64) -> u64 {
    let mut value = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SLOTS: u32 = 10_000;

    fn owners(weights: &[u16]) -> Box<[Owner]> {
        let owner = |(number, weight): (usize, &u16)| Owner {
            id: scattered(number as u64 + 1_000),
            weight: *weight,
        };
        weights.iter().enumerate().map(owner).collect()
    }

    /// The id of each slot's owner.
    fn ids(members: &[Owner]) -> Vec<u64> {
        let slots = Slots::new(members.into(), SLOTS);
        slots
            .owners
            .iter()
            .map(|owner| members[*owner as usize].id)
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn only_the_slots_of_one_that_leaves_move(weights in prop::collection::vec(50..200u16, 2..12), which in any::<prop::sample::Index>()) {
            let with = owners(&weights);
            let gone = with[which.index(with.len())];
            let without: Vec<Owner> = with.iter().copied().filter(|member| *member != gone).collect();
            let (before, after) = (ids(&with), ids(&without));
            let mut moved = 0;
            for (before, after) in before.iter().zip(&after) {
                if *before == gone.id {
                    moved += 1;
                } else {
                    prop_assert_eq!(before, after);
                }
            }
            // Seen the other way round: one that comes takes its share and nothing else moves.
            let total: f64 = weights.iter().copied().map(f64::from).sum();
            let share = f64::from(gone.weight) / total * f64::from(SLOTS);
            prop_assert!((f64::from(moved) - share).abs() < 0.15 * share, "{} of {}", moved, share);
        }

        #[test]
        fn who_is_out_is_replaced_by_the_next_and_comes_back(weights in prop::collection::vec(1..100u16, 2..8), keys in prop::collection::vec(any::<u64>(), 50)) {
            let slots = Slots::new(owners(&weights), SLOTS);
            for key in keys {
                let owner = slots.choose(key, |_| true).unwrap();
                let next = slots.choose(key, |place| place != owner).unwrap();
                prop_assert_ne!(owner, next);
                // Whoever else is out as well does not matter to it.
                let bystander = (0..weights.len()).find(|place| *place != owner && *place != next);
                let again = slots.choose(key, |place| place != owner && Some(place) != bystander);
                prop_assert_eq!(again, Some(next));
            }
        }
    }

    #[test]
    fn nobody() {
        assert_eq!(Slots::new(Box::default(), SLOTS).choose(7, |_| true), None);
        assert_eq!(Slots::new(owners(&[1]), SLOTS).choose(7, |_| false), None);
    }
}

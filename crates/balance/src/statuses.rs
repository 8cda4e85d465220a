//! A set of statuses, asked for each answer.

use std::fmt;

/// Statuses from 100 to 999; others are never in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Statuses([u64; WORDS]);

const FIRST: u16 = 100;
const WORDS: usize = 15;

impl Statuses {
    fn place(status: u16) -> Option<(usize, u64)> {
        let bit = usize::from(status.checked_sub(FIRST)?);
        (bit < 64 * WORDS).then(|| (bit / 64, 1 << (bit % 64)))
    }

    pub(crate) fn contains(&self, status: u16) -> bool {
        Self::place(status).is_some_and(|(word, bit)| self.0[word] & bit != 0)
    }
}

impl FromIterator<u16> for Statuses {
    fn from_iter<I: IntoIterator<Item = u16>>(statuses: I) -> Self {
        let mut words = [0; WORDS];
        for (word, bit) in statuses.into_iter().filter_map(Self::place) {
            words[word] |= bit;
        }
        Self(words)
    }
}

impl fmt::Debug for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = (FIRST..1_000).filter(|status| self.contains(*status));
        f.debug_set().entries(all).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_were_put_in() {
        let some = [100, 163, 164, 500, 999, 7, 1_100];
        let statuses: Statuses = some.into_iter().collect();
        let found: Vec<u16> = (0..2_000).filter(|status| statuses.contains(*status)).collect();
        assert_eq!(found, [100, 163, 164, 500, 999]);
    }
}

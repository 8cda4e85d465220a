//! A figure measured several times.

/// The values of one figure, one per round; never empty.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Series(Vec<f64>);

impl Series {
    /// `None` without values.
    pub(crate) fn new(values: Vec<f64>) -> Option<Self> {
        (!values.is_empty()).then_some(Self(values))
    }

    /// The middle value, or the mean of the two in the middle.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            (sorted[middle - 1] + sorted[middle]) / 2.0
        }
    }

    /// The smallest and the largest value.
    pub(crate) fn spread(&self) -> (f64, f64) {
        let fold = |pick: fn(f64, f64) -> f64| self.0.iter().copied().reduce(pick).unwrap_or(f64::NAN);
        (fold(f64::min), fold(f64::max))
    }

    /// This figure over another's, round by round: what disturbed a whole round cancels out.
    pub(crate) fn over(&self, other: &Self) -> Self {
        Self(
            self.0
                .iter()
                .zip(&other.0)
                .map(|(own, others)| own / others)
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: &[f64]) -> Series {
        Series::new(values.to_vec()).unwrap()
    }

    #[test]
    fn medians_and_spreads() {
        for (values, median, spread) in [
            (&[3.0][..], 3.0, (3.0, 3.0)),
            (&[4.0, 1.0], 2.5, (1.0, 4.0)),
            (&[9.0, 1.0, 2.0], 2.0, (1.0, 9.0)),
            (&[5.0, 5.0, 1.0, 7.0], 5.0, (1.0, 7.0)),
        ] {
            assert_eq!(series(values).median(), median, "{values:?}");
            assert_eq!(series(values).spread(), spread, "{values:?}");
        }
        assert_eq!(Series::new(Vec::new()), None);
    }

    #[test]
    fn ratios_pair_the_rounds() {
        assert_eq!(
            series(&[10.0, 40.0]).over(&series(&[20.0, 80.0])),
            series(&[0.5, 0.5])
        );
    }
}

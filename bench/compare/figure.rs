//! What several rounds say together. PURE.
use std::collections::BTreeMap;

use serde::Serialize;

/// Rounds further apart than this share of their median are marked.
const NOISE: f64 = 0.3;

/// A figure by round: rounds that failed are not in it.
pub(crate) type Rounds = BTreeMap<u32, f64>;

/// The median of some rounds, and how far they lie apart.
#[derive(Copy, Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// `None` of no rounds at all.
    pub(crate) fn of(rounds: &Rounds) -> Option<Spread> {
        let mut values: Vec<f64> = rounds.values().copied().collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            0 => f64::midpoint(values[middle - 1], values[middle]),
            _ => values[middle],
        };
        Some(Spread { median, least, most })
    }

    /// Of the quotients round by round, as both stood side by side.
    pub(crate) fn of_ratios(ours: &Rounds, theirs: &Rounds) -> Option<Spread> {
        let quotient = |(round, ours): (&u32, &f64)| {
            let theirs = theirs.get(round).filter(|theirs| **theirs > 0.0)?;
            Some((*round, ours / theirs))
        };
        Spread::of(&ours.iter().filter_map(quotient).collect())
    }

    pub(crate) fn is_noisy(&self) -> bool {
        self.most - self.least > NOISE * self.median
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(values: &[f64]) -> Rounds {
        (1..).zip(values.iter().copied()).collect()
    }

    #[test]
    fn the_median_is_the_middle_or_between_the_two() {
        let median = |values| Spread::of(&rounds(values)).map(|spread| spread.median);
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 9.0]), Some(3.0));
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let mut theirs = rounds(&[1.0, 2.0, 4.0]);
        let ours = rounds(&[2.0, 2.0, 2.0]);
        let ratio = Spread { median: 1.0, least: 0.5, most: 2.0 };
        assert_eq!(Spread::of_ratios(&ours, &theirs), Some(ratio));
        theirs.remove(&2); // that round failed: the others still stand beside each other
        let ratio = Spread { median: 1.25, ..ratio };
        assert_eq!(Spread::of_ratios(&ours, &theirs), Some(ratio));
    }

    #[test]
    fn rounds_are_noisy_from_just_beyond_three_tenths() {
        assert!(!Spread { median: 10.0, least: 8.0, most: 11.0 }.is_noisy());
        assert!(Spread { median: 10.0, least: 8.0, most: 11.1 }.is_noisy());
    }
}

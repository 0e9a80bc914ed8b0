//! Which bytes of a segment were checked once by this run. PURE.
use std::ops::Range;

/// So many ranges are remembered: readers go on from where they were, so each has about one.
const RANGES_MAX: usize = 16;

/// Ranges of bytes, apart from each other and in order.
#[derive(Debug, Default)]
pub(super) struct Checked(Vec<Range<u64>>);

impl Checked {
    /// Whether all of a range is in one that was added.
    pub(super) fn covers(&self, range: &Range<u64>) -> bool {
        self.0.iter().any(|one| one.start <= range.start && range.end <= one.end)
    }

    /// Adds a range; where there are too many, the shortest is forgotten.
    pub(super) fn add(&mut self, range: Range<u64>) {
        let touches = |one: &Range<u64>| one.start <= range.end && range.start <= one.end;
        let touching = self.0.iter().filter(|one| touches(one));
        let whole = touching
            .fold(range.clone(), |whole, one| whole.start.min(one.start)..whole.end.max(one.end));
        self.0.retain(|one| !touches(one));
        if self.0.len() == RANGES_MAX
            && let Some(shortest) =
                (0..RANGES_MAX).min_by_key(|at| self.0[*at].end - self.0[*at].start)
        {
            self.0.remove(shortest);
        }
        let at = self.0.partition_point(|one| one.start < whole.start);
        self.0.insert(at, whole);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_covered_was_added(ranges in prop::collection::vec((0..200u64, 1..20u64), 1..60)) {
            let mut checked = Checked::default();
            let mut added = [false; 256];
            for (start, length) in ranges {
                checked.add(start..start + length);
                added[start as usize..(start + length) as usize].fill(true);
                prop_assert!(checked.covers(&(start..start + length)), "the newest is forgotten");
                prop_assert!(checked.0.len() <= RANGES_MAX);
                prop_assert!(checked.0.windows(2).all(|pair| pair[0].end < pair[1].start));
                for one in &checked.0 {
                    prop_assert!(added[one.start as usize..one.end as usize].iter().all(|is| *is));
                }
            }
        }
    }

    #[test]
    fn who_reads_on_has_one_range() {
        let mut checked = Checked::default();
        for step in 0..100 {
            checked.add(step * 10..step * 10 + 10);
            checked.add(5000 + step * 10..5000 + step * 10 + 10);
        }
        assert_eq!(checked.0, [0..1000, 5000..6000]);
    }
}

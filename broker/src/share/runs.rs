//! What holds of each offset, kept by runs of offsets of which the same holds. PURE.
//!
//! Runs do not overlap, and neighbours that say the same are one run. So the memory that is taken
//! depends on how often what holds changes, not on how many offsets there are.

use std::collections::BTreeMap;

/// Offsets from the first to the last, both inside.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The first offset.
    pub first: i64,
    /// The last offset.
    pub last: i64,
}

impl Span {
    /// From `first` to `last`, both inside; `None` when that is nothing.
    pub fn new(first: i64, last: i64) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// How many offsets there are.
    pub fn count(&self) -> i64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }

    /// What both have in common.
    pub fn common(&self, other: Span) -> Option<Span> {
        Span::new(self.first.max(other.first), self.last.min(other.last))
    }
}

/// Runs of offsets, each with what holds of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runs<T> {
    /// By the first offset: the last one, and what holds.
    runs: BTreeMap<i64, (i64, T)>,
}

impl<T> Default for Runs<T> {
    fn default() -> Self {
        Self { runs: BTreeMap::new() }
    }
}

impl<T: Clone + PartialEq> Runs<T> {
    /// From now on `value` holds of these offsets.
    pub fn set(&mut self, span: Span, value: T) {
        self.clear(span);
        let (mut first, mut last) = (span.first, span.last);
        if let Some((&before, (end, held))) = self.runs.range(..first).next_back()
            && end.saturating_add(1) == first
            && *held == value
        {
            first = before;
        }
        if let Some(next) = last.checked_add(1)
            && let Some((end, held)) = self.runs.get(&next)
            && *held == value
        {
            last = *end;
            self.runs.remove(&next);
        }
        self.runs.insert(first, (last, value));
    }

    /// From now on nothing is known of these offsets.
    pub fn clear(&mut self, span: Span) {
        self.split_at(span.first);
        if let Some(next) = span.last.checked_add(1) {
            self.split_at(next);
        }
        let inside: Vec<i64> = self.runs.range(span.first..=span.last).map(|(at, _)| *at).collect();
        for first in inside {
            self.runs.remove(&first);
        }
    }

    /// The runs inside `span`, cut to it, in order.
    pub fn within(&self, span: Span) -> impl Iterator<Item = (Span, &T)> {
        let from = self.runs.range(..=span.first).next_back().map_or(span.first, |(at, _)| *at);
        self.runs.range(from..=span.last).filter_map(move |(&first, (last, value))| {
            Some((Span { first, last: *last }.common(span)?, value))
        })
    }

    /// All runs, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (Span, &T)> {
        self.runs.iter().map(|(&first, (last, value))| (Span { first, last: *last }, value))
    }

    /// The first run.
    pub fn first(&self) -> Option<(Span, &T)> {
        self.iter().next()
    }

    /// How many runs there are.
    pub fn len(&self) -> usize {
        self.runs.len()
    }

    /// Whether nothing is known of any offset.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Makes `offset` the first of a run, if it lies inside one.
    fn split_at(&mut self, offset: i64) {
        let Some((&first, (last, _))) = self.runs.range(..offset).next_back() else { return };
        if *last < offset {
            return;
        }
        let (last, value) = self.runs.remove(&first).expect("it was found");
        self.runs.insert(first, (offset - 1, value.clone()));
        self.runs.insert(offset, (last, value));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_say_of_every_offset_what_was_said_last(
            told in prop::collection::vec((0i64..40, 0i64..12, prop::option::of(0u8..3)), 0..40),
        ) {
            let mut runs = Runs::default();
            let mut reference: Vec<Option<u8>> = vec![None; 60];
            for (first, more, value) in told {
                let span = Span { first, last: first + more };
                match value {
                    Some(value) => runs.set(span, value),
                    None => runs.clear(span),
                }
                reference[first as usize..=(first + more) as usize].fill(value);
            }
            let mut seen: Vec<Option<u8>> = vec![None; 60];
            for (span, value) in runs.iter() {
                for offset in span.first..=span.last {
                    prop_assert_eq!(seen[offset as usize].replace(*value), None, "runs overlap");
                }
            }
            prop_assert_eq!(&seen, &reference);
            let cut = Span { first: 7, last: 23 };
            let cut: i64 = runs.within(cut).map(|(span, _)| span.count()).sum();
            prop_assert_eq!(cut as usize, reference[7..=23].iter().flatten().count());
            let neighbours: Vec<_> = runs.iter().collect();
            for pair in neighbours.windows(2) {
                let ((left, one), (right, other)) = (pair[0], pair[1]);
                prop_assert!(left.last + 1 < right.first || one != other, "two runs say the same");
            }
        }
    }

    #[test]
    fn the_ends_of_the_number_line_are_offsets_too() {
        let mut runs = Runs::default();
        runs.set(Span { first: i64::MIN, last: i64::MAX }, 1);
        runs.set(Span { first: 0, last: i64::MAX }, 2);
        assert_eq!(runs.len(), 2);
        runs.clear(Span { first: i64::MIN, last: i64::MAX });
        assert!(runs.is_empty());
    }
}

//! PURE. The leader epochs of a log: which began at which offset.
//!
//! Every start after a crash begins a new one, before anything is appended. So a client that was
//! told of records which the crash then took can see that the log after them is another one.
use weir_protocol::records::Offset;

/// Epochs with the offset at which each began, both strictly growing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaderEpochs {
    entries: Vec<(i32, Offset)>,
}

impl LeaderEpochs {
    /// No epoch yet.
    #[must_use]
    pub fn new() -> LeaderEpochs {
        LeaderEpochs::default()
    }

    /// Takes over entries as they were stored; `None` when they cannot be.
    #[must_use]
    pub fn from_entries(entries: Vec<(i32, Offset)>) -> Option<LeaderEpochs> {
        let grows = entries.is_sorted_by(|one, next| one.0 < next.0 && one.1 < next.1);
        let is_valid = entries.iter().all(|(epoch, start)| *epoch >= 0 && start.0 >= 0);
        (grows && is_valid).then_some(LeaderEpochs { entries })
    }

    /// All entries, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[(i32, Offset)] {
        &self.entries
    }

    /// The newest epoch.
    #[must_use]
    pub fn latest(&self) -> Option<i32> {
        self.entries.last().map(|(epoch, _)| *epoch)
    }

    /// Begins an epoch at `start`, where the log ends. One that has not written anything yet makes
    /// way for it.
    ///
    /// # Panics
    /// When the epoch is not newer.
    pub fn begin(&mut self, epoch: i32, start: Offset) {
        assert!(self.latest().is_none_or(|latest| latest < epoch), "{epoch} after {self:?}");
        self.cut_end(start);
        self.entries.push((epoch, start));
    }

    /// Forgets epochs that begin at or after `end`.
    pub fn cut_end(&mut self, end: Offset) {
        self.entries.retain(|(_, start)| *start < end);
    }

    /// Forgets epochs that end at or before `log_start`, except the one that holds it.
    pub fn cut_start(&mut self, log_start: Offset) {
        let holder = self.entries.partition_point(|(_, start)| *start <= log_start);
        self.entries.drain(..holder.saturating_sub(1));
        if let Some((_, start)) = self.entries.first_mut() {
            *start = (*start).max(log_start);
        }
    }

    /// The epoch of the record at `offset`.
    #[must_use]
    pub fn of(&self, offset: Offset) -> Option<i32> {
        let count = self.entries.partition_point(|(_, start)| *start <= offset);
        count.checked_sub(1).map(|last| self.entries[last].0)
    }

    /// Where an epoch ends, as OffsetForLeaderEpoch asks: the largest known epoch that is not newer
    /// and the offset at which the next one begins. (-1, -1) for an epoch that is yet to come.
    #[must_use]
    pub fn end_of(&self, epoch: i32, log_end: Offset) -> (i32, Offset) {
        let unknown = (-1, Offset(-1));
        let Some(latest) = self.latest().filter(|_| epoch >= 0) else { return unknown };
        if epoch == latest {
            return (latest, log_end);
        }
        let Some((_, next_start)) = self.entries.iter().find(|entry| entry.0 > epoch) else {
            return unknown;
        };
        let count = self.entries.partition_point(|entry| entry.0 <= epoch);
        let known = count.checked_sub(1).map_or(epoch, |last| self.entries[last].0);
        (known, *next_start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs() -> LeaderEpochs {
        let mut epochs = LeaderEpochs::new();
        epochs.begin(2, Offset(0));
        epochs.begin(4, Offset(10));
        epochs.begin(5, Offset(20));
        epochs
    }

    #[test]
    fn an_epoch_ends_where_the_next_one_begins() {
        let end = Offset(25);
        let asked = [1, 2, 3, 4, 5, 6, -1].map(|epoch| epochs().end_of(epoch, end));
        let expected = [(1, 0), (2, 10), (2, 10), (4, 20), (5, 25), (-1, -1), (-1, -1)];
        assert_eq!(asked, expected.map(|(epoch, end)| (epoch, Offset(end))));
    }

    #[test]
    fn an_epoch_that_wrote_nothing_makes_way() {
        let mut epochs = epochs();
        epochs.begin(6, Offset(20));
        assert_eq!(epochs.entries(), [(2, Offset(0)), (4, Offset(10)), (6, Offset(20))]);
        assert_eq!([0, 9, 10, 99].map(|offset| epochs.of(Offset(offset))), [2, 2, 4, 6].map(Some));
    }

    #[test]
    fn the_epoch_that_holds_the_log_start_is_kept() {
        let mut epochs = epochs();
        epochs.cut_start(Offset(15));
        assert_eq!(epochs.entries(), [(4, Offset(15)), (5, Offset(20))]);
        epochs.cut_start(Offset(30));
        assert_eq!(epochs.entries(), [(5, Offset(30))]);
    }

    #[test]
    fn what_cannot_have_been_stored_is_refused() {
        assert_eq!(LeaderEpochs::from_entries(vec![(1, Offset(5)), (0, Offset(9))]), None);
        assert_eq!(LeaderEpochs::from_entries(vec![(1, Offset(5)), (2, Offset(5))]), None);
        assert_eq!(LeaderEpochs::from_entries(vec![(-1, Offset(5))]), None);
    }
}

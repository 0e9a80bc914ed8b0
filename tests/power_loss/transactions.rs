//! What the batches of a partition say of its transactions, and whether the partition says the same.

use std::collections::BTreeMap;

use weir_broker::partition::Partition;
use weir_broker::producers::Aborted;
use weir_protocol::records::Offset;
use weir_protocol::records::batch::RecordBatch;
use weir_protocol::records::control::{Marker, marker_of};

use crate::power_loss::{Batch, Violated};

/// How far a producer is in a partition.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Writer {
    pub(super) epoch: i16,
    pub(super) next_sequence: i32,
}

impl Writer {
    /// A batch of it, or a marker for it, is appended.
    pub(super) fn see(&mut self, batch: &RecordBatch) {
        let header = batch.header();
        if header.producer_epoch > self.epoch {
            *self = Writer { epoch: header.producer_epoch, next_sequence: 0 };
        }
        if !header.is_control() {
            self.next_sequence = header.last_sequence() + 1;
        }
    }
}

/// How far a producer is after these batches.
pub(super) fn writer(batches: &[Batch], id: i64) -> Writer {
    let mut writer = Writer::default();
    for batch in batches.iter().filter(|batch| batch.sent.header().producer_id == id) {
        writer.see(&batch.sent);
    }
    writer
}

/// The transactions that are open, by producer, and those that were aborted, by their markers.
fn transactions(batches: &[Batch]) -> (BTreeMap<i64, Offset>, Vec<Aborted>) {
    let (mut open, mut aborted) = (BTreeMap::new(), Vec::new());
    for batch in batches.iter().filter(|batch| batch.sent.header().is_transactional()) {
        let producer_id = batch.sent.header().producer_id;
        let Some(marker) = marker_of(&batch.sent) else {
            open.entry(producer_id).or_insert(batch.base_offset);
            continue;
        };
        if let Some(first) = open.remove(&producer_id)
            && marker == Marker::Abort
        {
            aborted.push(Aborted { producer_id, first, last: batch.base_offset });
        }
    }
    (open, aborted)
}

/// Compares what a partition says of its transactions with what follows from all its batches, those
/// below its start among them.
pub(super) fn check_transactions(partition: &Partition, batches: &[Batch]) -> Result<(), Violated> {
    let (open, aborted) = transactions(batches);
    let ends = partition.ends();
    let stable = open.values().min().copied().unwrap_or(ends.high_watermark).max(ends.log_start);
    if ends.last_stable != stable {
        return Err(format!("the last stable offset is {}, not {stable}", ends.last_stable));
    }
    let told: BTreeMap<i64, (i16, Offset)> =
        partition.open_transactions().iter().map(|(id, epoch, at)| (*id, (*epoch, *at))).collect();
    let open = open.into_iter().map(|(id, at)| (id, (writer(batches, id).epoch, at)));
    let open: BTreeMap<i64, (i16, Offset)> = open.collect();
    if told != open {
        return Err(format!("open are {told:?}, not {open:?}"));
    }
    let mut ranges = vec![(ends.log_start, ends.log_end)];
    for it in aborted.iter().filter(|it| it.last >= ends.log_start) {
        let first = it.first.max(ends.log_start);
        ranges.extend([(first, it.last), (first, first.next()), (it.last, it.last.next())]);
    }
    for (from, to) in ranges {
        let told = partition.aborted_within(from, to);
        let is_within = |it: &&Aborted| it.last >= from && it.first < to;
        let expected: Vec<Aborted> = aborted.iter().filter(is_within).copied().collect();
        if told != expected {
            return Err(format!("aborted within {from}..{to} are {told:?}, not {expected:?}"));
        }
    }
    Ok(())
}

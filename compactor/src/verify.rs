//! The refold: what a table should hold, worked out from the log in another, simple way, and
//! compared with what a reader of the table sees.
//!
//! It shares no code with the decoders, the fold and the merge: a map in memory, `serde_json`, one
//! row after the other. Memory grows with the table; it is a check, not a service.
//!
//! Records of one key that lie in several partitions of the topic have no order of their own:
//! there any of the partitions' last rows is right, and such keys are counted.

pub mod cell;
mod coerce;
mod notation;
mod reading;

use std::collections::{BTreeMap, BTreeSet};

use arrow_array::RecordBatch;
use weir_protocol::records::Offset;
use weir_protocol::records::record::Record;
use weir_protocol::table::settings::TableSettings;

use crate::schema::TableSchema;
use crate::verify::cell::{Cell, shown};
use crate::verify::reading::{Reading, Said};

/// So many differences are told; all are counted.
const DIFFERENCES_MAX: usize = 20;

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The log has a row that the table lacks.
    Missing {
        /// The row, as the refold has it.
        row: String,
    },
    /// The table has a row that the log does not justify.
    Unexpected {
        /// The row, as the table has it.
        row: String,
    },
    /// Rows of the same key hold different values.
    Differs {
        /// The key.
        key: String,
        /// The row, as the refold has it.
        expected: String,
        /// The row, as the table has it.
        found: String,
    },
    /// The table has a key twice.
    Twice {
        /// The key.
        key: String,
    },
    /// A record is no row, but was not set aside either.
    Unreadable {
        /// The partition of the topic.
        partition: i32,
        /// The record's offset.
        offset: Offset,
        /// Why it is no row.
        reason: String,
    },
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Records of the log.
    pub record_count: u64,
    /// Records that were set aside by the table, and not looked at.
    pub quarantined_count: u64,
    /// Rows that the table should have.
    pub expected_count: u64,
    /// Rows that the table has.
    pub found_count: u64,
    /// Keys with records in several partitions.
    pub ambiguous_count: u64,
    /// Everything that is not as it should be.
    pub difference_count: u64,
    /// The first of it.
    pub differences: Vec<Difference>,
}

impl Verified {
    /// Whether table and log agree.
    pub fn is_equal(&self) -> bool {
        self.difference_count == 0
    }

    fn note(&mut self, difference: Difference) {
        self.difference_count += 1;
        if self.differences.len() < DIFFERENCES_MAX {
            self.differences.push(difference);
        }
    }
}

type Key = Vec<Cell>;

/// The last that one partition says of a key.
#[derive(Clone, Debug)]
struct Last {
    /// Values of the sequence fields.
    age: Vec<Cell>,
    /// Absent: deleted.
    row: Option<Vec<Cell>>,
}

/// A table in a map.
#[derive(Clone, Debug)]
pub struct Refold {
    reading: Reading,
    quarantined: BTreeSet<(i32, Offset)>,
    keys: BTreeMap<Key, BTreeMap<i32, Last>>,
    /// Rows of an append table and how often they came.
    appended: BTreeMap<Vec<Cell>, i64>,
    verified: Verified,
}

impl Refold {
    /// An empty table. Records of the quarantine are passed over.
    pub fn new(
        settings: &TableSettings,
        schema: &TableSchema,
        quarantined: BTreeSet<(i32, Offset)>,
    ) -> Refold {
        Refold {
            reading: Reading::new(settings, schema),
            quarantined,
            keys: BTreeMap::new(),
            appended: BTreeMap::new(),
            verified: Verified::default(),
        }
    }

    /// Takes in the next record of a partition.
    pub fn add(&mut self, partition: i32, record: &Record) {
        self.verified.record_count += 1;
        let offset = record.offset;
        if self.quarantined.contains(&(partition, offset)) {
            self.verified.quarantined_count += 1;
            return;
        }
        match self.reading.said(record) {
            Ok(Said::Nothing) => {}
            Ok(Said::Upsert(row)) => self.put(partition, row, true),
            Ok(Said::Delete(row)) => self.put(partition, row, false),
            Ok(Said::Move(from, to)) => {
                self.put(partition, from, false);
                self.put(partition, to, true);
            }
            Err(reason) => self.verified.note(Difference::Unreadable { partition, offset, reason }),
        }
    }

    fn put(&mut self, partition: i32, row: Vec<Cell>, is_there: bool) {
        if !self.reading.has_key() {
            *self.appended.entry(row).or_default() += 1;
            self.verified.expected_count += 1;
            return;
        }
        let age: Vec<Cell> = self.reading.age_of(&row);
        let partitions = self.keys.entry(self.reading.key_of(&row)).or_default();
        let is_older = partitions.get(&partition).is_some_and(|last| age < last.age);
        if !is_older {
            partitions.insert(partition, Last { age, row: is_there.then_some(row) });
        }
    }

    /// Compares with all rows of the table.
    pub fn compare<E>(
        mut self,
        rows: impl Iterator<Item = Result<RecordBatch, E>>,
    ) -> Result<Verified, E> {
        let mut seen: BTreeSet<Key> = BTreeSet::new();
        for batch in rows {
            let batch = batch?;
            for at in 0..batch.num_rows() {
                let row = self.reading.row_of(&batch, at);
                self.verified.found_count += 1;
                if !self.reading.has_key() {
                    *self.appended.entry(row).or_default() -= 1;
                    continue;
                }
                let key = self.reading.key_of(&row);
                self.check_row(&key, &row);
                if !seen.insert(key.clone()) {
                    self.verified.note(Difference::Twice { key: shown(&key) });
                }
            }
        }
        self.check_absent(&seen);
        Ok(self.verified)
    }

    fn check_row(&mut self, key: &Key, found: &[Cell]) {
        let candidates = self.keys.get(key).map(candidates).unwrap_or_default();
        let rows: Vec<&Vec<Cell>> =
            candidates.iter().filter_map(|last| last.row.as_ref()).collect();
        if rows.iter().any(|row| *row == found) {
            return;
        }
        self.verified.note(match rows.first() {
            None => Difference::Unexpected { row: shown(found) },
            Some(expected) => Difference::Differs {
                key: shown(key),
                expected: shown(expected),
                found: shown(found),
            },
        });
    }

    /// What the table does not have must be deleted; what an append table has must be even.
    fn check_absent(&mut self, seen: &BTreeSet<Key>) {
        for (key, partitions) in &self.keys {
            let candidates = candidates(partitions);
            self.verified.ambiguous_count += u64::from(candidates.len() > 1);
            let last = candidates.iter().find_map(|last| last.row.as_ref());
            let may_be_absent = candidates.iter().any(|last| last.row.is_none());
            self.verified.expected_count += u64::from(last.is_some());
            if let Some(row) = last
                && !may_be_absent
                && !seen.contains(key)
            {
                self.verified.note(Difference::Missing { row: shown(row) });
            }
        }
        for (row, missing) in &self.appended {
            for _ in 0..missing.unsigned_abs() {
                let row = shown(row);
                self.verified.note(if *missing > 0 {
                    Difference::Missing { row }
                } else {
                    Difference::Unexpected { row }
                });
            }
        }
    }
}

/// What may count of what the partitions say last: the youngest by the sequence fields.
fn candidates(partitions: &BTreeMap<i32, Last>) -> Vec<&Last> {
    let youngest = partitions.values().map(|last| &last.age).max();
    partitions.values().filter(|last| Some(&last.age) == youngest).collect()
}

#[cfg(test)]
mod tests;

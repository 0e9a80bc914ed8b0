//! Cuts files into sections: ranges of keys that do not touch each other. Only inside a section
//! do files have to be merged, and there in as few sorted runs as can be.
//!
//! ```text
//! keys      a   c   e   g   i   k   m
//! f1        [-------]
//! f2            [-------]       [---]
//! section   [-----------]       [---]      two runs to merge, then one run alone
//! ```

use std::cmp::Ordering;

use crate::binary_row::BinaryRowError;
use crate::data_file::DataFileMeta;
use crate::merge_tree::KeyOrder;
use crate::merge_tree::levels::SortedRun;

/// Sorted runs that overlap somewhere.
pub type Section = Vec<SortedRun>;

/// The sections of `files`, in key order.
pub fn sections(
    mut files: Vec<DataFileMeta>,
    order: &KeyOrder,
) -> Result<Vec<Section>, BinaryRowError> {
    order.check(&files)?;
    files.sort_by(|left, right| {
        order
            .compare(&left.min_key, &right.min_key)
            .then_with(|| order.compare(&left.max_key, &right.max_key))
    });
    let mut done = Vec::new();
    let mut section: Section = Vec::new();
    for file in files {
        let ends_before_file =
            |run: &SortedRun| run.last().is_some_and(|last| is_before(order, last, &file));
        if !section.is_empty() && section.iter().all(ends_before_file) {
            done.push(std::mem::take(&mut section));
        }
        // The run that ended first takes the file, if it ended before the file begins.
        let first_to_end = section.iter_mut().min_by(|left, right| ends(order, left, right));
        match first_to_end
            .filter(|run| run.last().is_some_and(|last| is_before(order, last, &file)))
        {
            Some(run) => run.push(file),
            None => section.push(SortedRun::single(file)),
        }
    }
    if !section.is_empty() {
        done.push(section);
    }
    Ok(done)
}

fn is_before(order: &KeyOrder, left: &DataFileMeta, right: &DataFileMeta) -> bool {
    order.compare(&left.max_key, &right.min_key) == Ordering::Less
}

fn ends(order: &KeyOrder, left: &SortedRun, right: &SortedRun) -> Ordering {
    match (left.last(), right.last()) {
        (Some(left), Some(right)) => order.compare(&left.max_key, &right.max_key),
        (left, right) => left.is_some().cmp(&right.is_some()),
    }
}

//! Several sorted inputs become one: in key order, one row per key.
//!
//! ```text
//! inputs, kept in the order of their heads        output
//! a: 1 2 3 . 7 8                                  a[0..3]   a run, copied as a range
//! b:         4 . 8                                b[0..1]
//! c:         4                                    (c's 4 is younger: it stands, b's goes)
//! ```
//!
//! - An input holds a key once and ascends; one that does not is refused, not merged.
//! - In memory: one batch of each input, those that the next output batch takes rows from, and
//!   the output batch.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use arrow_select::concat::concat_batches;
use arrow_select::interleave::interleave_record_batch;

use crate::merge_tree::row_order::{self, OrderedRows};
use crate::merge_tree::write_buffer::Merge;
use crate::row::RowKind;

/// An output batch has at most this many rows.
const OUTPUT_ROWS_MAX: usize = 16 * 1024;

/// From this mean length on, rows are copied in ranges.
const RANGE_ROWS_MIN: usize = 8;

/// Batches of one sorted run, in key order; `E` is what reading it may run into.
pub type BatchStream<E> = Box<dyn Iterator<Item = Result<RecordBatch, E>> + Send>;

/// What becomes of keys whose last row is a delete.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Deletes {
    /// They stay as delete rows: older rows of the key may lie elsewhere.
    Kept,
    /// They vanish.
    Dropped,
}

/// Why inputs cannot be merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError<E> {
    /// An input cannot be read.
    #[error(transparent)]
    Read(E),
    /// A sorted run is none.
    #[error("the keys of a sorted run do not ascend: its file is damaged or was written wrongly")]
    Unsorted,
    /// Columns do not fit together.
    #[error("cannot merge rows: {0}")]
    Arrow(#[from] ArrowError),
}

/// The merged rows, as an iterator of batches.
pub struct SortMerge<E> {
    merge: Merge,
    deletes: Deletes,
    /// Inputs that still have rows, ordered by their head rows (key, then age).
    inputs: Vec<Input<E>>,
    /// Inputs not yet begun.
    fresh: Vec<BatchStream<E>>,
    output: Output,
}

struct Input<E> {
    stream: BatchStream<E>,
    batch: RecordBatch,
    rows: Arc<OrderedRows>,
    next_row: usize,
    has_deletes: bool,
    /// Where the output holds this batch, if it does.
    output_place: Option<usize>,
}

/// Rows chosen for the next output batch.
#[derive(Default)]
struct Output {
    batches: Vec<RecordBatch>,
    ranges: Vec<Range>,
    row_count: usize,
}

struct Range {
    batch: usize,
    first_row: usize,
    row_count: usize,
}

impl<E> SortMerge<E> {
    /// Merges runs of one table.
    pub fn new(inputs: Vec<BatchStream<E>>, merge: Merge, deletes: Deletes) -> SortMerge<E> {
        let output = Output::default();
        SortMerge { merge, deletes, inputs: Vec::new(), fresh: inputs, output }
    }

    fn begin(&mut self) -> Result<(), MergeError<E>> {
        for stream in std::mem::take(&mut self.fresh) {
            if let Some(input) = Input::begin(stream, &self.merge)? {
                self.insert(input);
            }
        }
        Ok(())
    }

    /// Chooses rows until an output batch is full or the inputs are exhausted.
    fn fill(&mut self) -> Result<(), MergeError<E>> {
        self.begin()?;
        // A batch of which few rows are taken is held nevertheless: bound their number too.
        let batches_max = 2 * self.inputs.len() + 2;
        while self.output.row_count < OUTPUT_ROWS_MAX && self.output.batches.len() < batches_max {
            let Some((head, others)) = self.inputs.split_first() else { return Ok(()) };
            let rivals = others.iter().take_while(|other| head.has_key_of(other)).count();
            if rivals == 0 {
                self.take_stretch()?;
            } else {
                self.take_one_of(rivals + 1)?;
            }
        }
        Ok(())
    }

    /// Takes the rows of the first input whose keys lie before those of all others.
    fn take_stretch(&mut self) -> Result<(), MergeError<E>> {
        let mut input = self.inputs.remove(0);
        let room = OUTPUT_ROWS_MAX - self.output.row_count;
        let limit = input.rows.len().min(input.next_row + room);
        let end = match self.inputs.first() {
            Some(next) => input.stretch_before(next, limit),
            None => limit,
        };
        let first_row = input.next_row;
        self.output.take(&mut input, first_row, end, self.deletes);
        self.advance(input, end)
    }

    /// Takes the one row that stands for a key that the first inputs share.
    fn take_one_of(&mut self, input_count: usize) -> Result<(), MergeError<E>> {
        // Heads of one key are ordered by age: that is what the merge function asks for. Each one
        // moves behind those that still share the key, so that they come up in their order.
        let winner = self.merge.function.winner(input_count);
        for place in 0..input_count {
            let mut input = self.inputs.remove(0);
            let row = input.next_row;
            if place == winner {
                self.output.take(&mut input, row, row + 1, self.deletes);
            }
            self.advance(input, row + 1)?;
        }
        Ok(())
    }

    fn advance(&mut self, input: Input<E>, next_row: usize) -> Result<(), MergeError<E>> {
        if let Some(input) = input.at(next_row, &self.merge)? {
            self.insert(input);
        }
        Ok(())
    }

    fn insert(&mut self, input: Input<E>) {
        let place = self.inputs.partition_point(|other| other.compare_heads(&input).is_le());
        self.inputs.insert(place, input);
    }
}

impl<E> Iterator for SortMerge<E> {
    type Item = Result<RecordBatch, MergeError<E>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Err(error) = self.fill() {
                // What follows an error would be a table with a hole.
                self.inputs.clear();
                self.output = Output::default();
                return Some(Err(error));
            }
            for input in &mut self.inputs {
                input.output_place = None;
            }
            let output = std::mem::take(&mut self.output);
            if output.row_count > 0 {
                return Some(output.into_batch().map_err(MergeError::Arrow));
            }
            if self.inputs.is_empty() {
                return None;
            }
        }
    }
}

impl<E> Input<E> {
    fn begin(mut stream: BatchStream<E>, merge: &Merge) -> Result<Option<Self>, MergeError<E>> {
        let Some(batch) = next_batch(&mut stream)? else { return Ok(None) };
        let rows = Arc::new(ordered(&batch, merge)?);
        let has_deletes = has_deletes(&batch);
        Ok(Some(Input { stream, batch, rows, next_row: 0, has_deletes, output_place: None }))
    }

    /// Moves on to a row of this batch or, at its end, to the next batch.
    fn at(mut self, row: usize, merge: &Merge) -> Result<Option<Self>, MergeError<E>> {
        if row < self.rows.len() {
            self.next_row = row;
            return Ok(Some(self));
        }
        let last = Arc::clone(&self.rows);
        let next = Input::begin(self.stream, merge)?;
        if let Some(next) = &next
            && last.compare_keys(last.len() - 1, &next.rows, 0).is_ge()
        {
            return Err(MergeError::Unsorted);
        }
        Ok(next)
    }

    fn has_key_of(&self, other: &Input<E>) -> bool {
        self.rows.compare_keys(self.next_row, &other.rows, other.next_row).is_eq()
    }

    fn compare_heads(&self, other: &Input<E>) -> Ordering {
        let keys = self.rows.compare_keys(self.next_row, &other.rows, other.next_row);
        keys.then_with(|| self.rows.compare_ages(self.next_row, &other.rows, other.next_row))
    }

    /// The first row, at most `limit`, whose key does not lie before the head of `other`. The
    /// head of `self` does. Steps double, then halve: short stretches are found in one step.
    fn stretch_before(&self, other: &Input<E>, limit: usize) -> usize {
        let is_before =
            |row: usize| self.rows.compare_keys(row, &other.rows, other.next_row).is_lt();
        let (mut low, mut step) = (self.next_row + 1, 1);
        let mut high = loop {
            let probe = low + step - 1;
            if probe >= limit {
                break limit;
            }
            if !is_before(probe) {
                break probe;
            }
            low = probe + 1;
            step *= 2;
        };
        while low < high {
            let middle = low + (high - low) / 2;
            if is_before(middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

impl Output {
    fn take<E>(&mut self, input: &mut Input<E>, first_row: usize, end: usize, deletes: Deletes) {
        if deletes == Deletes::Kept || !input.has_deletes {
            self.take_range(input, first_row, end);
            return;
        }
        let batch = input.batch.clone();
        let kinds = row_order::kinds(&batch).values();
        let mut row = first_row;
        for stretch in kinds[first_row..end].chunk_by(|a, b| is_delete(*a) == is_delete(*b)) {
            if !is_delete(stretch[0]) {
                self.take_range(input, row, row + stretch.len());
            }
            row += stretch.len();
        }
    }

    fn take_range<E>(&mut self, input: &mut Input<E>, first_row: usize, end: usize) {
        let batch = *input.output_place.get_or_insert_with(|| {
            self.batches.push(input.batch.clone());
            self.batches.len() - 1
        });
        let row_count = end - first_row;
        self.row_count += row_count;
        match self.ranges.last_mut() {
            Some(last) if last.batch == batch && last.first_row + last.row_count == first_row => {
                last.row_count += row_count;
            }
            _ => self.ranges.push(Range { batch, first_row, row_count }),
        }
    }

    fn into_batch(self) -> Result<RecordBatch, ArrowError> {
        let Output { batches, ranges, row_count } = self;
        let slice = |range: &Range| batches[range.batch].slice(range.first_row, range.row_count);
        if let [only] = &ranges[..] {
            return Ok(slice(only));
        }
        if row_count / ranges.len() >= RANGE_ROWS_MIN {
            let slices: Vec<RecordBatch> = ranges.iter().map(slice).collect();
            return concat_batches(&batches[0].schema(), &slices);
        }
        let mut rows = Vec::with_capacity(row_count);
        for range in &ranges {
            let end = range.first_row + range.row_count;
            rows.extend((range.first_row..end).map(|row| (range.batch, row)));
        }
        let batches: Vec<&RecordBatch> = batches.iter().collect();
        interleave_record_batch(&batches, &rows)
    }
}

fn next_batch<E>(stream: &mut BatchStream<E>) -> Result<Option<RecordBatch>, MergeError<E>> {
    loop {
        match stream.next() {
            None => return Ok(None),
            Some(Ok(batch)) if batch.num_rows() == 0 => {}
            Some(Ok(batch)) => return Ok(Some(batch)),
            Some(Err(error)) => return Err(MergeError::Read(error)),
        }
    }
}

fn ordered<E>(batch: &RecordBatch, merge: &Merge) -> Result<OrderedRows, MergeError<E>> {
    let rows = merge.order.encode(batch)?;
    let ascends = (1..rows.len()).all(|row| rows.compare_keys(row - 1, &rows, row).is_lt());
    if ascends { Ok(rows) } else { Err(MergeError::Unsorted) }
}

fn is_delete(kind: i8) -> bool {
    RowKind::of(kind).is_some_and(RowKind::is_retract)
}

fn has_deletes(batch: &RecordBatch) -> bool {
    row_order::kinds(batch).values().iter().any(|kind| is_delete(*kind))
}

#[cfg(test)]
mod tests;

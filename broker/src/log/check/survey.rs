//! PURE over bytes. Which batches of a segment's file are whole, and which of them stand where they
//! belong, also behind damage: where recovery stops, this goes on.
//!
//! ```text
//! |  batch  |  batch  | ? ? ? ? ? |  batch  |      whole: its length fits, its checksum is right
//!                     ^ found again by its header, then by its checksum
//! ```
//!
//! A batch's checksum covers neither its offset nor its leader epoch. So of all whole batches the
//! longest row counts in which offsets only grow, and in a log without holes none may leave a gap
//! that no damaged bytes explain: no record is ever told of at an offset that is in doubt.
use std::io;
use std::ops::Range;

use bytes::Bytes;
use weir_protocol::records::Offset;
use weir_protocol::records::batch::{BatchHeader, HEADER_BYTES, RecordBatch};

/// How much is searched at once for the next batch.
const SEARCH_BYTES: u64 = 64 << 10;

/// Gives a range of the file.
pub(in crate::log) type ReadBytes<'a> = &'a mut dyn FnMut(Range<u64>) -> io::Result<Bytes>;

/// A whole batch and where it stands.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(in crate::log) struct Place {
    pub(in crate::log) position: u64,
    pub(in crate::log) header: BatchHeader,
}

impl Place {
    /// The byte after it.
    pub(in crate::log) fn end(&self) -> u64 {
        self.position + self.header.size_bytes() as u64
    }

    fn next_offset(&self) -> Offset {
        self.header.last_offset().next()
    }
}

/// Where a segment's offsets may lie.
#[derive(Copy, Clone, Debug)]
pub(in crate::log) struct Bounds {
    pub(in crate::log) base_offset: Offset,
    /// The offset that follows the segment's last, where that is known.
    pub(in crate::log) end: Option<Offset>,
    /// Else, up to where its records were durable once.
    pub(in crate::log) end_min: Offset,
    /// Whether the cleaner may have left holes between offsets.
    pub(in crate::log) has_holes: bool,
}

/// A stretch of a segment without good batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::log) struct Gap {
    pub(in crate::log) bytes: Range<u64>,
    /// From the first offset that is missing to the first that is there again.
    pub(in crate::log) offsets: Range<Offset>,
}

/// What a segment's file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::log) struct Survey {
    /// The good batches, in order.
    pub(in crate::log) places: Vec<Place>,
    pub(in crate::log) gaps: Vec<Gap>,
    /// Of `places`, those whose leader epoch does not go with the others'.
    pub(in crate::log) odd_epochs: Vec<usize>,
    /// The offset after the last, or the known end.
    pub(in crate::log) next_offset: Offset,
}

/// Looks through a file of `size_bytes`.
pub(in crate::log) fn survey(
    bounds: &Bounds,
    size_bytes: u64,
    read: ReadBytes<'_>,
) -> io::Result<Survey> {
    Ok(judge(bounds, size_bytes, &whole_batches(size_bytes, read)?))
}

/// All whole batches, one after the other, whatever their offsets are.
fn whole_batches(size_bytes: u64, read: ReadBytes<'_>) -> io::Result<Vec<Place>> {
    let mut places = Vec::new();
    let mut position = 0;
    while position < size_bytes {
        let next = match batch_at(position, size_bytes, read)? {
            Some(place) => place,
            None => match search(position, size_bytes, read)? {
                Some(place) => place,
                None => break,
            },
        };
        position = next.end();
        places.push(next);
    }
    Ok(places)
}

/// The header at a position, if the batch that it tells of can be one.
fn header_at(position: u64, size_bytes: u64, bytes: &[u8]) -> Option<BatchHeader> {
    let header = BatchHeader::parse(bytes).ok()?;
    let fits = header.size_bytes() as u64 <= size_bytes - position;
    let is_likely = header.base_offset.0 >= 0
        && header.last_offset_delta >= 0
        && header.record_count >= 0
        && header.base_offset.0.checked_add(i64::from(header.last_offset_delta) + 1).is_some();
    (fits && is_likely).then_some(header)
}

fn batch_at(position: u64, size_bytes: u64, read: ReadBytes<'_>) -> io::Result<Option<Place>> {
    if size_bytes - position < HEADER_BYTES as u64 {
        return Ok(None);
    }
    let bytes = read(position..position + HEADER_BYTES as u64)?;
    let Some(header) = header_at(position, size_bytes, &bytes) else { return Ok(None) };
    let bytes = read(position..position + header.size_bytes() as u64)?;
    let is_whole = RecordBatch::parse(bytes).is_ok_and(|batch| batch.check_crc().is_ok());
    Ok(is_whole.then_some(Place { position, header }))
}

/// The next whole batch behind a damaged one: where that says that it ends, else byte by byte.
fn search(position: u64, size_bytes: u64, read: ReadBytes<'_>) -> io::Result<Option<Place>> {
    if size_bytes - position >= HEADER_BYTES as u64 {
        let bytes = read(position..position + HEADER_BYTES as u64)?;
        if let Some(header) = header_at(position, size_bytes, &bytes)
            && let Some(place) = batch_at(position + header.size_bytes() as u64, size_bytes, read)?
        {
            return Ok(Some(place));
        }
    }
    let mut start = position + 1;
    while size_bytes.saturating_sub(start) >= HEADER_BYTES as u64 {
        let end = size_bytes.min(start + SEARCH_BYTES);
        let bytes = read(start..end)?;
        let count = bytes.len() - (HEADER_BYTES - 1);
        for at in 0..count {
            // Most bytes are told apart by the format's number alone.
            let found = (bytes[at + 16] == 2)
                .then(|| header_at(start + at as u64, size_bytes, &bytes[at..]))
                .flatten();
            if found.is_some()
                && let Some(place) = batch_at(start + at as u64, size_bytes, read)?
            {
                return Ok(Some(place));
            }
        }
        start += count as u64;
    }
    Ok(None)
}

/// Which of the whole batches stand where they belong, and what is between them.
fn judge(bounds: &Bounds, size_bytes: u64, whole: &[Place]) -> Survey {
    let Bounds { base_offset, end, end_min, has_holes } = *bounds;
    let is_inside = |place: &&Place| {
        place.header.base_offset >= base_offset && end.is_none_or(|end| place.next_offset() <= end)
    };
    let inside: Vec<Place> = whole.iter().filter(is_inside).copied().collect();
    let row = row_without_doubt(base_offset, has_holes, inside);
    let mut survey = Survey::default();
    let (mut position, mut expected) = (0, base_offset);
    for place in &row {
        if place.position > position {
            let offsets = expected..place.header.base_offset;
            survey.gaps.push(Gap { bytes: position..place.position, offsets });
        }
        survey.places.push(*place);
        (position, expected) = (place.end(), place.next_offset());
    }
    survey.next_offset = end.unwrap_or(end_min).max(expected);
    if position < size_bytes || survey.next_offset > expected {
        let offsets = expected..survey.next_offset;
        survey.gaps.push(Gap { bytes: position..size_bytes, offsets });
    }
    let epochs: Vec<(i64, i64)> = survey
        .places
        .iter()
        .map(|place| (i64::from(place.header.leader_epoch), i64::from(place.header.leader_epoch)))
        .collect();
    let kept = longest_row(&epochs);
    survey.odd_epochs = (0..kept.len()).filter(|place| !kept[*place]).collect();
    survey
}

/// The longest row of batches whose offsets only grow, without those that follow the one before at
/// once and yet leave a gap: where there are no holes, or where the next batch belongs into it.
fn row_without_doubt(base_offset: Offset, has_holes: bool, mut places: Vec<Place>) -> Vec<Place> {
    loop {
        let spans: Vec<(i64, i64)> =
            places.iter().map(|it| (it.header.base_offset.0, it.next_offset().0)).collect();
        let kept = longest_row(&spans);
        let (mut position, mut expected, mut doubtful) = (0, base_offset, None);
        for (number, place) in places.iter().enumerate().filter(|(number, _)| kept[*number]) {
            let is_gap = place.position == position && place.header.base_offset > expected;
            let into_gap =
                |next: &Place| (expected..place.next_offset()).contains(&next.header.base_offset);
            if is_gap && (!has_holes || places.get(number + 1).is_some_and(into_gap)) {
                doubtful = Some(number);
                break;
            }
            (position, expected) = (place.end(), place.next_offset());
        }
        match doubtful {
            Some(number) => drop(places.remove(number)),
            None => {
                let mut kept = kept.into_iter();
                places.retain(|_| kept.next().unwrap_or(false));
                return places;
            }
        }
    }
}

/// Marks the longest row of spans of which each begins where the one before ends, or later.
fn longest_row(spans: &[(i64, i64)]) -> Vec<bool> {
    // Of all rows of one length, the one that ends first: its end, and the place of its last span.
    let mut rows: Vec<(i64, usize)> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(spans.len());
    for (place, (begin, end)) in spans.iter().enumerate() {
        let length = rows.partition_point(|row| row.0 <= *begin);
        before.push(length.checked_sub(1).map(|shorter| rows[shorter].1));
        match rows.get_mut(length) {
            Some(row) if *end < row.0 => *row = (*end, place),
            Some(_) => {}
            None => rows.push((*end, place)),
        }
    }
    let mut kept = vec![false; spans.len()];
    let mut last = rows.last().map(|row| row.1);
    while let Some(place) = last {
        kept[place] = true;
        last = before[place];
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_protocol::records::builder::BatchBuilder;
    use weir_protocol::records::compression::Compression;

    const BASE: i64 = 10;

    /// Six batches of two records each, offsets 10..22, epoch 3.
    fn batches() -> Vec<Bytes> {
        let batch = |number: i64| {
            let mut builder = BatchBuilder::new(Compression::None);
            for _ in 0..2 {
                builder.append(number, None, Some(&[7; 20]), &[]);
            }
            let batch = RecordBatch::parse(builder.finish()).unwrap();
            let header = batch.assigned_header(Offset(BASE + number * 2), 3);
            Bytes::from([&header[..], &batch.bytes()[HEADER_BYTES..]].concat())
        };
        (0..6).map(batch).collect()
    }

    fn look(bytes: &[u8], has_holes: bool, end: Option<i64>) -> Survey {
        let bytes = Bytes::copy_from_slice(bytes);
        let (base_offset, end, end_min) = (Offset(BASE), end.map(Offset), Offset(BASE));
        let bounds = Bounds { base_offset, end, end_min, has_holes };
        let mut read = |range: Range<u64>| {
            let place = |at: u64| usize::try_from(at).unwrap();
            Ok(bytes.slice(place(range.start)..place(range.end)))
        };
        survey(&bounds, bytes.len() as u64, &mut read).unwrap()
    }

    fn offsets(survey: &Survey) -> Vec<i64> {
        survey.places.iter().map(|place| place.header.base_offset.0).collect()
    }

    #[test]
    fn a_whole_segment_has_no_gap() {
        let survey = look(&batches().concat(), false, Some(22));
        assert_eq!(offsets(&survey), [10, 12, 14, 16, 18, 20]);
        assert_eq!((survey.gaps.len(), survey.odd_epochs.len()), (0, 0));
    }

    #[test]
    fn every_flipped_bit_costs_its_own_batch_and_no_other() {
        let batches = batches();
        let size = batches[0].len();
        for bit in 0..size * 8 {
            let mut bytes = batches.concat();
            bytes[size * 2 + bit / 8] ^= 1 << (bit % 8);
            let survey = look(&bytes, false, Some(22));
            if (12 * 8..16 * 8).contains(&bit) {
                // The leader epoch: the records are good.
                assert_eq!((offsets(&survey).len(), &survey.odd_epochs[..]), (6, &[2][..]));
                continue;
            }
            assert_eq!(offsets(&survey), [10, 12, 16, 18, 20], "bit {bit}");
            let (begin, end) = (size as u64 * 2, size as u64 * 3);
            let gap = Gap { bytes: begin..end, offsets: Offset(14)..Offset(16) };
            assert_eq!(survey.gaps, [gap], "bit {bit}");
        }
    }

    #[test]
    fn a_lost_tail_is_told_up_to_the_known_end() {
        let batches = batches();
        let bytes = batches.concat();
        let size = batches[0].len();
        let survey = look(&bytes[..size * 4 + 30], false, Some(22));
        let gap =
            Gap { bytes: size as u64 * 4..size as u64 * 4 + 30, offsets: Offset(18)..Offset(22) };
        assert_eq!(survey.gaps, [gap]);
        let cut = look(&bytes[..size * 4], false, Some(22));
        assert_eq!(cut.gaps[0].offsets, Offset(18)..Offset(22));
        assert_eq!(look(&bytes[..size * 4], false, None).gaps, []);
    }

    #[test]
    fn a_hole_is_damage_only_where_the_cleaner_left_none() {
        let batches = batches();
        let holed = [&batches[0][..], &batches[3], &batches[5]].concat();
        assert_eq!(offsets(&look(&holed, true, Some(22))), [10, 16, 20]);
        assert_eq!(look(&holed, true, Some(22)).gaps, []);
        // The second is at an offset in doubt; with its bytes the gap to the third is explained.
        assert_eq!(offsets(&look(&holed, false, Some(22))), [10, 20]);
    }

    #[test]
    fn a_page_written_over_another_is_no_second_copy() {
        let batches = batches();
        let mut order = batches.clone();
        order[1] = batches[4].clone();
        let survey = look(&order.concat(), false, Some(22));
        assert_eq!(offsets(&survey), [10, 14, 16, 18, 20]);
        assert_eq!(survey.gaps[0].offsets, Offset(12)..Offset(14));
    }
}

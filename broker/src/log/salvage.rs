//! A damaged log, made one that opens again: what is lost is lost, all else stays at its offset.
//!
//! ```text
//! before   |  batch  | damaged |  batch  |      X.log, kept as X.log.damaged
//! after    |  batch  | empty   |  batch  |      the empty batch bears the offsets that are lost
//! ```
//!
//! So the log has no hole, ends where it ended, and nobody gives an offset twice; a consumer steps
//! over an empty batch as over those that cleaning leaves.
//!
//! - The damaged bytes are copied, durably, before anything takes their place.
//! - A segment is replaced in one step: a crash leaves the old one or the new one.
use std::io;

use bytes::Bytes;
use weir_protocol::records::Offset;
use weir_protocol::records::batch::{HEADER_BYTES, RecordBatch};
use weir_protocol::records::thinning::empty_batch;

use crate::disk::{Disk, DiskFile};
use crate::log::check::Known;
use crate::log::check::segment::{LogFiles, WindowedFile};
use crate::log::check::survey::{Bounds, Gap, Place, Survey};
use crate::log::names;

/// A segment that is whole, on its way to its place.
const SALVAGED: &str = "log.salvaged";
/// The segment as it was found.
const DAMAGED: &str = "log.damaged";
const COPY_BYTES: u64 = 1 << 20;

/// What is lost of one segment, and what was done.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Mended {
    /// Its file.
    pub file: String,
    /// Where its bytes are kept as they were found; none: there were none, or nothing was done.
    pub kept_as: Option<String>,
    /// Batches that stay.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Offsets whose records are lost, each from the first to the one after the last.
    pub lost: Vec<std::ops::Range<i64>>,
    /// Bytes that belong to no good batch.
    pub damaged_bytes: u64,
}

/// Whether something is done.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is only told what would be.
    Tell,
    /// Damaged segments are replaced.
    Mend,
}

/// Makes the damaged segments of a log whole. Those that are whole stay as they are.
///
/// # Errors
/// When the disk refuses; what was mended before stays so, and it can be tried again.
pub fn salvage(
    disk: &dyn Disk,
    (topic, partition): (&str, i32),
    known: &Known,
    mode: Mode,
) -> io::Result<Vec<Mended>> {
    let folder = &names::folder(topic, partition);
    let files = disk.list(folder)?;
    let log = LogFiles { disk, folder, topic, partition, known };
    let segments = log.segments(&files);
    let mut all = Vec::new();
    let first = segments.first().map(|bounds| bounds.base_offset);
    let end = first.or(known.recovery_point).unwrap_or_default();
    if known.log_start < end {
        // The first segments are gone: an empty one stands for them.
        let survey = Survey { next_offset: end, ..Survey::default() };
        let gap = Gap { bytes: 0..0, offsets: known.log_start..end };
        let survey = Survey { gaps: vec![gap], ..survey };
        let file = names::file(folder, known.log_start, names::LOG);
        all.push(told(&file, &survey));
        if mode == Mode::Mend {
            write(disk, folder, known.log_start, &survey, None)?;
            put_in_place(disk, folder, known.log_start)?;
        }
    }
    for bounds in &segments {
        let path = names::file(folder, bounds.base_offset, names::LOG);
        let (survey, _) = log.look(bounds, &path)?;
        let is_damaged = survey.gaps.iter().any(|gap| !log.is_tail(gap));
        if !is_damaged && survey.odd_epochs.is_empty() {
            continue;
        }
        let mut mended = told(&path, &survey);
        if mode == Mode::Mend {
            mended.kept_as = Some(mend(disk, folder, bounds, &survey, &path)?);
        }
        all.push(mended);
    }
    Ok(all)
}

fn told(file: &str, survey: &Survey) -> Mended {
    let records = survey.places.iter().map(|it| u64::from(it.header.record_count.unsigned_abs()));
    let lost = survey.gaps.iter().filter(|gap| !gap.offsets.is_empty());
    Mended {
        file: file.to_owned(),
        kept_as: None,
        batches: survey.places.len() as u64,
        records: records.sum(),
        lost: lost.map(|gap| gap.offsets.start.0..gap.offsets.end.0).collect(),
        damaged_bytes: survey.gaps.iter().map(|gap| gap.bytes.end - gap.bytes.start).sum(),
    }
}

fn mend(
    disk: &dyn Disk,
    folder: &str,
    bounds: &Bounds,
    survey: &Survey,
    path: &str,
) -> io::Result<String> {
    let base_offset = bounds.base_offset;
    let mut old = WindowedFile::open(disk, path)?;
    write(disk, folder, base_offset, survey, Some(&mut old))?;
    let kept_as = keep(disk, folder, base_offset, &mut old)?;
    for kind in [names::SUMMARY, names::INDEX, names::TIME_INDEX] {
        remove(disk, &names::file(folder, base_offset, kind))?;
    }
    disk.sync_dir(folder)?;
    put_in_place(disk, folder, base_offset)?;
    Ok(kept_as)
}

/// Writes the good batches of a segment beside it, durably, and an empty one for each gap.
fn write(
    disk: &dyn Disk,
    folder: &str,
    base_offset: Offset,
    survey: &Survey,
    mut old: Option<&mut WindowedFile>,
) -> io::Result<()> {
    let path = names::file(folder, base_offset, SALVAGED);
    remove(disk, &path)?;
    let mut out = Out { file: disk.create(&path)?, end: 0 };
    let is_odd = |place: usize| survey.odd_epochs.contains(&place);
    let first = (0..survey.places.len()).find(|place| !is_odd(*place));
    let mut epoch = first.map_or(0, |place| survey.places[place].header.leader_epoch);
    let mut gaps = survey.gaps.iter().filter(|gap| !gap.offsets.is_empty()).peekable();
    for (number, place) in survey.places.iter().enumerate() {
        while let Some(gap) = gaps.next_if(|gap| gap.offsets.end <= place.header.base_offset) {
            out.fill(gap, epoch)?;
        }
        if !is_odd(number) {
            epoch = place.header.leader_epoch;
        }
        let old = old.as_mut().expect("batches come from a file");
        out.batch(place, old.read(place.position..place.end())?, epoch)?;
    }
    for gap in gaps {
        out.fill(gap, epoch)?;
    }
    out.file.sync()
}

/// A segment that grows.
struct Out {
    file: std::sync::Arc<dyn DiskFile>,
    end: u64,
}

impl Out {
    fn batch(&mut self, place: &Place, bytes: Bytes, epoch: i32) -> io::Result<()> {
        let batch = RecordBatch::parse(bytes).map_err(io::Error::other)?;
        let header = batch.assigned_header(place.header.base_offset, epoch);
        self.put(&[&header, &batch.bytes()[HEADER_BYTES..]])
    }

    /// Empty batches that bear the offsets of a gap; one bears 2^31 at most.
    fn fill(&mut self, gap: &Gap, epoch: i32) -> io::Result<()> {
        let (mut from, end) = (gap.offsets.start, gap.offsets.end);
        while from < end {
            let count = (end - from).min(i64::from(i32::MAX));
            self.put(&[empty_batch(from, from.plus(count - 1), epoch).bytes()])?;
            from = from.plus(count);
        }
        Ok(())
    }

    fn put(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        self.file.write_at(self.end, parts)?;
        self.end += parts.iter().map(|part| part.len() as u64).sum::<u64>();
        Ok(())
    }
}

/// Copies the bytes as they are, durably, under a name that nobody has.
fn keep(
    disk: &dyn Disk,
    folder: &str,
    base_offset: Offset,
    old: &mut WindowedFile,
) -> io::Result<String> {
    let path = names::file(folder, base_offset, DAMAGED);
    let mut number = 0;
    let (name, file) = loop {
        let name = if number == 0 { path.clone() } else { format!("{path}.{number}") };
        match disk.create(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            made => break (name, made?),
        }
    };
    let mut position = 0;
    while position < old.size_bytes() {
        let end = old.size_bytes().min(position + COPY_BYTES);
        file.write_at(position, &[&old.read(position..end)?])?;
        position = end;
    }
    file.sync()?;
    disk.sync_dir(folder)?;
    Ok(name)
}

fn put_in_place(disk: &dyn Disk, folder: &str, base_offset: Offset) -> io::Result<()> {
    let fresh = names::file(folder, base_offset, SALVAGED);
    disk.rename(&fresh, &names::file(folder, base_offset, names::LOG))?;
    disk.sync_dir(folder)
}

fn remove(disk: &dyn Disk, path: &str) -> io::Result<()> {
    match disk.unlink(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

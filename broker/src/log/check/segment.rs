//! The segments of a log as files: read in windows, and held against their indexes and summaries.
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use bytes::Bytes;
use weir_protocol::records::Offset;

use crate::disk::{Disk, DiskFile};
use crate::log::check::survey::{Bounds, Gap, Place, Survey, survey};
use crate::log::check::{Kind, Known, Problem, Report};
use crate::log::index::{OffsetIndex, TimeIndex};
use crate::log::names;
use crate::log::summary::Summary;

/// How much is read at once.
const WINDOW_BYTES: u64 = 4 << 20;

/// A file of which a window is in memory.
pub(in crate::log) struct WindowedFile {
    file: std::sync::Arc<dyn DiskFile>,
    size_bytes: u64,
    start: u64,
    window: Bytes,
}

impl WindowedFile {
    pub(in crate::log) fn open(disk: &dyn Disk, path: &str) -> io::Result<WindowedFile> {
        let file = disk.open(path)?;
        let size_bytes = file.size_bytes()?;
        Ok(WindowedFile { file, size_bytes, start: 0, window: Bytes::new() })
    }

    pub(in crate::log) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// A range of it. What follows is read ahead.
    pub(in crate::log) fn read(&mut self, range: Range<u64>) -> io::Result<Bytes> {
        let end = self.start + self.window.len() as u64;
        if range.start < self.start || range.end > end {
            let count = (range.end - range.start).max(WINDOW_BYTES);
            let count = count.min(self.size_bytes.saturating_sub(range.start));
            let mut window = vec![0; place(count)];
            self.file.read_at(range.start, &mut window)?;
            (self.start, self.window) = (range.start, window.into());
        }
        Ok(self.window.slice(place(range.start - self.start)..place(range.end - self.start)))
    }
}

fn place(position: u64) -> usize {
    usize::try_from(position).expect("addresses have 64 bits")
}

/// One log on the disk.
pub(in crate::log) struct LogFiles<'a> {
    pub(in crate::log) disk: &'a dyn Disk,
    pub(in crate::log) folder: &'a str,
    pub(in crate::log) topic: &'a str,
    pub(in crate::log) partition: i32,
    pub(in crate::log) known: &'a Known,
}

impl LogFiles<'_> {
    /// The segments that count, each with its bounds.
    pub(in crate::log) fn segments(&self, files: &[String]) -> Vec<Bounds> {
        let Known { log_start, recovery_point, was_clean, has_holes, .. } = *self.known;
        let base_of = |name: &String| match names::parse_file(name) {
            Some((base_offset, names::LOG)) => Some(base_offset),
            _ => None,
        };
        let mut bases: Vec<Offset> = files.iter().filter_map(base_of).collect();
        bases.sort_unstable();
        let past = bases.windows(2).take_while(|pair| pair[1] <= log_start).count();
        bases.drain(..past);
        let next = bases.iter().skip(1).copied().map(Some).chain([None]);
        let pairs = bases.iter().copied().zip(next);
        let bounds = pairs.map(|(base_offset, next)| {
            let end = next.or(recovery_point.filter(|_| was_clean));
            let end_min = recovery_point.unwrap_or(base_offset);
            Bounds { base_offset, end, end_min, has_holes }
        });
        bounds.collect()
    }

    pub(super) fn check_segments(
        &self,
        files: &[String],
        report: &mut Report,
        tell: &mut dyn FnMut(&str),
    ) {
        let segments = self.segments(files);
        let first = segments.first().map(|bounds| bounds.base_offset);
        let lost = self.known.log_start..first.or(self.known.recovery_point).unwrap_or_default();
        if !lost.is_empty() {
            let what = "the segments of these offsets are gone";
            report.problems.push(Problem {
                offsets: Some(lost.start.0..lost.end.0),
                ..Problem::of_file(self.folder, what, "restore them from a copy")
            });
        }
        for bounds in &segments {
            let path = names::file(self.folder, bounds.base_offset, names::LOG);
            tell(&path);
            match self.look(bounds, &path) {
                Ok((survey, size_bytes)) => {
                    report.segments += 1;
                    report.bytes += size_bytes;
                    count(report, &survey.places);
                    self.tell_segment(&path, &survey, report);
                    self.check_derived(bounds, &survey, size_bytes, report);
                }
                Err(error) => report.problems.push(Problem::unreadable(&path, &error)),
            }
        }
    }

    /// Looks through a segment; also how many bytes it has.
    pub(in crate::log) fn look(&self, bounds: &Bounds, path: &str) -> io::Result<(Survey, u64)> {
        let mut file = WindowedFile::open(self.disk, path)?;
        let size_bytes = file.size_bytes();
        let survey = survey(bounds, size_bytes, &mut |range| file.read(range))?;
        Ok((survey, size_bytes))
    }

    /// Whether that is only what a crash leaves behind the last checkpoint.
    pub(in crate::log) fn is_tail(&self, gap: &Gap) -> bool {
        let is_above = |durable_end| gap.offsets.start >= durable_end;
        !self.known.was_clean && self.known.recovery_point.is_some_and(is_above)
    }

    fn tell_segment(&self, path: &str, survey: &Survey, report: &mut Report) {
        let salvage = format!(
            "restore the folder from a copy, or keep all other records by: weir log salvage \
             --topic {}:{}",
            self.topic, self.partition
        );
        for gap in &survey.gaps {
            let Gap { bytes, offsets } = gap;
            let is_tail = self.is_tail(gap);
            let what = match (is_tail, bytes.is_empty(), offsets.is_empty()) {
                (true, ..) => "no valid batch, and none was durable at the last checkpoint",
                (_, true, _) => "the batches of these offsets are missing",
                (_, _, true) => "bytes that belong to no batch",
                _ => "no valid batch: its checksum, its size or its offset is wrong",
            };
            let remedy = match is_tail {
                true => "none needed: the next start cuts it".to_owned(),
                false => salvage.clone(),
            };
            report.problems.push(Problem {
                kind: if is_tail { Kind::Tail } else { Kind::Damage },
                bytes: Some(bytes.clone()),
                offsets: Some(offsets.start.0..offsets.end.0),
                ..Problem::of_file(path, what, &remedy)
            });
        }
        for odd in &survey.odd_epochs {
            let place = &survey.places[*odd];
            let header = &place.header;
            let what = format!(
                "the leader epoch {} does not go with those around it; the records are good",
                header.leader_epoch
            );
            report.problems.push(Problem {
                bytes: Some(place.position..place.end()),
                offsets: Some(header.base_offset.0..header.last_offset().0 + 1),
                ..Problem::of_file(path, what, &salvage)
            });
        }
    }

    /// Holds what was derived from a segment against what it holds.
    fn check_derived(
        &self,
        bounds: &Bounds,
        survey: &Survey,
        size_bytes: u64,
        report: &mut Report,
    ) {
        let path = |kind| names::file(self.folder, bounds.base_offset, kind);
        let Some(bytes) = report.read(self.disk, &path(names::SUMMARY)) else { return };
        let mut tell = |kind, what: &str| report.problems.push(Problem::derived(&path(kind), what));
        let Some(summary) = Summary::parse(&bytes) else {
            return tell(names::SUMMARY, "its checksum or its format is wrong");
        };
        let contents = summary.contents;
        if contents.base_offset != bounds.base_offset || contents.size_bytes != size_bytes {
            return tell(names::SUMMARY, "it is of another segment, or of another length of it");
        }
        let index = report.read(self.disk, &path(names::INDEX)).unwrap_or_default();
        let times = report.read(self.disk, &path(names::TIME_INDEX)).unwrap_or_default();
        let mut tell = |kind, what: &str| report.problems.push(Problem::derived(&path(kind), what));
        let parsed = OffsetIndex::parse(bounds.base_offset, &index);
        if crc32fast::hash(&index) != summary.index_checksum {
            tell(names::INDEX, "its checksum is not the one that the summary tells");
        } else if parsed.is_none_or(|index| !fits(&index, survey)) {
            tell(names::INDEX, "its entries are not where batches begin");
        }
        if crc32fast::hash(&times) != summary.time_index_checksum {
            tell(names::TIME_INDEX, "its checksum is not the one that the summary tells");
        } else if TimeIndex::parse(bounds.base_offset, &times).is_none() {
            tell(names::TIME_INDEX, "its entries do not grow");
        }
    }

    /// A cleaned segment that waits for the next start to put it in its place.
    pub(super) fn check_swap(&self, path: &str, base_offset: Offset, report: &mut Report) {
        let bounds = Bounds { base_offset, end: None, end_min: base_offset, has_holes: true };
        match self.look(&bounds, path) {
            Ok((survey, size_bytes)) => {
                report.bytes += size_bytes;
                if !survey.gaps.is_empty() {
                    let what = "a cleaned segment with damaged batches";
                    let remedy =
                        "delete it if the segment of that offset is there; else restore it";
                    report.problems.push(Problem::of_file(path, what, remedy));
                }
            }
            Err(error) => report.problems.push(Problem::unreadable(path, &error)),
        }
    }
}

fn count(report: &mut Report, places: &[Place]) {
    report.batches += places.len() as u64;
    let records = places.iter().map(|place| u64::from(place.header.record_count.unsigned_abs()));
    report.records += records.sum::<u64>();
}

/// Whether every entry of an index names a batch by its last offset and its position.
fn fits(index: &OffsetIndex, survey: &Survey) -> bool {
    let by_position: BTreeMap<u64, Offset> =
        survey.places.iter().map(|place| (place.position, place.header.last_offset())).collect();
    // Where batches are damaged, that is told already.
    !survey.gaps.is_empty()
        || index.entries().all(|(last, position)| by_position.get(&position) == Some(&last))
}

//! PURE. What of a log may be cleaned, whether it is worth it, and which segments become one.
//!
//! ```text
//! log start         first dirty              limit          active segment
//! |  clean: a key once  |  dirty: to be cleaned  |  not yet    |            ...
//! ```
//!
//! Not yet: the active segment; what is not durable, or belongs to an open transaction; segments
//! with a record younger than `min.compaction.lag.ms`; and, of a table, the segment with the record
//! that was folded last and all after it: nothing unfolded goes, and the batch by which the table
//! knows its log again is not touched.
use weir_protocol::records::Offset;

use crate::log::config::LogConfig;

/// What is known of a segment.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct SegmentView {
    /// Where it begins.
    pub base_offset: Offset,
    /// The offset after its last.
    pub next_offset: Offset,
    /// Bytes of its batches.
    pub size_bytes: u64,
    /// The time of its first batch; that of its last append when it bears none.
    pub first_ms: i64,
    /// The latest time in it; that of its last append when it bears none.
    pub latest_ms: i64,
}

/// What bounds the cleaning of a log, beside its settings.
#[derive(Copy, Clone, Debug)]
pub struct Bounds {
    /// Up to where it was cleaned, by the checkpoint.
    pub cleaned_to: Option<Offset>,
    /// The first offset that may be read.
    pub log_start: Offset,
    /// Below it everything is durable, and no transaction is open.
    pub stable: Offset,
    /// The next offset that a table will fold; absent without a table.
    pub keep_from: Option<Offset>,
}

/// How dirty a log is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Dirt {
    /// Where the dirty part begins.
    pub first_dirty: Offset,
    /// Where it ends, which is where a segment begins.
    pub limit: Offset,
    /// Bytes before it.
    pub clean_bytes: u64,
    /// Its bytes.
    pub dirty_bytes: u64,
    /// The time of the oldest batch in it; absent when there is none.
    pub oldest_dirty_ms: Option<i64>,
}

/// What of these segments, the last of which is active, is dirty and may be cleaned.
#[must_use]
pub fn dirt(segments: &[SegmentView], bounds: &Bounds, config: &LogConfig, now_ms: i64) -> Dirt {
    let (active, sealed) = segments.split_last().expect("a log has a segment");
    // A checkpoint from before records were lost or deleted says nothing.
    let known = bounds.cleaned_to.filter(|to| *to <= active.base_offset);
    let first_dirty = known.unwrap_or_default().max(bounds.log_start);
    let mut dirt = Dirt {
        first_dirty,
        limit: segments[0].base_offset,
        clean_bytes: 0,
        dirty_bytes: 0,
        oldest_dirty_ms: None,
    };
    for segment in sealed {
        if segment.next_offset > bounds.stable
            || bounds.keep_from.is_some_and(|keep_from| segment.next_offset >= keep_from)
        {
            break;
        }
        if segment.next_offset <= first_dirty {
            dirt.clean_bytes += segment.size_bytes;
        } else {
            let lag_ms = now_ms.saturating_sub(segment.latest_ms);
            if config.compaction_lag_min_ms > 0 && lag_ms < config.compaction_lag_min_ms {
                break;
            }
            dirt.dirty_bytes += segment.size_bytes;
            let oldest_ms = dirt.oldest_dirty_ms.map_or(i64::MAX, |known| known);
            dirt.oldest_dirty_ms = Some(oldest_ms.min(segment.first_ms));
        }
        dirt.limit = segment.next_offset;
    }
    dirt
}

impl Dirt {
    /// The dirty share of what may be cleaned, from 0 to 1.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        let total = self.clean_bytes + self.dirty_bytes;
        if total == 0 {
            return 0.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
        return self.dirty_bytes as f64 / total as f64;
    }

    /// Whether it is time to clean. `horizon_ms` is when the next tombstone or marker may go.
    #[must_use]
    pub fn is_due(&self, config: &LogConfig, horizon_ms: Option<i64>, now_ms: i64) -> bool {
        if self.clean_bytes > 0 && horizon_ms.is_some_and(|horizon_ms| horizon_ms <= now_ms) {
            return true;
        }
        let is_late = self.oldest_dirty_ms.is_some_and(|oldest_ms| {
            now_ms.saturating_sub(oldest_ms) > config.compaction_lag_max_ms
        });
        self.dirty_bytes > 0 && (is_late || self.ratio() > config.dirty_ratio_min)
    }
}

/// How many segments at a time become one, in order: as many as the settings let fit.
#[must_use]
pub fn groups(segments: &[SegmentView], config: &LogConfig) -> Vec<usize> {
    let mut groups = Vec::new();
    let (mut count, mut bytes, mut base_offset) = (0, 0, Offset(0));
    for segment in segments {
        let spans = segment.next_offset - base_offset;
        let fits = bytes + segment.size_bytes <= u64::from(config.segment_bytes)
            && spans <= i64::from(i32::MAX);
        if count > 0 && !fits {
            groups.push(count);
            count = 0;
        }
        if count == 0 {
            (bytes, base_offset) = (0, segment.base_offset);
        }
        count += 1;
        bytes += segment.size_bytes;
    }
    if count > 0 {
        groups.push(count);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four sealed segments of ten records and 100 bytes, a second apart, and the active one.
    fn segments() -> Vec<SegmentView> {
        let view = |number: i64| SegmentView {
            base_offset: Offset(number * 10),
            next_offset: Offset(number * 10 + 10),
            size_bytes: 100,
            first_ms: number * 1000,
            latest_ms: number * 1000 + 900,
        };
        (0..5).map(view).collect()
    }

    fn bounds() -> Bounds {
        let (log_start, stable) = (Offset(0), Offset(50));
        Bounds { cleaned_to: None, log_start, stable, keep_from: None }
    }

    fn limit(bounds: &Bounds, config: &LogConfig, now_ms: i64) -> i64 {
        dirt(&segments(), bounds, config, now_ms).limit.0
    }

    #[test]
    fn the_active_segment_and_what_is_not_stable_are_left_alone() {
        let config = LogConfig::default();
        let of = |stable| limit(&Bounds { stable: Offset(stable), ..bounds() }, &config, 0);
        assert_eq!([50, 40, 39, 10, 9, 0].map(of), [40, 40, 30, 10, 0, 0]);
    }

    #[test]
    fn the_segment_with_the_record_folded_last_is_left_alone() {
        let config = LogConfig::default();
        let of = |keep_from| {
            limit(&Bounds { keep_from: Some(Offset(keep_from)), ..bounds() }, &config, 0)
        };
        // Folded up to 20: its last record is 19, in the second segment.
        assert_eq!([50, 41, 40, 21, 20, 11, 10, 0].map(of), [40, 40, 30, 20, 10, 10, 0, 0]);
    }

    #[test]
    fn a_segment_with_a_young_record_is_left_alone() {
        let config = LogConfig { compaction_lag_min_ms: 500, ..LogConfig::default() };
        assert_eq!(
            [1399, 1400, 2400, 9000].map(|now| limit(&bounds(), &config, now)),
            [0, 10, 20, 40]
        );
        assert_eq!(limit(&bounds(), &LogConfig::default(), 0), 40);
    }

    #[test]
    fn a_log_is_due_by_its_dirty_share_its_oldest_record_or_its_tombstones() {
        let cleaned = |to| Bounds { cleaned_to: Some(Offset(to)), ..bounds() };
        let of = |to| dirt(&segments(), &cleaned(to), &LogConfig::default(), 5000);
        assert_eq!([0, 10, 20, 30, 40].map(|to| of(to).ratio()), [1.0, 0.75, 0.5, 0.25, 0.0]);
        let config = LogConfig::default();
        assert!(of(10).is_due(&config, None, 5000) && !of(20).is_due(&config, None, 5000));
        let late = LogConfig { compaction_lag_max_ms: 2000, ..LogConfig::default() };
        assert!(of(30).is_due(&late, None, 5001) && !of(30).is_due(&late, None, 5000));
        assert!(
            of(40).is_due(&config, Some(5000), 5000) && !of(40).is_due(&config, Some(5001), 5000)
        );
        assert!(!of(40).is_due(&late, None, i64::MAX), "nothing is dirty");
    }

    #[test]
    fn a_checkpoint_that_cannot_be_is_not_believed() {
        let config = LogConfig::default();
        let of = |to, log_start| {
            let bounds =
                Bounds { cleaned_to: Some(Offset(to)), log_start: Offset(log_start), ..bounds() };
            dirt(&segments(), &bounds, &config, 0).first_dirty.0
        };
        assert_eq!([of(20, 0), of(41, 0), of(10, 25), of(99, 25)], [20, 0, 25, 25]);
    }

    #[test]
    fn small_segments_become_one_as_far_as_they_fit() {
        let of = |bytes| {
            groups(&segments(), &LogConfig { segment_bytes: bytes, ..LogConfig::default() })
        };
        assert_eq!(
            [of(500), of(499), of(200), of(50)],
            [vec![5], vec![4, 1], vec![2, 2, 1], vec![1; 5]]
        );
        assert_eq!(groups(&[], &LogConfig::default()), Vec::<usize>::new());
        let mut far = segments();
        far[4].next_offset = Offset(i64::from(i32::MAX) + 11);
        assert_eq!(groups(&far, &LogConfig::default()), [4, 1]);
    }
}

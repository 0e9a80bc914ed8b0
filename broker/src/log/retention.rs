//! PURE. Which segments may go: for the log's start, for size, for age.
use weir_protocol::records::Offset;

use crate::log::config::LogConfig;

/// What retention must know of a segment.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct SegmentFacts {
    /// The offset after its last.
    pub next_offset: Offset,
    /// Bytes of its log file.
    pub size_bytes: u64,
    /// The latest time that a record bears; -1 when none does.
    pub max_timestamp_ms: i64,
}

/// How many segments may go, counted from the oldest.
///
/// What lies below the log's start goes always: nobody can read it. Else only what lies below
/// `limit` goes (the high watermark, and what tables have folded); and only where the policy says
/// `delete` do size and age count. Records from the future stay until their time has passed.
#[must_use]
pub fn expired(
    segments: &[SegmentFacts],
    config: &LogConfig,
    log_start: Offset,
    limit: Offset,
    now_ms: i64,
) -> usize {
    let mut left_bytes: u64 = segments.iter().map(|segment| segment.size_bytes).sum();
    let mut count = 0;
    for segment in segments {
        let is_below_start = segment.next_offset <= log_start;
        if segment.size_bytes == 0 || segment.next_offset > limit && !is_below_start {
            break;
        }
        let is_excess = config.retention_bytes.is_some_and(|bytes| {
            u64::try_from(bytes).is_ok_and(|bytes| left_bytes - segment.size_bytes >= bytes)
        });
        let is_old = config.retention_ms.is_some_and(|ms| {
            segment.max_timestamp_ms >= 0 && now_ms.saturating_sub(segment.max_timestamp_ms) > ms
        });
        if !(is_below_start || config.deletes && (is_excess || is_old)) {
            break;
        }
        left_bytes -= segment.size_bytes;
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments() -> Vec<SegmentFacts> {
        (1..=4)
            .map(|number| SegmentFacts {
                next_offset: Offset(number * 10),
                size_bytes: 100,
                max_timestamp_ms: number * 1000,
            })
            .collect()
    }

    fn count(config: &LogConfig, log_start: i64, limit: i64, now_ms: i64) -> usize {
        expired(&segments(), config, Offset(log_start), Offset(limit), now_ms)
    }

    fn forever() -> LogConfig {
        LogConfig { retention_ms: None, retention_bytes: None, ..LogConfig::default() }
    }

    #[test]
    fn age_is_that_of_the_latest_record_and_must_be_passed() {
        let config = LogConfig { retention_ms: Some(500), ..forever() };
        assert_eq!(
            [1500, 1501, 2501, 4500, 4501].map(|now| count(&config, 0, 40, now)),
            [0, 1, 2, 3, 4]
        );
    }

    #[test]
    fn at_least_the_bytes_to_retain_stay() {
        let of = |bytes| count(&LogConfig { retention_bytes: Some(bytes), ..forever() }, 0, 40, 0);
        assert_eq!([0, 1, 100, 101, 300, 301].map(of), [4, 3, 3, 2, 1, 0]);
    }

    #[test]
    fn nothing_goes_that_a_table_has_not_folded_or_that_is_not_durable() {
        let config = LogConfig { retention_ms: Some(0), ..forever() };
        assert_eq!(
            [0, 9, 10, 25, 40].map(|limit| count(&config, 0, limit, 99_999)),
            [0, 0, 1, 2, 4]
        );
    }

    #[test]
    fn without_the_delete_policy_only_what_lies_below_the_start_goes() {
        let config = LogConfig {
            retention_ms: Some(0),
            retention_bytes: Some(0),
            deletes: false,
            ..forever()
        };
        assert_eq!(
            [0, 9, 10, 29, 30].map(|start| count(&config, start, 40, 99_999)),
            [0, 0, 1, 2, 3]
        );
    }

    #[test]
    fn records_without_a_time_have_no_age() {
        let timeless = [SegmentFacts { max_timestamp_ms: -1, ..segments()[0] }];
        let config = LogConfig { retention_ms: Some(0), ..forever() };
        assert_eq!(expired(&timeless, &config, Offset(0), Offset(10), i64::MAX), 0);
    }

    #[test]
    fn a_young_segment_keeps_those_after_it() {
        let mut segments = segments();
        segments[1].max_timestamp_ms = 50_000;
        let config = LogConfig { retention_ms: Some(500), ..forever() };
        assert_eq!(expired(&segments, &config, Offset(0), Offset(40), 10_000), 1);
    }
}

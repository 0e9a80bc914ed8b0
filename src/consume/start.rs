//! PURE. Where reading begins, as a person says it.

use std::str::FromStr;

use chrono::DateTime;

/// Where to begin in each partition.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// At the first record that is still there.
    Earliest,
    /// After the last.
    Latest,
    /// At this offset.
    Offset(i64),
    /// So many records before the end.
    BeforeEnd(i64),
    /// At the first record that is not older, in ms since 1970.
    Time(i64),
}

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Start, String> {
        let wrong = || {
            format!(
                "{text}: expected start, end, an offset, -COUNT from the end, or @TIME (ms or RFC 3339)"
            )
        };
        match text {
            "start" | "earliest" | "beginning" => return Ok(Start::Earliest),
            "end" | "latest" => return Ok(Start::Latest),
            _ => {}
        }
        if let Some(time) = text.strip_prefix('@') {
            let parsed = time.parse().ok().filter(|ms: &i64| *ms >= 0);
            let moment = || DateTime::parse_from_rfc3339(time).ok().map(|it| it.timestamp_millis());
            return parsed.or_else(moment).map(Start::Time).ok_or_else(wrong);
        }
        match text.parse::<i64>() {
            Ok(number) if text.starts_with('-') => {
                number.checked_neg().map(Start::BeforeEnd).ok_or_else(wrong)
            }
            Ok(number) => Ok(Start::Offset(number)),
            Err(_) => Err(wrong()),
        }
    }
}

impl Start {
    /// The offset, within the bounds of the log. `by_time`: what the broker found for the time;
    /// none: no record is that young.
    pub(crate) fn within(self, start: i64, end: i64, by_time: Option<i64>) -> i64 {
        let offset = match self {
            Start::Earliest => start,
            Start::Latest => end,
            Start::Offset(offset) => offset,
            Start::BeforeEnd(count) => end.saturating_sub(count),
            Start::Time(_) => by_time.unwrap_or(end),
        };
        offset.clamp(start, end.max(start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_say_it() {
        let said = |text: &str| text.parse::<Start>();
        assert_eq!(said("start"), Ok(Start::Earliest));
        assert_eq!(said("latest"), Ok(Start::Latest));
        assert_eq!(said("17"), Ok(Start::Offset(17)));
        assert_eq!(said("-3"), Ok(Start::BeforeEnd(3)));
        assert_eq!(said("-0"), Ok(Start::BeforeEnd(0)));
        assert_eq!(said("@1500"), Ok(Start::Time(1500)));
        assert_eq!(said("@1970-01-01T00:00:02Z"), Ok(Start::Time(2000)));
        for wrong in ["", "@", "@-1", "somewhere", "1.5", "-9223372036854775808"] {
            assert!(said(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn it_stays_within_the_log() {
        assert_eq!(Start::Offset(3).within(5, 9, None), 5);
        assert_eq!(Start::Offset(30).within(5, 9, None), 9);
        assert_eq!(Start::BeforeEnd(2).within(5, 9, None), 7);
        assert_eq!(Start::BeforeEnd(20).within(5, 9, None), 5);
        assert_eq!(Start::Time(1).within(5, 9, Some(6)), 6);
        assert_eq!(Start::Time(1).within(5, 9, None), 9);
    }
}

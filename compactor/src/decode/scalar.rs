//! Text and numbers of JSON as Paimon's scalar values. PURE.
//!
//! Ranges are strict: what does not fit is refused, never wrapped, rounded or saturated. The one
//! exception is the fraction of a second, which is cut to the column's precision as SQL does.

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

use crate::row::Value;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
const DAY_MS: i64 = 86_400_000;

/// Bytes of base64, padded or not.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

/// An integer written as a number: `7`, also `7.0` and `7e2`.
pub(super) fn integer(text: &str) -> Option<i64> {
    text.parse().ok().or_else(|| i64::try_from(decimal(text, 0)?).ok())
}

/// A decimal number times 10^scale; `None` if it is no number, or digits would be lost.
pub(super) fn decimal(text: &str, scale: u8) -> Option<i128> {
    let (negative, text) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(place) => (&text[..place], text[place + 1..].parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut unscaled: i128 = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        if !digit.is_ascii_digit() {
            return None;
        }
        unscaled = unscaled.checked_mul(10)?.checked_sub(i128::from(digit - b'0'))?;
    }
    let unscaled = if negative { unscaled } else { unscaled.checked_neg()? };
    let fraction_digits = i32::try_from(fraction.len()).ok()?;
    rescale(unscaled, fraction_digits.checked_sub(exponent)?, i32::from(scale))
}

/// The same number with another scale; `None` if digits would be lost or it grows too large.
pub(super) fn rescale(unscaled: i128, scale: i32, wanted: i32) -> Option<i128> {
    if unscaled == 0 {
        return Some(0);
    }
    let shift = i64::from(wanted) - i64::from(scale);
    let power = 10_i128.checked_pow(u32::try_from(shift.abs()).ok()?)?;
    match shift >= 0 {
        true => unscaled.checked_mul(power),
        false => (unscaled % power == 0).then_some(unscaled / power),
    }
}

/// Whether the number has at most this many digits.
pub(super) fn fits(unscaled: i128, precision: u8) -> bool {
    let digits = unscaled.unsigned_abs().checked_ilog10().map_or(0, |log| log + 1);
    digits <= u32::from(precision)
}

/// Two's complement, big-endian; `None` if it is empty or needs more than 128 bits.
pub(super) fn big_endian(bytes: &[u8]) -> Option<i128> {
    let sign = if bytes.first()? & 0x80 != 0 { 0xff } else { 0 };
    let (head, tail) = bytes.split_at(bytes.len().saturating_sub(16));
    if head.iter().any(|byte| *byte != sign) {
        return None;
    }
    let mut whole = [sign; 16];
    whole[16 - tail.len()..].copy_from_slice(tail);
    let number = i128::from_be_bytes(whole);
    ((number < 0) == (sign != 0)).then_some(number)
}

/// A decimal as people write it.
pub(super) fn decimal_text(unscaled: i128, scale: i32) -> String {
    let digits = unscaled.unsigned_abs().to_string();
    let sign = if unscaled < 0 { "-" } else { "" };
    let Ok(scale) = usize::try_from(scale) else {
        return format!("{sign}{digits}{}", "0".repeat(scale.unsigned_abs() as usize));
    };
    let digits = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let point = if scale == 0 { "" } else { "." };
    format!("{sign}{whole}{point}{fraction}")
}

/// Days since 1970-01-01 of `2024-02-29`, which may end in `Z`.
pub(super) fn date(text: &str) -> Option<i32> {
    let mut cursor = Cursor { rest: text.as_bytes() };
    let days = cursor.date()?;
    cursor.take(b'Z');
    if !cursor.rest.is_empty() {
        return None;
    }
    i32::try_from(days).ok()
}

/// Nanoseconds since midnight of `12:30`, `12:30:15` or `12:30:15.123456`, which may end in `Z`.
pub(super) fn time(text: &str) -> Option<i64> {
    let mut cursor = Cursor { rest: text.as_bytes() };
    let nanos = cursor.time()?;
    cursor.take(b'Z');
    cursor.rest.is_empty().then_some(nanos)
}

/// A date, `T` or a blank, a time, and perhaps `Z` or an offset such as `+02:00`, which is applied.
pub(super) fn timestamp(text: &str) -> Option<Value> {
    let mut cursor = Cursor { rest: text.as_bytes() };
    let days = cursor.date()?;
    let nanos = match cursor.rest.is_empty() {
        true => 0,
        false if cursor.take(b'T') || cursor.take(b' ') => cursor.time()?,
        false => return None,
    };
    let offset_ms = cursor.offset_ms()?;
    if !cursor.rest.is_empty() {
        return None;
    }
    let millis = days.checked_mul(DAY_MS)?.checked_add(nanos / 1_000_000)?;
    let millis = millis.checked_sub(offset_ms)?;
    Some(Value::Timestamp { millis, nanos_of_milli: (nanos % 1_000_000) as i32 })
}

/// A timestamp of this many units since 1970, `per_second` of them in a second (10^3 to 10^9).
pub(super) fn timestamp_of(number: i64, per_second: i64) -> Value {
    let per_milli = (per_second / 1000).max(1);
    let nanos = number.rem_euclid(per_milli) * (1_000_000 / per_milli);
    Value::Timestamp { millis: number.div_euclid(per_milli), nanos_of_milli: nanos as i32 }
}

/// The timestamp cut to a precision; `None` if Parquet's microseconds cannot hold it.
pub(super) fn cut_timestamp(value: Value, precision: u8) -> Option<Value> {
    let Value::Timestamp { millis, nanos_of_milli } = value else { return None };
    millis.checked_mul(1000)?.checked_add(999)?;
    if precision > 3 {
        let step = 10_i32.pow(9 - u32::from(precision.min(9)));
        let nanos_of_milli = nanos_of_milli - nanos_of_milli % step;
        return Some(Value::Timestamp { millis, nanos_of_milli });
    }
    let step = 10_i64.pow(3 - u32::from(precision));
    let millis = millis.checked_sub(millis.rem_euclid(step))?;
    Some(Value::Timestamp { millis, nanos_of_milli: 0 })
}

/// A time of day in milliseconds, cut to a precision; `None` if it is not within a day.
pub(super) fn cut_time(millis: i64, precision: u8) -> Option<Value> {
    if !(0..DAY_MS).contains(&millis) {
        return None;
    }
    let step = 10_i64.pow(3 - u32::from(precision.min(3)));
    Some(Value::Time((millis - millis % step) as i32))
}

/// What is left of a text of numbers and signs.
struct Cursor<'a> {
    rest: &'a [u8],
}

impl Cursor<'_> {
    fn take(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.take(byte).then_some(())
    }

    /// Between `min` and `max` digits.
    fn digits(&mut self, min: usize, max: usize) -> Option<i64> {
        let count = self.rest.iter().take(max).take_while(|byte| byte.is_ascii_digit()).count();
        if count < min {
            return None;
        }
        let (digits, rest) = self.rest.split_at(count);
        self.rest = rest;
        Some(digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
    }

    /// Days since 1970-01-01 in the proleptic Gregorian calendar.
    fn date(&mut self) -> Option<i64> {
        let negative = self.take(b'-');
        if !negative {
            self.take(b'+');
        }
        let year = self.digits(4, 9)?;
        let year = if negative { -year } else { year };
        self.expect(b'-')?;
        let month = self.digits(2, 2)?;
        self.expect(b'-')?;
        let day = self.digits(2, 2)?;
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            2 => 28 + i64::from(is_leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        (1..=days).contains(&day).then(|| days_of(year, month, day))
    }

    /// Nanoseconds since midnight.
    fn time(&mut self) -> Option<i64> {
        let hour = self.digits(2, 2)?;
        self.expect(b':')?;
        let minute = self.digits(2, 2)?;
        let mut second = 0;
        let mut nanos = 0;
        if self.take(b':') {
            second = self.digits(2, 2)?;
            if self.take(b'.') || self.take(b',') {
                let before = self.rest.len();
                let fraction = self.digits(1, 9)?;
                let missing = 9 - (before - self.rest.len());
                nanos = fraction * 10_i64.pow(missing as u32);
                while self.digits(1, 9).is_some() {}
            }
        }
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        Some(((hour * 60 + minute) * 60 + second) * 1_000_000_000 + nanos)
    }

    fn offset_ms(&mut self) -> Option<i64> {
        let sign = match self.rest.first() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => {
                self.take(b'Z');
                return Some(0);
            }
        };
        self.rest = &self.rest[1..];
        let hours = self.digits(2, 2)?;
        self.take(b':');
        let minutes = if self.rest.is_empty() { 0 } else { self.digits(2, 2)? };
        (hours <= 18 && minutes <= 59).then_some(sign * (hours * 60 + minutes) * 60_000)
    }
}

/// Howard Hinnant's `days_from_civil`.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Option<(i64, i32)> {
        match timestamp(text)? {
            Value::Timestamp { millis, nanos_of_milli } => Some((millis, nanos_of_milli)),
            _ => None,
        }
    }

    #[test]
    fn numbers_are_read_exactly_or_not_at_all() {
        let cases = [
            ("123.45", 2, Some(12345)),
            ("-1", 2, Some(-100)),
            ("1e3", 0, Some(1000)),
            ("1.50e-1", 3, Some(150)),
            ("1.234", 2, None),
            ("1.230", 2, Some(123)),
            ("0e999999999", 2, Some(0)),
            ("1e999999999", 2, None),
            ("1e-999999999", 2, None),
            ("1e99999999999", 2, None),
            ("", 0, None),
            ("-", 0, None),
            (".", 0, None),
            ("1 ", 0, None),
            ("0x10", 0, None),
            ("99999999999999999999999999999999999999", 0, Some(10_i128.pow(38) - 1)),
            ("999999999999999999999999999999999999999999", 0, None),
        ];
        for (text, scale, expected) in cases {
            assert_eq!(decimal(text, scale), expected, "{text}");
        }
        assert_eq!(integer("-9223372036854775808"), Some(i64::MIN));
        assert_eq!(integer("9223372036854775808"), None);
        assert_eq!(integer("7.0"), Some(7));
        assert_eq!(integer("7.5"), None);
        assert!(fits(999, 3) && !fits(1000, 3) && fits(-999, 3) && !fits(i128::MIN, 38));
    }

    #[test]
    fn unscaled_bytes_are_twos_complement() {
        assert_eq!(big_endian(&[]), None);
        assert_eq!(big_endian(&[0xff]), Some(-1));
        assert_eq!(big_endian(&[0, 0xff]), Some(255));
        assert_eq!(big_endian(&[0; 40]), Some(0));
        assert_eq!(big_endian(&[0xff; 40]), Some(-1));
        assert_eq!(big_endian(&[0x7f; 17]), None);
        let beyond = [vec![0], vec![0xff; 16]].concat();
        assert_eq!(big_endian(&beyond), None);
        assert_eq!(decimal_text(-5, 3), "-0.005");
        assert_eq!(decimal_text(12345, 2), "123.45");
        assert_eq!(decimal_text(12, -3), "12000");
        assert_eq!(decimal_text(12, 0), "12");
    }

    #[test]
    fn moments_are_read_in_iso_8601() {
        assert_eq!(date("1970-01-01"), Some(0));
        assert_eq!(date("0001-01-01"), Some(-719_162));
        assert_eq!(date("9999-12-31Z"), Some(2_932_896));
        assert_eq!(date("2024-02-29"), Some(19_782));
        assert_eq!(date("2023-02-29"), None);
        assert_eq!(date("2023-13-01"), None);
        assert_eq!(date("20230101"), None);
        assert_eq!(time("23:59:59.999Z"), Some(86_399_999_000_000));
        assert_eq!(time("24:00:00"), None);
        assert_eq!(time("01:02"), Some(3_720_000_000_000));
        assert_eq!(at("2024-02-29T12:34:56.789012Z"), Some((1_709_210_096_789, 12_000)));
        assert_eq!(at("2024-02-29 12:34:56.7890123456"), Some((1_709_210_096_789, 12_345)));
        assert_eq!(at("2024-02-29T14:34:56+02:00"), at("2024-02-29T12:34:56Z"));
        assert_eq!(at("1969-12-31T23:59:59.999999Z"), Some((-1, 999_000)));
        assert_eq!(at("2024-02-29"), Some((1_709_164_800_000, 0)));
        assert_eq!(at("2024-02-29T"), None);
        assert_eq!(at("2024-02-29T12:34:56 tomorrow"), None);
        assert_eq!(
            at("2024-02-29T12:34:56.01234567890123456789012345678Z").map(|at| at.1),
            Some(345_678)
        );
        assert_eq!(at("+999999999-01-01T00:00:00Z"), None);
    }

    #[test]
    fn fractions_are_cut_towards_the_past() {
        let moment = timestamp_of(-1, 1_000_000);
        assert_eq!(moment, Value::Timestamp { millis: -1, nanos_of_milli: 999_000 });
        let cut = |precision| cut_timestamp(moment.clone(), precision);
        assert_eq!(cut(6), Some(moment.clone()));
        assert_eq!(cut(3), Some(Value::Timestamp { millis: -1, nanos_of_milli: 0 }));
        assert_eq!(cut(0), Some(Value::Timestamp { millis: -1000, nanos_of_milli: 0 }));
        assert_eq!(cut_timestamp(timestamp_of(i64::MAX, 1000), 6), None);
        assert_eq!(cut_time(86_400_000, 3), None);
        assert_eq!(cut_time(1999, 0), Some(Value::Time(1000)));
    }
}

//! How numbers and moments are written down, read in the most obvious way.

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

use crate::verify::cell::Cell;

/// Base64, padded or not.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const DAY_MS: i128 = 86_400_000;

/// `-12.50e1` as -1250 and the scale 1.
pub(super) fn digits(text: &str) -> Result<(i128, i32), String> {
    let refused = || format!("{text:?} is no number");
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().map_err(|_| refused())?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let joined = format!("{whole}{fraction}");
    let is_signed = joined.starts_with(['+', '-']);
    let only_digits = &joined[usize::from(is_signed)..];
    if only_digits.is_empty() || !only_digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(refused());
    }
    let number: i128 = joined.parse().map_err(|_| refused())?;
    let scale = i32::try_from(fraction.len()).ok().and_then(|scale| scale.checked_sub(exponent));
    Ok((number, scale.ok_or_else(refused)?))
}

/// The same number at another scale, if it is one there.
pub(super) fn rescaled(mut number: i128, mut scale: i32, wanted: i32) -> Option<i128> {
    while number != 0 && scale < wanted {
        number = number.checked_mul(10)?;
        scale += 1;
    }
    while number != 0 && scale > wanted {
        if number % 10 != 0 {
            return None;
        }
        number /= 10;
        scale -= 1;
    }
    Some(number)
}

/// Base64 of a big-endian number.
pub(super) fn unscaled(text: &str) -> Result<i128, String> {
    let refused = || format!("{text:?} is no unscaled number");
    let bytes = BASE64.decode(text).map_err(|_| refused())?;
    let mut number: i128 = match bytes.first() {
        None => return Err(refused()),
        Some(first) if *first >= 0x80 => -1,
        Some(_) => 0,
    };
    for byte in bytes {
        number = number.checked_mul(256).ok_or_else(refused)? + i128::from(byte);
    }
    Ok(number)
}

pub(super) fn plain_decimal(number: i128, scale: i32) -> String {
    let sign = if number < 0 { "-" } else { "" };
    let mut digits = number.unsigned_abs().to_string();
    for _ in scale..0 {
        digits.push('0');
    }
    let scale = usize::try_from(scale).unwrap_or(0);
    while digits.len() <= scale {
        digits.insert(0, '0');
    }
    if scale > 0 {
        digits.insert(digits.len() - scale, '.');
    }
    format!("{sign}{digits}")
}

/// Days since 1970-01-01, counted by the Julian day.
pub(super) fn date(text: &str) -> Option<i128> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(text) => (-1, text),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut parts = text.split('-');
    let year: i128 = sign * number_of(parts.next()?, 4, 9)?;
    let month = number_of(parts.next()?, 2, 2)?;
    let day = number_of(parts.next()?, 2, 2)?;
    let days = match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if parts.next().is_some() || !(1..=days).contains(&day) {
        return None;
    }
    let before_march = (14 - month) / 12;
    let (years, months) = (year + 4800 - before_march, month + 12 * before_march - 3);
    let leap_days = years.div_euclid(4) - years.div_euclid(100) + years.div_euclid(400);
    Some(day + (153 * months + 2) / 5 + 365 * years + leap_days - 32_045 - 2_440_588)
}

pub(super) fn time_nanos(text: &str) -> Option<i128> {
    let (clock, fraction) = text.split_once(['.', ',']).unwrap_or((text, ""));
    let mut parts = clock.split(':');
    let hours = number_of(parts.next()?, 2, 2).filter(|hours| *hours < 24)?;
    let minutes = number_of(parts.next()?, 2, 2).filter(|minutes| *minutes < 60)?;
    let seconds = match parts.next() {
        Some(seconds) => number_of(seconds, 2, 2).filter(|seconds| *seconds < 60)?,
        None if clock.len() == text.len() => 0,
        None => return None,
    };
    if parts.next().is_some() || (clock.len() < text.len() && fraction.is_empty()) {
        return None;
    }
    let mut nanos = number_of(&format!("{fraction:0<9}")[..9], 9, 9)?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    nanos += ((hours * 60 + minutes) * 60 + seconds) * 1_000_000_000;
    Some(nanos)
}

/// Nanoseconds since 1970 of a date, perhaps a time, perhaps an offset.
pub(super) fn moment_nanos(text: &str) -> Option<i128> {
    let (day, time) = match text.find(['T', ' ']) {
        Some(place) => (&text[..place], Some(&text[place + 1..])),
        None => (text, None),
    };
    let (day, time, offset) = match time {
        None => (day.strip_suffix('Z').unwrap_or(day), "00:00", 0),
        Some(time) => match time.find(['+', '-', 'Z']) {
            None => (day, time, 0),
            Some(place) => (day, &time[..place], offset_minutes(&time[place..])?),
        },
    };
    let minutes = date(day)? * 24 * 60 - offset;
    Some(minutes * 60_000_000_000 + time_nanos(time)?)
}

fn offset_minutes(text: &str) -> Option<i128> {
    if text == "Z" {
        return Some(0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let text = text[1..].replace(':', "");
    let hours = number_of(text.get(..2)?, 2, 2).filter(|hours| *hours <= 18)?;
    let minutes = match &text[2..] {
        "" => 0,
        minutes => number_of(minutes, 2, 2).filter(|minutes| *minutes < 60)?,
    };
    Some(sign * (hours * 60 + minutes))
}

fn number_of(text: &str, length_min: usize, length_max: usize) -> Option<i128> {
    let has_length = (length_min..=length_max).contains(&text.len());
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if has_length && is_digits { text.parse().ok() } else { None }
}

pub(super) fn cut_time(millis: i128, precision: u8) -> Option<Cell> {
    let step = 10_i128.pow(3 - u32::from(precision.min(3)));
    (0..DAY_MS).contains(&millis).then(|| Cell::Number(millis - millis % step))
}

/// Microseconds, cut to the precision and within what 64 bits hold.
pub(super) fn cut_moment(nanos: i128, precision: u8) -> Option<Cell> {
    let micros = nanos.div_euclid(1000);
    let step = 10_i128.pow(6 - u32::from(precision.min(6)));
    let millis = micros.div_euclid(1000);
    let is_held =
        millis * 1000 >= i128::from(i64::MIN) && millis * 1000 + 999 <= i128::from(i64::MAX);
    is_held.then(|| Cell::Number(micros - micros.rem_euclid(step)))
}

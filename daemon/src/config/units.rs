//! Durations and sizes as they are written: a whole number with a unit, `"10s"` or `"1MiB"`.
//!
//! Owns reading and writing them; which range a key allows is the validation's matter.

use std::ops::RangeInclusive;
use std::time::Duration;

const DURATION_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const DAY: Duration = Duration::from_hours(24);
const SIZE_UNITS: [(&str, u64); 3] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// Reads a duration: a whole number and `ms`, `s`, `m`, `h` or `d`, within `range`.
///
/// # Errors
///
/// One sentence for the user when the text is no such thing or lies outside the range.
pub fn parse_duration(text: &str, range: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let millis = parse_scaled(text, &DURATION_UNITS).ok_or_else(|| {
        format!("{text:?} is not a duration; write a whole number with ms, s, m, h or d, such as \"10s\"")
    })?;
    let duration = Duration::from_millis(millis);
    if !range.contains(&duration) {
        let (low, high) = (format_duration(*range.start()), format_duration(*range.end()));
        return Err(format!("{text:?} is out of range; it may be from {low} to {high}"));
    }
    Ok(duration)
}

/// Reads a size in bytes: a whole number and `KiB`, `MiB` or `GiB`.
///
/// # Errors
///
/// One sentence for the user when the text is no such thing.
pub fn parse_size(text: &str) -> Result<u64, String> {
    parse_scaled(text, &SIZE_UNITS).ok_or_else(|| {
        format!("{text:?} is not a size; write a whole number with KiB, MiB or GiB, such as \"1MiB\"")
    })
}

/// Writes a duration in the largest unit that needs no fraction, a day in hours; below a millisecond nothing is kept.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let units = if duration > DAY { &DURATION_UNITS[..] } else { &DURATION_UNITS[..4] };
    format_scaled(millis, units)
}

/// Writes a size, in bytes, in the largest unit that needs no fraction; below a KiB nothing is kept.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    format_scaled(bytes, &SIZE_UNITS)
}

fn parse_scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, scale) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*scale)
}

fn format_scaled(value: u64, units: &[(&str, u64)]) -> String {
    let whole = |&&(_, scale): &&(&str, u64)| value >= scale && value.is_multiple_of(scale);
    let (name, scale) = units.iter().rev().find(whole).unwrap_or(&units[0]);
    format!("{}{name}", value / scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ANY: RangeInclusive<Duration> = Duration::ZERO..=Duration::MAX;

    #[test]
    fn durations_are_read() {
        for (text, millis) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("0s", 0),
            ("30d", 2_592_000_000),
        ] {
            assert_eq!(parse_duration(text, &ANY), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "10", "s", "1.5s", "-1s", "10 s", "10S", "1w", "1s2", "18446744073709551615h", "٣s"]
        {
            let message = parse_duration(text, &ANY).expect_err(text);
            assert!(message.contains("such as \"10s\""), "{message}");
        }
        for text in ["", "1", "1MB", "1mib", "-1KiB", "1 MiB"] {
            assert!(parse_size(text).expect_err(text).contains("such as \"1MiB\""));
        }
    }

    #[test]
    fn a_range_is_named_in_full() {
        let range = Duration::from_millis(100)..=Duration::from_secs(3600);
        let message = parse_duration("2h", &range).expect_err("2h");
        assert_eq!(message, "\"2h\" is out of range; it may be from 100ms to 1h");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(millis in 1u64..10_000_000_000, kib in 1u64..10_000_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(duration), &ANY), Ok(duration));
            prop_assert_eq!(parse_size(&format_size(kib << 10)), Ok(kib << 10));
        }

        #[test]
        fn arbitrary_text_never_panics(text in any::<String>()) {
            let _ = parse_duration(&text, &ANY);
            let _ = parse_size(&text);
        }
    }
}

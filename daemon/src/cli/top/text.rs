//! Texts as a terminal takes them: names without characters that it would obey, in as many columns as there are, and
//! quantities in a few digits.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::Value;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Where a text stands in its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Names.
    Left,
    /// Numbers.
    Right,
}

/// The text without what a terminal obeys or a reader cannot see: control characters, and those that change the
/// direction of text or have no width. Programs choose their own names.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if is_shown(c) { c } else { '?' }).collect()
}

fn is_shown(c: char) -> bool {
    // Marks that combine have no width either, and neither can be told from a name without them in a narrow column.
    !c.is_control() && c.width().is_some_and(|width| width > 0)
}

/// Columns that a text takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// The text in exactly so many columns: filled with spaces, or cut behind a mark.
pub fn fit(text: &str, columns: usize, align: Align, mark: char) -> String {
    let text = cut(text, columns, mark);
    let gap = columns.saturating_sub(width(&text));
    match align {
        Align::Left => text + &" ".repeat(gap),
        Align::Right => " ".repeat(gap) + &text,
    }
}

/// The text in so many columns at most.
pub fn cut(text: &str, columns: usize, mark: char) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let room = columns.saturating_sub(1);
    let mut taken = 0;
    let mut cut: String = text
        .chars()
        .take_while(|c| {
            taken += c.width().unwrap_or(0);
            taken <= room
        })
        .collect();
    if columns > 0 {
        cut.push(mark);
    }
    cut
}

/// A quantity in five columns at most, in binary multiples: `999`, `1.5K`, `12.3M`, `1021G`.
pub fn quantity(value: f64) -> String {
    const UNITS: [&str; 6] = ["K", "M", "G", "T", "P", "E"];
    if value < 999.5 {
        return if value > 0.0 && value < 9.95 && value.fract() > 0.0 {
            format!("{value:.1}")
        } else {
            format!("{value:.0}")
        };
    }
    let (mut value, mut unit) = (value / 1024.0, 0);
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = if value < 99.95 { 1 } else { 0 };
    format!("{value:.digits$}{}", UNITS[unit])
}

/// A frequency in a few digits: `0`, `0.02`, `3.4`, `1200`.
pub fn frequency(value: f64) -> String {
    match value {
        v if v <= 0.0 => "0".to_owned(),
        v if v < 0.995 => format!("{v:.2}"),
        v if v < 99.95 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}

/// A share as a percentage: `0%`, `0.05%`, `12.5%`, `100%`.
pub fn percentage(share: f64) -> String {
    match share * 100.0 {
        p if p <= 0.0 => "0%".to_owned(),
        p if p < 0.01 => "<.01%".to_owned(),
        p if p < 0.995 => format!("{p:.2}%"),
        p if p < 99.95 => format!("{p:.1}%"),
        p => format!("{p:.0}%"),
    }
}

/// A duration, given in seconds, in seven columns at most.
pub fn duration(seconds: f64) -> String {
    crate::export::duration(seconds)
}

/// How long ago something was, in its largest unit: `42s`, `5m`, `3h`, `12d`.
pub fn age(ms: u64) -> String {
    match ms / 1000 {
        s @ 0..60 => format!("{s}s"),
        s @ 60..3600 => format!("{}m", s / 60),
        s @ 3600..86_400 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86_400),
    }
}

/// UTC time of day of a time in milliseconds since 1970.
pub fn time_of_day(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.unwrap_or_default().strftime("%H:%M:%S").to_string()
}

/// An attribute's value as text; lists joined, maps as `key=value`.
pub fn value_text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => clean(text),
        Value::Array(all) => all.iter().map(value_text).collect::<Vec<_>>().join(", "),
        Value::Object(all) => all.iter().fold(String::new(), |mut text, (key, value)| {
            let gap = if text.is_empty() { "" } else { " " };
            // Writing to a String cannot fail.
            let _ = write!(text, "{gap}{}={}", clean(key), value_text(value));
            text
        }),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_talk_to_the_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\nc"), "a?[2Jb?c");
        assert_eq!(clean("safe\u{202e}txt\u{200b}"), "safe?txt?");
        assert_eq!(clean("日本語"), "日本語");
    }

    #[test]
    fn texts_take_the_columns_they_have() {
        assert_eq!(fit("abc", 5, Align::Left, '…'), "abc  ");
        assert_eq!(fit("abc", 5, Align::Right, '…'), "  abc");
        assert_eq!(fit("abcdef", 4, Align::Left, '…'), "abc…");
        assert_eq!(fit("日本語", 4, Align::Left, '…'), "日… ", "a wide character is not cut in half");
        assert_eq!(fit("日本語", 6, Align::Left, '…'), "日本語");
        assert_eq!(fit("abc", 0, Align::Left, '…'), "");
        for columns in 0..9 {
            assert_eq!(width(&fit("x日y本z", columns, Align::Right, '~')), columns);
        }
    }

    #[test]
    fn quantities_are_short() {
        let shown: Vec<String> =
            [0.0, 0.5, 10.4, 999.0, 1000.0, 1536.0, 102_400.0, 1_048_576.0, 1e18, 1.8e19]
                .map(quantity)
                .into();
        assert_eq!(shown, ["0", "0.5", "10", "999", "1.0K", "1.5K", "100K", "1.0M", "888P", "15.6E"],);
        assert!((0..640).all(|n| width(&quantity(1.07_f64.powi(n))) <= 5));
        assert_eq!([0.0, 0.02, 3.44, 1200.3].map(frequency), ["0", "0.02", "3.4", "1200"]);
        assert_eq!(
            [0.0, 0.000_01, 0.0005, 0.125, 1.0].map(percentage),
            ["0%", "<.01%", "0.05%", "12.5%", "100%"]
        );
        assert_eq!([42_000, 300_000, 10_900_000, 1_100_000_000].map(age), ["42s", "5m", "3h", "12d"]);
        assert_eq!(time_of_day(1_700_000_000_987), "22:13:20");
    }

    #[test]
    fn values_are_lines() {
        let value = serde_json::json!([{"process.pid": 7, "path": "/bin/\u{7}sh"}, "x", 1.5]);
        assert_eq!(value_text(&value), "path=/bin/?sh process.pid=7, x, 1.5");
    }
}

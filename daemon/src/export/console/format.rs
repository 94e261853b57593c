//! Quantities, times and names as people read them in a terminal.

use std::borrow::Cow;

use netsonde_view::model::Attributes;

use crate::telemetry::{self, Attribute, AttributeValue};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// The UTC time of day of a Unix time in nanoseconds, `HH:MM:SS`, with milliseconds on request.
pub fn time_of_day(unix_ns: u64, millis: bool) -> String {
    let second = unix_ns / NANOS_PER_SECOND % 86_400;
    let (hours, minutes, seconds) = (second / 3600, second / 60 % 60, second % 60);
    let clock = format!("{hours:02}:{minutes:02}:{seconds:02}");
    if millis { format!("{clock}.{:03}", unix_ns % NANOS_PER_SECOND / 1_000_000) } else { clock }
}

/// Bytes in the largest binary unit that leaves a whole part.
#[expect(clippy::cast_precision_loss, reason = "two digits of it are shown")]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 would be rounded to 1024.0 of the smaller unit.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A duration given in seconds.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole seconds, not negative")]
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 0.001 => format!("{:.0}us", s.max(0.0) * 1e6),
        s if s < 1.0 => format!("{:.1}ms", s * 1e3),
        s if s < 60.0 => format!("{s:.2}s"),
        s if s < 3600.0 => format!("{}m{:02}s", s as u64 / 60, s as u64 % 60),
        s => format!("{}h{:02}m", s as u64 / 3600, s as u64 / 60 % 60),
    }
}

/// Text without control characters: programs choose their own names, and a terminal obeys.
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) {
        text.chars().map(|c| if c.is_control() { '?' } else { c }).collect::<String>().into()
    } else {
        text.into()
    }
}

/// The last component of a path.
pub fn basename(path: &str) -> Cow<'_, str> {
    printable(path.rsplit('/').next().unwrap_or(path))
}

/// `address:port` with whatever of it is known; IPv6 addresses in brackets.
pub fn endpoint(address: Option<&str>, port: Option<i64>) -> Option<String> {
    let address = address.map(|address| {
        let address = printable(address);
        if address.contains(':') { format!("[{address}]") } else { address.into_owned() }
    });
    match (address, port) {
        (Some(address), Some(port)) => Some(format!("{address}:{port}")),
        (None, Some(port)) => Some(format!("*:{port}")),
        (address, None) => address,
    }
}

/// Attributes by name.
#[derive(Debug, Clone, Copy)]
pub enum Values<'a> {
    /// As the aggregation has those of an event.
    Event(&'a [Attribute]),
    /// As it has those of a series.
    Series(&'a telemetry::Attributes),
    /// As readers of the local API get them.
    Json(&'a Attributes),
}

impl<'a> Values<'a> {
    /// Reads a value in the way that fits what it is.
    fn read<T>(
        self,
        name: &str,
        own: impl FnOnce(&'a AttributeValue) -> Option<T>,
        json: impl FnOnce(&'a serde_json::Value) -> Option<T>,
    ) -> Option<T> {
        match self {
            Self::Event(all) => all.iter().find(|(key, _)| *key == name).and_then(|(_, value)| own(value)),
            Self::Series(all) => all.iter().find(|(key, _)| *key == name).and_then(|(_, value)| own(value)),
            Self::Json(all) => all.get(name).and_then(json),
        }
    }

    /// A text.
    pub fn text(self, name: &str) -> Option<&'a str> {
        self.read(name, own_text, serde_json::Value::as_str)
    }

    /// A list of texts; what is none is left out.
    pub fn texts(self, name: &str) -> Vec<&'a str> {
        let own = |value: &'a AttributeValue| match value {
            AttributeValue::Array(values) => Some(values.iter().filter_map(own_text).collect()),
            _ => None,
        };
        let json = |value: &'a serde_json::Value| {
            Some(value.as_array()?.iter().filter_map(serde_json::Value::as_str).collect())
        };
        self.read(name, own, json).unwrap_or_default()
    }

    /// A whole number.
    pub fn int(self, name: &str) -> Option<i64> {
        let own = |value: &AttributeValue| match value {
            AttributeValue::Int(number) => Some(*number),
            _ => None,
        };
        self.read(name, own, serde_json::Value::as_i64)
    }

    /// Any number.
    #[expect(clippy::cast_precision_loss, reason = "a few digits of it are shown")]
    pub fn double(self, name: &str) -> Option<f64> {
        let own = |value: &AttributeValue| match value {
            AttributeValue::Double(number) => Some(*number),
            AttributeValue::Int(number) => Some(*number as f64),
            _ => None,
        };
        self.read(name, own, serde_json::Value::as_f64)
    }

    /// Whether a truth value is there and true.
    pub fn is_true(self, name: &str) -> bool {
        let own = |value: &AttributeValue| Some(matches!(value, AttributeValue::Bool(true)));
        self.read(name, own, serde_json::Value::as_bool) == Some(true)
    }
}

fn own_text(value: &AttributeValue) -> Option<&str> {
    match value {
        AttributeValue::String(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_short() {
        let shown: Vec<String> =
            [0, 1023, 1024, 1536, 1_048_575, 1 << 20, u64::MAX].into_iter().map(bytes).collect();
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "1.0 MiB", "16.0 EiB"]);
        let shown: Vec<String> =
            [0.0, 0.000_25, 0.0123, 1.5, 61.0, 7_380.0].into_iter().map(duration).collect();
        assert_eq!(shown, ["0us", "250us", "12.3ms", "1.50s", "1m01s", "2h03m"]);
    }

    #[test]
    fn time_is_that_of_the_day_in_utc() {
        let ns = 1_700_000_000_987_654_321;
        assert_eq!(time_of_day(ns, true), "22:13:20.987");
        assert_eq!(time_of_day(ns, false), "22:13:20");
    }

    #[test]
    fn endpoints_tell_what_is_known() {
        assert_eq!(endpoint(Some("::1"), Some(80)).as_deref(), Some("[::1]:80"));
        assert_eq!(endpoint(Some("example.org"), None).as_deref(), Some("example.org"));
        assert_eq!(endpoint(None, Some(80)).as_deref(), Some("*:80"));
        assert_eq!(endpoint(None, None), None);
    }

    #[test]
    fn a_program_cannot_talk_to_the_terminal() {
        assert_eq!(basename("/tmp/\u{1b}[2Jevil"), "?[2Jevil");
        assert_eq!(basename("sh"), "sh");
    }
}

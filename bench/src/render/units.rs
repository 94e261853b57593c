//! Units: which of them results may have, which can be compared, and how people read them. What a number means is for others.

use crate::results::Spread;

/// What can be compared with each other.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Dimension {
    /// Nanoseconds.
    Time,
    /// Bytes.
    Memory,
    /// A part of one.
    Share,
    /// Of anything else, by its own name: `requests/s`.
    Count(String),
}

/// A unit of results.
#[derive(Debug, Clone, PartialEq)]
pub struct Unit {
    dimension: Dimension,
    /// How much of the dimension's base one of it is.
    scale: f64,
    percent: bool,
}

/// Times, from the longest.
const TIMES: [(&str, f64); 4] = [("s", 1e9), ("ms", 1e6), ("µs", 1e3), ("ns", 1.0)];
const MEMORY: [(&str, f64); 4] =
    [("GiB", 1_073_741_824.0), ("MiB", 1_048_576.0), ("KiB", 1024.0), ("bytes", 1.0)];
/// More digits than a benchmark is worth.
const SIGNIFICANT: i32 = 3;

impl Unit {
    /// The one of this name, as results have it; what has no name of its own counts itself.
    pub fn parse(name: &str) -> Self {
        let of = |dimension, scale, percent| Self { dimension, scale, percent };
        let find = |names: &[(&str, f64)], name: &str| {
            names.iter().find(|(known, _)| *known == name).map(|(_, scale)| *scale)
        };
        match name {
            "" | "ratio" => of(Dimension::Share, 1.0, false),
            "%" => of(Dimension::Share, 0.01, true),
            "us" => of(Dimension::Time, 1e3, false),
            "B" => of(Dimension::Memory, 1.0, false),
            other => match (find(&TIMES, other), find(&MEMORY, other)) {
                (Some(scale), _) => of(Dimension::Time, scale, false),
                (_, Some(scale)) => of(Dimension::Memory, scale, false),
                _ => of(Dimension::Count(other.to_owned()), 1.0, false),
            },
        }
    }

    /// This many of it in another unit; none if it measures something else.
    pub fn convert(&self, value: f64, to: &Self) -> Option<f64> {
        (self.dimension == to.dimension).then(|| value * self.scale / to.scale)
    }

    /// A number as people read it: `3.8 µs`, `14.1 MiB`, `0.971`, `1.2 %`, `109,845 requests/s`.
    pub fn show(&self, value: f64) -> String {
        let shown = self.shown(value);
        shown.with_name(&shown.number(value))
    }

    /// The middle and both ends, in the unit of the middle: `3.8 [3.5..4.1] µs`.
    pub fn show_spread(&self, spread: &Spread) -> String {
        let shown = self.shown(spread.median);
        let [median, min, max] = [spread.median, spread.min, spread.max].map(|value| shown.number(value));
        shown.with_name(&if min == max { median } else { format!("{median} [{min}..{max}]") })
    }

    /// The unit that a number of this size is shown in, and how many of it one of this unit is.
    pub fn fitting(&self, value: f64) -> (Self, f64) {
        let shown = self.shown(value);
        (Self::parse(&shown.name), shown.factor)
    }

    /// What a number of this size is shown in.
    fn shown(&self, value: f64) -> Shown {
        let base = value * self.scale;
        let largest = |names: &[(&'static str, f64)]| {
            let rounded = round(base.abs()).max(base.abs());
            let found = names.iter().find(|(_, scale)| rounded >= *scale).or(names.last());
            found.map_or(("", 1.0), |(name, scale)| (*name, *scale))
        };
        let (name, scale) = match &self.dimension {
            Dimension::Time => largest(&TIMES),
            Dimension::Memory => largest(&MEMORY),
            Dimension::Share if self.percent => ("%", 0.01),
            Dimension::Share => ("", 1.0),
            Dimension::Count(name) => (name.as_str(), 1.0),
        };
        let decimals = match &self.dimension {
            Dimension::Share if !self.percent => SIGNIFICANT as usize,
            _ => decimals(base / scale),
        };
        let trim = self.percent || self.dimension != Dimension::Share;
        Shown { name: name.to_owned(), factor: self.scale / scale, decimals, trim }
    }
}

/// How a number is written.
struct Shown {
    name: String,
    factor: f64,
    decimals: usize,
    /// Whether zeros at the end go.
    trim: bool,
}

impl Shown {
    fn number(&self, value: f64) -> String {
        let text = format!("{:.*}", self.decimals, value * self.factor);
        let text = match text.split_once('.') {
            Some((whole, part)) if self.trim => match part.trim_end_matches('0') {
                "" => whole.to_owned(),
                part => format!("{whole}.{part}"),
            },
            _ => text,
        };
        group(&text)
    }

    fn with_name(&self, number: &str) -> String {
        if self.name.is_empty() { number.to_owned() } else { format!("{number} {}", self.name) }
    }
}

/// A whole number as people read it: `109,845`.
pub fn whole(number: u64) -> String {
    group(&number.to_string())
}

/// How many there are of something, if it is not a whole number either: `2,400`, `31.6`.
pub fn quantity(number: f64) -> String {
    let unit = Unit { dimension: Dimension::Count(String::new()), scale: 1.0, percent: false };
    unit.show(number)
}

/// Commas between thousands.
fn group(text: &str) -> String {
    let (whole, part) = text.find('.').map_or((text, ""), |dot| text.split_at(dot));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{part}")
}

/// How many digits after the point leave the significant ones.
fn decimals(value: f64) -> usize {
    let rounded = round(value.abs());
    if rounded == 0.0 {
        return 0;
    }
    usize::try_from(SIGNIFICANT - 1 - rounded.log10().floor() as i32).unwrap_or(0)
}

/// To the significant digits: 999.7 is 1000, which has another unit.
fn round(value: f64) -> f64 {
    if value == 0.0 {
        return 0.0;
    }
    let step = 10_f64.powi(value.log10().floor() as i32 + 1 - SIGNIFICANT);
    if step < 1.0 { (value * (1.0 / step)).round() / (1.0 / step) } else { (value / step).round() * step }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(value: f64, unit: &str) -> String {
        Unit::parse(unit).show(value)
    }

    #[test]
    fn units_of_one_dimension_are_converted_and_others_are_not() {
        let convert = |value, from: &str, to: &str| Unit::parse(from).convert(value, &Unit::parse(to));
        assert_eq!(convert(0.4, "us", "ns"), Some(400.0));
        assert_eq!(convert(0.4, "µs", "us"), Some(0.4));
        assert_eq!(convert(1500.0, "ms", "s"), Some(1.5));
        assert_eq!(convert(25.0, "MiB", "bytes"), Some(26_214_400.0));
        assert_eq!(convert(1.0, "GiB", "MiB"), Some(1024.0));
        assert_eq!(convert(1.0, "%", "ratio"), Some(0.01));
        assert_eq!(convert(1.0, "", "%"), Some(100.0));
        assert_eq!(convert(1.0, "requests/s", "requests/s"), Some(1.0));
        assert_eq!(convert(1.0, "requests/s", "queries/s"), None);
        assert_eq!(convert(1.0, "bytes", "ns"), None);
        assert_eq!(convert(1.0, "ratio", "ns"), None);
    }

    #[test]
    fn numbers_are_shown_in_the_unit_that_fits_them() {
        assert_eq!(show(3812.0, "ns"), "3.81 µs");
        assert_eq!(show(270.4, "ns"), "270 ns");
        assert_eq!(show(0.27, "us"), "270 ns");
        assert_eq!(show(999.7, "ns"), "1 µs");
        assert_eq!(show(163.0, "ms"), "163 ms");
        assert_eq!(show(4.5, "s"), "4.5 s");
        assert_eq!(show(0.0, "ms"), "0 ns");
        assert_eq!(show(14_680_064.0, "bytes"), "14 MiB");
        assert_eq!(show(69.0, "bytes"), "69 bytes");
        assert_eq!(show(1_073_741_823.0, "bytes"), "1,024 MiB");
        assert_eq!(show(0.9712, "ratio"), "0.971");
        assert_eq!(show(0.995, ""), "0.995");
        assert_eq!(show(0.8, "%"), "0.8 %");
        assert_eq!(show(109_845.4, "requests/s"), "109,845 requests/s");
        assert_eq!(show(-1024.0, "bytes"), "-1 KiB");
    }

    #[test]
    fn a_spread_has_one_unit() {
        let spread = Spread { median: 3812.0, min: 950.0, max: 12_000.0 };
        assert_eq!(Unit::parse("ns").show_spread(&spread), "3.81 [0.95..12] µs");
        assert_eq!(Unit::parse("flows").show_spread(&Spread::of(&[800.0])), "800 flows");
    }

    #[test]
    fn a_number_can_be_taken_to_the_unit_that_fits_it() {
        let (unit, factor) = Unit::parse("bytes").fitting(15_000_000.0);
        assert_eq!((unit, factor), (Unit::parse("MiB"), 1.0 / 1_048_576.0));
        assert_eq!(Unit::parse("us").fitting(12.0), (Unit::parse("us"), 1.0));
        assert_eq!(Unit::parse("%").fitting(12.0), (Unit::parse("%"), 1.0));
    }

    #[test]
    fn thousands_are_apart() {
        assert_eq!((quantity(31.62), quantity(2400.0)), ("31.6".to_owned(), "2,400".to_owned()));
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(whole(number), text);
        }
        assert_eq!(group("-1234.5678"), "-1,234.5678");
    }
}

//! `[history]`: whether, where and how long what listened is kept.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::raw;
use super::reader::Reader;
use super::units::{format_size, parse_duration, parse_size};
use super::validate::{absolute, state_directory};

const RETENTION_RANGE: RangeInclusive<Duration> = Duration::from_hours(1)..=Duration::from_hours(24 * 3650);
const DEFAULT_RETENTION: Duration = Duration::from_hours(24 * 30);
const SIZE_RANGE: RangeInclusive<u64> = 4 << 20..=64 << 30;
const DEFAULT_SIZE: u64 = 64 << 20;
const DEFAULT_DIRECTORY: &str = "/var/lib/netsonde";

/// Whether, where and how long what listened is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryConfig {
    /// It is kept at all.
    pub enabled: bool,
    /// The directory of `history.redb`; absolute.
    pub directory: PathBuf,
    /// What ended longer ago is forgotten; 1 hour to 10 years.
    pub retention: Duration,
    /// Bytes of the file that may be in use; 4 MiB to 64 GiB.
    pub size: u64,
}

/// Reads the section.
pub fn read(reader: &mut Reader<'_>, raw: raw::History) -> HistoryConfig {
    let written = raw.directory.is_some();
    let directory =
        reader.value("history.directory", raw.directory, DEFAULT_DIRECTORY.into(), |text| absolute(text));
    // systemd's StateDirectory= (systemd.exec(5)); what the file says is meant to be elsewhere.
    let given =
        if written { None } else { reader.variable("STATE_DIRECTORY", "history.directory", state_directory) };
    HistoryConfig {
        enabled: reader.value("history.enabled", raw.enabled, true, |on| Ok(*on)),
        directory: given.unwrap_or(directory),
        retention: reader.value("history.retention", raw.retention, DEFAULT_RETENTION, |text| {
            parse_duration(&text.0, &RETENTION_RANGE)
        }),
        size: reader.value("history.size", raw.size, DEFAULT_SIZE, |text| size(&text.0)),
    }
}

fn size(text: &str) -> Result<u64, String> {
    let bytes = parse_size(text)?;
    if SIZE_RANGE.contains(&bytes) {
        return Ok(bytes);
    }
    let (low, high) = (format_size(*SIZE_RANGE.start()), format_size(*SIZE_RANGE.end()));
    Err(format!("{text:?} is out of range; it may be from {low} to {high}"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{parse, right, wrong};
    use super::*;

    fn directory(text: &str, variable: &str) -> PathBuf {
        let loaded = parse(text, &[("STATE_DIRECTORY", variable)], super::super::Overrides::default());
        loaded.expect("right").config.history.directory
    }

    #[test]
    fn the_file_names_the_directory_else_systemd_does() {
        assert_eq!(right("").history.directory, PathBuf::from("/var/lib/netsonde"));
        assert_eq!(directory("", "/var/lib/private/netsonde:/b"), PathBuf::from("/var/lib/private/netsonde"));
        assert_eq!(directory("[history]\ndirectory = \"/srv\"", "/b"), PathBuf::from("/srv"));
    }

    #[test]
    fn age_and_size_have_units_and_ranges() {
        let history = right("[history]\nretention = \"7d\"\nsize = \"1GiB\"\nenabled = false").history;
        assert_eq!((history.retention, history.size), (Duration::from_hours(7 * 24), 1 << 30));
        assert!(!history.enabled);
        assert!(wrong("[history]\nretention = \"1m\"").contains("from 1h to 3650d"));
        assert!(wrong("[history]\nsize = \"1MiB\"").contains("from 4MiB to 64GiB"));
    }
}

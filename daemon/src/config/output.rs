//! Values of command-line flags that override the configuration.
//!
//! Owns how they are written; clap calls the parsers here.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::export::FileTarget;
use super::units::parse_duration;
use super::validate::INTERVAL_RANGE;

/// One `--output`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// `otlp-json:PATH`: OTLP/JSON lines, `-` for standard output.
    OtlpJson(FileTarget),
    /// `console`: readable lines on standard output.
    Console,
}

impl FromStr for Output {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("otlp-json", "")) => {
                Err("the path is missing: otlp-json:PATH, or otlp-json:- for standard \
                                            output"
                    .to_owned())
            }
            Some(("otlp-json", "-")) => Ok(Self::OtlpJson(FileTarget::Stdout)),
            Some(("otlp-json", path)) => Ok(Self::OtlpJson(FileTarget::Path(PathBuf::from(path)))),
            None if text == "console" => Ok(Self::Console),
            _ => Err("it is otlp-json:PATH, otlp-json:- or console".to_owned()),
        }
    }
}

/// Reads `--interval`.
///
/// # Errors
///
/// One sentence for the user when the text is no duration or out of range.
pub fn parse_interval(text: &str) -> Result<Duration, String> {
    parse_duration(text, &INTERVAL_RANGE)
}

//! What the configuration's tests share.

mod collectors;
mod environment;
mod files;
mod wrong;

use super::*;

pub const METRICS: &[&str] = &["netsonde.flow.io", "netsonde.tcp.rtt"];

/// Loads a text as if it were the file `test.toml`.
pub fn parse(text: &str, variables: &[(&str, &str)], overrides: Overrides) -> Result<Loaded, ConfigError> {
    parse_with(text, variables, overrides, Secrets::Read)
}

/// Likewise, without the files that it names for secrets.
pub fn parse_without_secrets(text: &str) -> Result<Loaded, ConfigError> {
    parse_with(text, &[], Overrides::default(), Secrets::Leave)
}

fn parse_with(
    text: &str,
    variables: &[(&str, &str)],
    overrides: Overrides,
    secrets: Secrets,
) -> Result<Loaded, ConfigError> {
    let environment = |name: &str| {
        variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
    };
    let sources = Sources { file: None, environment: &environment, overrides, known_metrics: METRICS };
    super::parse(Some((Path::new("test.toml"), text)), sources, secrets)
}

/// Loads a text alone, which is right.
pub fn right(text: &str) -> Config {
    parse(text, &[], Overrides::default()).expect("a right configuration").config
}

/// Loads a text alone, which is wrong, and tells how.
pub fn wrong(text: &str) -> String {
    parse(text, &[], Overrides::default()).expect_err("a wrong configuration").to_string()
}

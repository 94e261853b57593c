//! Any bytes as the configuration file, and what is printed of it as one again.
//!
//! The daemon is a binary and offers no library, so its modules are compiled into this target as they stand.
//!
//! `cargo +nightly fuzz run config -- -max_len=4096 -max_total_time=600`

#![no_main]
#![allow(dead_code, unused_imports, reason = "only the reading of the configuration is called")]

#[path = "../../daemon/src/config/mod.rs"]
mod config;
#[path = "../../daemon/src/enrich/mod.rs"]
mod enrich;
#[path = "../../daemon/src/select/mod.rs"]
mod select;
#[path = "../../daemon/src/telemetry.rs"]
mod telemetry;

use std::path::Path;

use config::{ConfigError, Loaded, Overrides, Secrets, Sources};
use libfuzzer_sys::fuzz_target;

fn load(text: &str) -> Result<Loaded, ConfigError> {
    let sources = Sources {
        file: None,
        environment: &|_| None,
        overrides: Overrides::default(),
        known_metrics: &["netsonde.flow.io", "netsonde.tcp.rtt"],
    };
    // The files that a text names are not this target's matter.
    config::parse(Some((Path::new("fuzz.toml"), text)), sources, Secrets::Leave)
}

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match load(text) {
        Ok(loaded) => {
            let printed = config::render(&loaded);
            if let Err(error) = load(&printed) {
                panic!("{error}\n{printed}");
            }
        }
        Err(error) => assert!(!error.problems.is_empty()),
    }
});

//! `netsonde-instructions`: counts the instructions of BPF programs and of hot paths in user space, and compares them with
//! those of `bench/instructions.toml`. With `NETSONDE_BLESS=1` it writes that file instead.
//!
//! Wires the parts: counting is that of [`programs`] and [`paths`], judging that of [`comparison`].
#![forbid(unsafe_code)]

mod callgrind;
mod comparison;
mod paths;
mod programs;
mod recorded;
mod tools;

use std::io::{Write, stderr, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;

use comparison::Comparison;
use recorded::{FILE, Recorded};
use tools::Tools;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            // Nowhere is left to complain when standard error is closed.
            let _ = writeln!(stderr(), "netsonde-instructions: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything is as recorded, or has been written so.
fn run() -> Result<bool> {
    let root = root();
    let counted = Recorded {
        counted_with: Tools::read(environment("CLANG").as_deref())?,
        programs: programs::of_both_objects()?,
        paths: paths::count(&root)?,
    };
    let file = root.join(FILE);
    let bless = environment("NETSONDE_BLESS").is_some_and(|value| value == "1");
    let recorded = if bless { Recorded::read_or_none(&file)? } else { Recorded::read(&file)? };
    let comparison = Comparison::new(&recorded, &counted);
    writeln!(stdout(), "{comparison}")?;
    if bless {
        counted.write(&file)?;
        writeln!(stdout(), "written to {FILE}")?;
        return Ok(true);
    }
    Ok(comparison.holds())
}

/// The workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The one place that reads the environment.
#[allow(clippy::disallowed_methods, reason = "this is main")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bpf_programs_are_as_long_as_recorded() {
        let recorded = Recorded::read(&root().join(FILE)).unwrap();
        let counted = Recorded {
            counted_with: Tools::read(environment("CLANG").as_deref()).unwrap(),
            programs: programs::of_both_objects().unwrap(),
            paths: recorded.paths.clone(),
        };
        let comparison = Comparison::new(&recorded, &counted);
        assert!(comparison.holds(), "{comparison}");
    }
}

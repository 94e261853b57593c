//! The file of recorded counts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::tools::Tools;

/// Below the root of the workspace.
pub const FILE: &str = "bench/instructions.toml";

/// What stands above the counts.
const HEAD: &str = "\
# Instructions of BPF programs and of hot paths in user space. Written by NETSONDE_BLESS=1 make instructions, compared by
# make instructions: whoever changes a number here says why in the commit.
";

/// Counts, and what they were counted with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// Counts of other tools are not comparable.
    pub counted_with: Tools,
    /// Instructions of each BPF program, with those of what it calls.
    pub programs: BTreeMap<String, u64>,
    /// Instructions of each path, by the name of the test that drives it without its module `counted`.
    pub paths: BTreeMap<String, Counted>,
}

/// What one path costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counted {
    /// For each of these.
    pub unit: String,
    /// So many.
    pub instructions: u64,
}

impl Recorded {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// When it is not there, or is not as this writes it.
    pub fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        Self::parse(&text).with_context(|| format!("{} is malformed", file.display()))
    }

    /// Likewise; nothing is recorded where there is no file.
    ///
    /// # Errors
    ///
    /// As those of [`Self::read`].
    pub fn read_or_none(file: &Path) -> Result<Self> {
        match fs::exists(file) {
            Ok(false) => Ok(Self::default()),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Self::default()),
            _ => Self::read(file),
        }
    }

    fn parse(text: &str) -> Result<Self> {
        Ok(toml::from_str(text)?)
    }

    /// Writes the file.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn write(&self, file: &Path) -> Result<()> {
        fs::write(file, self.render()?).with_context(|| format!("cannot write {}", file.display()))
    }

    /// A line a count, so that a change is one.
    fn render(&self) -> Result<String> {
        let mut text = format!("{HEAD}\n[counted_with]\n{}", toml::to_string(&self.counted_with)?);
        write!(text, "\n[programs]\n{}\n[paths]\n", toml::to_string(&self.programs)?)?;
        for (name, path) in &self.paths {
            let unit = toml::Value::String(path.unit.clone());
            let instructions = path.instructions;
            writeln!(text, "\"{name}\" = {{ unit = {unit}, instructions = {instructions} }}")?;
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let counted = |instructions| Counted { unit: "flow with a \"name\"".to_owned(), instructions };
        let recorded = Recorded {
            counted_with: Tools::example(),
            programs: [("packet_sent".to_owned(), 7), ("tcp_sweep".to_owned(), 8)].into(),
            paths: [("a::b".to_owned(), counted(1)), ("a::c".to_owned(), counted(2))].into(),
        };
        let text = recorded.render().unwrap();
        assert_eq!(Recorded::parse(&text).unwrap(), recorded, "{text}");
        assert!(Recorded::parse(&text.replace("instructions", "instruction")).is_err());
    }
}

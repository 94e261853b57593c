//! What counts depend on besides the code.

use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// The tools, each in its own words.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tools {
    /// Compiles the BPF programs.
    pub clang: String,
    /// Compiles the rest.
    pub rustc: String,
    /// Brings malloc and memcpy.
    pub libc: String,
    /// Counts.
    pub valgrind: String,
    /// The widest vectors that valgrind lets programs find: memcpy and searches are chosen by them.
    pub processor: String,
}

impl Tools {
    /// Asks each of them. `clang` is the one that the BPF programs were compiled with, if it is not called that.
    ///
    /// # Errors
    ///
    /// When one of them is not there.
    pub fn read(clang: Option<&str>) -> Result<Self> {
        Ok(Self {
            clang: first_line(clang.unwrap_or("clang"), "--version")?,
            rustc: first_line("rustc", "--version")?,
            libc: first_line("getconf", "GNU_LIBC_VERSION")?,
            valgrind: first_line("valgrind", "--version").unwrap_or_else(|_| "none".to_owned()),
            processor: processor().to_owned(),
        })
    }

    /// In what the counts of BPF programs made with others are not comparable with those made with these.
    pub fn differs_for_programs(&self, with: &Self) -> Vec<String> {
        differing([("clang", &self.clang, &with.clang)])
    }

    /// Likewise, of paths.
    pub fn differs_for_paths(&self, with: &Self) -> Vec<String> {
        differing([
            ("rustc", &self.rustc, &with.rustc),
            ("libc", &self.libc, &with.libc),
            ("valgrind", &self.valgrind, &with.valgrind),
            ("processor", &self.processor, &with.processor),
        ])
    }

    #[cfg(test)]
    pub fn example() -> Self {
        Self {
            clang: "clang 14".to_owned(),
            rustc: "rustc 1.95.0".to_owned(),
            libc: "glibc 2.36".to_owned(),
            valgrind: "valgrind-3.19.0".to_owned(),
            processor: "x86_64, AVX2".to_owned(),
        }
    }
}

fn differing<const N: usize>(tools: [(&str, &String, &String); N]) -> Vec<String> {
    let differ = tools.into_iter().filter(|(_, recorded, here)| recorded != here);
    differ.map(|(tool, recorded, here)| format!("{tool}: {recorded}; here it is {here}")).collect()
}

fn first_line(program: &str, argument: &str) -> Result<String> {
    let output =
        Command::new(program).arg(argument).output().with_context(|| format!("cannot run {program}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().next() {
        Some(line) if output.status.success() => Ok(line.trim().to_owned()),
        _ => bail!("{program} {argument} says nothing"),
    }
}

#[cfg(target_arch = "x86_64")]
fn processor() -> &'static str {
    if std::arch::is_x86_feature_detected!("avx2") {
        "x86_64, AVX2"
    } else if std::arch::is_x86_feature_detected!("avx") {
        "x86_64, AVX"
    } else {
        "x86_64, SSE"
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn processor() -> &'static str {
    std::env::consts::ARCH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_count_depends_on_makes_it_incomparable() {
        let recorded = Tools::example();
        let newer = Tools { clang: "clang 19".to_owned(), ..recorded.clone() };
        assert_eq!(recorded.differs_for_programs(&newer), ["clang: clang 14; here it is clang 19"]);
        assert!(recorded.differs_for_paths(&newer).is_empty());
        let newer = Tools { libc: "glibc 2.41".to_owned(), ..recorded.clone() };
        assert_eq!(recorded.differs_for_paths(&newer).len(), 1);
        assert!(recorded.differs_for_programs(&newer).is_empty());
    }
}

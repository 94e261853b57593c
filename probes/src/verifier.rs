//! What the kernel's verifier pays for each program before it lets it in. It gives up at a million instructions
//! (`BPF_COMPLEXITY_LIMIT_INSNS`, include/linux/bpf.h), and other kernels than the one at hand follow more paths, so a
//! program must stay well below.

use std::collections::BTreeMap;

use libbpf_rs::Object;

use crate::error::Result;
use crate::load::{self, Sizes};

/// What one program cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifierCost {
    /// Instructions that the verifier went through, on all paths.
    pub instructions: u64,
    /// As many as it would have gone through.
    pub limit: u64,
    /// States that it kept to compare others with.
    pub states: u64,
    /// The most that it held at once.
    pub peak_states: u64,
}

/// Loads every program that this kernel has a hook for, attaches nothing, and tells what each cost; or why it was
/// refused.
///
/// # Errors
///
/// When this kernel or this process cannot load programs at all.
pub fn costs(sizes: Sizes) -> Result<BTreeMap<&'static str, std::result::Result<VerifierCost, String>>> {
    let kernel = crate::check_host()?;
    let (_loaded, refused, log): (Object, _, _) = load::load_verbosely(&kernel, sizes)?;
    let mut costs: BTreeMap<_, _> = refused.into_iter().map(|(name, why)| (name, Err(why))).collect();
    for line in log {
        if let Some((name, cost)) = parse(&line) {
            costs.insert(name, Ok(cost));
        }
    }
    Ok(costs)
}

/// The verifier's last line in libbpf's words: the program and what it cost.
fn parse(text: &str) -> Option<(&'static str, VerifierCost)> {
    let (name, log) = text.strip_prefix("libbpf: prog '")?.split_once("': -- BEGIN PROG LOAD LOG --")?;
    let name = load::programs().find(|known| *known == name)?;
    let line = log.lines().find(|line| line.starts_with("processed "))?;
    let after = |word: &str| {
        let (_, rest) = line.split_once(word)?;
        rest.trim_start().split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    Some((
        name,
        VerifierCost {
            instructions: after("processed ")?,
            limit: after("(limit ")?,
            states: after("total_states ")?,
            peak_states: after("peak_states ")?,
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_is_read_from_the_verifiers_last_line() {
        let text = "libbpf: prog 'tcp_sweep': -- BEGIN PROG LOAD LOG --\nverification time 812 usec\nstack depth 144\n\
            processed 8413 insns (limit 1000000) max_states_per_insn 12 total_states 611 peak_states 398 mark_read 17\n\
            -- END PROG LOAD LOG --";
        let cost = VerifierCost { instructions: 8413, limit: 1_000_000, states: 611, peak_states: 398 };
        assert_eq!(parse(text), Some(("tcp_sweep", cost)));
        assert_eq!(parse("libbpf: prog 'tcp_sweep': failed to load: -13"), None);
        assert_eq!(parse(&text.replace("tcp_sweep", "another")), None);
    }
}

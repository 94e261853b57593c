//! The kernel's own statistics of BPF programs (`kernel.bpf_stats_enabled` in
//! Documentation/admin-guide/sysctl/kernel.rst), as bpftool shows them. What is done meanwhile, and what the
//! numbers are divided by, is for the measurements to say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use netsonde_tests::cleanup::CleanUp;
use netsonde_tests::command;
use serde::Serialize;
use serde_json::Value;

/// `BPF_OBJ_NAME_LEN` of include/uapi/linux/bpf.h without the closing zero.
const KERNEL_NAME: usize = 15;

/// What one program took.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Program {
    /// As bpftool names it: whole if it finds the BTF, else as the kernel cuts it.
    pub name: String,
    /// How often it ran.
    pub runs: u64,
    /// Nanoseconds in all of these runs.
    pub ns: u64,
}

impl Program {
    /// What it took after an earlier reading, or in all if there was none.
    pub fn since(&self, earlier: Option<&Program>) -> Program {
        let (runs, ns) = earlier.map_or((0, 0), |earlier| (earlier.runs, earlier.ns));
        Program { name: self.name.clone(), runs: self.runs - runs, ns: self.ns - ns }
    }

    /// Nanoseconds; 0 if it did not run.
    pub fn ns_per_run(&self) -> f64 {
        if self.runs == 0 { 0.0 } else { self.ns as f64 / self.runs as f64 }
    }

    /// Whether it is the program of this name in C.
    pub fn is_named(&self, name: &str) -> bool {
        self.name == name || name.get(..KERNEL_NAME) == Some(&self.name)
    }
}

/// Statistics that are switched on, and who was loaded before. Switched back on drop.
pub struct Statistics {
    others: BTreeSet<u64>,
    _enabled: CleanUp,
}

impl Statistics {
    /// Switches them on. Programs that are loaded from here on count as netsonde's own.
    pub fn enable() -> Result<Self> {
        let enabled = enable()?;
        Ok(Self { others: programs()?.into_keys().collect(), _enabled: enabled })
    }

    /// netsonde's own programs by their ids, and what they took since they were loaded.
    pub fn own(&self) -> Result<BTreeMap<u64, Program>> {
        Ok(programs()?.into_iter().filter(|(id, _)| !self.others.contains(id)).collect())
    }

    /// The program behind netsonde's iterator over TCP sockets.
    pub fn tcp_iterator(&self) -> Result<u64> {
        let links = bpftool("link")?;
        let mut iterators =
            links.as_array().into_iter().flatten().filter(|link| link["target_name"] == "tcp");
        iterators
            .find_map(|link| link["prog_id"].as_u64().filter(|id| !self.others.contains(id)))
            .context("netsonde has no iterator over TCP sockets")
    }
}

fn enable() -> Result<CleanUp> {
    set("1")
}

/// Switches them off until the value is dropped, whoever switched them on: two readings of the clock for each run of a program are a good
/// part of what a run costs, and no load should pay them.
pub fn disable() -> Result<CleanUp> {
    set("0")
}

fn set(value: &str) -> Result<CleanUp> {
    const PATH: &str = "/proc/sys/kernel/bpf_stats_enabled";
    let before = fs::read_to_string(PATH).with_context(|| format!("cannot read {PATH}"))?;
    let mut cleanup = CleanUp::default();
    cleanup.push(move || {
        if let Err(error) = fs::write(PATH, before) {
            eprintln!("{PATH} could not be restored: {error}");
        }
    });
    fs::write(PATH, value).with_context(|| format!("cannot write {PATH}"))?;
    Ok(cleanup)
}

fn bpftool(object: &str) -> Result<Value> {
    Ok(serde_json::from_str(&command::output(Command::new("bpftool").args(["-j", object, "show"]))?)?)
}

/// Every loaded program by its id.
fn programs() -> Result<BTreeMap<u64, Program>> {
    Ok(parse_programs(&bpftool("prog")?))
}

/// The kernel leaves the counts out while they are zero.
fn parse_programs(list: &Value) -> BTreeMap<u64, Program> {
    let parse = |program: &Value| {
        let number = |name: &str| program[name].as_u64().unwrap_or(0);
        let name = program["name"].as_str().unwrap_or("unnamed").to_owned();
        Some((program["id"].as_u64()?, Program { name, runs: number("run_cnt"), ns: number("run_time_ns") }))
    };
    list.as_array().into_iter().flatten().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_without_counts_have_not_run() {
        let list = serde_json::json!([
            {"id": 7, "name": "a", "run_time_ns": 900, "run_cnt": 3},
            {"id": 8, "name": "b"},
        ]);
        let programs = parse_programs(&list);
        assert_eq!(programs[&7].ns_per_run(), 300.0);
        assert_eq!(programs[&8], Program { name: "b".into(), runs: 0, ns: 0 });
        let later = Program { name: "a".into(), runs: 5, ns: 1000 };
        assert_eq!(later.since(programs.get(&7)), Program { name: "a".into(), runs: 2, ns: 100 });
    }

    #[test]
    fn a_name_may_be_cut_by_the_kernel() {
        let program = |name: &str| Program { name: name.into(), runs: 0, ns: 0 };
        assert!(program("process_executed").is_named("process_executed"));
        assert!(program("process_execute").is_named("process_executed"));
        assert!(program("process_exited").is_named("process_exited"));
        assert!(!program("process_exite").is_named("process_exited"));
        assert!(!program("process_walk").is_named("process_executed"));
    }
}

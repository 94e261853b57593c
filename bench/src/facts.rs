//! What a measurement was made on and with: facts of the machine and versions of programs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use netsonde_tests::command;

use crate::results::Host;

/// Programs that say their version when they are asked so, and how each is asked.
const PROGRAMS: [(&str, &[&str]); 9] = [
    ("dnsmasq", &["--version"]),
    ("dnsperf", &["-h"]),
    ("iperf3", &["--version"]),
    ("nginx", &["-v"]),
    ("redis-benchmark", &["--version"]),
    ("sockperf", &["--version"]),
    ("ss", &["-V"]),
    ("wrk", &["-v"]),
    ("chromium", &["--version"]),
];

/// Reads them all.
pub fn host(netsonde: &Path) -> Result<Host> {
    let mut versions: BTreeMap<String, String> = PROGRAMS
        .iter()
        .filter_map(|(name, arguments)| Some(((*name).to_owned(), version(name, arguments)?)))
        .collect();
    let mut own = command::output(Command::new(netsonde).arg("--version"))?.trim().to_owned();
    if let Some(commit) = commit() {
        own = format!("{own} ({commit})");
    }
    versions.insert("netsonde".to_owned(), own);
    let processors = fs::read_to_string("/proc/cpuinfo")?;
    let memory = fs::read_to_string("/proc/meminfo")?;
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    Ok(Host {
        kernel: version_of_kernel(&command::output(Command::new("uname").arg("-r"))?).to_owned(),
        processor: value(&processors, "model name", ':').unwrap_or(std::env::consts::ARCH).to_owned(),
        processors: std::thread::available_parallelism()?.get(),
        memory: kibibytes(&memory, "MemTotal").context("no MemTotal in /proc/meminfo")? * 1024,
        distribution: value(&release, "PRETTY_NAME", '=').unwrap_or("unknown").trim_matches('"').to_owned(),
        versions,
    })
}

/// Without what whoever built the kernel put behind its version.
fn version_of_kernel(release: &str) -> &str {
    release.trim().split('-').next().unwrap_or_default()
}

/// What the first line that has a number in it says; nothing if there is no such program.
pub fn version(name: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(name).args(arguments).output().ok()?;
    // Some say it where errors go, and end as if it were one.
    let text = [output.stdout, output.stderr].concat();
    first_version(&String::from_utf8_lossy(&text))
}

/// The first word that begins with a digit and has a dot, without what follows a comma.
fn first_version(text: &str) -> Option<String> {
    let words = text.split([' ', '\n', '\t', '/', '=', '-', ',']);
    let words = words.map(|word| word.trim_start_matches('v').trim_end_matches(['.', ')', ';']));
    words
        .into_iter()
        .find(|word| word.starts_with(|first: char| first.is_ascii_digit()) && word.contains('.'))
        .map(str::to_owned)
}

/// The commit of the sources beside this program, with a mark if they were changed since.
fn commit() -> Option<String> {
    let mut git = Command::new("git");
    git.args(["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty", "--exclude=*"]);
    Some(command::output(&mut git).ok()?.trim().to_owned())
}

fn value<'a>(text: &'a str, name: &str, separator: char) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(separator)?;
        (key.trim() == name).then_some(value.trim())
    })
}

fn kibibytes(text: &str, name: &str) -> Option<u64> {
    value(text, name, ':')?.strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_however_they_are_said() {
        for (text, version) in [
            ("nginx version: nginx/1.22.1\n", "1.22.1"),
            ("iperf 3.12 (cJSON 1.7.15)\nLinux 6.18", "3.12"),
            ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.2.1", "7.0.15"),
            ("ss utility, iproute2-6.1.0, libbpf 1.1.0", "6.1.0"),
            ("sockperf, version 3.7-no.git \n", "3.7"),
            ("Dnsmasq version 2.90  Copyright (c) 2000-2024 Simon Kelley", "2.90"),
        ] {
            assert_eq!(first_version(text).as_deref(), Some(version), "{text}");
        }
        assert_eq!(first_version("no number"), None);
    }

    #[test]
    fn a_kernel_is_told_by_its_version() {
        assert_eq!(version_of_kernel("6.12.117-cloud-amd64\n"), "6.12.117");
        assert_eq!(version_of_kernel("7.2"), "7.2");
    }

    #[test]
    fn facts_are_found_by_their_whole_names() {
        assert_eq!(kibibytes("MemTotalX: 1 kB\nMemTotal:   24 kB\n", "MemTotal"), Some(24));
        assert_eq!(value("processor\t: 0\nmodel name\t: A: B\n", "model name", ':'), Some("A: B"));
    }
}

//! The benchmark's command line: which measurements are made, in which order, and where their numbers go.
#![forbid(unsafe_code)]
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "its numbers are its output")]

mod audit;
mod bpf;
mod export_size;
mod idle;
mod living;
mod memory;
mod page;
mod pairs;
mod processes;
mod statistics;
mod workloads;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use netsonde_tests::{command, host};
use serde::Serialize;

/// Measures what netsonde costs on this machine.
#[derive(Parser)]
struct Arguments {
    /// Pairs of runs, without and with netsonde, of each workload.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    pairs: u64,
    /// Seconds of each run.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Only this: a workload (keep-alive, connection-per-request, bulk, small-udp, dns, or processes with what BPF
    /// takes for each), bpf (for connections and sockets), memory, audit (beside ss), export-size (bytes
    /// that a host sends in an interval), or page (the web page with many flows).
    #[arg(long)]
    only: Option<String>,
    /// The netsonde to measure; by default the one built beside this program.
    #[arg(long)]
    netsonde: Option<PathBuf>,
    /// Lines of netsonde's configuration; the workload dns brings its own table for DNS.
    #[arg(long, default_value = "")]
    configuration: String,
}

/// What is measured besides workloads.
const OTHERS: [&str; 5] = ["bpf", "memory", "audit", "export-size", "page"];

/// Everything one run of the benchmark found.
#[derive(Serialize)]
struct Results {
    time: String,
    kernel: String,
    processors: usize,
    seconds: u64,
    configuration: String,
    workloads: Vec<pairs::Outcome>,
    bpf: Option<bpf::Cost>,
    processes: Option<processes::Cost>,
    memory: Option<memory::Cost>,
    audit: Option<audit::Cost>,
    export_size: Option<export_size::Cost>,
    page: Option<page::Cost>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let _host = host::Host::acquire()?;
    let netsonde = match &arguments.netsonde {
        Some(path) => path.canonicalize().with_context(|| format!("no netsonde at {}", path.display()))?,
        None => host::netsonde()?,
    };
    let subject = pairs::Subject { netsonde, configuration: arguments.configuration.replace("\\n", "\n") };
    let wanted = |name: &str| arguments.only.as_deref().is_none_or(|only| only == name);
    if !workloads::NAMES.iter().chain(&OTHERS).any(|name| wanted(name)) {
        bail!("nothing is named {:?}; there are {:?} and {OTHERS:?}", arguments.only, workloads::NAMES);
    }
    let mut results = Results {
        time: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        kernel: command::output(Command::new("uname").arg("-r"))?.trim().to_owned(),
        processors: std::thread::available_parallelism()?.get(),
        seconds: arguments.seconds,
        configuration: subject.configuration.clone(),
        workloads: Vec::new(),
        bpf: None,
        processes: None,
        memory: None,
        audit: None,
        export_size: None,
        page: None,
    };
    println!("kernel {}, {} processors, {}", results.kernel, results.processors, subject.netsonde.display());
    let length = Duration::from_secs(arguments.seconds);
    for name in workloads::NAMES.iter().filter(|name| wanted(name)) {
        let workload = workloads::start(name)?;
        let outcome = pairs::measure(name, workload.as_ref(), &subject, arguments.pairs, length)?;
        println!("{outcome}");
        results.workloads.push(outcome);
    }
    if wanted("bpf") {
        let cost = bpf::measure(&subject)?;
        println!("{cost}");
        results.bpf = Some(cost);
    }
    if wanted("processes") {
        let cost = processes::measure(&subject)?;
        println!("{cost}");
        results.processes = Some(cost);
    }
    if wanted("memory") {
        let cost = memory::measure(&subject)?;
        println!("{cost}");
        results.memory = Some(cost);
    }
    if wanted("audit") {
        let cost = audit::measure(&subject, arguments.pairs)?;
        println!("{cost}");
        results.audit = Some(cost);
    }
    if wanted("export-size") {
        let cost = export_size::measure(&subject)?;
        println!("{cost}");
        results.export_size = Some(cost);
    }
    if wanted("page") {
        let cost = page::measure(&subject)?;
        println!("{cost}");
        results.page = Some(cost);
    }
    let path = write(&results)?;
    println!("numbers in {}", path.display());
    Ok(())
}

fn write(results: &Results) -> Result<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    fs::create_dir_all(&directory)?;
    let path = directory.join(format!("{}.json", results.time.replace(':', "")));
    fs::write(&path, serde_json::to_string_pretty(results)? + "\n")?;
    Ok(path)
}

//! The benchmark's command line: which measurements are made, in which order, and where their numbers go.
#![forbid(unsafe_code)]
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "its numbers are its output")]

mod audit;
mod bpf;
mod export_size;
mod facts;
mod idle;
mod living;
mod memory;
mod observers;
mod page;
mod processes;
mod results;
mod rounds;
mod statistics;
mod workloads;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use netsonde_tests::host;

use crate::observers::{Bare, Observer, Subject};
use crate::results::{Content, Figure, Measurement, Scope};

/// Measures what netsonde costs on this machine.
#[derive(Parser)]
struct Arguments {
    /// Rounds of each load: in each it runs once under every observer.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: Option<u64>,
    /// Seconds of each run.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: Option<u64>,
    /// A few minutes in all: fewer and shorter rounds. Numbers go to target/bench unless --output says otherwise.
    #[arg(long)]
    quick: bool,
    /// Only these, by their names, with commas between them.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// The netsonde to measure; by default the one built beside this program.
    #[arg(long)]
    netsonde: Option<PathBuf>,
    /// Lines of netsonde's configuration; a load may bring some of its own.
    #[arg(long, default_value = "")]
    configuration: String,
    /// The directory that numbers are written to.
    #[arg(long)]
    output: Option<PathBuf>,
    /// Says what can be measured, and measures nothing.
    #[arg(long)]
    list: bool,
}

/// What a measurement needs to know.
pub struct Plan {
    /// Rounds of each load.
    pub rounds: u64,
    /// Of each run.
    pub length: Duration,
    /// Whether less will do.
    pub scope: Scope,
    /// Who is measured.
    pub subject: Subject,
}

/// Something that can be measured.
struct Entry {
    name: &'static str,
    about: &'static str,
    measure: fn(&Plan) -> Result<Content>,
}

/// What is measured besides loads, in the order in which it is done.
const OTHERS: [Entry; 6] = [
    Entry { name: "bpf", about: "what BPF takes for connections and swept sockets", measure: bpf::measure },
    Entry { name: "process-cost", about: "what BPF takes for processes", measure: processes::measure },
    Entry { name: "memory", about: "memory at rest and for each process", measure: memory::measure },
    Entry { name: "audit", about: "netsonde audit beside ss", measure: audit::measure },
    Entry {
        name: "export-size",
        about: "bytes that a host sends in an interval",
        measure: export_size::measure,
    },
    Entry { name: "page", about: "the web page with many flows", measure: page::measure },
];

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let names: Vec<&str> =
        workloads::NAMES.into_iter().chain(OTHERS.iter().map(|entry| entry.name)).collect();
    if arguments.list {
        OTHERS.iter().for_each(|Entry { name, about, .. }| println!("{name:<24} {about}"));
        workloads::NAMES.iter().for_each(|name| println!("{name:<24} a load, with netsonde and without"));
        return Ok(());
    }
    if let Some(unknown) = arguments.only.iter().find(|only| !names.contains(&only.as_str())) {
        bail!("nothing is named {unknown}; there are {}", names.join(", "));
    }
    let _host = host::Host::acquire()?;
    let netsonde = match &arguments.netsonde {
        Some(path) => path.canonicalize().with_context(|| format!("no netsonde at {}", path.display()))?,
        None => host::netsonde()?,
    };
    let scope = if arguments.quick { Scope::Quick } else { Scope::Full };
    let (rounds, seconds) = if arguments.quick { (3, 2) } else { (9, 3) };
    let plan = Plan {
        rounds: arguments.rounds.unwrap_or(rounds),
        length: Duration::from_secs(arguments.seconds.unwrap_or(seconds)),
        scope,
        subject: Subject { netsonde, configuration: arguments.configuration.replace("\\n", "\n") },
    };
    let output = match (arguments.output, scope) {
        (Some(output), _) => output,
        (None, Scope::Full) => results::quoted(),
        (None, Scope::Quick) => host::netsonde()?
            .parent()
            .and_then(|one| one.parent())
            .context("no target directory")?
            .join("bench"),
    };
    let facts = facts::host(&plan.subject.netsonde)?;
    println!("kernel {}, {} processors, {}", facts.kernel, facts.processors, plan.subject.netsonde.display());
    for name in names {
        if !(arguments.only.is_empty() || arguments.only.iter().any(|only| only == name)) {
            continue;
        }
        let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let content = match OTHERS.iter().find(|entry| entry.name == name) {
            Some(entry) => (entry.measure)(&plan)?,
            None => load(name, &plan)?,
        };
        let measurement = Measurement {
            name: name.to_owned(),
            time,
            scope,
            host: facts.clone(),
            configuration: plan.subject.configuration.clone(),
            content,
        };
        println!("{measurement}");
        measurement.write(&output)?;
    }
    println!("numbers in {}", output.display());
    Ok(())
}

/// A load, under nobody and under netsonde.
fn load(name: &str, plan: &Plan) -> Result<Content> {
    let workload = workloads::start(name)?;
    let subject = Subject {
        netsonde: plan.subject.netsonde.clone(),
        configuration: plan.subject.configuration.clone(),
    };
    let observers: [Box<dyn Observer>; 2] = [Box::new(Bare), Box::new(subject)];
    Ok(Content::Comparison(rounds::measure(workload.as_ref(), &observers, plan.rounds, plan.length)?))
}

impl std::fmt::Display for Measurement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.content {
            Content::Comparison(comparison) => write!(f, "{}: {comparison}", self.name),
            Content::Figures { figures } => {
                for (line, Figure { title, unit, value, .. }) in figures.iter().enumerate() {
                    let end = if line == 0 { "" } else { "\n" };
                    write!(f, "{end}{}: {title} {value} {unit}", self.name)?;
                }
                Ok(())
            }
            Content::Growth(growth) => {
                write!(
                    f,
                    "{}: {} for {}, exponent {:.2}:",
                    self.name, growth.cost, growth.of, growth.exponent
                )?;
                growth.points.iter().try_for_each(|(n, cost)| write!(f, " {n} {cost} {}", growth.unit))
            }
        }
    }
}

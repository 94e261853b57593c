//! The benchmark's command line: which measurements are made, in which order, and where their numbers go.
#![forbid(unsafe_code)]
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "its numbers are its output")]

mod audit;
mod bpf;
mod cpu;
mod exchange;
mod export_size;
mod facts;
mod growth;
mod held;
mod idle;
mod living;
mod memory;
mod observers;
mod packets;
mod page;
mod peers;
mod processes;
mod quick;
mod render;
mod results;
mod rounds;
mod series;
mod start;
mod statistics;
mod summary;
mod sweep;
mod time_wait;
mod told;
mod workloads;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use netsonde_tests::host;

use crate::observers::{Bare, Observer, Subject};
use crate::peers::Peers;
use crate::results::{Content, Figure, Growth, Measurement, Scope};

/// Measures what netsonde costs on this machine.
#[derive(Parser)]
struct Arguments {
    /// Rounds of each load: in each it runs once under every observer.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: Option<u64>,
    /// Seconds of each run.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: Option<u64>,
    /// Less than five minutes in all: fewer loads, and fewer and shorter rounds of them. Numbers go to target/bench unless --output says otherwise.
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
    /// With netsonde's peers beside it: all of them, or those of these names, with commas between them.
    #[arg(long, value_name = "NAMES", num_args = 0..=1, require_equals = true, default_missing_value = peers::ALL, value_delimiter = ',')]
    peers: Option<Vec<String>>,
    /// Writes docs/benchmarks.md and the numbers in other pages from bench/results, and measures nothing.
    #[arg(long, conflicts_with_all = ["quick", "only", "output"])]
    render: bool,
    /// Says what can be measured, and measures nothing; with --peers, tries which of them run here.
    #[arg(long)]
    list: bool,
    /// Holds so many connections open until its input ends, and measures nothing.
    #[arg(long, hide = true)]
    hold: Option<usize>,
    /// A hundredth of them is used each second.
    #[arg(long, hide = true, requires = "hold")]
    active: bool,
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
const OTHERS: [Entry; 10] = [
    Entry { name: "bpf", about: "what BPF takes for connections and swept sockets", measure: bpf::measure },
    Entry { name: "packets", about: "what BPF takes for packets", measure: packets::measure },
    Entry { name: "cpu", about: "processor time of the daemon for connections", measure: cpu::measure },
    Entry { name: "start", about: "from the start until it is ready", measure: start::measure },
    Entry { name: "sweep", about: "a sweep beside ss -tin", measure: sweep::measure },
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

/// All that can be measured, in the order in which it is done.
fn names() -> Vec<&'static str> {
    let growths = growth::DIMENSIONS.map(|dimension| dimension.name);
    let peers = peers::LOADS.map(|(name, _)| name);
    let others = OTHERS.iter().map(|entry| entry.name);
    workloads::NAMES.into_iter().chain(others).chain(growths).chain(peers).collect()
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(connections) = arguments.hold {
        return held::hold(connections, arguments.active);
    }
    let names = names();
    if arguments.list {
        OTHERS.iter().for_each(|Entry { name, about, .. }| println!("{name:<24} {about}"));
        growth::DIMENSIONS.iter().for_each(|one| println!("{:<24} {}", one.name, one.about));
        workloads::NAMES.iter().for_each(|name| println!("{name:<24} a load, with netsonde and without"));
        peers::LOADS
            .iter()
            .for_each(|(name, load)| println!("{name:<24} {load} under netsonde and its peers"));
        if let Some(peers) = &arguments.peers {
            let _host = host::Host::acquire()?;
            peers::list(peers)?.iter().for_each(|line| println!("{line}"));
        }
        return Ok(());
    }
    if let Some(unknown) = arguments.only.iter().find(|only| !names.contains(&only.as_str())) {
        bail!("nothing is named {unknown}; there are {}", names.join(", "));
    }
    if arguments.render {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let changed = render::write(&root, &results::quoted())?;
        changed.iter().for_each(|path| println!("{}", path.display()));
        println!("{} pages and pictures changed", changed.len());
        return Ok(());
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
    let is_wanted = |name: &str| match arguments.only.as_slice() {
        [] if peers::load(name).is_some() => arguments.peers.is_some(),
        [] => !arguments.quick || quick::has(name),
        only => only.iter().any(|only| only == name),
    };
    let peers = if names.iter().any(|name| is_wanted(name) && peers::load(name).is_some()) {
        Peers::try_out(arguments.peers.as_deref().unwrap_or_default(), |refused| println!("{refused}"))?
    } else {
        Peers::default()
    };
    let (begun, mut all, mut left_out) = (Instant::now(), Vec::new(), Vec::new());
    for name in names {
        if !is_wanted(name) {
            left_out.push(name);
            continue;
        }
        if scope == Scope::Full {
            let left = time_wait::drain()?;
            if left > time_wait::FEW {
                println!("somebody else opens and closes connections: {left} are in TIME_WAIT");
            }
        }
        let time = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let mut host = facts.clone();
        let entry = OTHERS.iter().find(|entry| entry.name == name);
        let contents = match (growth::measure(name, &plan), entry, peers::load(name)) {
            (Some(growths), _, _) => growths?,
            (None, Some(entry), _) => vec![(name.to_owned(), (entry.measure)(&plan)?)],
            (None, None, Some(load)) => {
                host.versions.extend(peers.versions.clone());
                vec![(name.to_owned(), peers.measure(load, &plan)?)]
            }
            (None, None, None) => vec![(name.to_owned(), load(name, &plan)?)],
        };
        for (name, content) in contents {
            let measurement = Measurement {
                name,
                time: time.clone(),
                scope,
                host: host.clone(),
                configuration: plan.subject.configuration.clone(),
                content,
            };
            println!("{measurement}");
            measurement.write(&output)?;
            all.push(measurement);
        }
    }
    println!("\n{}", summary::text(&all));
    if arguments.quick && arguments.only.is_empty() {
        println!("left out, as this was to be quick: {}", left_out.join(", "));
    }
    println!("numbers in {}, made in {} s", output.display(), begun.elapsed().as_secs());
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
                let Growth { of, cost, unit, rest, exponent, upper_exponent, .. } = growth;
                write!(f, "{}: {cost} for {of}, exponent {exponent:.2}", self.name)?;
                write!(f, " ({upper_exponent:.2} in the upper decade)")?;
                if growth.is_worse_than_linear() {
                    write!(f, ", worse than linear")?;
                }
                write!(f, ": 0 {rest} {unit}")?;
                growth.points.iter().try_for_each(|(n, cost)| write!(f, ", {n:.0} {cost}"))
            }
        }
    }
}

//! The page `docs/benchmarks.md`: all results, what they were measured on, and why goals are missed.

use std::collections::BTreeSet;
use std::fmt;

use super::goals::{Goal, Verdict};
use super::plots;
use super::tables::{self, escape, table};
use super::units::{Unit, whole};
use super::{Material, ordered};
use crate::results::{Comparison, Content, Figure, Growth, Host, Measurement};

/// Loads that peers observe as well are named so.
pub const PEERS: &str = "peers-";
/// From the page.
const RESULTS: &str = "../bench/results";
const PLOTS: &str = "benchmarks";

const HEAD: &str = "\
<!-- Made from bench/results and bench/notes by `make benchmarks-page`. What is changed here is lost. -->

# What netsonde costs

Every number here is one of a file in [`bench/results`](../bench/results), as `netsonde-bench` left it; only why a goal is missed is people's own
words, with what they found when they looked for it.

A load runs in rounds: in each of them once without anybody who looks on and once under each observer, the first round in one order, the next in the
opposite one. What counts is the ratio *within* a round, because a machine that grows slower or faster changes all runs of it. A number is the median of
all rounds, and in brackets are the least and the most.
";
const NOTHING: &str = "\
Nothing has been measured: `bench/results` is empty. What is promised is below; `make bench` measures it.
";
const REPEAT: &str = "\
## How to repeat it

```sh
make bench              # all of it, as root, and this page; close what else runs
make bench ARGS=\"--only keep-alive,bpf\"
make bench-quick        # five minutes, into target/bench: enough to see whether something is badly wrong, and never quoted
make benchmarks-page    # this page and the numbers in the other ones, from bench/results
target/release/netsonde-bench --list --peers    # which peers run here, and why others do not
make test-peers         # those that need kprobes, in a virtual machine: what they tell, not what they cost
```

Servers, clients and peers are Debian's, and `make bench` installs them. Loads run on loopback or between network namespaces that are
made for them.
";

/// All of it.
pub fn page(material: &Material<'_>) -> String {
    let mut sections = vec![HEAD.to_owned()];
    if material.results.is_empty() {
        sections.push(NOTHING.to_owned());
    }
    sections.push(goals(material));
    sections.extend(loads(material));
    sections.extend(peers(material));
    sections.extend(figures(material));
    sections.extend(growth(material));
    sections.extend(measured_on(material));
    sections.push(REPEAT.to_owned());
    sections.join("\n")
}

fn goals(material: &Material<'_>) -> String {
    let mut text = format!("## Goals\n\n{}\n", tables::goals(material));
    for (Goal { name, .. }, verdict) in &material.verdicts {
        // That there is a note was made sure of when the material was put together.
        if let (Verdict::Missed(_), Some(note)) = (verdict, material.notes.get(*name)) {
            text.push_str(&format!("\n### Why {name} is missed\n\n{}\n", note.trim()));
        }
    }
    text
}

fn picture(name: &str, material: &Material<'_>) -> String {
    plots::link(name, material, PLOTS).map(|link| format!("{link}\n\n")).unwrap_or_default()
}

fn compared<'a>(material: &'a Material<'_>) -> impl Iterator<Item = (&'a str, &'a Comparison)> {
    ordered(material.results).into_iter().filter_map(|measurement| match &measurement.content {
        Content::Comparison(comparison) => Some((measurement.name.as_str(), comparison)),
        Content::Figures { .. } | Content::Growth(_) => None,
    })
}

fn one(name: &str, comparison: &Comparison, picture: &str) -> String {
    let rounds = comparison.sides.first().map_or(0, |side| side.rates.len());
    let plural = if rounds == 1 { "" } else { "s" };
    format!(
        "### {}\n\n[`{name}`]({RESULTS}/{name}.json), {rounds} round{plural} of {} s.\n\n{picture}{}\n",
        escape(&comparison.title),
        comparison.seconds,
        tables::comparison(comparison)
    )
}

fn loads(material: &Material<'_>) -> Option<String> {
    let loads = compared(material).filter(|(name, _)| !name.starts_with(PEERS));
    let all: Vec<String> = loads.map(|(name, comparison)| one(name, comparison, "")).collect();
    let pictures = picture("ratios", material) + &picture("latencies", material);
    (!all.is_empty()).then(|| format!("## Loads with netsonde and without\n\n{pictures}{}", all.join("\n")))
}

fn peers(material: &Material<'_>) -> Option<String> {
    let peers: Vec<_> = compared(material).filter(|(name, _)| name.starts_with(PEERS)).collect();
    let all: Vec<String> =
        peers.iter().map(|(name, comparison)| one(name, comparison, &picture(name, material))).collect();
    (!all.is_empty()).then(|| {
        format!(
            "## What others cost, and what they see\n\nOthers that tell who talks to whom, as their manuals start them, on the same loads: the share \
             of the bare speed, and how much they told of what there was by the word of the load itself.\n\n{}\n\n{}",
            tables::observers(&peers),
            all.join("\n")
        )
    })
}

fn figures(material: &Material<'_>) -> Option<String> {
    let one = |measurement: &Measurement| {
        let Content::Figures { figures } = &measurement.content else { return None };
        let figures: &[Figure] = figures;
        let name = &measurement.name;
        Some(format!("### {name}\n\n[`{name}`]({RESULTS}/{name}.json)\n\n{}\n", tables::figures(figures)))
    };
    let all: Vec<String> = ordered(material.results).into_iter().filter_map(one).collect();
    (!all.is_empty()).then(|| format!("## Single numbers\n\n{}", all.join("\n")))
}

fn growth(material: &Material<'_>) -> Option<String> {
    let growths: Vec<(&str, &Growth)> = ordered(material.results)
        .into_iter()
        .filter_map(|measurement| match &measurement.content {
            Content::Growth(growth) => Some((measurement.name.as_str(), growth)),
            Content::Figures { .. } | Content::Comparison(_) => None,
        })
        .collect();
    let all: Vec<String> = growths.iter().map(|(name, growth)| one_growth(name, growth, material)).collect();
    (!all.is_empty()).then(|| {
        format!(
            "## More of everything\n\nThe exponent `e` of the `cost = rest + a · n^e` that fits best: 0 costs nothing more, 1 grows as what there is, \
             and more would be a defect. *Rest* is what it costs when there are none. The exponent of the upper decade tells more of a cost \
             that takes over late.\n\n{}\n\n{}",
            tables::growths(&growths),
            all.join("\n")
        )
    })
}

fn one_growth(name: &str, growth: &Growth, material: &Material<'_>) -> String {
    let Growth { of, cost, exponent, upper_exponent, .. } = growth;
    let note = growth.is_worse_than_linear().then(|| material.notes.get(name)).flatten();
    let note = note.map(|note| format!("**Worse than linear.** {}\n\n", note.trim()));
    format!(
        "### {name}\n\n[`{name}`]({RESULTS}/{name}.json), {}, by {}: exponent {exponent:.2}, in the upper decade {upper_exponent:.2}.\n\n{}{}{}\n",
        escape(cost),
        escape(of),
        note.unwrap_or_default(),
        picture(name, material),
        tables::growth(growth)
    )
}

/// What of a host is the machine, without the programs on it.
#[derive(PartialEq)]
pub struct Machine<'a>(&'a Host);

impl Machine<'_> {
    fn is(&self, other: &Host) -> bool {
        let of = |host: &Host| {
            (
                host.kernel.clone(),
                host.processor.clone(),
                host.processors,
                host.memory,
                host.distribution.clone(),
            )
        };
        of(self.0) == of(other)
    }
}

impl fmt::Display for Machine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Host { kernel, processor, processors, memory, distribution, .. } = self.0;
        let memory = Unit::parse("bytes").show(*memory as f64);
        let (processor, distribution) = (escape(processor), escape(distribution));
        write!(f, "{processors} × {processor}, {memory} of memory, {distribution}, Linux {}", escape(kernel))
    }
}

/// Each machine, with the measurements that were made on it.
pub fn machines<'a>(
    measurements: impl Iterator<Item = &'a Measurement>,
) -> Vec<(Machine<'a>, Vec<&'a Measurement>)> {
    let mut machines: Vec<(Machine<'_>, Vec<&Measurement>)> = Vec::new();
    for measurement in measurements {
        match machines.iter_mut().find(|(machine, _)| machine.is(&measurement.host)) {
            Some((_, made)) => made.push(measurement),
            None => machines.push((Machine(&measurement.host), vec![measurement])),
        }
    }
    machines
}

fn measured_on(material: &Material<'_>) -> Option<String> {
    if material.results.is_empty() {
        return None;
    }
    let mut text = "## What it was measured on\n".to_owned();
    for (machine, made) in machines(ordered(material.results).into_iter()) {
        let versions = |name: &str| -> BTreeSet<&str> {
            made.iter().filter_map(|one| one.host.versions.get(name).map(String::as_str)).collect()
        };
        let names: BTreeSet<&str> =
            made.iter().flat_map(|one| one.host.versions.keys()).map(String::as_str).collect();
        let programs = names.into_iter().filter(|name| *name != "netsonde").map(|name| {
            format!(
                "{} {}",
                escape(name),
                escape(&versions(name).into_iter().collect::<Vec<_>>().join(" and "))
            )
        });
        let row = |one: &&Measurement| {
            let own = one.host.versions.get("netsonde").map(String::as_str).unwrap_or_default();
            let own = own.trim_start_matches("netsonde ");
            vec![
                format!("[{0}]({RESULTS}/{0}.json)", one.name),
                one.time.replace('T', " ").replace('Z', " UTC"),
                escape(own),
                if one.configuration.trim().is_empty() {
                    "as it comes".to_owned()
                } else {
                    format!("`{}`", one.configuration.trim().replace('\n', "`<br>`"))
                },
            ]
        };
        text.push_str(&format!(
            "\n{machine}, with {}. {} measurements:\n\n{}\n",
            programs.collect::<Vec<_>>().join(", "),
            whole(made.len() as u64),
            table(&["file", "begun", "netsonde", "configuration"], &made.iter().map(row).collect::<Vec<_>>())
        ));
    }
    Some(text)
}

//! The blocks that pages which people write may have: tables and sentences made of results.

use anyhow::{Context, Result, bail};

use super::Material;
use super::goals::{Of, Verdict, comparison, find_figure, side};
use super::page::machines;
use super::plots;
use super::tables::{self, table};
use super::units::{Unit, whole};
use super::values::UNMEASURED;
use crate::results::{Measurement, Spread};

/// Exports in an hour, at the interval that is the default.
const EXPORTS_AN_HOUR: f64 = 360.0;
/// The smallest host of `export-size`, and those that are larger.
const HOSTS: [&str; 3] = ["small", "medium", "large"];
/// The one that sentences are about.
const PLANNED: &str = "medium";
const GIB: f64 = 1_073_741_824.0;

/// The block of this name. `from` is the way from its page to the root of the repository: empty, or `../`.
pub fn block(name: &str, material: &Material<'_>, from: &str) -> Result<String> {
    match name {
        "costs" => costs(material, from),
        "export-size" => export_size(material),
        "export-planning" => export_planning(material),
        _ => bail!("no block is named {name}"),
    }
}

/// The loads that have goals, in short, and which goals are missed.
fn costs(material: &Material<'_>, from: &str) -> Result<String> {
    let mut rows = Vec::new();
    for (goal, verdict) in &material.verdicts {
        let (Of::Ratio(file), Verdict::Met(measured) | Verdict::Missed(measured)) = (goal.of, verdict) else {
            continue;
        };
        let comparison = comparison(&material.results[file])?;
        let bare = Spread::of(&side(comparison, "bare")?.rates).median;
        rows.push(vec![
            tables::escape(&comparison.title),
            Unit::parse(&comparison.unit).show(bare),
            measured.unit.show_spread(&measured.spread),
            goal.limit(),
            verdict.word().to_owned(),
        ]);
    }
    if rows.is_empty() {
        return Ok("*Not measured: `make bench` does it.*".to_owned());
    }
    let count =
        |is: fn(&Verdict) -> bool| material.verdicts.iter().filter(|(_, verdict)| is(verdict)).count();
    let met = count(|verdict| matches!(verdict, Verdict::Met(_)));
    let missed = count(|verdict| matches!(verdict, Verdict::Missed(_)));
    let loads = material.results.values().filter(|one| comparison(one).is_ok());
    let machines = machines(loads).into_iter().map(|(machine, _)| machine.to_string());
    let picture = plots::link("ratios", material, &format!("{from}docs/benchmarks"));
    Ok(format!(
        "{}\n\nOn {}. Of {} goals {met} are met and {missed} missed; [the benchmarks]({from}docs/benchmarks.md) have \
         them all, why those are missed, latencies, what peers cost, and how to repeat it.{}",
        table(&["load", "without", "share with netsonde", "goal", ""], &rows),
        machines.collect::<Vec<_>>().join("; "),
        met + missed,
        picture.map(|picture| format!("\n\n{picture}")).unwrap_or_default(),
    ))
}

fn number(measurement: &Measurement, host: &str, suffix: &str) -> Result<f64> {
    Ok(find_figure(measurement, &format!("{host}-{suffix}"))?.value.median)
}

/// What hosts send.
fn export_size(material: &Material<'_>) -> Result<String> {
    let Some(measurement) = material.results.get("export-size") else { return Ok(UNMEASURED.to_owned()) };
    let bytes = |bytes: f64| Unit::parse("bytes").show(bytes);
    let mut rows = Vec::new();
    let mut records = Vec::new();
    for host in HOSTS.iter().filter(|host| number(measurement, host, "flows").is_ok()) {
        let number = |suffix: &str| number(measurement, host, suffix);
        let (metrics, gzipped) = (number("metrics")?, number("metrics-gzip")?);
        rows.push(vec![
            (*host).to_owned(),
            whole(number("flows")? as u64),
            whole(number("series")? as u64),
            bytes(metrics),
            bytes(gzipped),
            bytes(metrics * EXPORTS_AN_HOUR),
            bytes(gzipped * EXPORTS_AN_HOUR),
        ]);
        records.push((number("record")?, number("record-gzip")?));
    }
    let (record, gzipped) =
        records.into_iter().reduce(|a, b| (a.0.max(b.0), a.1.max(b.1))).context("export-size has no host")?;
    let head = [
        "host",
        "flows",
        "series",
        "an interval, encoded",
        "with gzip",
        "an hour at 10 s, encoded",
        "with gzip",
    ];
    Ok(format!(
        "{}\n\nA log record has {} at most, and {} with gzip.",
        table(&head, &rows),
        bytes(record),
        bytes(gzipped)
    ))
}

/// What follows from that for links, disks and stores.
fn export_planning(material: &Material<'_>) -> Result<String> {
    let Some(measurement) = material.results.get("export-size") else { return Ok(UNMEASURED.to_owned()) };
    let encoded = number(measurement, PLANNED, "metrics")?;
    let series_a_flow = number(measurement, PLANNED, "series")? / number(measurement, PLANNED, "flows")?;
    let bytes = |bytes: f64| Unit::parse("bytes").show(bytes);
    let minutes = GIB / 2.0 / (encoded * EXPORTS_AN_HOUR) * 60.0;
    let row = |plan: &str, take: String| vec![plan.to_owned(), take];
    let rows = [
        row("a link", "the columns with gzip".to_owned()),
        row(
            "spools, queues of agents and gateways",
            format!(
                "the encoded column, for each hour that a store may be away: 1 GiB of spool, half of it for metrics, holds \
                 {} minutes of the {PLANNED} host; a gateway for 100 of them needs {} for an hour",
                whole(minutes as u64),
                bytes(encoded * EXPORTS_AN_HOUR * 100.0)
            ),
        ),
        row(
            "a gateway's processor and memory",
            format!(
                "hosts × encoded bytes ÷ interval: 100 {PLANNED} hosts at 10 s are {} a second to be decoded",
                bytes(encoded * 100.0 / 10.0)
            ),
        ),
        row(
            "series of a store",
            format!(
                "of a flow, {} as netsonde counts them, and each that is a histogram has 26 in a store",
                Unit::parse("series").show(series_a_flow)
            ),
        ),
    ];
    Ok(table(&["you plan", "take"], &rows))
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::super::goals::Results;
    use super::*;

    fn made(name: &str, results: &Results) -> Result<String> {
        let notes = fixtures::notes();
        block(name, &Material::new(results, &notes)?, "")
    }

    #[test]
    fn blocks_say_what_was_measured() {
        let results = fixtures::results();
        let costs = made("costs", &results).unwrap();
        let row = "| keep-alive, &lt;made> &amp; up | 109,845 requests/s | 0.971 [0.951..0.990] | ≥ 0.995 | **missed** |";
        assert!(costs.contains(row), "{costs}");
        assert!(costs.contains("Of 8 goals 4 are met and 4 missed"), "{costs}");
        let size = made("export-size", &results).unwrap();
        assert!(size.contains("| small | 20 | 199 | 118 KiB | 10.5 KiB | 41.5 MiB | 3.71 MiB |"), "{size}");
        assert!(size.ends_with("A log record has 1.1 KiB at most, and 69 bytes with gzip."), "{size}");
        let planning = made("export-planning", &results).unwrap();
        // Half a GiB by 360 times 922,000 bytes, and 100 times 922,000 bytes in 10 s.
        assert!(planning.contains("holds 97 minutes of the medium host"), "{planning}");
        assert!(planning.contains("needs 30.9 GiB for an hour"), "{planning}");
        assert!(planning.contains("are 8.79 MiB a second"), "{planning}");
        assert!(planning.contains("9.55 series as"), "{planning}");
    }

    #[test]
    fn blocks_say_when_nothing_was() {
        for name in ["costs", "export-size", "export-planning"] {
            assert!(made(name, &Results::new()).unwrap().to_lowercase().contains("not measured"), "{name}");
        }
        assert!(made("other", &Results::new()).is_err());
    }
}

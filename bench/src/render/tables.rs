//! Results as tables of Markdown. Which of them stand where is for `page` and `blocks`.

use super::Material;
use super::goals::{Goal, Verdict};
use super::units::{Unit, quantity, whole};
use crate::results::{Comparison, Figure, Growth, Side, Spread, Told};

/// A table, without the end of its last line.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let rule = vec!["---".to_owned(); head.len()];
    let lines = [line(&head), line(&rule)].into_iter().chain(rows.iter().map(|row| line(row)));
    lines.collect::<Vec<_>>().join("\n")
}

/// Words of a measurement in Markdown, in a table or elsewhere.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('|', "\\|")
        .replace('*', "\\*")
        .replace('_', "\\_")
}

/// Every goal, what was measured for it and whether it holds.
pub fn goals(material: &Material<'_>) -> String {
    let row = |(goal, verdict): &(&Goal, Verdict)| {
        let measured = match verdict {
            Verdict::Unmeasured => String::new(),
            Verdict::Met(measured) | Verdict::Missed(measured) => measured.unit.show_spread(&measured.spread),
        };
        let word = match verdict {
            Verdict::Missed(_) => format!("[{}](#why-{}-is-missed)", verdict.word(), goal.name),
            Verdict::Met(_) | Verdict::Unmeasured => verdict.word().to_owned(),
        };
        vec![goal.title.to_owned(), goal.limit(), measured, word]
    };
    table(&["what", "goal", "measured", ""], &material.verdicts.iter().map(row).collect::<Vec<_>>())
}

/// A column of a comparison: its head, and what it has of a side.
type Column<'a> = (String, Box<dyn Fn(&Side) -> String + 'a>);

/// A load under all who observed it. Columns that say nothing of anybody are left out.
pub fn comparison(comparison: &Comparison) -> String {
    let unit = Unit::parse(&comparison.unit);
    let (name, per) = (comparison.unit.as_str(), comparison.seconds);
    let latency = |values: &[f64]| middle(values).map(|spread| Unit::parse("us").show(spread.median));
    let columns: [Column<'_>; 6] = [
        (
            name.to_owned(),
            Box::new(|side: &Side| {
                let shown = middle(&side.rates).map(|spread| unit.show_spread(&spread)).unwrap_or_default();
                shown.trim_end_matches(name).trim_end().to_owned()
            }),
        ),
        (
            "share of the bare speed".to_owned(),
            Box::new(|side| {
                side.ratio.map(|ratio| Unit::parse("ratio").show_spread(&ratio)).unwrap_or_default()
            }),
        ),
        ("p50".to_owned(), Box::new(|side| latency(&side.p50_us).unwrap_or_default())),
        ("p99".to_owned(), Box::new(|side| latency(&side.p99_us).unwrap_or_default())),
        ("of one processor".to_owned(), Box::new(move |side| processor(side, per).unwrap_or_default())),
        ("told of".to_owned(), Box::new(told)),
    ];
    let columns: Vec<&Column<'_>> =
        columns.iter().filter(|(_, of)| comparison.sides.iter().any(|side| !of(side).is_empty())).collect();
    let head: Vec<&str> = std::iter::once("").chain(columns.iter().map(|(head, _)| head.as_str())).collect();
    let row = |side: &Side| {
        let name = escape(&side.observer);
        std::iter::once(name).chain(columns.iter().map(|(_, of)| of(side))).collect::<Vec<_>>()
    };
    table(&head, &comparison.sides.iter().map(row).collect::<Vec<_>>())
}

fn middle(values: &[f64]) -> Option<Spread> {
    (!values.is_empty()).then(|| Spread::of(values))
}

/// Its processor time by the time of the runs; nothing of who used none.
fn processor(side: &Side, seconds: u64) -> Option<String> {
    let used = middle(&side.cpu_seconds)?.median;
    (used > 0.0 && seconds > 0).then(|| Unit::parse("%").show(100.0 * used / seconds as f64))
}

fn told(side: &Side) -> String {
    let one = |told: &Told| {
        let (all, what) = (whole(told.told), escape(&told.what));
        match told.truth {
            0 => format!("{all} {what}"),
            truth => format!("{all} of {} {what} ({})", whole(truth), told_share(told)),
        }
    };
    side.told.iter().map(one).collect::<Vec<_>>().join("<br>")
}

/// Everybody's share of the bare speed in several loads, and how much of what there was they told of.
pub fn observers(loads: &[(&str, &Comparison)]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for side in loads.iter().flat_map(|(_, comparison)| &comparison.sides) {
        if side.ratio.is_some() && !names.contains(&side.observer.as_str()) {
            names.push(&side.observer);
        }
    }
    let cell = |comparison: &Comparison, name: &str| {
        let side = comparison.sides.iter().find(|side| side.observer == name)?;
        let share = Unit::parse("ratio").show(side.ratio?.median);
        let told = side.told.iter().filter(|told| told.truth > 0);
        let told = told.map(|told| format!("{} {}", escape(&told.what), told_share(told)));
        Some(std::iter::once(share).chain(told).collect::<Vec<_>>().join("<br>"))
    };
    let row = |name: &&str| {
        let cells = loads.iter().map(|(_, comparison)| cell(comparison, name).unwrap_or_default());
        std::iter::once(escape(name)).chain(cells).collect::<Vec<_>>()
    };
    let head: Vec<String> = loads.iter().map(|(_, comparison)| escape(&comparison.title)).collect();
    let head: Vec<&str> = std::iter::once("").chain(head.iter().map(String::as_str)).collect();
    table(&head, &names.iter().map(row).collect::<Vec<_>>())
}

/// Of something that there was. Away from 100 %, which is said where it is exactly that.
fn told_share(told: &Told) -> String {
    let thousandths = 1000.0 * told.told as f64 / told.truth as f64;
    let thousandths = if told.told > told.truth { thousandths.ceil() } else { thousandths.floor() };
    format!("{} %", thousandths / 10.0)
}

/// Single numbers.
pub fn figures(figures: &[Figure]) -> String {
    let row = |figure: &Figure| {
        let value = Unit::parse(&figure.unit).show_spread(&figure.value);
        vec![escape(&figure.title), value, whole(figure.count as u64)]
    };
    table(&["what", "median [range]", "of"], &figures.iter().map(row).collect::<Vec<_>>())
}

/// How many there were, and the cost then, from none.
pub fn growth(growth: &Growth) -> String {
    let unit = Unit::parse(&growth.unit);
    let row = |(n, cost): &(f64, Spread)| vec![quantity(*n), unit.show_spread(cost)];
    let head = [escape(&growth.of), escape(&growth.cost)];
    let none = std::iter::once((0.0, growth.rest));
    let rows: Vec<_> = none.chain(growth.points.iter().copied()).map(|point| row(&point)).collect();
    table(&head.each_ref().map(String::as_str), &rows)
}

/// The exponents of all growths, and the ends of their costs.
pub fn growths(growths: &[(&str, &Growth)]) -> String {
    let row = |(name, growth): &(&str, &Growth)| {
        let Growth { of, cost, exponent, upper_exponent, .. } = growth;
        let unit = Unit::parse(&growth.unit);
        let last =
            growth.points.last().map(|(n, cost)| format!("{} at {}", unit.show(cost.median), quantity(*n)));
        let worse = if growth.is_worse_than_linear() { "**worse than linear**" } else { "" };
        vec![
            format!("[{}, by {}](#{name})", escape(cost), escape(of)),
            unit.show(growth.rest.median),
            last.unwrap_or_default(),
            format!("{exponent:.2}"),
            format!("{upper_exponent:.2}"),
            worse.to_owned(),
        ]
    };
    let head = ["cost", "at rest", "at most", "exponent", "in the upper decade", ""];
    table(&head, &growths.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::super::goals::comparison as compared;
    use super::*;
    use crate::results::Content;

    #[test]
    fn a_comparison_shows_what_there_is() {
        let mut results = fixtures::results();
        let measurement = results.remove("peers-connection-per-request").unwrap();
        assert_eq!(
            comparison(compared(&measurement).unwrap()),
            "|  | requests/s | share of the bare speed | p50 | p99 | of one processor | told of |\n\
             | --- | --- | --- | --- | --- | --- | --- |\n\
             | bare | 20,000 |  | 120 µs | 900 µs |  |  |\n\
             | netsonde | 18,600 [18,000..19,000] | 0.930 [0.900..0.950] | 129 µs | 1.03 ms | 2 % | 39,876 of 40,000 connections (99.6 %) |\n\
             | nethogs | 10,000 [8,000..14,000] | 0.500 [0.400..0.700] | 240 µs | 1.92 ms | 2 % | 39,876 of 40,000 connections (99.6 %) |\n\
             | ss -tinp | 14,000 [12,000..14,400] | 0.700 [0.600..0.720] | 171 µs | 1.37 ms | 2 % | 39,876 of 40,000 connections (99.6 %) |"
        );
        let both = [("a", compared(&measurement).unwrap()), ("b", compared(&results["dns"]).unwrap())];
        assert_eq!(
            observers(&both),
            "|  | peers-connection-per-request, &lt;made> &amp; up | dns, &lt;made> &amp; up |\n| --- | --- | --- |\n\
             | netsonde | 0.930<br>connections 99.6 % | 0.943<br>connections 99.6 % |\n\
             | nethogs | 0.500<br>connections 99.6 % |  |\n| ss -tinp | 0.700<br>connections 99.6 % |  |"
        );
        let mut bare = compared(&measurement).unwrap().clone();
        bare.sides.truncate(1);
        bare.sides[0].p50_us.clear();
        bare.sides[0].p99_us.clear();
        assert_eq!(comparison(&bare), "|  | requests/s |\n| --- | --- |\n| bare | 20,000 |");
    }

    #[test]
    fn figures_and_growth_are_in_units_that_people_read() {
        let bpf = fixtures::figures("bpf", &[("connection", "ns", &[3700.0, 3812.0, 4000.0])]);
        let Content::Figures { figures: all } = &bpf.content else { panic!("{bpf:?}") };
        assert!(figures(all).ends_with("| the connection | 3.81 [3.7..4] µs | 3 |"), "{}", figures(all));
        let sockets = fixtures::growth("growth-sockets-time", "open sockets", "one sweep", "us", 1.0);
        let Content::Growth(of) = &sockets.content else { panic!("{sockets:?}") };
        assert_eq!(
            growths(&[("growth-a", of)]).lines().last(),
            Some(
                "| [one sweep, by open sockets](#growth-a) | 300 µs | 27.3 ms at 100,000 | 1.00 | 1.00 |  |"
            )
        );
        assert!(growth(of).contains("\n| 100,000 | 27.3 [26.8..28.1] ms |"), "{}", growth(of));
    }

    #[test]
    fn all_is_said_where_it_is_all() {
        let share = |told, truth| told_share(&Told { what: "connections".into(), truth, told });
        assert_eq!(share(40_000, 40_000), "100 %");
        assert_eq!(share(39_999, 40_000), "99.9 %");
        assert_eq!(share(40_001, 40_000), "100.1 %");
        assert_eq!(share(0, 40_000), "0 %");
        assert_eq!(share(15_540, 33_491), "46.4 %");
    }

    #[test]
    fn words_cannot_become_markup() {
        assert_eq!(escape("a|b <c> & *d*"), "a\\|b &lt;c> &amp; \\*d\\*");
    }
}

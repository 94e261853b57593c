//! The pages of `docs/reference`, and the man pages and completions of `packaging/generated`, from what the code
//! declares: nothing is described twice.
//!
//! Owns the pages' texts and layout. Built for tests only: one of them compares the committed pages with what
//! is made here, and `make reference` writes them anew.

use std::fmt::Write as _;

use clap::CommandFactory;
use netsonde_probes::descriptor::{Attribute, AttributeType, HistogramLayout, Metric, MetricKind, Stability};

use crate::cli::Cli;
use crate::config::FlowAttribute;
use crate::export::prometheus;
use crate::registry;

mod configuration;
mod openapi;
pub mod packaged;
#[cfg(test)]
mod tests;

const NOTICE: &str = "<!-- Written by `make reference` from the code. Do not edit. -->";

/// Every page: its file's name and its text.
pub fn pages() -> [(&'static str, String); 5] {
    [
        ("metrics.md", metrics()),
        ("events.md", events()),
        ("configuration.md", configuration::page()),
        ("command-line.md", command_line()),
        ("openapi.json", format!("{:#}\n", openapi::document())),
    ]
}

/// A page that grows line by line.
struct Page(String);

impl Page {
    fn new(title: &str, introduction: &str) -> Self {
        Self(format!("{NOTICE}\n\n# {title}\n\n{introduction}\n"))
    }

    fn heading(&mut self, level: usize, text: &str) {
        let _ = write!(self.0, "\n{} {text}\n", "#".repeat(level));
    }

    fn paragraph(&mut self, text: &str) {
        let _ = write!(self.0, "\n{text}\n");
    }

    fn table<const N: usize>(&mut self, head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) {
        let _ = write!(self.0, "\n| {} |\n|{}\n", head.join(" | "), " --- |".repeat(N));
        for row in rows {
            let cells = row.map(|cell| cell.replace('|', "\\|"));
            let _ = writeln!(self.0, "| {} |", cells.join(" | "));
        }
    }
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

fn names(attributes: &[&Attribute]) -> String {
    attributes.iter().map(|a| code(a.name)).collect::<Vec<_>>().join(", ")
}

fn stability(of: Stability) -> String {
    let word = match of {
        Stability::Convention => "convention",
        Stability::Stable => "stable",
        Stability::Development => "development",
    };
    word.to_owned()
}

const STABILITIES: &str = "*convention*: a name of the OpenTelemetry semantic conventions; *stable*: netsonde's \
                           own, kept across minor versions; *development*: netsonde's own, may still change.";

fn value_type(of: AttributeType) -> String {
    let word = match of {
        AttributeType::String => "string",
        AttributeType::Int => "int",
        AttributeType::Double => "double",
        AttributeType::Bool => "boolean",
        AttributeType::StringArray => "string[]",
        AttributeType::MapArray => "map[]",
    };
    word.to_owned()
}

fn attribute_row(attribute: &Attribute) -> [String; 4] {
    [
        code(attribute.name),
        value_type(attribute.value_type),
        stability(attribute.stability),
        attribute.description.to_owned(),
    ]
}

const ATTRIBUTE_HEAD: [&str; 4] = ["Attribute", "Type", "Stability", "Description"];

/// Each attribute once, in the order in which they are met.
fn distinct<'a>(attributes: impl Iterator<Item = &'a &'static Attribute>) -> Vec<&'static Attribute> {
    let mut all: Vec<&'static Attribute> = Vec::new();
    for attribute in attributes {
        if !all.iter().any(|a| a.name == attribute.name) {
            all.push(attribute);
        }
    }
    all
}

fn instrument(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Counter => "counter",
        MetricKind::UpDownCounter => "up-down counter",
        MetricKind::Gauge => "gauge",
        MetricKind::Histogram(_) => "histogram",
    }
}

fn metric_table(page: &mut Page, metrics: &[&Metric]) {
    let rows = metrics.iter().map(|m| {
        [
            code(m.name),
            instrument(m.kind).to_owned(),
            code(m.unit),
            m.description.to_owned(),
            names(m.attributes),
            stability(m.stability),
            code(&prometheus::name(m)),
        ]
    });
    let head =
        ["Metric", "Instrument", "Unit", "Description", "Own attributes", "Stability", "In Prometheus"];
    page.table(head, rows);
}

fn bounds(layout: HistogramLayout) -> String {
    layout.bounds_seconds().iter().map(f64::to_string).collect::<Vec<_>>().join(", ")
}

fn metrics() -> String {
    let all = registry::metrics();
    let (of_flows, of_itself): (Vec<&Metric>, Vec<&Metric>) = all.iter().partition(|m| m.of_flow);
    let introduction = "What netsonde exports as OTLP metrics. The last column of the tables is the name that \
                        Prometheus gives to what it receives as OTLP, and that `/metrics` has.";
    let mut page = Page::new("Metrics", introduction);
    page.paragraph(STABILITIES);
    page.heading(2, "Of flows");
    page.paragraph(
        "Each point carries the metric's own attributes and the [flow attributes](#flow-attributes) that the \
         configuration chooses. Sums and histograms have the temporality of `metrics.temporality`; the up-down \
         counter is cumulative in any case.",
    );
    metric_table(&mut page, &of_flows);
    page.heading(2, "Flow attributes");
    page.paragraph(
        "The words of `metrics.attributes` and `metrics.override`. One that is not known of a flow is absent \
         from its points.",
    );
    let rows = registry::flow_attributes().into_iter().map(|(attribute, key)| {
        let default = FlowAttribute::DEFAULT.contains(&attribute);
        let [name, value_type, stability, description] = attribute_row(key);
        [name, value_type, if default { "yes" } else { "no" }.to_owned(), stability, description]
    });
    page.table(["Attribute", "Type", "Default", "Stability", "Description"], rows);
    page.paragraph(
        "What does not fit into `metrics.series_limit` or into the kernel's table of flows is summed into one \
         series a metric, which carries `otel.metric.overflow` = true in place of flow attributes.",
    );
    page.heading(2, "Of the audit and of netsonde itself");
    page.paragraph("Cumulative since the daemon's start, whatever `metrics.temporality` says.");
    metric_table(&mut page, &of_itself);
    page.heading(2, "Own attributes of metrics");
    let own = distinct(all.iter().flat_map(|m| m.attributes));
    page.table(ATTRIBUTE_HEAD, own.into_iter().map(attribute_row));
    page.heading(2, "Loss reasons");
    page.paragraph("The values of `netsonde.loss.reason`.");
    let rows = registry::losses().map(|(reason, meaning)| [code(reason), meaning.to_owned()]);
    page.table(["Reason", "Meaning"], rows);
    page.heading(2, "Histogram buckets");
    page.paragraph(
        "Each bound is twice the one before, and belongs to the bucket that it closes. The last bucket has no \
         upper bound.",
    );
    let histograms = all.iter().filter_map(|m| match m.kind {
        MetricKind::Histogram(layout) => Some([code(m.name), layout.buckets.to_string(), bounds(layout)]),
        _ => None,
    });
    page.table(["Metric", "Buckets", "Upper bounds in seconds"], histograms);
    page.0
}

fn events() -> String {
    let all = registry::events();
    let introduction = "What netsonde exports as OTLP log records, one an event. The record's `event_name` is \
                        the name given here; its body is one readable sentence. A failure and a violation \
                        have the severity WARN, everything else INFO. `events.enabled` chooses among them by key.";
    let mut page = Page::new("Log events", introduction);
    let rows = all.iter().map(|e| {
        let key = e.config_key.map_or_else(|| "always".to_owned(), code);
        [code(e.name), key, e.description.to_owned(), names(e.attributes)]
    });
    page.table(["Event", "Key", "Written when", "Own attributes"], rows);
    page.paragraph("An attribute that is not known, or does not apply, is absent.");
    page.heading(2, "Attributes of every event");
    page.table(ATTRIBUTE_HEAD, registry::event_attributes().iter().map(|a| attribute_row(a)));
    page.heading(2, "Own attributes of events");
    let own = distinct(all.iter().flat_map(|e| e.attributes));
    page.table(ATTRIBUTE_HEAD, own.into_iter().map(attribute_row));
    page.paragraph(STABILITIES);
    page.0
}

fn command_line() -> String {
    let mut page = Page::new("Command line", "What `netsonde --help` and each command's `--help` print.");
    let mut cli = Cli::command();
    // Else the commands do not know that they belong to netsonde.
    cli.build();
    let commands: Vec<String> = cli.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    help(&mut page, "netsonde", &mut cli);
    for name in commands {
        let command = cli.find_subcommand_mut(&name).expect("just listed");
        help(&mut page, &format!("netsonde {name}"), command);
    }
    page.0
}

fn help(page: &mut Page, name: &str, command: &mut clap::Command) {
    page.heading(2, &code(name));
    let help = command.render_long_help().to_string();
    // Trailing blanks are clap's, and nothing that a reader sees.
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    page.paragraph(&format!("```text\n{}\n```", lines.join("\n").trim_end()));
}

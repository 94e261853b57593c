//! What packages carry beside the binary: man pages and completions, from the same definitions as the help and the
//! page on the configuration.
//!
//! Owns the sections that clap does not know of. Where the files go is the packages' matter.

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use roff::{Inline, Roff, bold, italic, roman};

use super::configuration;
use crate::cli::Cli;

/// Every file under `packaging/generated`: its path there and its text.
pub fn files() -> Vec<(String, String)> {
    let mut cli = Cli::command();
    // Else the commands do not know that they belong to netsonde.
    cli.build();
    let mut files = vec![("man/netsonde.1".to_owned(), netsonde(&cli))];
    for command in cli.get_subcommands() {
        files.push((format!("man/netsonde-{}.1", command.get_name()), subcommand(command)));
    }
    files.push(("man/netsonde.toml.5".to_owned(), netsonde_toml()));
    for (shell, name) in
        [(Shell::Bash, "netsonde.bash"), (Shell::Zsh, "_netsonde"), (Shell::Fish, "netsonde.fish")]
    {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "netsonde", &mut script);
        files.push((format!("completions/{name}"), text(script)));
    }
    files
}

fn text(bytes: Vec<u8>) -> String {
    let text = String::from_utf8(bytes).expect("made of text");
    // Trailing blanks are the generators', and nothing that a reader sees.
    text.lines().fold(String::new(), |all, line| all + line.trim_end() + "\n")
}

fn netsonde(cli: &Command) -> String {
    let page = page_of(cli, "netsonde");
    let mut sections = Roff::new();
    sections.control("SH", ["FILES"]);
    for (file, meaning) in [
        ("/etc/netsonde/netsonde.toml", "The configuration; see netsonde.toml(5)."),
        (
            "/etc/netsonde/environment",
            "Variables for the service, NAME=VALUE each on a line of its own; read when it starts, if it is there.",
        ),
        ("/run/netsonde/netsonde.sock", "The local API, for root and the group netsonde."),
        ("/var/lib/netsonde", "What the service remembers."),
        ("/var/log/netsonde", "Where the service may write files of OTLP/JSON."),
    ] {
        sections.control("TP", []).text([italic(file)]).text([roman(meaning)]);
    }
    sections.control("SH", ["ENVIRONMENT"]);
    sections.text([roman(
        "The standard variables of OpenTelemetry override the configuration; netsonde.toml(5) lists them.",
    )]);
    let mut others: Vec<String> =
        cli.get_subcommands().map(|c| format!("netsonde-{}(1)", c.get_name())).collect();
    others.extend(["netsonde.toml(5)".to_owned(), "systemctl(1)".to_owned(), "ss(8)".to_owned()]);
    see_also(&mut sections, &others);
    page + &sections.to_roff()
}

fn subcommand(command: &Command) -> String {
    let name = format!("netsonde-{}", command.get_name());
    let mut sections = Roff::new();
    see_also(&mut sections, &["netsonde(1)".to_owned(), "netsonde.toml(5)".to_owned()]);
    page_of(command, &name) + &sections.to_roff()
}

/// In the place of a page's date, so that the same sources give the same page. Empty, it would be left out, and the
/// source taken for it.
const NO_DATE: &str = " ";

/// The page that clap makes of its definitions.
fn page_of(command: &Command, name: &str) -> String {
    let man = clap_mangen::Man::new(command.clone())
        .title(name.to_owned())
        .date(NO_DATE)
        .source(format!("netsonde {}", env!("CARGO_PKG_VERSION")))
        .manual("netsonde".to_owned());
    let mut page = Vec::new();
    man.render(&mut page).expect("memory can be written");
    text(page)
}

fn see_also(page: &mut Roff, others: &[String]) {
    page.control("SH", ["SEE ALSO"]);
    page.text([roman(others.join(", "))]);
}

/// Words between backquotes are bold; the rest is as it is.
fn inline(prose: &str) -> Vec<Inline> {
    prose.split('`').enumerate().map(|(i, part)| if i % 2 == 1 { bold(part) } else { roman(part) }).collect()
}

fn netsonde_toml() -> String {
    let mut page = Roff::new();
    let source = format!("netsonde {}", env!("CARGO_PKG_VERSION"));
    page.control("TH", ["netsonde.toml", "5", NO_DATE, &source, "netsonde"]);
    page.control("SH", ["NAME"]).text([roman("netsonde.toml - configuration of netsonde(1)")]);
    page.control("SH", ["SYNOPSIS"]).text([italic("/etc/netsonde/netsonde.toml")]);
    page.control("SH", ["DESCRIPTION"]);
    for paragraph in configuration::introduction().split("\n\n") {
        page.control("PP", []).text(inline(paragraph));
    }
    for table in configuration::described() {
        page.control("SH", [if table.header.is_empty() { "TOP LEVEL" } else { &table.header }]);
        if !table.meaning.is_empty() {
            page.text(inline(&table.meaning));
        }
        for key in table.keys {
            page.control("TP", []).text([bold(key.path)]);
            if !key.meaning.is_empty() {
                page.text(inline(&key.meaning));
            }
            for fact in key.facts {
                page.control("br", []).text(inline(&format!("{fact}.")));
            }
        }
    }
    page.control("SH", ["ENVIRONMENT"])
        .text([roman("Variables win over the file. One that is empty counts as not set.")]);
    for (variable, keys, form) in configuration::variable_rows() {
        page.control("TP", []).text([bold(variable)]);
        page.text(inline(&format!("Overrides `{}`: {form}.", keys.join("` and `"))));
    }
    see_also(&mut page, &["netsonde(1)".to_owned(), "netsonde-check-config(1)".to_owned()]);
    page.render()
}

//! How the web page copes with many flows: when it first paints, when it shows data, and how long it takes from a key to
//! what a filter leaves. In Chromium, on this machine, which also runs the daemon.

use std::collections::BTreeMap;
use std::fmt;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use netsonde_tests::browser;
use netsonde_tests::host;
use netsonde_tests::program::{Programs, Running};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::pairs::{Spread, Subject};

/// Each has as many connections to as many ports of its own, and both ends of each are a flow.
const PROGRAMS: usize = 10;
const CONNECTIONS: usize = 250;
const FLOWS: usize = PROGRAMS * CONNECTIONS * 2;
const ROUNDS: usize = 9;

/// What was found, in milliseconds.
#[derive(Debug, Serialize)]
pub struct Cost {
    flows: usize,
    first_paint: Spread,
    first_data: Spread,
    filter: BTreeMap<String, Spread>,
    heap_bytes: u64,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "page: {} flows an interval", self.flows)?;
        writeln!(f, "page: first paint {} ms, data shown {} ms", self.first_paint, self.first_data)?;
        for (view, response) in &self.filter {
            writeln!(f, "page: filter response, {view} {response} ms")?;
        }
        write!(f, "page: {} MB of JavaScript heap", self.heap_bytes / 1_000_000)
    }
}

/// What the script says.
#[derive(Debug, Deserialize)]
struct Measured {
    problems: Vec<String>,
    paint: Vec<f64>,
    data: Vec<f64>,
    response: BTreeMap<String, Vec<f64>>,
    heap: u64,
}

/// Opens the flows, and lets a browser look at them.
pub fn measure(subject: &Subject) -> Result<Cost> {
    let programs = Programs::new()?;
    let text = std::fs::read_to_string(host::source("programs/many_sockets.py"))?;
    let mut running = Vec::with_capacity(PROGRAMS);
    for number in 0..PROGRAMS {
        let script = programs.script(&format!("program-{number}.py"), &text)?;
        let mut command = Command::new("python3");
        command.arg(script).args([CONNECTIONS.to_string(), CONNECTIONS.to_string()]);
        let mut one = Running::start_command(&mut command)?;
        one.line().context("not all sockets can be opened")?;
        running.push(one);
    }
    let port = browser::free_port()?;
    let daemon = subject.start_for(&format!("[api]\nlisten = \"127.0.0.1:{port}\"\n"))?;
    let arguments = json!({
        "origin": format!("http://127.0.0.1:{port}"), "flows": FLOWS, "filter": "binary:program-3.py", "rounds": ROUNDS,
    });
    let mut script = browser::script("bench.mjs", &arguments)?;
    let measured: Measured = script.read()?;
    script.end()?;
    // What it would still have exported is nobody's matter here.
    drop(daemon);
    ensure!(measured.problems.is_empty(), "the page had problems: {:?}", measured.problems);
    Ok(Cost {
        flows: FLOWS,
        first_paint: Spread::of(&measured.paint),
        first_data: Spread::of(&measured.data),
        filter: measured.response.into_iter().map(|(view, all)| (view, Spread::of(&all))).collect(),
        heap_bytes: measured.heap,
    })
}

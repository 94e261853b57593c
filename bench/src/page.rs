//! How the web page copes with many flows: when it first paints, when it shows data, and how long it takes from a key to
//! what a filter leaves. In Chromium, on this machine, which also runs the daemon.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use netsonde_tests::browser;
use netsonde_tests::host;
use netsonde_tests::program::{Programs, Running};
use serde::Deserialize;
use serde_json::json;

use crate::Plan;
use crate::results::{Content, Figure};

/// Each has as many connections to as many ports of its own, and both ends of each are a flow.
const PROGRAMS: usize = 10;
const CONNECTIONS: usize = 250;
const FLOWS: usize = PROGRAMS * CONNECTIONS * 2;
const ROUNDS: usize = 9;

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
pub fn measure(plan: &Plan) -> Result<Content> {
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
    let daemon = plan.subject.start_for(&format!("[api]\nlisten = \"127.0.0.1:{port}\"\n"))?;
    let arguments = json!({
        "origin": format!("http://127.0.0.1:{port}"), "flows": FLOWS, "filter": "binary:program-3.py", "rounds": ROUNDS,
    });
    let mut script = browser::script("bench.mjs", &arguments)?;
    let measured: Measured = script.read()?;
    script.end()?;
    // What it would still have exported is nobody's matter here.
    drop(daemon);
    ensure!(measured.problems.is_empty(), "the page had problems: {:?}", measured.problems);
    let mut figures = vec![
        Figure::of("first-paint", &format!("first paint, {FLOWS} flows an interval"), "ms", &measured.paint),
        Figure::of("first-data", "data shown", "ms", &measured.data),
    ];
    figures.extend(measured.response.iter().map(|(view, all)| {
        Figure::of(
            &format!("filter-{view}"),
            &format!("from a key to what the filter leaves, {view}"),
            "ms",
            all,
        )
    }));
    figures.push(Figure::of("heap", "JavaScript heap", "bytes", &[measured.heap as f64]));
    Ok(Content::Figures { figures })
}

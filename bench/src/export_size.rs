//! Bytes that a host sends in one interval: metrics as they are encoded and as they travel, and log records, for hosts
//! that talk little, much and nearly as much as the default limit of series allows.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;
use netsonde_tests::daemon::Daemon;
use serde_json::Value;

use crate::Plan;
use crate::observers::{Subject, cpu_seconds};
use crate::results::{Content, Figure};
use crate::series::{SERVICES, Traffic};

/// Services of the hosts; each makes two flows, since both ends are on this one.
const HOSTS: [(&str, usize); 3] = [("small", 10), ("medium", 100), ("large", SERVICES)];
/// Exports that count, and those before them: in the first, flows are still coming.
const EXPORTS: usize = 5;
const BEFORE: usize = 2;
const INTERVAL: &str = "3s";
/// Requests of one export follow each other at once; from one export to the next there is the interval.
const GAP: Duration = Duration::from_millis(1500);
/// After so long without a request, all records have been sent.
const QUIET: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(60);

/// One host.
struct Host {
    name: &'static str,
    flows: usize,
    series: u64,
    metrics: Size,
    record: Size,
    /// Seconds of the daemon's threads for an interval.
    cpu: f64,
}

/// Of metrics for an interval, of logs for a record.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct Size {
    /// As it is encoded.
    pub encoded: usize,
    /// As it travels.
    pub gzipped: usize,
}

/// Measures each host by a daemon of its own.
pub fn measure(plan: &Plan) -> Result<Content> {
    let mut figures = Vec::new();
    for (name, services) in HOSTS {
        figures.extend(host(&plan.subject, name, services)?.figures());
    }
    Ok(Content::Figures { figures })
}

impl Host {
    fn figures(&self) -> [Figure; 7] {
        let Self { name, flows, series, metrics, record, cpu } = self;
        let figure = |suffix: &str, title: String, unit, value: f64| {
            Figure::of(&format!("{name}-{suffix}"), &title, unit, &[value])
        };
        let host = format!("{name} host ({flows} flows)");
        [
            figure("flows", format!("{host}: flows"), "flows", *flows as f64),
            figure("series", format!("{host}: series"), "series", *series as f64),
            figure("metrics", format!("{host}: an interval, encoded"), "bytes", metrics.encoded as f64),
            figure(
                "metrics-gzip",
                format!("{host}: an interval, with gzip"),
                "bytes",
                metrics.gzipped as f64,
            ),
            figure("cpu", format!("{host}: processor time of an interval"), "s", *cpu),
            figure("record", format!("{host}: a log record, encoded"), "bytes", record.encoded as f64),
            figure("record-gzip", format!("{host}: a log record, with gzip"), "bytes", record.gzipped as f64),
        ]
    }
}

fn host(subject: &Subject, name: &'static str, services: usize) -> Result<Host> {
    let (endpoint, requests) = collector()?;
    // At once, every event, and only of this program: what else this machine does is in no table.
    let export = format!(
        "[export.otlp]\nendpoint = \"http://{endpoint}\"\nprotocol = \"http/protobuf\"\n\
         [export.spool]\npath = \"\"\n[events]\nrate_limit = 0\n[select]\ndefault = \"exclude\"\n\
         [[select.rule]]\nname = \"this\"\naction = \"include\"\nbinaries = \"{}\"\n",
        std::env::current_exe()?.display()
    );
    let configuration = format!("{}\n{export}", subject.configuration);
    let daemon = Daemon::start_sweeping(&subject.netsonde, &configuration, INTERVAL, |_| {})?;
    let mut traffic = Traffic::start(services)?;
    let (mut metrics, mut logs, begun) = (Vec::new(), Vec::new(), Instant::now());
    let mut cpu_before = None;
    while exports(&metrics).len() < BEFORE + EXPORTS + 1 {
        // Between the first and the last that count there are as many intervals as there are of these.
        if cpu_before.is_none() && exports(&metrics).len() > BEFORE {
            cpu_before = Some(cpu_seconds(daemon.pid())?);
        }
        ensure!(begun.elapsed() < PATIENCE, "netsonde exported {} times", exports(&metrics).len());
        let next = Instant::now() + Traffic::PERIOD;
        traffic.round()?;
        while let Ok(request) = requests.recv_timeout(next.saturating_duration_since(Instant::now())) {
            let of = if request.is_logs { &mut logs } else { &mut metrics };
            of.push(request);
        }
    }
    let cpu = cpu_seconds(daemon.pid())? - cpu_before.context("no export")?;
    let status = daemon.status()?;
    let series = status["status"]["series"]["held"].as_u64().context("no series in its status")?;
    ensure!(status["status"]["series"]["folded"] == 0, "flows were folded: {}", status["status"]["series"]);
    drop(traffic);
    while let Ok(request) = requests.recv_timeout(QUIET) {
        logs.extend(request.is_logs.then_some(request));
    }
    let records = delivered_records(&daemon.status()?)?;
    daemon.stop()?;
    let sizes = exports(&metrics);
    let all_logs = logs.iter().fold(Size::default(), |sum, request| sum.plus(request.size));
    let of_record = |bytes: usize| bytes / records;
    Ok(Host {
        name,
        flows: 2 * services,
        series,
        metrics: middle(&sizes[BEFORE..BEFORE + EXPORTS]),
        record: Size { encoded: of_record(all_logs.encoded), gzipped: of_record(all_logs.gzipped) },
        cpu: cpu / EXPORTS as f64,
    })
}

/// How many log records the daemon says that its collector took.
fn delivered_records(status: &Value) -> Result<usize> {
    let destinations =
        status["status"]["destinations"].as_array().context("no destinations in its status")?;
    let of_collector =
        destinations.iter().find(|one| one["name"] == "otlp").context("no collector in its status")?;
    let signals = of_collector["signals"].as_array().context("no signals")?;
    let logs = signals.iter().find(|one| one["signal"] == "logs").context("no logs")?;
    // Pairs of a word and a count; the first is "delivered".
    let delivered = logs["outcomes"][0][1].as_u64().filter(|records| *records > 0);
    Ok(usize::try_from(delivered.with_context(|| format!("no record was delivered: {logs}"))?)?)
}

impl Size {
    fn plus(self, other: Self) -> Self {
        Self { encoded: self.encoded + other.encoded, gzipped: self.gzipped + other.gzipped }
    }
}

/// The median of what intervals took.
fn middle(sizes: &[Size]) -> Size {
    let of = |part: fn(&Size) -> usize| {
        let mut all: Vec<usize> = sizes.iter().map(part).collect();
        all.sort_unstable();
        all[all.len() / 2]
    };
    Size { encoded: of(|size| size.encoded), gzipped: of(|size| size.gzipped) }
}

/// Sums of the requests that belong to one export.
fn exports(requests: &[Request]) -> Vec<Size> {
    let mut sums: Vec<Size> = Vec::new();
    let mut last = None;
    for request in requests {
        match sums.last_mut() {
            Some(sum) if last.is_some_and(|last| request.at - last < GAP) => *sum = sum.plus(request.size),
            _ => sums.push(request.size),
        }
        last = Some(request.at);
    }
    sums
}

/// One OTLP request that was taken.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    at: Instant,
    /// Of logs, and not of metrics.
    pub is_logs: bool,
    /// Of its body.
    pub size: Size,
}

/// A collector that takes everything and keeps its size; it ends with this process.
pub fn collector() -> Result<(SocketAddr, Receiver<Request>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let sender = sender.clone();
            // A connection ends when netsonde does, or when nobody wants to know any more.
            thread::spawn(move || drop(serve(&stream, &sender)));
        }
    });
    Ok((address, receiver))
}

fn serve(stream: &TcpStream, sender: &Sender<Request>) -> Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut first, mut length) = (String::new(), 0);
        if reader.read_line(&mut first)? == 0 {
            return Ok(());
        }
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            match line.trim().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse()?;
                }
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let encoded = io::copy(&mut GzDecoder::new(body.as_slice()), &mut io::sink())?;
        let size = Size { encoded: usize::try_from(encoded)?, gzipped: length };
        sender.send(Request { at: Instant::now(), is_logs: first.contains("/v1/logs"), size })?;
        let mut to = stream;
        to.write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n",
        )?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_follow_at_once_are_one_export() {
        let begun = Instant::now();
        let request = |ms, encoded| Request {
            at: begun + Duration::from_millis(ms),
            is_logs: false,
            size: Size { encoded, gzipped: encoded / 10 },
        };
        let sums = exports(&[request(0, 100), request(200, 50), request(3100, 30), request(6100, 20)]);
        assert_eq!(sums.iter().map(|sum| sum.encoded).collect::<Vec<_>>(), [150, 30, 20]);
        assert_eq!(middle(&sums), Size { encoded: 30, gzipped: 3 });
    }
}

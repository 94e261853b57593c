//! Datagrams that are sent all the time to addresses of their own, while something is done to the daemon: what was sent
//! must be told in the end.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::telemetry::Telemetry;

/// A configuration in which nothing else is observed: what is sent to these addresses only, so that no traffic of others is in any sum.
pub fn configuration(temporality: &str, more: &str) -> String {
    format!(
        "[select]\ndefault = \"exclude\"\n\
         [[select.rule]]\nname = \"sent\"\naction = \"include\"\naddresses = [\"127.78.0.0/16\"]\n\
         [metrics]\ntemporality = \"{temporality}\"\nseries_expiry = \"2s\"\n{more}"
    )
}

/// Sends all the time, to some servers always and to one now and then, so that its series expire and come again.
pub struct Sending {
    done: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64>>,
}

impl Sending {
    /// Begins to send.
    pub fn start() -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&done);
        let thread = thread::spawn(move || {
            let client = |n| {
                let socket = UdpSocket::bind("0.0.0.0:0")?;
                socket.connect((Ipv4Addr::new(127, 78, 0, n), 9))?;
                Ok::<_, std::io::Error>(socket)
            };
            let always: Vec<UdpSocket> = (1..4).map(client).collect::<Result<_, _>>()?;
            let (mut sent, mut round) = (0, 0_u64);
            while !stop.load(Ordering::Relaxed) {
                // Nobody listens: an error that came back is told of by the next send, which then sends nothing.
                sent += always.iter().map(|socket| socket.send(&[1; 100]).unwrap_or(0) as u64).sum::<u64>();
                if round.is_multiple_of(1_000) {
                    sent += client(9)?.send(&[1; 1_000]).context("cannot send")? as u64;
                }
                round += 1;
                thread::sleep(Duration::from_millis(5));
            }
            Ok(sent)
        });
        Self { done, thread }
    }

    /// Ends, and gives the bytes that it sent.
    pub fn end(self) -> Result<u64> {
        self.done.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the sender panicked"))?
    }
}

/// The bytes that were told of as sent.
pub fn transmitted(telemetry: &Telemetry) -> u64 {
    telemetry.sum("netsonde.flow.io", &[("network.io.direction", "transmit".into())]) as u64
}

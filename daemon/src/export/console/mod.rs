//! What `netsonde run` shows when there is no collector: a line an event, a table an interval.
//!
//! Owns the writing and when it ends; `event` and `summary` make the text, `format` its words.

mod event;
mod format;
mod summary;

use std::fs::File;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::fd::AsFd as _;

pub use self::event::{Line, push_line};
pub use self::format::{Values, duration};
use self::summary::Summary;
use super::health::{Health, HealthLog};
use super::statistics::{Ledger, LossReason, Signal};
use super::writer::{Sink, loss_reason};
use crate::telemetry::Telemetry;

/// The exporter.
#[derive(Debug)]
pub struct ConsoleSink<W> {
    output: W,
    color: bool,
    summary: Summary,
    health: HealthLog,
}

impl ConsoleSink<File> {
    /// Writes to standard output, unbuffered: each batch is one write already.
    ///
    /// # Errors
    /// If standard output is closed.
    pub fn stdout(color: bool) -> io::Result<Self> {
        Ok(Self::new(File::from(io::stdout().as_fd().try_clone_to_owned()?), color))
    }
}

impl<W: Write> ConsoleSink<W> {
    /// Writes to `output`, with ANSI colours if asked for.
    pub fn new(output: W, color: bool) -> Self {
        Self { output, color, summary: Summary::default(), health: HealthLog::new() }
    }

    fn print(&mut self, telemetry: &Telemetry) -> io::Result<u64> {
        let mut text = String::new();
        match telemetry {
            Telemetry::Metrics(metrics) => self.summary.push_table(&mut text, metrics, self.color),
            Telemetry::Logs(records) => {
                for record in records.iter() {
                    push_line(&mut text, &record.into(), self.color);
                }
            }
        }
        self.output.write_all(text.as_bytes())?;
        self.output.flush()?;
        Ok(text.len() as u64)
    }
}

impl<W: Write + Send + 'static> Sink for ConsoleSink<W> {
    fn write(&mut self, telemetry: Telemetry, ledger: &Ledger) -> ControlFlow<()> {
        let (signal, items) = Signal::of(&telemetry);
        match self.print(&telemetry) {
            Ok(bytes) => {
                self.health.observe(Health::Well, "console", signal.name(), "");
                ledger.sent(signal, bytes);
                ledger.deliver(signal, items, 0);
                ControlFlow::Continue(())
            }
            Err(error) => {
                let reason = loss_reason(&error);
                ledger.fail(signal, error.to_string());
                ledger.lose(signal, reason, items);
                if reason == LossReason::BrokenPipe {
                    return ControlFlow::Break(());
                }
                self.health.observe(Health::Failing, "console", signal.name(), &error.to_string());
                ControlFlow::Continue(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::export::testing;

    struct Failing(io::ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_broken_pipe_ends_quietly_and_is_counted() {
        let ledger = Ledger::new("console".into());
        let batch = Telemetry::Logs(Arc::new(vec![testing::record(vec![])]));
        ledger.accept(Signal::Logs, 2);

        let mut full = ConsoleSink::new(Failing(io::ErrorKind::StorageFull), false);
        assert!(full.write(batch.clone(), &ledger).is_continue());
        let mut closed = ConsoleSink::new(Failing(io::ErrorKind::BrokenPipe), false);
        assert!(closed.write(batch, &ledger).is_break());

        let logs = ledger.snapshot().logs;
        assert_eq!(logs.lost(LossReason::BrokenPipe), 1);
        assert_eq!(logs.lost(LossReason::DiskFull), 1);
        assert_eq!((logs.pending(), logs.requests_failed), (0, 2));
    }

    #[test]
    fn events_are_printed_a_line_each() {
        let ledger = Ledger::new("console".into());
        let mut sink = ConsoleSink::new(Vec::new(), false);
        let records = vec![testing::record(vec![]), testing::record(vec![])];
        assert!(sink.write(Telemetry::Logs(Arc::new(records)), &ledger).is_continue());
        assert_eq!(String::from_utf8(sink.output).unwrap().lines().count(), 2);
        assert_eq!(ledger.snapshot().logs.delivered, 2);
    }
}

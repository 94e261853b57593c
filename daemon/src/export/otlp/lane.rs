//! The task that brings one signal to one collector.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use opentelemetry_proto::tonic::resource::v1::Resource;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::outcome::{Outcome, wait};
use super::queue::{Queue, Request};
use super::split::{MAX_REQUEST_BYTES, Parts};
use super::{Reply, Transport};
use crate::config::export::OtlpConfig;
use crate::export::health::{Health, HealthLog};
use crate::export::statistics::{Ledger, LossReason, Signal};
use crate::telemetry::Telemetry;

/// Bytes of encoded requests that one lane keeps while its collector is away.
pub const QUEUE_BYTES: usize = 16 << 20;

/// The running task. When its inbox closes it sends what it has and ends; until it is told a deadline it
/// takes its time.
#[derive(Debug)]
pub struct LaneHandle {
    /// Ends with the lane.
    pub task: JoinHandle<()>,
    /// Tells the lane until when it may try.
    pub deadline: watch::Sender<Option<Instant>>,
}

/// Starts a lane on the current tokio runtime.
///
/// # Errors
/// If the configuration cannot be used; whether the collector is there plays no part.
pub fn start(
    config: &OtlpConfig,
    signal: Signal,
    resource: Arc<Resource>,
    inbox: mpsc::Receiver<Telemetry>,
    ledger: Arc<Ledger>,
) -> anyhow::Result<LaneHandle> {
    let (deadline, deadline_receiver) = watch::channel(None);
    let lane = Lane {
        signal,
        resource,
        transport: Transport::new(config, signal)?,
        ledger,
        health: HealthLog::new(),
        destination: config.name.clone(),
        inbox,
        open: true,
        deadline: deadline_receiver,
        parts: None,
        queue: Queue::new(QUEUE_BYTES),
        attempt: None,
        failures: 0,
        not_before: Instant::now(),
    };
    Ok(LaneHandle { task: tokio::spawn(lane.run()), deadline })
}

type Attempt = Pin<Box<dyn Future<Output = Reply> + Send>>;

struct Lane {
    signal: Signal,
    resource: Arc<Resource>,
    transport: Transport,
    ledger: Arc<Ledger>,
    health: HealthLog,
    destination: String,
    inbox: mpsc::Receiver<Telemetry>,
    /// Whether the inbox can still bring something.
    open: bool,
    deadline: watch::Receiver<Option<Instant>>,
    /// The batch that is being cut.
    parts: Option<Parts>,
    queue: Queue,
    /// The attempt under way and the items it carries.
    attempt: Option<(Attempt, u64)>,
    /// Failed attempts since the last success.
    failures: u32,
    /// When the next attempt may begin.
    not_before: Instant,
}

impl Lane {
    async fn run(mut self) {
        loop {
            self.fill();
            if !self.open && self.queue.is_empty() && self.parts.is_none() {
                return;
            }
            if self.attempt.is_none()
                && Instant::now() >= self.not_before
                && let Some(request) = self.queue.lease()
            {
                let attempt = self.transport.clone().send(self.signal, request.body);
                self.attempt = Some((Box::pin(attempt), request.items));
            }
            let waiting = self.attempt.is_none() && !self.queue.is_empty();
            tokio::select! {
                (reply, items) = settled(&mut self.attempt) => {
                    self.attempt = None;
                    if !self.settle(reply, items) {
                        return;
                    }
                }
                batch = self.inbox.recv(), if self.open && self.parts.is_none() => self.take(batch),
                () = tokio::time::sleep_until(self.not_before), if waiting => {}
            }
        }
    }

    /// Takes over a batch, or the news that there will be none.
    fn take(&mut self, batch: Option<Telemetry>) {
        if let Some(batch) = batch {
            self.parts = Some(Parts::new(batch, Arc::clone(&self.resource), MAX_REQUEST_BYTES));
        } else {
            self.open = false;
            // There is little time left: what waits for a better moment has it now.
            self.not_before = Instant::now();
        }
    }

    /// Encodes as much of the batch as the queue takes. While the collector answers, a batch larger than the
    /// queue waits its turn; once it fails, the oldest requests make room for the newest.
    fn fill(&mut self) {
        while let Some(parts) = &mut self.parts
            && (self.failures > 0 || self.queue.has_room(MAX_REQUEST_BYTES))
        {
            if let Some(part) = parts.next() {
                let lost = self.queue.push(Request { body: part.encode(), items: part.items });
                self.ledger.lose(self.signal, LossReason::QueueFull, lost);
            } else {
                self.ledger.lose(self.signal, LossReason::Invalid, parts.take_invalid());
                self.parts = None;
            }
        }
        self.ledger.set_queue_bytes(self.signal, self.queue.bytes() as u64);
    }

    /// Takes note of an attempt's end. Answers whether to go on.
    fn settle(&mut self, reply: Reply, items: u64) -> bool {
        let Reply { outcome, detail, bytes } = reply;
        self.ledger.sent(self.signal, bytes);
        let health = match outcome {
            Outcome::Delivered { rejected: 0 } => Health::Well,
            Outcome::Delivered { .. } => Health::Rejecting,
            Outcome::Refused => Health::Refusing,
            Outcome::Retry { .. } => Health::Failing,
        };
        self.health.observe(health, &self.destination, self.signal.name(), &detail);
        match outcome {
            Outcome::Delivered { rejected } => {
                self.failures = 0;
                self.queue.settle();
                self.ledger.deliver(self.signal, items, rejected);
                if rejected > 0 {
                    self.ledger.note(detail);
                } else if !detail.is_empty() {
                    tracing::debug!(destination = self.destination, detail, "collector warns");
                }
                true
            }
            Outcome::Refused => {
                self.failures = 0;
                self.queue.settle();
                self.ledger.fail(self.signal, detail);
                self.ledger.lose(self.signal, LossReason::Refused, items);
                true
            }
            Outcome::Retry { after } => {
                self.failures = self.failures.saturating_add(1);
                self.queue.release();
                self.ledger.fail(self.signal, detail);
                self.transport.recover();
                self.not_before = Instant::now() + wait(self.failures, after, fastrand::f64());
                // When stopping, an attempt after the deadline is none: leave early, what is left is counted.
                self.open || self.deadline.borrow().is_none_or(|deadline| self.not_before < deadline)
            }
        }
    }
}

/// Resolves when the attempt does; never without one.
async fn settled(attempt: &mut Option<(Attempt, u64)>) -> (Reply, u64) {
    match attempt {
        Some((attempt, items)) => (attempt.await, *items),
        None => std::future::pending().await,
    }
}

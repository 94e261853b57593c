//! The task that brings one signal to one collector.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use super::keeper::{Keeper, Order};
use super::outcome::{Outcome, wait};
use super::queue::Request;
use super::split::{MAX_REQUEST_BYTES, Parts, halve};
use super::store::{Report, SpoolSettings, Store};
use super::{Reply, Transport};
use crate::config::export::OtlpConfig;
use crate::export::health::{Health, HealthLog};
use crate::export::statistics::{Ledger, LossReason, Signal, SpoolState};
use crate::telemetry::Telemetry;

/// Bytes of encoded requests that one lane keeps in memory while its collector is away and it has no spool.
pub const QUEUE_BYTES: usize = 16 << 20;
/// What the spool is left to make itself safe before the deadline.
const CLOSING: Duration = Duration::from_millis(400);
/// How often the store is looked at while nothing else happens.
const TICK: Duration = Duration::from_secs(1);

/// The running task. When its inbox closes it sends what it has and ends; until it is told a deadline it
/// takes its time.
#[derive(Debug)]
pub struct LaneHandle {
    /// Ends with the lane.
    pub task: JoinHandle<()>,
    /// Tells the lane until when it may try.
    pub deadline: watch::Sender<Option<Instant>>,
}

/// Starts a lane on the current tokio runtime. Without a spool, what waits is kept in memory.
///
/// # Errors
/// If the configuration cannot be used; whether the collector is there plays no part, nor whether the spool is.
pub fn start(
    config: &OtlpConfig,
    signal: Signal,
    resource: Bytes,
    inbox: mpsc::Receiver<Telemetry>,
    ledger: Arc<Ledger>,
    spool: Option<SpoolSettings>,
) -> anyhow::Result<LaneHandle> {
    let (deadline, deadline_receiver) = watch::channel(None);
    let has_spool = spool.is_some();
    let transport = Transport::new(config, signal)?;
    let store = Store::new(signal, QUEUE_BYTES, spool);
    let lane = Lane {
        signal,
        resource,
        transport,
        ledger,
        health: HealthLog::new(),
        destination: config.name.clone(),
        inbox,
        open: true,
        deadline: deadline_receiver,
        parts: None,
        keeper: if has_spool { Keeper::thread(store)? } else { Keeper::here(store) },
        has_spool,
        safe: false,
        is_empty: true,
        room: 0,
        leased: None,
        pieces: VecDeque::new(),
        attempt: None,
        failures: 0,
        not_before: Instant::now(),
    };
    Ok(LaneHandle { task: tokio::spawn(lane.run()), deadline })
}

type Attempt = Pin<Box<dyn Future<Output = Reply> + Send>>;

struct Lane {
    signal: Signal,
    resource: Bytes,
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
    keeper: Keeper,
    has_spool: bool,
    /// Whether what waits is on disk, and what comes will be.
    safe: bool,
    /// Whether the store holds nothing, on lease or not.
    is_empty: bool,
    /// Bytes that the store takes without a loss.
    room: u64,
    /// Items of the request on lease that are not settled.
    leased: Option<u64>,
    /// What is left to send of the request on lease: itself, or parts of it where it was too large.
    pieces: VecDeque<Request>,
    /// The attempt under way, with the first of the pieces.
    attempt: Option<Attempt>,
    /// Failed attempts since the last success.
    failures: u32,
    /// When the next attempt may begin.
    not_before: Instant,
}

impl Lane {
    async fn run(mut self) {
        if let Err(error) = self.work().await {
            let (destination, signal) = (&self.destination, self.signal.name());
            tracing::error!(destination, signal, error = format!("{error:#}"), "export ends");
        }
    }

    async fn work(&mut self) -> anyhow::Result<()> {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.order(Order::Tick).await?;
        loop {
            self.fill().await?;
            if !self.open && self.is_empty && self.parts.is_none() {
                break;
            }
            if self.attempt.is_none() && Instant::now() >= self.not_before {
                self.begin().await?;
            }
            let waiting = self.attempt.is_none() && !self.is_empty && Instant::now() < self.not_before;
            tokio::select! {
                reply = settled(&mut self.attempt) => {
                    self.attempt = None;
                    if !self.settle(reply).await? {
                        break;
                    }
                }
                batch = self.inbox.recv(), if self.open && self.parts.is_none() => self.take(batch),
                () = tokio::time::sleep_until(self.not_before), if waiting => {}
                _ = ticks.tick(), if self.has_spool => self.order(Order::Tick).await?,
                () = time_is_up(&mut self.deadline), if self.has_spool && !self.open => break,
            }
        }
        // What was sent and not answered is sent again after the next start: nobody knows whether it arrived.
        self.attempt = None;
        if self
            .leased
            .take()
            .is_some_and(|items| self.pieces.iter().map(|piece| piece.items).sum::<u64>() < items)
        {
            // Of a request in parts, those that arrived must not be sent with the rest.
            for piece in std::mem::take(&mut self.pieces) {
                self.order(Order::Push(piece)).await?;
            }
            self.order(Order::Settle).await?;
        }
        self.order(Order::Close).await
    }

    /// Has the store do something and takes note of what came of it.
    async fn order(&mut self, order: Order) -> anyhow::Result<()> {
        let lent = self.lend(order).await?;
        debug_assert!(lent.is_none(), "only a lease lends");
        Ok(())
    }

    async fn lend(&mut self, order: Order) -> anyhow::Result<Option<Request>> {
        let (lent, report) = self.keeper.order(order).await?;
        let Report { restored, lost, queue_bytes, is_empty, room, spool } = report;
        self.ledger.restore(self.signal, restored);
        for (reason, items) in lost {
            self.ledger.lose(self.signal, reason, items);
        }
        self.safe = spool.state == SpoolState::Active;
        self.ledger.set_waiting(self.signal, queue_bytes, spool);
        (self.is_empty, self.room) = (is_empty, room);
        Ok(lent)
    }

    /// Begins an attempt with the oldest request, if there is one.
    async fn begin(&mut self) -> anyhow::Result<()> {
        if self.pieces.is_empty() && !self.is_empty {
            let lent = self.lend(Order::Lease).await?;
            self.leased = lent.as_ref().map(|request| request.items);
            self.pieces.extend(lent);
        }
        if let Some(piece) = self.pieces.front() {
            let attempt = self.transport.clone().send(self.signal, Bytes::clone(&piece.body));
            self.attempt = Some(Box::pin(attempt));
        }
        Ok(())
    }

    /// Takes over a batch, or the news that there will be none.
    fn take(&mut self, batch: Option<Telemetry>) {
        if let Some(batch) = batch {
            self.parts = Some(Parts::new(batch, Bytes::clone(&self.resource), MAX_REQUEST_BYTES));
        } else {
            self.open = false;
            // There is little time left: what waits for a better moment has it now.
            self.not_before = Instant::now();
        }
    }

    /// Encodes as much of the batch as the store takes. While the collector answers, a batch larger than the
    /// store waits its turn; once it fails, the oldest requests make room for the newest. In memory only one part of
    /// a batch waits at a time: encoded it takes more than as it is, and the next one can be written where it was.
    async fn fill(&mut self) -> anyhow::Result<()> {
        while let Some(parts) = &mut self.parts
            && (self.failures > 0
                || self.is_empty
                || self.room >= MAX_REQUEST_BYTES as u64 && (self.safe || !parts.has_begun()))
        {
            if let Some(part) = parts.next() {
                self.order(Order::Push(Request { body: part.body, items: part.items })).await?;
            } else {
                self.ledger.lose(self.signal, LossReason::Invalid, parts.take_invalid());
                self.parts = None;
            }
        }
        Ok(())
    }

    /// Takes note of an attempt's end. Answers whether to go on.
    async fn settle(&mut self, reply: Reply) -> anyhow::Result<bool> {
        let Reply { outcome, detail, bytes } = reply;
        let Some(piece) = self.pieces.pop_front() else { return Ok(true) };
        let items = piece.items;
        self.ledger.sent(self.signal, bytes);
        let halves = if outcome == Outcome::TooLarge { halve(self.signal, &piece.body) } else { None };
        let health = match outcome {
            Outcome::Delivered { rejected: 0 } => Health::Well,
            Outcome::Delivered { .. } => Health::Rejecting,
            Outcome::TooLarge if halves.is_some() => Health::Well,
            Outcome::Refused | Outcome::TooLarge => Health::Refusing,
            Outcome::Retry { .. } => Health::Failing,
        };
        self.health.observe(health, &self.destination, self.signal.name(), &detail);
        match outcome {
            Outcome::Delivered { rejected } => {
                self.failures = 0;
                self.ledger.deliver(self.signal, items, rejected);
                if rejected > 0 {
                    self.ledger.note(detail);
                } else if !detail.is_empty() {
                    tracing::debug!(destination = self.destination, detail, "collector warns");
                }
            }
            Outcome::Refused | Outcome::TooLarge => {
                self.failures = 0;
                self.ledger.fail(self.signal, detail);
                if let Some(halves) = halves {
                    for (body, items) in halves.into_iter().rev() {
                        self.pieces.push_front(Request { body, items });
                    }
                    return Ok(true);
                }
                self.ledger.lose(self.signal, LossReason::Refused, items);
            }
            Outcome::Retry { after } => {
                self.failures = self.failures.saturating_add(1);
                self.ledger.fail(self.signal, detail);
                self.transport.recover();
                self.not_before = Instant::now() + wait(self.failures, after, fastrand::f64());
                self.retry(piece).await?;
                // When stopping, an attempt after the deadline is none: leave early, what is left is counted. What
                // is in a spool can wait for the next start.
                return Ok(self.open || !self.safe && self.may_try_again());
            }
        }
        if self.pieces.is_empty() {
            self.leased = None;
            self.order(Order::Settle).await?;
        }
        Ok(true)
    }

    /// Whether the next attempt would begin before the deadline.
    fn may_try_again(&self) -> bool {
        self.deadline.borrow().is_none_or(|deadline| self.not_before < deadline)
    }

    /// Keeps a piece for another attempt. A request that is still whole goes back to the store, which may then move
    /// it to the disk; of one in parts, the rest stays here.
    async fn retry(&mut self, piece: Request) -> anyhow::Result<()> {
        if self.leased == Some(piece.items) {
            self.leased = None;
            return self.order(Order::Release).await;
        }
        self.pieces.push_front(piece);
        Ok(())
    }
}

/// Resolves when the attempt does; never without one.
async fn settled(attempt: &mut Option<Attempt>) -> Reply {
    match attempt {
        Some(attempt) => attempt.await,
        None => std::future::pending().await,
    }
}

/// Resolves when what is left until the deadline is needed for the end itself; never without one.
async fn time_is_up(deadline: &mut watch::Receiver<Option<Instant>>) {
    loop {
        let set = *deadline.borrow_and_update();
        if let Some(deadline) = set {
            let begin = deadline.checked_sub(CLOSING).unwrap_or(deadline);
            return tokio::time::sleep_until(begin).await;
        }
        if deadline.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

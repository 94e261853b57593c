//! Keeps a store's disk work away from the runtime: a thread does it, and the lane waits for its answer.
//!
//! A disk that hangs holds up its own lane, whose inbox then fills and counts; nothing else waits for it.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::oneshot;

use super::queue::Request;
use super::store::{Report, Store};

/// How often the store looks after itself.
const TICK: Duration = Duration::from_secs(1);
/// A disk that takes longer than this is worth a line in the journal.
const SLOW: Duration = Duration::from_secs(5);

/// What the store is asked.
#[derive(Debug)]
pub enum Order {
    /// Append this.
    Push(Request),
    /// Lend the oldest.
    Lease,
    /// What was lent is done with.
    Settle,
    /// What was lent is to be lent again.
    Release,
    /// Look after yourself and tell how you are.
    Tick,
    /// Make everything safe; nothing follows.
    Close,
}

/// What was lent, if the order was to lend.
type Answer = (Option<Request>, Report);

/// A store, wherever it runs.
#[derive(Debug)]
pub enum Keeper {
    /// In memory only: it never blocks.
    Here(Box<Store>),
    /// With a disk.
    Thread(SyncSender<(Order, oneshot::Sender<Answer>)>),
}

impl Keeper {
    /// Takes over a store that works in memory only.
    pub fn here(store: Store) -> Self {
        Self::Here(Box::new(store))
    }

    /// Takes over a store with a disk, in a thread that ends with this.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn thread(store: Store) -> anyhow::Result<Self> {
        let (orders, inbox) = sync_channel(1);
        let thread = thread::Builder::new().name("spool".into());
        thread.spawn(move || serve(store, &inbox)).context("cannot start a thread for the spool")?;
        Ok(Self::Thread(orders))
    }

    /// Gives an order and waits for what comes of it.
    ///
    /// # Errors
    /// If the thread is gone, which only a defect makes happen.
    pub async fn order(&mut self, order: Order) -> anyhow::Result<Answer> {
        match self {
            Self::Here(store) => Ok(obey(store, order)),
            Self::Thread(orders) => {
                let (reply, mut answer) = oneshot::channel();
                // There is room: the order before this one was answered.
                orders.try_send((order, reply)).ok().context("the spool's thread is gone")?;
                if let Ok(answer) = tokio::time::timeout(SLOW, &mut answer).await {
                    return answer.context("the spool's thread died");
                }
                tracing::warn!("the spool's disk does not answer; this destination waits for it");
                let answer = answer.await.context("the spool's thread died")?;
                tracing::info!("the spool's disk answers again");
                Ok(answer)
            }
        }
    }
}

fn serve(mut store: Store, inbox: &Receiver<(Order, oneshot::Sender<Answer>)>) {
    store.tick();
    loop {
        match inbox.recv_timeout(TICK) {
            Ok((order, reply)) => {
                let last = matches!(order, Order::Close);
                // Whoever asked may have been stopped meanwhile; a request that nobody got is not on lease.
                if let Err((Some(_), _)) = reply.send(obey(&mut store, order)) {
                    store.release();
                }
                if last {
                    return;
                }
            }
            Err(RecvTimeoutError::Timeout) => store.tick(),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    store.close();
}

fn obey(store: &mut Store, order: Order) -> Answer {
    let mut lent = None;
    match order {
        Order::Push(request) => store.push(request),
        Order::Lease => lent = store.lease(),
        Order::Settle => store.settle(),
        Order::Release => store.release(),
        Order::Tick => store.tick(),
        Order::Close => store.close(),
    }
    (lent, store.report())
}

//! Who asks the running daemon for its end, or to read its configuration again.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// What signals ask for, or a reader in this process.
pub struct Asked {
    /// SIGTERM and SIGINT.
    pub to_stop: Stop,
    /// SIGHUP.
    pub to_reload: Either,
}

impl Asked {
    /// Signals ask.
    ///
    /// # Errors
    ///
    /// When they cannot be handled.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            to_stop: Stop::Signals(Either::of(&[SignalKind::terminate(), SignalKind::interrupt()])?),
            to_reload: Either::of(&[SignalKind::hangup()])?,
        })
    }

    /// The reader handles signals, and asks for the end by leaving.
    pub fn by_a_reader(left: oneshot::Receiver<()>) -> Self {
        Self { to_stop: Stop::Reader(left), to_reload: Either(Vec::new()) }
    }
}

/// Who asks for the end.
pub enum Stop {
    /// SIGTERM and SIGINT.
    Signals(Either),
    /// A reader in this process, by leaving.
    Reader(oneshot::Receiver<()>),
}

impl Stop {
    /// Waits until it is asked for.
    pub async fn next(&mut self) {
        match self {
            Self::Signals(signals) => signals.next().await,
            // It is an error that asks: the other half is gone.
            Self::Reader(left) => drop(left.await),
        }
    }
}

/// Signals that ask for the same.
pub struct Either(Vec<Signal>);

impl Either {
    fn of(kinds: &[SignalKind]) -> std::io::Result<Self> {
        kinds.iter().map(|&kind| signal(kind)).collect::<Result<_, _>>().map(Self)
    }

    /// Waits until it is asked for.
    pub async fn next(&mut self) {
        if self.0.is_empty() {
            return std::future::pending().await;
        }
        futures::future::select_all(self.0.iter_mut().map(|signal| Box::pin(signal.recv()))).await;
    }
}

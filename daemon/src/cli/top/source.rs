//! Asking: of a daemon by its socket, or of the probes of this process, the same questions in the same words.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use http::StatusCode;
use hyper::Method;
use netsonde_view::model::{History, Processes};
use serde::de::DeserializeOwned;

use super::model::Answer;
use crate::api::{ListenersAnswer, Reader, StatusAnswer};
use crate::cli::ask::send;

/// An hour of some thousand flows comes near it.
const LARGEST_ANSWER: usize = 512 << 20;
/// Who does not answer within this is taken for gone.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who is asked.
#[derive(Debug, Clone)]
pub enum Source {
    /// A daemon, at its socket.
    Daemon(PathBuf),
    /// The probes of this process.
    Own(Reader),
}

/// What is to be known beyond flows, lookups and how netsonde is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wish {
    /// Who owns sockets.
    pub processes: bool,
    /// What listens.
    pub listeners: bool,
}

/// Asks, and remembers what has been told.
#[derive(Debug)]
pub struct Asking {
    source: Source,
    /// When the netsonde that answered last was started: a number of a flow means something to that one only.
    started: Option<u64>,
    /// When the newest interval ended that was told.
    newest: u64,
}

impl Asking {
    /// Nothing has been told yet.
    pub fn new(source: Source) -> Self {
        Self { source, started: None, newest: 0 }
    }

    /// Asks for what is new. Before the first sweep there may be nothing.
    ///
    /// # Errors
    ///
    /// Nobody answers, which has a [`std::io::Error`] at its root, or the answer is none.
    pub async fn ask(&mut self, wish: Wish) -> anyhow::Result<Answer> {
        let asked = tokio::time::timeout(PATIENCE, self.round(wish)).await;
        asked.with_context(|| format!("no answer within {} s", PATIENCE.as_secs()))?
    }

    async fn round(&mut self, wish: Wish) -> anyhow::Result<Answer> {
        let status: StatusAnswer = self.get("/api/v1/status").await?;
        let started = status.status.get("started_unix_ns").and_then(serde_json::Value::as_u64);
        let anew = started != self.started;
        let since = if anew { 0 } else { self.newest };
        let history: History = self.get(&format!("/api/v1/history?since={since}")).await?;
        let processes: Option<Processes> =
            if wish.processes { Some(self.get("/api/v1/processes").await?) } else { None };
        let listeners = if wish.listeners { self.listeners().await? } else { None };
        self.started = started;
        self.newest = history.frames.last().map_or(since, |frame| frame.time);
        Ok(Answer { history, anew, status, processes, listeners })
    }

    async fn listeners(&self) -> anyhow::Result<Option<ListenersAnswer>> {
        let (code, body) = self.send("/api/v1/listeners").await?;
        // Before the first sweep.
        if code == StatusCode::SERVICE_UNAVAILABLE {
            return Ok(None);
        }
        read(code, &body).map(Some)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let (code, body) = self.send(path).await?;
        read(code, &body).with_context(|| format!("the answer to {path} cannot be used"))
    }

    async fn send(&self, path: &str) -> anyhow::Result<(StatusCode, Vec<u8>)> {
        match &self.source {
            Source::Daemon(socket) => send(socket, Method::GET, path, LARGEST_ANSWER).await,
            Source::Own(reader) => reader.get(path, LARGEST_ANSWER).await,
        }
    }
}

fn read<T: DeserializeOwned>(code: StatusCode, body: &[u8]) -> anyhow::Result<T> {
    anyhow::ensure!(code == StatusCode::OK, "{code}: {}", String::from_utf8_lossy(body).trim());
    Ok(serde_json::from_slice(body)?)
}

//! The local API: HTTP on a Unix socket that the owner and the group of its file may use. Serves the
//! daemon's status and what listens; it changes nothing.

mod history;

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use netsonde_audit::model::Listener;
use serde::{Deserialize, Serialize};
use tokio::net::UnixListener;
use tokio::sync::{oneshot, watch};

use crate::aggregate::{Finding, Grade, Status, judge};
use crate::audit::Snapshot;
use crate::history::Archive;

pub use history::HistoryAnswer;

/// The body of `/api/v1/status`, as [`crate::cli::status`] reads it back.
#[derive(Debug, Serialize, Deserialize)]
pub struct StatusAnswer {
    /// The gravest of the findings.
    pub grade: Grade,
    /// A line a subject.
    pub findings: Vec<Finding>,
    /// Everything that is known.
    pub status: serde_json::Value,
}

/// The body of `/api/v1/listeners`, as [`crate::cli::audit`] reads it back.
#[derive(Debug, Serialize, Deserialize)]
pub struct ListenersAnswer {
    /// When they were read, RFC 3339 in UTC.
    pub time: String,
    /// A row a socket, with the keys of `netsonde audit --format json`.
    pub listeners: Vec<Listener>,
    /// Sockets that are not among them because they were too many (`limits.listeners`).
    #[serde(default)]
    pub truncated: u64,
}

/// What listens for netsonde's own command line, as [`netsonde_audit::compact`] has it: no interface for others.
pub const COMPACT_LISTENERS: &str = "/api/v1/listeners/compact";

/// What the API shows.
#[derive(Debug, Clone)]
pub struct Shown {
    /// How the daemon is doing.
    pub status: watch::Receiver<Status>,
    /// What listens; nothing before the first sweep.
    pub inventory: watch::Receiver<Option<Arc<Snapshot>>>,
    /// What listened; `None` when no history is kept.
    pub archive: Option<Archive>,
}

/// A running API.
pub struct Api {
    path: PathBuf,
    stop: oneshot::Sender<()>,
}

impl Api {
    /// Listens on a Unix socket at `path`, mode 0660.
    ///
    /// # Errors
    ///
    /// When the socket cannot be made, or another daemon answers on it.
    pub async fn start(path: &Path, shown: Shown) -> anyhow::Result<Self> {
        let listener = bind(path).await.with_context(|| format!("cannot listen on {}", path.display()))?;
        let router = Router::new()
            .route("/healthz", get(healthz))
            .route("/api/v1/status", get(answer))
            .route("/api/v1/listeners", get(listeners))
            .route("/api/v1/listeners/history", get(history::answer))
            .route(COMPACT_LISTENERS, get(compact_listeners))
            .with_state(shown);
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(async move {
            let until = async {
                // An error means that the sender is gone, which is a stop as well.
                let _ = stopped.await;
            };
            if let Err(e) = axum::serve(listener, router).with_graceful_shutdown(until).await {
                tracing::error!(error = %e, "the local API ended");
            }
        });
        Ok(Self { path: path.to_owned(), stop })
    }

    /// Stops answering and removes the socket.
    pub fn stop(self) {
        // The server may have ended by itself.
        let _ = self.stop.send(());
        if let Err(e) = std::fs::remove_file(&self.path)
            && e.kind() != ErrorKind::NotFound
        {
            tracing::warn!(error = %e, path = %self.path.display(), "cannot remove the socket of the local API");
        }
    }
}

async fn bind(path: &Path) -> anyhow::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    if path.exists() {
        // Left behind by a daemon that was killed, unless somebody answers.
        if tokio::net::UnixStream::connect(path).await.is_ok() {
            anyhow::bail!("another netsonde is running there");
        }
        std::fs::remove_file(path).context("cannot remove the stale socket")?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))
        .context("cannot set the socket's mode")?;
    Ok(listener)
}

async fn healthz(State(shown): State<Shown>) -> (StatusCode, &'static str) {
    if shown.status.borrow().sweep.count > 0 {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "no sweep yet\n")
    }
}

async fn answer(State(shown): State<Shown>) -> Result<Json<StatusAnswer>, StatusCode> {
    let status = shown.status.borrow().clone();
    let findings = judge(&status);
    let grade = findings.iter().map(|f| f.grade).max().unwrap_or(Grade::Ok);
    let status = serde_json::to_value(status).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(Json(StatusAnswer { grade, findings, status }))
}

async fn listeners(State(shown): State<Shown>) -> Result<Json<ListenersAnswer>, StatusCode> {
    let inventory = shown.inventory.borrow().clone().ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
    let time = Timestamp::from_nanosecond(i128::from(inventory.taken_unix_ns));
    let time = time.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let listeners = inventory.listeners.iter().map(|listener| Listener::clone(listener)).collect();
    Ok(Json(ListenersAnswer { time: time.to_string(), listeners, truncated: inventory.truncated }))
}

async fn compact_listeners(State(shown): State<Shown>) -> Result<impl IntoResponse, StatusCode> {
    let inventory = shown.inventory.borrow().clone().ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
    // Others who ask wait for their answers meanwhile, but only for the first who asks for this snapshot.
    let body = inventory.compact().map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(([(CONTENT_TYPE, "application/json")], body))
}

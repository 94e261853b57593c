//! The local API: HTTP on a Unix socket for root, the daemon's own user and the members of a group; over TCP as well
//! where that is asked for, to read only. It has a thread of its own, so that it answers while the rest is busy.
//!
//! What is served is here, and the web page's files in [`page`]; [`listen`] makes the sockets, [`admit`] decides who is answered, [`serve`] keeps each client
//! within its limits, and [`counts`] tells what became of them.

mod admit;
mod asked;
pub mod counts;
mod follow;
mod history;
mod listen;
mod metrics;
mod observations;
mod page;
mod patient;
mod place;
mod reader;
mod serve;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use netsonde_audit::model::Listener;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use crate::aggregate::{Finding, Grade, Status, judge};
use crate::audit::Snapshot;
use crate::history::Archive;
use crate::privileges;
use crate::progress::Progress;
use crate::view::View;

use admit::Caller;
pub use counts::Counts;
use counts::Refusal;
pub use history::HistoryAnswer;
pub use listen::Listening;
pub use reader::Reader;

/// The body of `/api/v1/status`, as [`crate::cli::status`] reads it back.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
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

/// Made of the types of the answers by `make reference`.
const DESCRIPTION: &str = include_str!("../../../docs/reference/openapi.json");

/// A wish to have the configuration read again; answered with what is wrong with it.
pub type Reload = oneshot::Sender<Result<(), String>>;

/// What the API shows, and whom it hands wishes to.
#[derive(Debug, Clone)]
pub struct Shown {
    /// How the daemon is doing.
    pub status: watch::Receiver<Status>,
    /// What listens; nothing before the first sweep.
    pub inventory: watch::Receiver<Option<Arc<Snapshot>>>,
    /// What listened; `None` when no history is kept.
    pub archive: Option<Archive>,
    /// Whether its stages get on.
    pub progress: Arc<Progress>,
    /// Who reads the configuration again.
    pub reload: mpsc::Sender<Reload>,
    /// What became of requests.
    pub counts: Arc<Counts>,
    /// What was measured of late.
    pub view: View,
}

/// A stage that has not come round for so long is stuck, as `/healthz` has it.
const STUCK: Duration = Duration::from_secs(30);

/// How long a reload may take; it waits for the thread that sweeps.
const RELOAD: Duration = Duration::from_secs(60);

fn router(shown: Shown) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/api/v1/status", get(status))
        .route("/api/v1/listeners", get(listeners))
        .route("/api/v1/listeners/history", get(history::answer))
        .route(COMPACT_LISTENERS, get(compact_listeners))
        .route("/api/v1/reload", post(reload))
        .route("/api/v1/openapi.json", get(description))
        .merge(observations::router())
        .merge(page::routes())
        .merge(follow::router())
        .merge(metrics::router())
        .with_state(shown)
}

/// A running API.
pub struct Api {
    stop: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Api {
    /// Answers on sockets that were made before.
    ///
    /// # Errors
    ///
    /// When there is no thread or no runtime to be had.
    pub fn start(listening: Listening, shown: Shown) -> anyhow::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot make the runtime of the local API")?;
        let thread = std::thread::Builder::new()
            .name("api".to_owned())
            .spawn(move || {
                privileges::keep_none();
                runtime.block_on(async {
                    tokio::select! {
                        () = serve::serve(&listening, shown) => {}
                        // An error means that the sender is gone, which is a stop as well.
                        _ = stopped => {}
                    }
                });
                // Nobody waits for clients that are slow to leave; the socket goes with `listening`.
                runtime.shutdown_background();
            })
            .context("cannot start the thread of the local API")?;
        Ok(Self { stop, thread })
    }

    /// Stops answering and removes the socket.
    pub fn stop(self) {
        // It may have ended by itself.
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::warn!("the thread of the local API panicked");
        }
    }
}

/// Whether the daemon lives: else it should be started anew.
async fn healthz(State(shown): State<Shown>) -> (StatusCode, String) {
    match shown.progress.stuck(STUCK) {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(stage) => (StatusCode::SERVICE_UNAVAILABLE, format!("{} is stuck\n", stage.name())),
    }
}

/// Whether it observes: it knows all processes and has the baseline of every socket.
async fn readyz(State(shown): State<Shown>) -> (StatusCode, &'static str) {
    if shown.status.borrow().sweep.count > 0 {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "no sweep yet\n")
    }
}

async fn status(State(shown): State<Shown>) -> Result<Json<StatusAnswer>, StatusCode> {
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

/// What this API is, as OpenAPI 3.1.
async fn description() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], DESCRIPTION)
}

async fn reload(State(shown): State<Shown>, Extension(caller): Extension<Caller>) -> (StatusCode, String) {
    if !caller.may_change() {
        shown.counts.refuse(Refusal::Forbidden);
        return (StatusCode::FORBIDDEN, "only root and the daemon's own user may do this\n".to_owned());
    }
    let (answer, answered) = oneshot::channel();
    // One at a time: whoever wishes the same meanwhile can wish again.
    if shown.reload.try_send(answer).is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, "another reload is waiting, or the end\n".to_owned());
    }
    match tokio::time::timeout(RELOAD, answered).await {
        Ok(Ok(Ok(()))) => (StatusCode::OK, "the configuration was read again\n".to_owned()),
        Ok(Ok(Err(wrong))) => (StatusCode::UNPROCESSABLE_ENTITY, format!("{wrong}\n")),
        Ok(Err(_)) | Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the daemon did not answer\n".to_owned()),
    }
}

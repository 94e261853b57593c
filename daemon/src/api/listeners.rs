//! What listens now, for everybody and for netsonde's own command line.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use jiff::Timestamp;
use netsonde_audit::model::Listener;
use netsonde_audit::words::Word as _;
use serde::{Deserialize, Serialize};

use super::Shown;
use crate::audit::Snapshot;

/// What listens for netsonde's own command line, as [`netsonde_audit::compact`] has it: no interface for others.
pub const COMPACT_LISTENERS: &str = "/api/v1/listeners/compact";

/// The body of `/api/v1/listeners`; with [`Listener`]s as [`crate::cli::audit`] reads it back.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ListenersAnswer<L = Listener> {
    /// When they were read, RFC 3339 in UTC.
    pub time: String,
    /// A row a socket, with the keys of `netsonde audit --format json`.
    pub listeners: Vec<L>,
    /// Sockets that are not among them because they were too many (`limits.listeners`).
    #[serde(default)]
    pub truncated: u64,
}

/// A listener with what the rules in force say of it.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct JudgedListener {
    #[serde(flatten)]
    listener: Listener,
    /// `allow` or `deny`; absent without rules.
    #[serde(rename = "netsonde.audit.action", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    action: Option<&'static str>,
    /// The rule that says so; `default` when none matches.
    #[serde(rename = "netsonde.audit.rule", skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
}

impl JudgedListener {
    fn of(snapshot: &Snapshot, listener: &Listener) -> Self {
        let verdict = snapshot.verdict(listener);
        Self {
            listener: listener.clone(),
            action: verdict.as_ref().map(|verdict| verdict.action.word()),
            rule: verdict.as_ref().map(|verdict| verdict.rule_name().to_owned()),
        }
    }
}

pub(super) async fn answer(
    State(shown): State<Shown>,
) -> Result<Json<ListenersAnswer<JudgedListener>>, StatusCode> {
    let inventory = shown.inventory.borrow().clone().ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
    let time = Timestamp::from_nanosecond(i128::from(inventory.taken_unix_ns));
    let time = time.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let listeners = inventory.listeners.iter().map(|listener| JudgedListener::of(&inventory, listener));
    let listeners = listeners.collect();
    Ok(Json(ListenersAnswer { time: time.to_string(), listeners, truncated: inventory.truncated }))
}

pub(super) async fn compact(State(shown): State<Shown>) -> Result<impl IntoResponse, StatusCode> {
    let inventory = shown.inventory.borrow().clone().ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
    // Others who ask wait for their answers meanwhile, but only for the first who asks for this snapshot.
    let body = inventory.compact().map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(([(CONTENT_TYPE, "application/json")], body))
}

//! `/api/v1/listeners/history`: what opened and closed, page by page.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use netsonde_audit::model::Change;
use netsonde_history::{Position, Query};
use serde::{Deserialize, Serialize};

use super::Shown;
use super::asked::{Asked, asked};
use crate::history::changes;

/// One page.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HistoryAnswer {
    /// Rows with the keys of `netsonde audit --since --format json`. Pages come by the time of what was first of an
    /// opening and its closing, and both are on the same.
    pub changes: Vec<Change>,
    /// The `after` of the next page; none after the last. A page without changes may have a next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

type Refusal = (StatusCode, String);

/// Answers with one page.
pub async fn answer(
    State(shown): State<Shown>,
    RawQuery(query): RawQuery,
) -> Result<Json<HistoryAnswer>, Refusal> {
    let asked = asked(&query.unwrap_or_default()).map_err(|wrong| (StatusCode::BAD_REQUEST, wrong))?;
    let Asked { since, until, after, limit } = asked;
    let unavailable = |why: &str| (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"));
    let archive = shown.archive.ok_or_else(|| unavailable("no history is kept (history.enabled)"))?;
    let query = Query::OpenedOrClosedSince(since);
    // It waits for the disk.
    let page = tokio::task::spawn_blocking(move || archive.page(query, after, limit)).await;
    let page = page.map_err(|_| unavailable("the history could not be read"))?;
    let page = page.ok_or_else(|| unavailable("the history is not open"))?;
    let page = page.map_err(|e| unavailable(&e.to_string()))?;
    let changes = page.records.iter().flat_map(|record| changes(record, since, until)).collect();
    let next = page.next.filter(|next| next.at() <= until).map(Position::to_text);
    Ok(Json(HistoryAnswer { changes, next }))
}

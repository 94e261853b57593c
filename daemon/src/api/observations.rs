//! What was measured of late: `/api/v1/history`, `/flows`, `/dns`, `/processes` and `/processes/{id}`.

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use futures::stream;
use netsonde_view::model::{Dns, Flows, Process, Processes};
use serde::Serialize;

use super::Shown;
use crate::view::View;

/// Rows of an answer, as one that is not said and at most.
const ROWS: u64 = 1_000;
const MOST_ROWS: u64 = 100_000;

type Refusal = (StatusCode, String);

pub fn router() -> Router<Shown> {
    Router::new()
        .route("/api/v1/history", get(history))
        .route("/api/v1/flows", get(flows))
        .route("/api/v1/dns", get(dns))
        .route("/api/v1/processes", get(processes))
        .route("/api/v1/processes/{id}", get(process))
}

/// Reads a query that may have one number, in a range.
fn number(query: Option<&str>, name: &str, unsaid: u64, most: u64) -> Result<u64, Refusal> {
    let mut number = unsaid;
    for (key, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        let wrong = |text: String| (StatusCode::BAD_REQUEST, text);
        if key != name {
            return Err(wrong(format!("{key:?} is not known\n")));
        }
        let read = value.parse().ok().filter(|n| *n <= most);
        number = read.ok_or_else(|| wrong(format!("{key}: {value:?} is no number up to {most}\n")))?;
    }
    Ok(number)
}

async fn history(
    State(shown): State<Shown>,
    RawQuery(query): RawQuery,
) -> Result<impl IntoResponse, Refusal> {
    let since = number(query.as_deref(), "since", 0, u64::MAX)?;
    // Made as the reader takes it.
    let pieces = shown.view.history(since).map(Ok::<_, Infallible>);
    let body = Body::from_stream(stream::iter(pieces));
    Ok(([(CONTENT_TYPE, "application/json")], body))
}

/// Sums up what takes some milliseconds, while others are answered.
async fn summed<T: Serialize + Send + 'static>(
    view: View,
    query: Option<&str>,
    sum: fn(&View, usize) -> T,
) -> Result<Json<T>, Refusal> {
    let limit = number(query, "limit", ROWS, MOST_ROWS)? as usize;
    let summed = tokio::task::spawn_blocking(move || sum(&view, limit)).await;
    let failed = |_| (StatusCode::INTERNAL_SERVER_ERROR, "it could not be summed up\n".to_owned());
    summed.map(Json).map_err(failed)
}

async fn flows(State(shown): State<Shown>, RawQuery(query): RawQuery) -> Result<Json<Flows>, Refusal> {
    summed(shown.view, query.as_deref(), View::flows).await
}

async fn dns(State(shown): State<Shown>, RawQuery(query): RawQuery) -> Result<Json<Dns>, Refusal> {
    summed(shown.view, query.as_deref(), View::dns).await
}

async fn processes(
    State(shown): State<Shown>,
    RawQuery(query): RawQuery,
) -> Result<Json<Processes>, Refusal> {
    summed(shown.view, query.as_deref(), View::processes).await
}

async fn process(State(shown): State<Shown>, Path(id): Path<String>) -> Result<Json<Process>, Refusal> {
    let unknown = || (StatusCode::NOT_FOUND, format!("no process {id:?} that owns sockets is known\n"));
    shown.view.process(&id).map(Json).ok_or_else(unknown)
}

//! `/metrics`: the newest values of all series, for a scraper.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::get;
use futures::stream;

use super::Shown;
use crate::export::prometheus::{Exposition, Format};

pub fn router() -> Router<Shown> {
    Router::new().route("/metrics", get(metrics))
}

async fn metrics(
    State(shown): State<Shown>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, (StatusCode, &'static str)> {
    let (metrics, resource) =
        shown.view.metrics().ok_or((StatusCode::SERVICE_UNAVAILABLE, "no sweep yet\n"))?;
    let accepted: Vec<&str> =
        headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let format = Format::negotiated(&accepted.join(","));
    // Made as the scraper takes it.
    let pieces = Exposition::new(metrics, resource, format).map(Ok::<_, Infallible>);
    let body = Body::from_stream(stream::iter(pieces));
    Ok(([(CONTENT_TYPE, format.content_type()), (VARY, "accept")], body))
}

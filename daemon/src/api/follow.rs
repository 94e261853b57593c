//! `/api/v1/events`: events as they come, as server-sent events, for as long as the client likes.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, RawQuery, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive};
use axum::response::{IntoResponse, Sse};
use axum::routing::get;
use futures::stream;
use netsonde_view::filter::EventFilter;
use netsonde_view::model::Missed;
use serde::Serialize;

use super::Shown;
use super::counts::Refusal;
use super::place::Place;
use crate::registry;
use crate::view::Told;

/// A comment is sent when there was nothing for so long, so that who has gone is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub fn router() -> Router<Shown> {
    Router::new().route("/api/v1/events", get(events))
}

async fn events(
    State(shown): State<Shown>,
    Extension(place): Extension<Place>,
    RawQuery(query): RawQuery,
) -> Result<impl IntoResponse, (StatusCode, String)> {
    let pairs = url::form_urlencoded::parse(query.as_deref().unwrap_or_default().as_bytes()).into_owned();
    let known: Vec<&str> = registry::events().iter().map(|event| event.name).collect();
    let filter = EventFilter::read(pairs, &known).map_err(|e| (StatusCode::BAD_REQUEST, format!("{e}\n")))?;
    let kept = place.keep().ok_or_else(|| {
        shown.counts.refuse(Refusal::TooMany);
        let text = "half of all clients follow events already (api.clients)\n";
        (StatusCode::SERVICE_UNAVAILABLE, text.to_owned())
    })?;
    let followed = shown.view.events().follow(filter);
    let told = stream::unfold((followed, kept), |(mut followed, kept)| async {
        let told = match followed.next().await? {
            Told::Event(event) => sent(&event.event, &*event),
            Told::Missed(missed) => sent("missed", &Missed { missed }),
        };
        Some((Ok::<_, Infallible>(told), (followed, kept)))
    });
    Ok(Sse::new(told).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

fn sent(name: &str, data: &impl Serialize) -> Event {
    // What cannot be written as JSON has no name: there is no such thing among these.
    let data = serde_json::to_string(data).unwrap_or_default();
    Event::default().event(name).data(data)
}

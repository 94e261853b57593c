//! `/api/v1/listeners/history`: what opened and closed, page by page.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use netsonde_audit::model::Change;
use netsonde_history::{Position, Query};
use serde::{Deserialize, Serialize};

use super::Shown;
use crate::history::changes;

/// Openings on one page, as one that is not said and at most.
const PAGE: usize = 1_000;

/// One page.
#[derive(Debug, Serialize, Deserialize)]
pub struct HistoryAnswer {
    /// Rows with the keys of `netsonde audit --since --format json`. Pages come by the time of what was first of an
    /// opening and its closing, and both are on the same.
    pub changes: Vec<Change>,
    /// The `after` of the next page; none after the last. A page without changes may have a next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    /// Unix nanoseconds.
    since: u64,
    until: u64,
    after: Option<Position>,
    limit: usize,
}

type Refusal = (StatusCode, String);

/// Reads `since` (RFC 3339; required), `until` (likewise), `after` and `limit`.
fn asked(query: &str) -> Result<Asked, Refusal> {
    let wrong = |key: &str, value: &str| (StatusCode::BAD_REQUEST, format!("{key}: {value:?} is wrong\n"));
    let (mut since, mut asked) = (None, Asked { since: 0, until: u64::MAX, after: None, limit: PAGE });
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let time = || {
            let time: Option<Timestamp> = value.parse().ok();
            time.and_then(|time| u64::try_from(time.as_nanosecond()).ok()).ok_or_else(|| wrong(&key, &value))
        };
        match &*key {
            "since" => since = Some(time()?),
            "until" => asked.until = time()?,
            "after" => asked.after = Some(Position::parse(&value).ok_or_else(|| wrong(&key, &value))?),
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=PAGE).contains(limit));
                asked.limit = limit.ok_or_else(|| wrong(&key, &value))?;
            }
            _ => return Err((StatusCode::BAD_REQUEST, format!("{key:?} is not known\n"))),
        }
    }
    match since {
        Some(since) => Ok(Asked { since, ..asked }),
        None => Err((StatusCode::BAD_REQUEST, "since: an RFC 3339 time is missing\n".to_owned())),
    }
}

/// Answers with one page.
pub async fn answer(
    State(shown): State<Shown>,
    RawQuery(query): RawQuery,
) -> Result<Json<HistoryAnswer>, Refusal> {
    let asked = asked(&query.unwrap_or_default())?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_limits_are_read() {
        let right =
            asked("since=1970-01-01T00:00:01Z&until=1970-01-01T00%3A00%3A02Z&limit=7").expect("right");
        assert_eq!(right, Asked { since: 1_000_000_000, until: 2_000_000_000, after: None, limit: 7 });
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (query, named) in [
            ("", "since"),
            ("since=yesterday", "since"),
            ("since=1969-01-01T00:00:00Z", "since"),
            ("since=1970-01-01T00:00:01Z&limit=0", "limit"),
            ("since=1970-01-01T00:00:01Z&limit=100000", "limit"),
            ("since=1970-01-01T00:00:01Z&after=x", "after"),
            ("sinse=1970-01-01T00:00:01Z", "sinse"),
        ] {
            let (status, text) = asked(query).expect_err(query);
            assert!(status == StatusCode::BAD_REQUEST && text.contains(named), "{text}");
        }
    }
}

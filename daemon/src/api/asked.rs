//! What the query of `/api/v1/listeners/history` asks for. Asks nothing itself.

use jiff::Timestamp;
use netsonde_history::Position;

/// Openings on one page, as one that is not said and at most.
pub const PAGE: usize = 1_000;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Asked {
    /// Unix nanoseconds.
    pub since: u64,
    /// Likewise.
    pub until: u64,
    /// Where the page before ended.
    pub after: Option<Position>,
    /// Openings on the page, 1 to [`PAGE`].
    pub limit: usize,
}

/// Reads `since` (RFC 3339; required), `until` (likewise), `after` and `limit`.
///
/// # Errors
///
/// What is wrong, as a line.
pub fn asked(query: &str) -> Result<Asked, String> {
    let wrong = |key: &str, value: &str| format!("{key}: {value:?} is wrong\n");
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
            _ => return Err(format!("{key:?} is not known\n")),
        }
    }
    match since {
        Some(since) => Ok(Asked { since, ..asked }),
        None => Err("since: an RFC 3339 time is missing\n".to_owned()),
    }
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
            let text = asked(query).expect_err(query);
            assert!(text.contains(named), "{text}");
        }
    }
}

//! What a collector's answer means, and how long to wait before the next attempt: pure decisions, after the
//! OTLP specification's sections "Failures" (gRPC and HTTP) and "Throttling".

use std::time::{Duration, SystemTime};

use tonic::Code;

/// First wait after a failure; it doubles with each one that follows.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// Longest wait that we choose ourselves.
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// Bounds of what a collector may ask for: a zero would make a busy loop, a day would be an outage.
const WAIT_ON_REQUEST: (Duration, Duration) = (Duration::from_millis(100), Duration::from_mins(5));

/// What to do with a request after one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The collector has it, but for as many points or records as it rejected.
    Delivered {
        /// Points or records thrown away there.
        rejected: u64,
    },
    /// Try the same request again.
    Retry {
        /// How long the collector asked to wait, if it did.
        after: Option<Duration>,
    },
    /// The same request would be refused again: drop it.
    Refused,
    /// Likewise, but for its size: parts of it may be taken.
    TooLarge,
}

/// Reads a gRPC status. `retry_info` is the delay of the status' `google.rpc.RetryInfo`, if it has one.
pub fn classify_grpc(code: Code, retry_info: Option<Duration>, message: &str) -> Outcome {
    match code {
        Code::ResourceExhausted | Code::OutOfRange if retry_info.is_none() && tells_of_size(message) => {
            Outcome::TooLarge
        }
        Code::Ok => Outcome::Delivered { rejected: 0 },
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Outcome::Retry { after: retry_info },
        // Without a delay the collector does not say that it can recover.
        Code::ResourceExhausted if retry_info.is_some() => Outcome::Retry { after: retry_info },
        _ => Outcome::Refused,
    }
}

/// Reads an HTTP status code. `retry_after` is the response's `Retry-After`, if it has one.
pub fn classify_http(status: u16, retry_after: Option<Duration>) -> Outcome {
    match status {
        200..=299 => Outcome::Delivered { rejected: 0 },
        413 => Outcome::TooLarge,
        429 | 502 | 503 | 504 => Outcome::Retry { after: retry_after },
        _ => Outcome::Refused,
    }
}

/// Whether a server says that a message is larger than it takes. gRPC has no code for that, and its libraries agree
/// neither on one nor on the words: grpc-go and the C core "message larger than max", grpc-java "message exceeds
/// maximum size", tonic (with OUT_OF_RANGE, which otherwise asks for another attempt) "message length too large".
fn tells_of_size(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["larger than max", "exceeds maximum size", "length too large", "message too large"]
        .iter()
        .any(|words| message.contains(words))
}

/// Reads `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date in any of HTTP's three forms.
pub fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// How long to wait after `failures` failed attempts in a row, one at least. `random` is in 0..1 and spreads
/// our own waits over the upper half of each, and those that were asked for over a tenth beyond, so that many hosts
/// do not return at once.
pub fn wait(failures: u32, asked: Option<Duration>, random: f64) -> Duration {
    if let Some(asked) = asked {
        return asked.clamp(WAIT_ON_REQUEST.0, WAIT_ON_REQUEST.1).mul_f64(1.0 + random / 10.0);
    }
    let doublings = failures.saturating_sub(1).min(16);
    let full = (FIRST_BACKOFF * 2_u32.pow(doublings)).min(MAX_BACKOFF);
    full.mul_f64(0.5 + random / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn grpc_codes_follow_the_specification() {
        use Code::{
            Aborted, AlreadyExists, Cancelled, DataLoss, DeadlineExceeded, FailedPrecondition, Internal,
            InvalidArgument, NotFound, Ok, OutOfRange, PermissionDenied, ResourceExhausted, Unauthenticated,
            Unavailable, Unimplemented, Unknown,
        };
        assert_eq!(classify_grpc(Ok, None, ""), Outcome::Delivered { rejected: 0 });
        for code in [Cancelled, DeadlineExceeded, Aborted, OutOfRange, Unavailable, DataLoss] {
            assert_eq!(classify_grpc(code, None, ""), Outcome::Retry { after: None }, "{code:?}");
            assert_eq!(classify_grpc(code, Some(SECOND), ""), Outcome::Retry { after: Some(SECOND) });
        }
        for code in [
            Unknown,
            InvalidArgument,
            NotFound,
            AlreadyExists,
            PermissionDenied,
            Unauthenticated,
            FailedPrecondition,
            Unimplemented,
            Internal,
        ] {
            assert_eq!(classify_grpc(code, Some(SECOND), ""), Outcome::Refused, "{code:?}");
        }
        assert_eq!(classify_grpc(ResourceExhausted, None, "quota"), Outcome::Refused);
        let later = Outcome::Retry { after: Some(SECOND) };
        assert_eq!(classify_grpc(ResourceExhausted, Some(SECOND), ""), later);
        assert_eq!(classify_grpc(ResourceExhausted, Some(SECOND), "message larger than max"), later);
    }

    #[test]
    fn a_message_over_the_limit_is_told_from_other_refusals() {
        for (code, message) in [
            (Code::ResourceExhausted, "grpc: received message larger than max (5000000 vs. 4194304)"),
            (Code::ResourceExhausted, "SERVER: Received message larger than max (5000000 vs. 4194304)"),
            (Code::ResourceExhausted, "gRPC message exceeds maximum size 4194304: 5000000"),
            (
                Code::OutOfRange,
                "Error, decoded message length too large: found 5000000 bytes, the limit is: 4194304",
            ),
        ] {
            assert_eq!(classify_grpc(code, None, message), Outcome::TooLarge, "{message}");
        }
        assert_eq!(classify_grpc(Code::InvalidArgument, None, "larger than max"), Outcome::Refused);
        assert_eq!(classify_http(413, None), Outcome::TooLarge);
    }

    #[test]
    fn http_codes_follow_the_specification() {
        for status in [200, 202, 204] {
            assert_eq!(classify_http(status, None), Outcome::Delivered { rejected: 0 });
        }
        for status in [429, 502, 503, 504] {
            assert_eq!(classify_http(status, None), Outcome::Retry { after: None });
            assert_eq!(classify_http(status, Some(SECOND)), Outcome::Retry { after: Some(SECOND) });
        }
        for status in [301, 400, 401, 404, 408, 500, 501, 505] {
            assert_eq!(classify_http(status, Some(SECOND)), Outcome::Refused, "{status}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(parse_retry_after(" 120 ", now), Some(Duration::from_mins(2)));
        assert_eq!(parse_retry_after("Sun, 06 Nov 1994 08:49:47 GMT", now), Some(10 * SECOND));
        assert_eq!(parse_retry_after("Sun, 06 Nov 1994 08:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(parse_retry_after("soon", now), None);
        assert_eq!(parse_retry_after("-1", now), None);
    }

    #[test]
    fn waits_double_to_a_limit_and_are_spread() {
        let longest: Vec<u64> = (1..8).map(|failures| wait(failures, None, 1.0).as_secs()).collect();
        assert_eq!(longest, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(wait(1, None, 0.0), SECOND / 2);
        assert_eq!(wait(u32::MAX, None, 0.0), 15 * SECOND);
    }

    #[test]
    fn a_wait_on_request_is_honoured_within_reason() {
        assert_eq!(wait(5, Some(3 * SECOND), 0.0), 3 * SECOND);
        assert_eq!(wait(5, Some(10 * SECOND), 1.0), 11 * SECOND);
        assert_eq!(wait(1, Some(Duration::ZERO), 0.0), Duration::from_millis(100));
        assert_eq!(wait(1, Some(Duration::MAX), 0.0), Duration::from_mins(5));
    }
}

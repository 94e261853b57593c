//! OTLP/HTTP with binary protobuf: one POST a request.
//!
//! Owns the exchange; the meaning of its status is `outcome`'s matter.

use std::error::Error as _;
use std::io::Write as _;
use std::time::{Duration, SystemTime};

use ::http::header::{
    CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, PROXY_AUTHORIZATION, RETRY_AFTER, USER_AGENT as AGENT,
};
use ::http::{Request, Response, StatusCode, Uri};

use anyhow::Context as _;
use bytes::Bytes;
use flate2::write::GzEncoder;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use prost::Message as _;
use tokio::time::{Instant, timeout_at};

use super::dial::Dialer;
use super::headers::Headers;
use super::outcome::{Outcome, classify_http, parse_retry_after};
use super::{Reply, USER_AGENT};
use crate::config::export::{Compression, OtlpConfig};
use crate::export::statistics::Signal;

const PROTOBUF: &str = "application/x-protobuf";
/// As much of an answer as we read: a message of a line or two, or something that is no collector.
const MAX_RESPONSE_BYTES: usize = 64 << 10;

/// The client of one signal.
#[derive(Debug, Clone)]
pub struct HttpClient {
    client: Client<Dialer, Full<Bytes>>,
    uri: Uri,
    headers: Headers,
    /// What a proxy wants to see in each request.
    proxy_authorization: Option<HeaderValue>,
    forwards: bool,
    compression: Compression,
    timeout: Duration,
}

impl HttpClient {
    /// Prepares the client without touching the network.
    ///
    /// # Errors
    /// If the URL, a certificate or a header cannot be used.
    pub fn new(config: &OtlpConfig, signal: Signal) -> anyhow::Result<Self> {
        let url = match signal {
            Signal::Metrics => &config.metrics_url,
            Signal::Logs => &config.logs_url,
        };
        let dialer = Dialer::new(config, url)?;
        let uri: Uri = url.parse().with_context(|| format!("invalid OTLP endpoint {url:?}"))?;
        Ok(Self {
            uri,
            headers: Headers::new(&config.headers)?,
            proxy_authorization: dialer.proxy_authorization().cloned(),
            forwards: dialer.forwards(),
            client: Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(dialer),
            compression: config.compression,
            timeout: config.timeout,
        })
    }

    /// What is sent with every request.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// One attempt. Redirects are not followed: the headers may hold a token, which goes where the configuration
    /// says and nowhere else.
    pub async fn send(self, signal: Signal, body: Bytes) -> Reply {
        let deadline = Instant::now() + self.timeout;
        let body = match self.compression {
            Compression::Gzip => gzip(&body),
            Compression::None => body,
        };
        let len = body.len() as u64;
        let retry = Outcome::Retry { after: None };
        let request = self.request(body).await;
        match timeout_at(deadline, self.client.request(request)).await {
            Ok(Ok(response))
                if self.forwards && response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED =>
            {
                // The collector never saw it.
                Reply {
                    outcome: retry,
                    detail: "the proxy wants a password, or another one".into(),
                    bytes: len,
                }
            }
            Ok(Ok(response)) => answer(signal, response, len, deadline).await,
            Ok(Err(error)) => {
                let bytes = if error.is_connect() { 0 } else { len };
                // The URL and headers were accepted at start; what is left are failures of the way there.
                Reply { outcome: retry, detail: describe(&error), bytes }
            }
            Err(_) => {
                Reply { outcome: retry, detail: format!("no answer within {:?}", self.timeout), bytes: len }
            }
        }
    }

    async fn request(&self, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::post(self.uri.clone())
            .body(Full::new(body))
            .expect("a method and a URL that was parsed before");
        let mut headers = self.headers.current().await;
        headers.entry(AGENT).or_insert(HeaderValue::from_static(USER_AGENT));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
        if self.compression == Compression::Gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Some(authorization) = &self.proxy_authorization {
            headers.insert(PROXY_AUTHORIZATION, authorization.clone());
        }
        *request.headers_mut() = headers;
        request
    }
}

async fn answer(signal: Signal, response: Response<Incoming>, bytes: u64, deadline: Instant) -> Reply {
    let status = response.status();
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| parse_retry_after(value, SystemTime::now()));
    let protobuf = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(PROTOBUF.as_bytes()));
    let body = read(response.into_body(), deadline).await;
    let outcome = classify_http(status.as_u16(), retry_after);
    match outcome {
        // A collector may say nothing, or answer in JSON: what it has, it has.
        Outcome::Delivered { .. } if !protobuf => Reply { outcome, detail: String::new(), bytes },
        Outcome::Delivered { .. } => {
            let (rejected, detail) = partial_success(signal, &body);
            Reply { outcome: Outcome::Delivered { rejected }, detail, bytes }
        }
        Outcome::Retry { .. } | Outcome::Refused | Outcome::TooLarge => {
            let mut detail = status.to_string();
            let message = tonic_types::Status::decode(&body[..]).map(|status| status.message);
            if protobuf && let Ok(message) = message {
                detail = format!("{detail}: {message}");
            }
            Reply { outcome, detail, bytes }
        }
    }
}

fn partial_success(signal: Signal, body: &[u8]) -> (u64, String) {
    let partial = match signal {
        Signal::Metrics => ExportMetricsServiceResponse::decode(body).map(|response| {
            let partial = response.partial_success.unwrap_or_default();
            (partial.rejected_data_points, partial.error_message)
        }),
        Signal::Logs => ExportLogsServiceResponse::decode(body).map(|response| {
            let partial = response.partial_success.unwrap_or_default();
            (partial.rejected_log_records, partial.error_message)
        }),
    };
    let (rejected, message) = partial.unwrap_or_else(|error| {
        tracing::debug!(%error, "unreadable OTLP response");
        (0, String::new())
    });
    (u64::try_from(rejected).unwrap_or(0), message)
}

/// Reads the start of the body; what is cut or lost on the way was only meant to be logged.
async fn read(mut incoming: Incoming, deadline: Instant) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < MAX_RESPONSE_BYTES
        && let Ok(Some(Ok(frame))) = timeout_at(deadline, incoming.frame()).await
    {
        body.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
    }
    body.truncate(MAX_RESPONSE_BYTES);
    body
}

fn gzip(body: &[u8]) -> Bytes {
    // Telemetry repeats itself so much that the fast level does almost as well as the best.
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let compressed = encoder.write_all(body).and_then(|()| encoder.finish());
    compressed.expect("a vector takes every byte").into()
}

fn describe(error: &hyper_util::client::legacy::Error) -> String {
    // The client's own words say no more than that it failed.
    let mut causes = Vec::new();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if causes.last() != Some(&text) {
            causes.push(text);
        }
        source = cause.source();
    }
    if causes.is_empty() { error.to_string() } else { causes.join(": ") }
}

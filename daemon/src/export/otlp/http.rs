//! OTLP/HTTP with binary protobuf: one POST a request.
//!
//! Owns the exchange; the meaning of its status is `outcome`'s matter.

use std::error::Error as _;
use std::io::Write as _;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use bytes::Bytes;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use prost::Message as _;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, Url};

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
    client: Client,
    url: Url,
    compression: Compression,
}

impl HttpClient {
    /// Prepares the client without touching the network.
    ///
    /// # Errors
    /// If the URL or a header cannot be used.
    pub fn new(config: &OtlpConfig, signal: Signal) -> anyhow::Result<Self> {
        let url = match signal {
            Signal::Metrics => &config.metrics_url,
            Signal::Logs => &config.logs_url,
        };
        let url: Url = url.parse().with_context(|| format!("invalid OTLP endpoint {url:?}"))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &config.headers {
            let mut value = HeaderValue::from_str(value.expose())
                .with_context(|| format!("value of header {name:?} cannot be sent"))?;
            value.set_sensitive(true);
            let name: HeaderName = name.parse().with_context(|| format!("invalid header {name:?}"))?;
            headers.insert(name, value);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
        if config.compression == Compression::Gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        super::install_crypto_provider();
        let mut client = Client::builder()
            .user_agent(USER_AGENT)
            .default_headers(headers)
            .timeout(config.timeout)
            .tcp_keepalive(Duration::from_secs(30))
            // The headers may hold a token: it goes where the configuration says and nowhere else.
            .redirect(reqwest::redirect::Policy::none());
        if url.scheme() == "http" {
            // Spares loading the system's root certificates, which a small host may not even have.
            client = client.tls_certs_only([]);
        }
        let client = client.build().context("cannot set up the HTTP client")?;
        Ok(Self { client, url, compression: config.compression })
    }

    /// One attempt.
    pub async fn send(self, signal: Signal, body: Bytes) -> Reply {
        let body = match self.compression {
            Compression::Gzip => gzip(&body),
            Compression::None => body,
        };
        let len = body.len() as u64;
        match self.client.post(self.url).body(body).send().await {
            Ok(response) => answer(signal, response, len).await,
            Err(error) => {
                let bytes = if error.is_connect() { 0 } else { len };
                let retry = Outcome::Retry { after: None };
                // The URL and headers were accepted at start; what is left are failures of the way there.
                Reply { outcome: retry, detail: describe(&error), bytes }
            }
        }
    }
}

async fn answer(signal: Signal, response: Response, bytes: u64) -> Reply {
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
    let body = read(response).await;
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
async fn read(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < MAX_RESPONSE_BYTES
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk);
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

fn describe(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

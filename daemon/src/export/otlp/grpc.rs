//! OTLP/gRPC: one unary call a request, over a channel that connects when it is first used.
//!
//! Owns the call; the meaning of its status is `outcome`'s matter. Bodies are already encoded, so that they
//! can wait as bytes; hence tonic's generic client with a codec that passes them through.

use std::error::Error as _;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use anyhow::Context as _;
use bytes::{Buf as _, BufMut as _, Bytes};
use http_body_util::BodyExt as _;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::{Service, http};
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::dial::Dialer;
use super::headers::Headers;
use super::outcome::{Outcome, classify_grpc};
use super::{Reply, USER_AGENT};
use crate::config::export::{Compression, OtlpConfig};
use crate::export::statistics::Signal;

const METRICS_METHOD: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
const LOGS_METHOD: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

/// The client of one signal.
#[derive(Debug, Clone)]
pub struct GrpcClient {
    endpoint: Endpoint,
    dialer: Dialer,
    channel: Channel,
    headers: Headers,
    compression: Compression,
    timeout: Duration,
}

impl GrpcClient {
    /// Prepares the client without touching the network; must be called within a tokio runtime.
    ///
    /// # Errors
    /// If the URL, a certificate or a header cannot be used.
    pub fn new(config: &OtlpConfig, signal: Signal) -> anyhow::Result<Self> {
        let url = match signal {
            Signal::Metrics => &config.metrics_url,
            Signal::Logs => &config.logs_url,
        };
        let dialer = Dialer::new(config, url)?;
        let uri: http::Uri = url.parse().with_context(|| format!("invalid OTLP endpoint {url:?}"))?;
        let endpoint = Endpoint::from(uri)
            .user_agent(USER_AGENT)
            .context("invalid user agent")?
            .connect_timeout(config.timeout);
        let headers = Headers::new(&config.headers)?;
        let channel = endpoint.connect_with_connector_lazy(dialer.clone());
        let (compression, timeout) = (config.compression, config.timeout);
        Ok(Self { endpoint, dialer, channel, headers, compression, timeout })
    }

    /// Gives up the connection. A peer that vanished without a word would otherwise hold every later call
    /// until TCP itself notices.
    pub fn reconnect(&mut self) {
        self.channel = self.endpoint.connect_with_connector_lazy(self.dialer.clone());
    }

    /// What is sent with every request.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// One attempt.
    pub async fn send(self, signal: Signal, body: Bytes) -> Reply {
        let bytes = Arc::new(AtomicU64::new(0));
        let counted = Counted { inner: self.channel.clone(), bytes: Arc::clone(&bytes) };
        let call = async {
            match signal {
                Signal::Metrics => {
                    let answer: ExportMetricsServiceResponse =
                        self.call(counted, METRICS_METHOD, body).await?;
                    let partial = answer.partial_success.unwrap_or_default();
                    Ok((partial.rejected_data_points, partial.error_message))
                }
                Signal::Logs => {
                    let answer: ExportLogsServiceResponse = self.call(counted, LOGS_METHOD, body).await?;
                    let partial = answer.partial_success.unwrap_or_default();
                    Ok((partial.rejected_log_records, partial.error_message))
                }
            }
        };
        let answer: Result<_, Status> = match tokio::time::timeout(self.timeout, call).await {
            Ok(answer) => answer,
            Err(_) => Err(Status::deadline_exceeded(format!("no answer within {:?}", self.timeout))),
        };
        let bytes = bytes.load(Ordering::Relaxed);
        match answer {
            Ok((rejected, detail)) => Reply {
                outcome: Outcome::Delivered { rejected: u64::try_from(rejected).unwrap_or(0) },
                detail,
                bytes,
            },
            Err(status) => Reply { outcome: outcome_of(&status), detail: describe(&status), bytes },
        }
    }

    async fn call<R: prost::Message + Default + 'static>(
        &self,
        service: Counted,
        method: &'static str,
        body: Bytes,
    ) -> Result<R, Status> {
        let mut client = Grpc::with_origin(service, self.endpoint.uri().clone());
        if self.compression == Compression::Gzip {
            client = client
                .send_compressed(CompressionEncoding::Gzip)
                .accept_compressed(CompressionEncoding::Gzip);
        }
        client.ready().await.map_err(|error| Status::from_error(error.into()))?;
        let mut request = tonic::Request::new(body);
        *request.metadata_mut() = MetadataMap::from_headers(self.headers.current().await);
        request.set_timeout(self.timeout);
        let path = http::uri::PathAndQuery::from_static(method);
        Ok(client.unary(request, path, PassThrough(PhantomData)).await?.into_inner())
    }
}

/// A status that carries a source was made on this side, when the connection failed: whatever code tonic
/// gave it, the collector has not refused anything.
fn outcome_of(status: &Status) -> Outcome {
    let local = status.source().is_some();
    let code = match status.code() {
        Code::Unknown | Code::Internal if local => Code::Unavailable,
        code => code,
    };
    let retry_info = status.get_details_retry_info().and_then(|info| info.retry_delay);
    classify_grpc(code, retry_info, status.message())
}

fn describe(status: &Status) -> String {
    let mut text = format!("{:?}: {}", status.code(), status.message());
    let mut source = status.source();
    while let Some(error) = source {
        let cause = error.to_string();
        // Layers repeat each other, and tonic's own says nothing.
        if !text.contains(&cause) && cause != "transport error" {
            text.push_str(": ");
            text.push_str(&cause);
        }
        source = error.source();
    }
    text
}

/// Counts the bytes of request bodies as the connection takes them, that is: compressed.
#[derive(Debug, Clone)]
struct Counted {
    inner: Channel,
    bytes: Arc<AtomicU64>,
}

impl Service<http::Request<Body>> for Counted {
    type Response = <Channel as Service<http::Request<Body>>>::Response;
    type Error = <Channel as Service<http::Request<Body>>>::Error;
    type Future = <Channel as Service<http::Request<Body>>>::Future;

    fn poll_ready(&mut self, context: &mut TaskContext<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<http::Request<Body>>::poll_ready(&mut self.inner, context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let bytes = Arc::clone(&self.bytes);
        self.inner.call(request.map(|body| {
            Body::new(body.map_frame(move |frame| {
                let len = frame.data_ref().map_or(0, Bytes::len);
                bytes.fetch_add(len as u64, Ordering::Relaxed);
                frame
            }))
        }))
    }
}

/// Sends bytes that are a message already; reads `R`.
struct PassThrough<R>(PhantomData<R>);

impl<R: prost::Message + Default + 'static> Codec for PassThrough<R> {
    type Encode = Bytes;
    type Decode = R;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self(PhantomData)
    }

    fn decoder(&mut self) -> Self {
        Self(PhantomData)
    }
}

impl<R> Encoder for PassThrough<R> {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, body: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(body.len());
        buffer.put(body);
        Ok(())
    }
}

impl<R: prost::Message + Default> Decoder for PassThrough<R> {
    type Item = R;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<R>, Status> {
        // The collector has the request; an answer that we cannot read must not send it again.
        let message = R::decode(&mut *buffer).unwrap_or_else(|error| {
            tracing::debug!(%error, "unreadable OTLP response");
            R::default()
        });
        buffer.advance(buffer.remaining());
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_connection_is_no_refusal() {
        let broken = Status::from_error(Box::new(std::io::Error::other("connection reset")));
        assert_eq!(broken.code(), Code::Unknown);
        assert_eq!(outcome_of(&broken), Outcome::Retry { after: None });
        assert_eq!(outcome_of(&Status::unknown("from the collector")), Outcome::Refused);
        assert_eq!(describe(&broken), "Unknown: connection reset");
    }
}

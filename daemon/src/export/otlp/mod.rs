//! One OTLP collector as a destination: a lane for each signal, so that neither a flood of logs nor a
//! refused path can hold up the metrics.
//!
//! Owns the life of a request from a batch to its settlement: cut, encoded, stored, sent, tried again.
//! `encode` and `split` make requests, `store` keeps them on disk or in memory (`queue`) and `keeper` the runtime
//! from waiting for that, `grpc` and `http` carry them over what `dial` and `tls` connect, `outcome` decides.

#[cfg(test)]
mod counted;
mod dial;
mod encode;
mod grpc;
mod headers;
mod http;
mod keeper;
mod lane;
mod outcome;
mod queue;
mod split;
mod stamp;
mod store;
mod tls;
mod wire;

use bytes::Bytes;

pub use encode::resource;
pub use lane::{LaneHandle, start};
pub use split::{MAX_REQUEST_BYTES, Part, Parts};
pub use store::SpoolSettings;

use self::grpc::GrpcClient;
use self::http::HttpClient;
use self::outcome::Outcome;
use super::statistics::Signal;
use crate::config::export::{OtlpConfig, Protocol};

const USER_AGENT: &str = concat!("netsonde/", env!("CARGO_PKG_VERSION"));

/// What came of one attempt.
#[derive(Debug)]
struct Reply {
    outcome: Outcome,
    /// What the collector said, or why it could not be asked; empty if there is nothing to say.
    detail: String,
    /// Bytes of the body that left, as sent.
    bytes: u64,
}

/// Either way to a collector.
#[derive(Debug, Clone)]
enum Transport {
    Grpc(Box<GrpcClient>),
    Http(Box<HttpClient>),
}

impl Transport {
    fn new(config: &OtlpConfig, signal: Signal) -> anyhow::Result<Self> {
        Ok(match config.protocol {
            Protocol::Grpc => Self::Grpc(Box::new(GrpcClient::new(config, signal)?)),
            Protocol::HttpProtobuf => Self::Http(Box::new(HttpClient::new(config, signal)?)),
        })
    }

    async fn send(self, signal: Signal, body: Bytes) -> Reply {
        let (headers, mut reply) = match self {
            Self::Grpc(client) => (client.headers().clone(), client.send(signal, body).await),
            Self::Http(client) => (client.headers().clone(), client.send(signal, body).await),
        };
        reply.detail = headers.redact(reply.detail);
        reply
    }

    /// After a failure: leaves the connection if it could be what failed.
    fn recover(&mut self) {
        match self {
            Self::Grpc(client) => client.reconnect(),
            // A timed out exchange takes its HTTP/1.1 connection with it.
            Self::Http(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;

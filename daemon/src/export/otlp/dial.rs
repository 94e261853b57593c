//! The way to one collector: its address or that of a proxy, a tunnel through the proxy, the TLS handshake.
//!
//! Owns the connection until the first byte of HTTP, for gRPC and for HTTP alike; so there is one place where names
//! are verified and proxies are asked. Which proxy and which certificates is the configuration's matter.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::Uri;
use http::header::HeaderValue;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::Intercept;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower_service::Service;

use super::tls::Tls;
use crate::config::export::{OtlpConfig, Protocol};

/// Until a connection on which nothing moves is probed; a peer that vanished is noticed some minutes later.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Connects to the collector of one URL.
#[derive(Debug, Clone)]
pub struct Dialer {
    http: HttpConnector,
    proxy: Option<Intercept>,
    /// Whether all goes through a tunnel: what is encrypted, and HTTP/2, which proxies do not pass on otherwise.
    tunnel: bool,
    tls: Option<Arc<Tls>>,
}

impl Dialer {
    /// Prepares the way to `url` without touching the network.
    ///
    /// # Errors
    /// If the URL or the certificates cannot be used.
    pub fn new(config: &OtlpConfig, url: &str) -> anyhow::Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("invalid OTLP endpoint {url:?}"))?;
        let host = uri.host().with_context(|| format!("OTLP endpoint {url:?} has no host"))?;
        let tls = match uri.scheme_str() {
            Some("http") => None,
            Some("https") => {
                let protocol: &[u8] = match config.protocol {
                    Protocol::Grpc => b"h2",
                    Protocol::HttpProtobuf => b"http/1.1",
                };
                let tls = Tls::new(&config.tls, host, protocol);
                Some(Arc::new(tls.with_context(|| format!("cannot set up TLS for {host:?}"))?))
            }
            _ => bail!("OTLP endpoint {url:?} is neither http:// nor https://"),
        };
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(KEEPALIVE));
        let tunnel = tls.is_some() || config.protocol == Protocol::Grpc;
        Ok(Self { http, proxy: config.proxies.of(url), tunnel, tls })
    }

    /// What a proxy wants to see in each request that it passes on itself, if that is what it does.
    pub fn proxy_authorization(&self) -> Option<&HeaderValue> {
        self.proxy.as_ref().filter(|_| !self.tunnel)?.basic_auth()
    }

    /// Whether requests are handed to a proxy, which may answer them itself.
    pub fn forwards(&self) -> bool {
        self.proxy.is_some() && !self.tunnel
    }

    async fn dial(mut self, uri: Uri) -> Result<TokioIo<Stream>, DialError> {
        let forwards = self.forwards();
        let stream = match &self.proxy {
            None => {
                let to = place(&uri);
                let stream = self.http.call(uri).await;
                stream.map_err(|error| DialError::new(format!("cannot connect to {to}"), error))?
            }
            Some(proxy) => {
                let to = place(proxy.uri());
                if self.tunnel {
                    let mut tunnel = Tunnel::new(proxy.uri().clone(), self.http.clone());
                    if let Some(authorization) = proxy.basic_auth() {
                        tunnel = tunnel.with_auth(authorization.clone());
                    }
                    let stream = tunnel.call(with_port(uri)).await;
                    stream.map_err(|error| {
                        DialError::new(format!("cannot get through the proxy {to}"), error)
                    })?
                } else {
                    let stream = self.http.call(proxy.uri().clone()).await;
                    stream
                        .map_err(|error| DialError::new(format!("cannot connect to the proxy {to}"), error))?
                }
            }
        };
        let stream = stream.into_inner();
        let Some(tls) = self.tls else { return Ok(Stream::new(stream, forwards)) };
        let name = tls.server_name();
        let failed = format!("no TLS connection to {}", name.to_str());
        // Reads files when they have changed.
        let prepared = Arc::clone(&tls);
        let connector = match tokio::task::spawn_blocking(move || prepared.connector()).await {
            Ok(connector) => connector,
            Err(error) => return Err(DialError::new(failed, error)),
        };
        let stream = match connector.connect(name, stream).await {
            Ok(stream) => stream,
            Err(error) => return Err(DialError::new(failed, error)),
        };
        let negotiated = stream.get_ref().1.alpn_protocol();
        // A server of HTTP/1.1 need not know of protocols; for HTTP/2 they are required (RFC 9113, section 3.3).
        if negotiated != Some(tls.protocol()) && tls.protocol() == b"h2" {
            let why = "it does not offer HTTP/2, which gRPC needs; is it a port for http/protobuf?";
            return Err(DialError::new(failed, why));
        }
        Ok(Stream::new(stream, forwards))
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub struct DialError {
    what: String,
    cause: Box<dyn Error + Send + Sync>,
}

impl DialError {
    fn new(what: String, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { what, cause: cause.into() }
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for DialError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.cause.as_ref())
    }
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<Stream>;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut TaskContext<'_>) -> Poll<Result<(), Self::Error>> {
        let ready = self.http.poll_ready(context);
        ready.map_err(|error| DialError::new("cannot connect".to_owned(), error))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().dial(uri))
    }
}

/// Host and port, without anything that could be a secret.
fn place(uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default();
    uri.port_u16().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The tunnel takes 443 for a missing port, whatever the scheme.
fn with_port(uri: Uri) -> Uri {
    if uri.port().is_some() || uri.scheme_str() == Some("https") {
        return uri;
    }
    let full = format!("http://{}:80/", uri.host().unwrap_or_default());
    full.parse().unwrap_or(uri)
}

trait Io: AsyncRead + AsyncWrite + Send {}

impl Io for TcpStream {}

impl Io for tokio_rustls::client::TlsStream<TcpStream> {}

/// A connection, encrypted or not.
pub struct Stream {
    io: Pin<Box<dyn Io>>,
    /// Whether the other end is a proxy that wants whole URLs.
    forwarded: bool,
}

impl Stream {
    fn new(io: impl Io + 'static, forwarded: bool) -> TokioIo<Self> {
        TokioIo::new(Self { io: Box::pin(io), forwarded })
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.forwarded)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.io.as_mut().poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.io.as_mut().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        self.io.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        self.io.as_mut().poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io.as_mut().poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

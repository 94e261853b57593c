//! Asking the running daemon over its socket.

use std::path::Path;

use anyhow::bail;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// The body of the answer to a GET request, at most so many bytes.
///
/// # Errors
///
/// Nobody answers, which has an [`std::io::Error`] at its root; or the answer is none.
pub async fn ask(socket: &Path, path: &str, most: usize) -> anyhow::Result<Vec<u8>> {
    let (code, body) = send(socket, Method::GET, path, most).await?;
    if code != StatusCode::OK {
        bail!("it answered {code}: {}", String::from_utf8_lossy(&body).trim());
    }
    Ok(body)
}

/// The answer to a request without a body, at most so many bytes of it.
///
/// # Errors
///
/// Nobody answers, which has an [`std::io::Error`] at its root.
pub async fn send(
    socket: &Path,
    method: Method,
    path: &str,
    most: usize,
) -> anyhow::Result<(StatusCode, Vec<u8>)> {
    let response = open(socket, method, path).await?;
    let code = response.status();
    let body = Limited::new(response.into_body(), most).collect().await;
    Ok((code, body.map_err(|e| anyhow::anyhow!("{e}"))?.to_bytes().to_vec()))
}

/// The answer to a request without a body, whose own body is still to come.
///
/// # Errors
///
/// Nobody answers, which has an [`std::io::Error`] at its root.
pub async fn open(socket: &Path, method: Method, path: &str) -> anyhow::Result<Response<Incoming>> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request =
        hyper::Request::builder().method(method).uri(path).header("host", "netsonde").body(String::new())?;
    Ok(sender.send_request(request).await?)
}

//! Asking the running daemon over its socket.

use std::path::Path;

use anyhow::bail;
use http_body_util::{BodyExt, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// The body of the answer to a GET request, at most so many bytes.
///
/// # Errors
///
/// Nobody answers, which has an [`std::io::Error`] at its root; or the answer is none.
pub async fn ask(socket: &Path, path: &str, most: usize) -> anyhow::Result<Vec<u8>> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = hyper::Request::get(path).header("host", "netsonde").body(String::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    if status != hyper::StatusCode::OK {
        // One line says why, as a rule.
        let body = Limited::new(response.into_body(), 4_096).collect().await;
        let why = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).trim().to_owned());
        match why {
            Ok(why) if !why.is_empty() => bail!("it answered {status}: {why}"),
            _ => bail!("it answered {status}"),
        }
    }
    let body = Limited::new(response.into_body(), most).collect().await;
    Ok(body.map_err(|e| anyhow::anyhow!("{e}"))?.to_bytes().to_vec())
}

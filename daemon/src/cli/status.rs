//! `netsonde status`: asks the running daemon how it is doing. Without one, says what this host would allow.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::aggregate::Grade;
use crate::api::StatusAnswer;
use crate::exit::Exit;

/// No honest status comes near it.
const LARGEST_ANSWER: usize = 16 << 20;

/// Writes the daemon's verdict on itself to `out`.
///
/// # Errors
///
/// When no daemon answers at `socket`, or writing fails.
pub async fn status(socket: &Path, json: bool, out: &mut impl Write) -> anyhow::Result<Exit> {
    let body = match ask(socket, "/api/v1/status").await {
        Ok(body) => body,
        Err(e) => {
            let here = match netsonde_probes::check_host() {
                Ok(_) => "this host and user could run one".to_owned(),
                Err(e) => format!("this host or user could not run one: {e}"),
            };
            return Err(e.context(format!("no daemon answers at {} ({here})", socket.display())));
        }
    };
    let answer: StatusAnswer = serde_json::from_slice(&body).context("the daemon's answer cannot be read")?;
    if json {
        out.write_all(&body)?;
        writeln!(out)?;
    } else {
        table(&answer, out)?;
    }
    Ok(match answer.grade {
        Grade::Ok => Exit::Ok,
        Grade::Degraded | Grade::Failed => Exit::Failure,
    })
}

fn table(answer: &StatusAnswer, out: &mut impl Write) -> io::Result<()> {
    let width = answer.findings.iter().map(|f| f.subject.len()).max().unwrap_or(0);
    for finding in &answer.findings {
        let grade = match finding.grade {
            Grade::Ok => "ok      ",
            Grade::Degraded => "degraded",
            Grade::Failed => "failed  ",
        };
        writeln!(out, "{grade}  {:width$}  {}", finding.subject, finding.text)?;
    }
    Ok(())
}

async fn ask(socket: &Path, path: &str) -> anyhow::Result<Vec<u8>> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = hyper::Request::get(path).header("host", "netsonde").body(String::new())?;
    let response = sender.send_request(request).await?;
    if response.status() != hyper::StatusCode::OK {
        bail!("it answered {}", response.status());
    }
    let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await;
    Ok(body.map_err(|e| anyhow::anyhow!("{e}"))?.to_bytes().to_vec())
}

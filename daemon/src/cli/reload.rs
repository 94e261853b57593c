//! `netsonde reload`: has the running daemon read its configuration again, and says what came of it.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use hyper::{Method, StatusCode};

use super::ask::send;
use crate::exit::Exit;

/// Most bytes of what is wrong with a configuration.
const LARGEST_ANSWER: usize = 1 << 20;

/// Returns when the new configuration is in force, or was refused.
///
/// # Errors
///
/// When no daemon answers at `socket`, the answer is none, or writing fails.
pub async fn reload(socket: &Path, out: &mut impl Write, err: &mut impl Write) -> anyhow::Result<Exit> {
    let answer = send(socket, Method::POST, "/api/v1/reload", LARGEST_ANSWER).await;
    let (code, body) = answer.with_context(|| format!("no daemon answers at {}", socket.display()))?;
    let said = String::from_utf8_lossy(&body);
    let said = said.trim();
    match code {
        StatusCode::OK => {
            writeln!(out, "{said}")?;
            Ok(Exit::Ok)
        }
        StatusCode::UNPROCESSABLE_ENTITY => {
            writeln!(err, "netsonde: the configuration stays as it was: {said}")?;
            Ok(Exit::Config)
        }
        _ => {
            writeln!(err, "netsonde: the daemon answered {code}: {said}")?;
            Ok(Exit::Failure)
        }
    }
}

//! `netsonde status`: asks the running daemon how it is doing. Without one, says what this host would allow.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;

use super::ask::ask;
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
    let body = match ask(socket, "/api/v1/status", LARGEST_ANSWER).await {
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
        Grade::Degraded | Grade::Failed => Exit::Degraded,
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

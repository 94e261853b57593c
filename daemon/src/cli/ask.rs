//! Asking the running daemon over its socket.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
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

/// What somebody can do who may not ask.
pub fn not_allowed(socket: &Path) -> String {
    let shown = socket.display();
    // Whoever may not even see the socket does not learn its group.
    let group = fs::metadata(socket).ok().map(|found| found.gid());
    let who = match group {
        None => "a member of its group".to_owned(),
        Some(0) => "a member of its group, which is root's: give it another (`api.group`)".to_owned(),
        Some(gid) => {
            let groups = fs::read_to_string("/etc/group").unwrap_or_default();
            match group_name(&groups, gid) {
                Some(name) => {
                    format!("a member of the group {name} (usermod -aG {name} USER, then log in again)")
                }
                None => format!("a member of the group {gid}"),
            }
        }
    };
    format!("this user may not ask the daemon at {shown}: run it as root, or as {who}")
}

/// Name of a group, by a text like /etc/group (group(5)).
fn group_name(groups: &str, gid: u32) -> Option<&str> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(gid)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_names() {
        let groups = "root:x:0:\nbroken\nadm:x:4:syslog,me\n";
        assert_eq!(group_name(groups, 4), Some("adm"));
        assert_eq!(group_name(groups, 5), None);
    }
}

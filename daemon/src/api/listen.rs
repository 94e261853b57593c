//! The sockets of the API: made while the process still has its privileges and one thread, and removed in the end.

use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use rustix::fs::Mode;

use super::admit::Members;
use crate::config::export::Secret;
use crate::config::{self, Config};

/// Longest token that is read, in bytes.
const LONGEST_TOKEN: u64 = 4096;
/// Shortest: what is shorter can be guessed.
const SHORTEST_TOKEN: usize = 16;

/// Sockets that wait for clients; the file of the Unix socket is removed with it.
pub struct Listening {
    /// Removed first: as long as somebody listens on it, no other daemon takes its place.
    _file: SocketFile,
    /// The Unix socket.
    pub(super) local: UnixListener,
    /// Who may ask there.
    pub(super) members: Members,
    /// Over TCP.
    pub(super) remote: Option<std::net::TcpListener>,
    /// What those over TCP must have.
    pub(super) token: Option<Secret>,
    /// Clients at once.
    pub(super) clients: usize,
}

/// A socket's file, as long as it is the one that was made.
struct SocketFile {
    path: PathBuf,
    made: (u64, i64, i64),
}

/// Inode and time of making: an inode's number is used again.
fn identity(path: &Path) -> io::Result<(u64, i64, i64)> {
    std::fs::symlink_metadata(path).map(|m| (m.ino(), m.mtime(), m.mtime_nsec()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let same = identity(&self.path).is_ok_and(|now| now == self.made);
        if same && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "cannot remove the socket of the local API");
        }
    }
}

impl Listening {
    /// Makes the sockets. Changes the process's umask for a moment: call it while there is one thread.
    ///
    /// # Errors
    ///
    /// When a socket cannot be made, another daemon answers on it, or the token cannot be read.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let api = &config.api;
        let token = api.token_file.as_deref().map(read_token).transpose()?;
        let path = &api.socket;
        let (local, file) = bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
        give_to_group(api);
        let made = std::fs::symlink_metadata(path).context("the socket is gone")?;
        let members = Members { own_uid: rustix::process::geteuid().as_raw(), gid: made.gid() };
        let remote = api.listen.map(|address| {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        let remote = remote
            .transpose()
            .map_err(|e: io::Error| e)
            .with_context(|| format!("cannot listen on {:?} (api.listen)", api.listen))?;
        let clients = api.clients.get() as usize;
        Ok(Self { _file: file, local, members, remote, token, clients })
    }
}

fn bind(path: &Path) -> anyhow::Result<(UnixListener, SocketFile)> {
    if let Some(folder) = path.parent() {
        let made = DirBuilder::new().recursive(true).mode(0o755).create(folder);
        made.with_context(|| format!("cannot make {}", folder.display()))?;
    }
    match std::fs::symlink_metadata(path) {
        Ok(there) => {
            ensure!(there.file_type().is_socket(), "there is something else of that name");
            // Left behind by a daemon that was killed, unless somebody listens.
            match UnixStream::connect(path) {
                Err(e) if e.kind() == ErrorKind::ConnectionRefused => {}
                Ok(_) => bail!("another netsonde is running there"),
                Err(e) => return Err(e).context("cannot tell whether another netsonde is running there"),
            }
            std::fs::remove_file(path).context("cannot remove the stale socket")?;
        }
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => return Err(e.into()),
    }
    // From its first moment nobody else may connect.
    let before = rustix::process::umask(Mode::from_raw_mode(0o117));
    let bound = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = bound?;
    let file = SocketFile { path: path.to_owned(), made: identity(path)? };
    listener.set_nonblocking(true)?;
    Ok((listener, file))
}

/// A group that is missing leaves the socket with the daemon's own: nobody has more access for it.
fn give_to_group(api: &config::Api) {
    let Some(name) = &api.group else { return };
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let Some(gid) = group_id(&groups, name) else {
        tracing::debug!(group = name, "there is no such group: the socket of the local API keeps its own");
        return;
    };
    if let Err(error) = chown(&api.socket, None, Some(gid)) {
        tracing::warn!(%error, group = name, "the socket of the local API cannot be given to its group");
    }
}

/// The number of a group in a text like `/etc/group` (group(5)).
fn group_id(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

fn read_token(path: &Path) -> anyhow::Result<Secret> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(LONGEST_TOKEN).read_to_string(&mut text))
        .with_context(|| format!("cannot read the token of the API from {}", path.display()))?;
    let token = text.trim();
    let graphic = token.bytes().all(|byte| byte.is_ascii_graphic());
    ensure!(
        graphic && token.len() >= SHORTEST_TOKEN,
        "{} holds no token: one line of at least {SHORTEST_TOKEN} letters, digits and signs",
        path.display()
    );
    Ok(Secret::new(token))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_group_has_its_number() {
        let groups = "root:x:0:\nnetsonded:x:7:\nnetsonde:x:991:alice,bob\n";
        assert_eq!(group_id(groups, "netsonde"), Some(991));
        assert_eq!(group_id(groups, "nets"), None);
        assert_eq!(group_id("netsonde\nnetsonde:x:many:\n", "netsonde"), None);
    }

    #[test]
    fn the_socket_is_closed_to_others_and_goes_with_its_owner() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("run/api.sock");
        let (listener, file) = bind(&path).expect("bound");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        assert!(bind(&path).err().expect("in use").to_string().contains("another netsonde"));
        drop(listener);
        // The clock of files has ticks of up to 10 ms.
        std::thread::sleep(std::time::Duration::from_millis(20));
        // As after a kill: the file is there, and nobody listens.
        let (_listener, second) = bind(&path).expect("the stale one is replaced");
        drop(file);
        assert!(path.exists(), "the file of another is not removed");
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("precious");
        std::fs::write(&path, "data").expect("written");
        assert!(bind(&path).is_err());
        assert_eq!(std::fs::read_to_string(&path).expect("still there"), "data");
    }

    #[test]
    fn a_token_is_a_line_that_cannot_be_guessed() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        for (text, right) in [
            ("0123456789abcdef\n", true),
            ("0123456789abcde", false),
            ("", false),
            ("0123456789 abcdef", false),
        ] {
            std::fs::write(&path, text).expect("written");
            assert_eq!(read_token(&path).is_ok(), right, "{text}");
        }
        assert!(read_token(&directory.path().join("none")).is_err());
    }
}

//! Who is at the other end of a local socket, as far as Rust's standard library does not tell.

use std::os::fd::{AsRawFd, BorrowedFd};

/// More groups than this are never asked for: the most that a process can have (`NGROUPS_MAX`, linux/limits.h).
const MOST_GROUPS: usize = 65_536;

/// The supplementary groups that the peer of a stream had when it connected (`SO_PEERGROUPS`, unix(7)). Unlike `/proc` they
/// are there under `ProtectProc=`, and are not those of another process that has the number since.
///
/// # Errors
///
/// Those of getsockopt(2).
pub fn groups(stream: BorrowedFd<'_>) -> std::io::Result<Vec<u32>> {
    // Most have few; the kernel says how many bytes it wants when these are too few.
    let mut groups = vec![0u32; 64];
    loop {
        let mut bytes =
            libc::socklen_t::try_from(size_of_val(groups.as_slice())).unwrap_or(libc::socklen_t::MAX);
        // SAFETY: `groups` has `bytes` bytes, which any values may be written to, and both outlive the call.
        let status = unsafe {
            libc::getsockopt(
                stream.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut bytes,
            )
        };
        let count = bytes as usize / size_of::<u32>();
        if status == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = std::io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() || count > MOST_GROUPS {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_peers_groups_are_those_of_its_process() {
        let (one, _other) = UnixStream::pair().expect("a pair");
        let mut own: Vec<u32> = rustix::process::getgroups()
            .expect("own groups")
            .into_iter()
            .map(rustix::process::Gid::as_raw)
            .collect();
        let mut seen = groups(one.as_fd()).expect("the peer's");
        own.sort_unstable();
        seen.sort_unstable();
        assert_eq!(seen, own);
        let file = std::fs::File::open("/dev/null").expect("a file");
        assert!(groups(file.as_fd()).is_err(), "what is no socket has no peer");
    }
}

//! The one host that all kernel tests share: who may use it, and for how long alone.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};

/// The right to use the host alone; given back on drop, and by the kernel when a test process dies.
pub struct Host {
    _lock: File,
}

impl Host {
    /// Waits for the host. A file lock and not a mutex: `cargo test` runs tests of one file in threads, but two
    /// checkouts may also be tested at once, and a tiny event ring in one must not be filled by the other's load.
    pub fn acquire() -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            bail!("these tests load BPF programs and make network namespaces: run them as root");
        }
        // systemd makes /run/lock; a container or chroot may be without it.
        std::fs::create_dir_all("/run/lock").context("cannot make /run/lock")?;
        let path = "/run/lock/netsonde-tests.lock";
        let lock = File::options()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("cannot open {path}"))?;
        flock(&lock, FlockOperation::LockExclusive).context("cannot lock the host for this test")?;
        Ok(Self { _lock: lock })
    }
}

/// A program that cargo built beside the running test or benchmark.
pub fn built(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    // A test runs from target/PROFILE/deps, the benchmark from target/PROFILE.
    let path = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
        .with_context(|| format!("no `{name}` beside {}: build the workspace first", own.display()))?;
    Ok(path)
}

/// The daemon under test: `NETSONDE_BIN`, or what cargo built into the same target directory.
#[allow(clippy::disallowed_methods, reason = "read for all of the tests here")]
pub fn netsonde() -> Result<PathBuf> {
    match std::env::var_os("NETSONDE_BIN") {
        Some(path) if Path::new(&path).is_file() => Ok(path.into()),
        Some(path) => bail!("NETSONDE_BIN names no file: {}", path.display()),
        None => built("netsonde"),
    }
}

/// How many times longer than on a machine of its own kind everything may take: `NETSONDE_PATIENCE`, 1 without it.
#[allow(
    clippy::disallowed_methods,
    reason = "an emulated machine says it, and its tests have no configuration"
)]
pub fn patience() -> u32 {
    std::env::var("NETSONDE_PATIENCE").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Where a file of this crate lies in the source tree.
pub fn source(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

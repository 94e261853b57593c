//! The exit codes of every `netsonde` command, in one place.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done; for `run`: stopped in order, everything flushed.
    Ok = 0,
    /// Something failed at run time, and the last line on standard error says what.
    Failure = 1,
    /// The command line is wrong; clap's own code.
    Usage = 2,
    /// `status`: the daemon answers, and something of it is degraded or has failed.
    Degraded = 4,
    /// netsonde cannot work on this host or for this user: a capability or the kernel's BTF is missing.
    CannotRun = 77,
    /// The configuration is wrong (`EX_CONFIG` of sysexits.h).
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

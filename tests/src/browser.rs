//! Scripts that drive the web page in Chromium: Node programs in `tests/web`, which speak JSON lines.

use std::net::TcpListener;
use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::host;
use crate::program::Running;

/// Starts a script with its arguments.
///
/// # Errors
///
/// When what it needs is not there.
pub fn script(name: &str, arguments: &Value) -> Result<Running> {
    let modules = host::source("web/node_modules");
    ensure!(modules.is_dir(), "no {}: run `make deps-web` first", modules.display());
    Running::start_command(
        Command::new("node").arg(host::source("web").join(name)).arg(arguments.to_string()),
    )
}

/// A port of the loopback that nobody has by now.
///
/// # Errors
///
/// When the kernel gives none.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

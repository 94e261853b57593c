//! `netsonde top`: what programs do now, in a terminal.
//!
//! Reads the running daemon, or probes that this process loads when there is none, by the questions of the local API.
//! What is known is in [`model`] and [`store`], what somebody looks at in [`state`]; [`tables`] and [`details`] make
//! rows and pages of both, [`scene`] says where they stand, and [`draw`] puts them on the screen. Only [`mod@watch`],
//! [`source`] and [`terminal`] do anything; the rest is pure.

mod details;
mod draw;
mod filter;
pub mod messages;
mod model;
mod once;
mod page;
mod scene;
mod source;
mod state;
mod store;
mod tables;
pub mod terminal;
#[cfg(test)]
mod testing;
mod text;
pub mod watch;

use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use self::filter::Filter;
use self::messages::Messages;
pub use self::model::Whom;
pub use self::scene::Looks;
pub use self::source::Source;
use self::state::State;
pub use self::tables::Kind;
use self::tables::Sorting;
use self::watch::Watch;
use super::TopArgs;
use super::ask::{ask, not_allowed};
use crate::config::Config;

/// From one question to the next, unless another is asked for.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// A table by its name on the command line.
///
/// # Errors
///
/// Which names there are.
pub fn parse_tab(text: &str) -> Result<Kind, String> {
    let names = || Kind::ALL.map(Kind::word).join(", ");
    Kind::ALL.into_iter().find(|kind| kind.word() == text).ok_or_else(|| format!("one of {}", names()))
}

/// What flags ask for.
///
/// # Errors
///
/// What is wrong with them, as a line.
pub fn watch(args: &TopArgs, config: &Config, looks: Looks, messages: Messages) -> Result<Watch, String> {
    let sorting = args.sort.as_deref().map(|text| sorting(args.tab, text)).transpose()?;
    Ok(Watch {
        state: State::new(args.tab, sorting, Filter::parse(args.filter.as_deref().unwrap_or_default())),
        looks,
        interval: args.interval.unwrap_or(INTERVAL),
        policy: config.audit.clone(),
        messages,
    })
}

fn sorting(tab: Kind, text: &str) -> Result<Sorting, String> {
    let (word, direction) = text.split_once(':').map_or((text, None), |(word, way)| (word, Some(way)));
    let Some(column) = tab.column(word) else {
        let words: Vec<&str> = tab.columns().iter().map(|column| column.word).collect();
        return Err(format!("--sort: {} has no column {word:?}; it has {}", tab.word(), words.join(", ")));
    };
    match direction {
        None => Ok(Sorting::by(tab, column)),
        Some("asc") => Ok(Sorting { column, descending: false }),
        Some("desc") => Ok(Sorting { column, descending: true }),
        Some(way) => Err(format!("--sort: {way:?} is no direction: asc or desc")),
    }
}

/// Whether a daemon answers at this socket.
///
/// # Errors
///
/// When somebody is there who does not answer, or not this user.
pub async fn is_daemon_at(socket: &Path) -> anyhow::Result<bool> {
    let Err(error) = ask(socket, "/healthz", 1 << 10).await else { return Ok(true) };
    match error.downcast_ref::<io::Error>().map(io::Error::kind) {
        Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Ok(false),
        Some(io::ErrorKind::PermissionDenied) => Err(error).context(not_allowed(socket)),
        // One that is stuck says so, and is a daemon all the same.
        None => Ok(true),
        Some(_) => Err(error).with_context(|| format!("the daemon at {} does not answer", socket.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_read() {
        let flows = |text| sorting(Kind::Flows, text);
        let tx = Kind::Flows.column("tx").expect("a column");
        assert_eq!(flows("tx"), Ok(Sorting { column: tx, descending: true }));
        assert_eq!(flows("tx:asc"), Ok(Sorting { column: tx, descending: false }));
        assert_eq!(flows("remote").map(|sorting| sorting.descending), Ok(false));
        assert!(flows("nonsense").expect_err("no column").contains("retransmits"));
        assert!(flows("tx:up").expect_err("no direction").contains("asc"));
        assert_eq!(parse_tab("dns"), Ok(Kind::Dns));
        assert!(parse_tab("DNS?").expect_err("no table").contains("listeners"));
    }
}

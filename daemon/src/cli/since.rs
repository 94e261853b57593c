//! `netsonde audit --since`: what opened and closed, from the daemon, or from what it wrote down.

use std::io::{self, Write};

use anyhow::{Context, bail};
use jiff::Timestamp;
use netsonde_audit::filter::Filter;
use netsonde_audit::model::{Change, Listener};
use netsonde_audit::report::{Report, Source};
use netsonde_history::{Error, History, Query};

use super::ask::ask;
use crate::api::HistoryAnswer;
use crate::app;
use crate::config::Config;
use crate::history;

/// No honest page comes near it.
const LARGEST_PAGE: usize = 256 << 20;
/// Openings of one page of the store.
const PAGE: usize = 1_000;

/// From when to when, in Unix nanoseconds.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// The first that is shown.
    pub since: u64,
    /// The last.
    pub until: u64,
}

/// The report of what opened and closed, of what the filter lets through.
///
/// # Errors
///
/// Neither the daemon nor the store could be read.
pub fn report(
    config: &Config,
    window: Window,
    filter: &Filter,
    now_unix_ns: u64,
    err: &mut impl Write,
) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut changes = Vec::new();
    let mut keep = |page: Vec<Change>| {
        changes.extend(page.into_iter().filter(|change| filter.matches(&change.listener)));
    };
    let source = match runtime.block_on(from_daemon(config, window, &mut keep)) {
        Ok(()) => Source::Daemon,
        Err(error) => {
            let shown = config.api.socket.display();
            match error.downcast_ref::<io::Error>().map(io::Error::kind) {
                Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {}
                Some(io::ErrorKind::PermissionDenied) => {
                    return Err(error.context(format!(
                        "this user may not ask the daemon at {shown}; members of the socket's group may"
                    )));
                }
                _ => return Err(error.context(format!("the daemon at {shown} does not say what listened"))),
            }
            from_store(config, window, &mut keep)
                .with_context(|| format!("no daemon answers at {shown}, and its history cannot be read"))?;
            writeln!(
                err,
                "netsonde: no daemon answers at {shown}: this is what it wrote down in {}, which does not know what was \
                 since it ended",
                config.history.directory.display()
            )?;
            Source::Store
        }
    };
    Ok(Report::of_changes(&app::host_name(), now_unix_ns, source, changes))
}

fn time(unix_ns: u64) -> String {
    Timestamp::from_nanosecond(i128::from(unix_ns)).unwrap_or(Timestamp::MAX).to_string()
}

async fn from_daemon(
    config: &Config,
    window: Window,
    keep: &mut impl FnMut(Vec<Change>),
) -> anyhow::Result<()> {
    let (since, until) = (time(window.since), time(window.until));
    let mut after = String::new();
    loop {
        let path = format!("/api/v1/listeners/history?since={since}&until={until}{after}");
        let body = ask(&config.api.socket, &path, LARGEST_PAGE).await?;
        let page: HistoryAnswer =
            serde_json::from_slice(&body).context("the daemon's answer cannot be read")?;
        keep(page.changes);
        let Some(next) = page.next else { return Ok(()) };
        let following = format!("&after={next}");
        if following == after {
            bail!("the daemon's answer has no end");
        }
        after = following;
    }
}

fn from_store(config: &Config, window: Window, keep: &mut impl FnMut(Vec<Change>)) -> Result<(), Error> {
    let Window { since, until } = window;
    let store = History::read_only(&config.history.directory)?;
    let mut after = None;
    loop {
        let page = store.page::<Listener>(Query::OpenedOrClosedSince(since), after, PAGE)?;
        keep(page.records.iter().flat_map(|record| history::changes(record, since, until)).collect());
        after = page.next.filter(|next| next.at() <= until);
        if after.is_none() {
            return Ok(());
        }
    }
}

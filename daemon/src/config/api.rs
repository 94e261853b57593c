//! The local API: where it listens, for whom, how many at once, and how much of the past it has.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::raw;
use super::reader::Reader;
use super::units::{format_size, parse_duration, parse_size};
use super::validate::{absolute, positive};

const DEFAULT_SOCKET: &str = "/run/netsonde/netsonde.sock";
const DEFAULT_GROUP: &str = "netsonde";
const DEFAULT_CLIENTS: NonZeroU32 = NonZeroU32::new(64).unwrap();
const DEFAULT_HISTORY: Duration = Duration::from_hours(1);
const HISTORY_RANGE: RangeInclusive<Duration> = Duration::from_mins(1)..=Duration::from_hours(24);
const DEFAULT_HISTORY_SIZE: u64 = 8 << 20;
const HISTORY_SIZES: RangeInclusive<u64> = 1 << 20..=1 << 30;

/// The credential of systemd that holds the token, where none is named (`LoadCredential=` in systemd.exec(5)).
const CREDENTIAL: &str = "netsonde-api-token";

/// How much of the past is kept in memory for readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViewBounds {
    /// Intervals that ended longer ago are forgotten.
    pub age: Duration,
    /// Bytes that intervals, and the names in them, take at most.
    pub bytes: u64,
}

/// The local API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Api {
    /// Path of the Unix socket; absolute, and short enough for a socket address.
    pub socket: PathBuf,
    /// The group that the socket is given to, if there is one of that name.
    pub group: Option<String>,
    /// Where to listen over TCP as well.
    pub listen: Option<SocketAddr>,
    /// The file with the token that requests over TCP must have; there is one unless `listen` is a loopback address.
    pub token_file: Option<PathBuf>,
    /// Clients at once.
    pub clients: NonZeroU32,
    /// What of the past is kept in memory for readers: 1 minute to 24 hours, 1 MiB to 1 GiB.
    pub history: ViewBounds,
}

/// Reads `[api]`.
pub fn read(reader: &mut Reader<'_>, raw: raw::Api) -> Api {
    let socket = reader.value("api.socket", raw.socket, DEFAULT_SOCKET.into(), |text| socket(text));
    let group = reader.value("api.group", raw.group, Some(DEFAULT_GROUP.to_owned()), |text| {
        Ok((!text.is_empty()).then(|| text.clone()))
    });
    let listen = reader.value("api.listen", raw.listen, None, |text| address(text));
    let named = raw.token_file.is_some();
    let mut token_file = reader.value("api.token_file", raw.token_file, None, |text| {
        if text.is_empty() { Ok(None) } else { absolute(text).map(Some) }
    });
    if !named && listen.is_some() {
        let credential = reader.variable("CREDENTIALS_DIRECTORY", "api.token_file", |directory| {
            Ok(Some(Path::new(directory).join(CREDENTIAL)).filter(|path| path.exists()))
        });
        token_file = credential.flatten();
    }
    if let (Some(listen), None, Some(place)) = (listen, &token_file, reader.place("api.listen").cloned())
        && !listen.ip().is_loopback()
    {
        let message = "other hosts could ask there: set api.token_file, or listen on a loopback address";
        reader.problem("api.listen", &place, message);
    }
    let clients = reader.value("api.clients", raw.clients, DEFAULT_CLIENTS, |n| positive(*n, 4096));
    let history = ViewBounds {
        age: reader.value("api.history", raw.history, DEFAULT_HISTORY, |text| {
            parse_duration(&text.0, &HISTORY_RANGE)
        }),
        bytes: reader.value("api.history_size", raw.history_size, DEFAULT_HISTORY_SIZE, |text| size(&text.0)),
    };
    Api { socket, group, listen, token_file, clients, history }
}

fn size(text: &str) -> Result<u64, String> {
    let bytes = parse_size(text)?;
    if HISTORY_SIZES.contains(&bytes) {
        return Ok(bytes);
    }
    let (low, high) = (format_size(*HISTORY_SIZES.start()), format_size(*HISTORY_SIZES.end()));
    Err(format!("{text:?} is out of range; it may be from {low} to {high}"))
}

fn address(text: &str) -> Result<Option<SocketAddr>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        format!("{text:?} is no address with a port; write one such as \"127.0.0.1:9500\" or \"[::1]:9500\"")
    })
}

fn socket(text: &str) -> Result<PathBuf, String> {
    // sockaddr_un holds 108 bytes, the closing zero included.
    const LONGEST: usize = 107;
    if text.len() > LONGEST {
        return Err(format!("the path has {} bytes; a Unix socket's may have {LONGEST}", text.len()));
    }
    absolute(text)
}

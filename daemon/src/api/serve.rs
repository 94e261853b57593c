//! Serving clients, each within its limits: how many there are, how large a head may be, how long a client may take to
//! ask and to take its answer. HTTP itself is hyper's.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, Request, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};
use tower_service::Service as _;

use super::admit::{self, Caller, Members, Peer, Wanted};
use super::counts::{Counts, Refusal};
use super::patient::Patient;
use super::place::{Place, Turn};
use super::{Listening, Shown, page, router};
use crate::config::export::Secret;

/// A head may have so many bytes; browsers with cookies need less.
const LARGEST_HEAD: usize = 16 << 10;
const MOST_HEADERS: usize = 64;
/// A client may take so long to ask, and to ask again.
pub const PATIENCE_TO_ASK: Duration = Duration::from_millis(if cfg!(test) { 600 } else { 5000 });
/// Who is being answered for so long may have to make room.
const LONG_ENOUGH: Duration = Duration::from_secs(1);
/// When the system has no descriptor to give, more attempts help nobody.
const PAUSE: Duration = Duration::from_millis(50);

/// What all connections share.
struct Shared {
    router: Router,
    token: Option<Secret>,
    counts: Arc<Counts>,
    /// Clients that keep their places.
    kept: Arc<AtomicUsize>,
    /// At most.
    most_kept: usize,
}

/// Serves until it is dropped.
pub async fn serve(listening: &Listening, shown: Shown) {
    let local = listening.local.try_clone().and_then(UnixListener::from_std);
    let remote = listening.remote.as_ref().map(|l| l.try_clone().and_then(TcpListener::from_std)).transpose();
    let (local, remote) = match (local, remote) {
        (Ok(local), Ok(remote)) => (local, remote),
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "the local API cannot listen");
            return;
        }
    };
    let counts = Arc::clone(&shown.counts);
    let shared = Arc::new(Shared {
        router: router(shown),
        token: listening.token.clone(),
        counts: Arc::clone(&counts),
        kept: Arc::default(),
        // The others have room for whoever asks and leaves.
        most_kept: listening.clients / 2,
    });
    let mut clients = Clients { open: VecDeque::new(), limit: listening.clients, counts };
    loop {
        let accepted = tokio::select! {
            local = local.accept() => local.map(|(stream, _)| Accepted::Local(stream)),
            remote = accept_remote(remote.as_ref()) => remote.map(Accepted::Remote),
        };
        match accepted {
            Ok(Accepted::Local(stream)) => {
                let caller = caller_of(&stream, listening.members);
                clients.take(|turn| connection(stream, caller, Arc::clone(&shared), turn));
            }
            Ok(Accepted::Remote(stream)) => {
                clients.take(|turn| connection(stream, Caller::Remote, Arc::clone(&shared), turn));
            }
            Err(error) => {
                tracing::debug!(%error, "a client of the local API was not accepted");
                shared.counts.refuse(Refusal::Accept);
                sleep(PAUSE).await;
            }
        }
        // So that whoever has come can ask before the next may take its place.
        tokio::task::yield_now().await;
    }
}

enum Accepted {
    Local(UnixStream),
    Remote(tokio::net::TcpStream),
}

async fn accept_remote(listener: Option<&TcpListener>) -> io::Result<tokio::net::TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

/// Who connected, by SO_PEERCRED (unix(7)). The socket's mode lets in root, the daemon's user and the group by itself;
/// this also holds where somebody has changed the mode. `/proc` would not do for supplementary groups: in the unit it hides
/// other users' processes.
fn caller_of(stream: &UnixStream, members: Members) -> Caller {
    let Ok(credentials) = stream.peer_cred() else { return Caller::Stranger };
    let groups = netsonde_probes::peer::groups(stream.as_fd()).unwrap_or_else(|error| {
        tracing::debug!(%error, "groups of a client of the local API");
        Vec::new()
    });
    let peer = Peer { uid: credentials.uid(), gid: credentials.gid(), groups };
    admit::caller(&peer, members)
}

struct Client {
    turn: Arc<Turn>,
    since: Instant,
    task: AbortHandle,
}

struct Clients {
    /// Oldest first.
    open: VecDeque<Client>,
    limit: usize,
    counts: Arc<Counts>,
}

impl Clients {
    /// Serves a client; another may have to make room for it.
    fn take<F>(&mut self, connection: impl FnOnce(Arc<Turn>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.open.retain(|client| !client.task.is_finished());
        if self.open.len() >= self.limit {
            self.counts.refuse(Refusal::TooMany);
            let now = Instant::now();
            let facts = self.open.iter().map(|client| {
                let keeps = client.turn.keeps.load(Ordering::Relaxed);
                let answering = keeps || client.turn.answering.load(Ordering::Relaxed);
                (answering, if keeps { Duration::ZERO } else { now - client.since })
            });
            let Some(leaves) = who_leaves(&facts).and_then(|index| self.open.remove(index)) else { return };
            leaves.task.abort();
        }
        let turn = Arc::new(Turn::default());
        let task = tokio::spawn(connection(Arc::clone(&turn))).abort_handle();
        self.open.push_back(Client { turn, since: Instant::now(), task });
        self.counts.set_clients(self.open.len());
    }
}

/// Who makes room, of clients with whether they are being answered and for how long they have been there, the oldest
/// first: who has not asked yet, else who has had time enough.
fn who_leaves(clients: &(impl Iterator<Item = (bool, Duration)> + Clone)) -> Option<usize> {
    let waits = clients.clone().position(|(answering, _)| !answering);
    waits.or_else(|| clients.clone().position(|(_, age)| age >= LONG_ENOUGH))
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    caller: Caller,
    shared: Arc<Shared>,
    turn: Arc<Turn>,
) {
    let stream = Patient::new(stream, Arc::clone(&turn));
    let service = {
        let (shared, turn) = (Arc::clone(&shared), Arc::clone(&turn));
        service_fn(move |request| answer(request, caller, Arc::clone(&shared), Arc::clone(&turn)))
    };
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE_TO_ASK)
        .max_header_size(LARGEST_HEAD)
        .max_headers(MOST_HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a client of the local API");
        // Browsers keep a connection in case they ask again: its end is no refusal.
        let is_kept = error.is_timeout() && turn.answered.load(Ordering::Relaxed);
        if let Some(why) = why(&error).filter(|_| !is_kept) {
            shared.counts.refuse(why);
        }
    }
}

/// What an error of a connection was; a client that leaves is none.
fn why(error: &hyper::Error) -> Option<Refusal> {
    let cause = std::error::Error::source(error).and_then(|e| e.downcast_ref::<io::Error>());
    if error.is_parse_too_large() {
        Some(Refusal::HeadTooLarge)
    } else if error.is_parse() {
        Some(Refusal::Malformed)
    } else if error.is_timeout() {
        Some(Refusal::Timeout)
    } else if cause.is_some_and(|e| e.kind() == io::ErrorKind::TimedOut) {
        Some(Refusal::Stalled)
    } else {
        None
    }
}

async fn answer(
    mut request: Request<Incoming>,
    caller: Caller,
    shared: Arc<Shared>,
    turn: Arc<Turn>,
) -> Result<Response<Body>, std::convert::Infallible> {
    turn.answering.store(true, Ordering::Relaxed);
    let has_body = !request.body().is_end_stream();
    let wanted = if page::has(request.uri().path()) { Wanted::Page } else { Wanted::Data };
    let response = match admit::request(caller, wanted, request.headers(), has_body, shared.token.as_ref()) {
        Ok(()) => {
            shared.counts.request();
            request.extensions_mut().insert(caller);
            let (turn, kept) = (Arc::clone(&turn), Arc::clone(&shared.kept));
            request.extensions_mut().insert(Place { turn, kept, most_kept: shared.most_kept });
            shared.router.clone().call(request).await?
        }
        Err(why) => {
            shared.counts.refuse(why);
            refused(why)
        }
    };
    Ok(response.map(|body| Body::new(Answer { body, turn })))
}

/// The body of an answer: until it is sent, or its client has gone, the client is being answered.
struct Answer {
    body: Body,
    turn: Arc<Turn>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.turn.answered.store(true, Ordering::Relaxed);
        self.turn.answering.store(false, Ordering::Relaxed);
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn refused(why: Refusal) -> Response<Body> {
    // The rest of what it sends is not read.
    let mut headers = HeaderMap::from_iter([(header::CONNECTION, header::HeaderValue::from_static("close"))]);
    let (code, text) = match why {
        Refusal::Unauthorized => {
            headers.insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
            (StatusCode::UNAUTHORIZED, "a token is needed\n")
        }
        Refusal::Body => (StatusCode::PAYLOAD_TOO_LARGE, "no body is taken here\n"),
        Refusal::Host => (
            StatusCode::MISDIRECTED_REQUEST,
            "ask by localhost or a loopback address, and not from another site's page\n",
        ),
        _ => (StatusCode::FORBIDDEN, "root, netsonde's own user and the group of this socket may ask\n"),
    };
    (code, headers, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_not_asked_makes_room_before_who_is_answered() {
        let (now, long) = (Duration::ZERO, LONG_ENOUGH);
        let leaves = |clients: &[(bool, Duration)]| who_leaves(&clients.iter().copied());
        assert_eq!(leaves(&[(true, long), (false, now), (false, now)]), Some(1));
        assert_eq!(leaves(&[(true, now), (true, long)]), Some(1));
        assert_eq!(leaves(&[(true, now), (true, now)]), None);
        assert_eq!(leaves(&[]), None);
    }
}

//! Who is answered, decided from facts: who is at the other end, and what the request says. Asks nothing.

use axum::http::{HeaderMap, header};
use subtle::ConstantTimeEq;

use super::counts::Refusal;
use crate::config::export::Secret;

/// Who is at the other end of a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Effective user when it connected.
    pub uid: u32,
    /// Effective group when it connected.
    pub gid: u32,
    /// Supplementary groups, as far as they can be told.
    pub groups: Vec<u32>,
}

/// Who may ask on the Unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Members {
    /// The user that the daemon runs as.
    pub own_uid: u32,
    /// The group of the socket's file.
    pub gid: u32,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// Root, or the daemon's own user.
    Owner,
    /// A member of the group.
    Member,
    /// Somebody who got to the socket, and may not ask.
    Stranger,
    /// Somebody over TCP.
    Remote,
}

impl Caller {
    /// Whether it may have the daemon do something.
    #[must_use]
    pub fn may_change(self) -> bool {
        self == Self::Owner
    }
}

/// Who a peer is to this daemon.
#[must_use]
pub fn caller(peer: &Peer, members: Members) -> Caller {
    if peer.uid == 0 || peer.uid == members.own_uid {
        Caller::Owner
    } else if peer.gid == members.gid || peer.groups.contains(&members.gid) {
        Caller::Member
    } else {
        Caller::Stranger
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// What the daemon knows.
    Data,
    /// A file of the web page, the same on every host: a browser has no token before it has the page.
    Page,
}

/// Whether a request is answered at all; `token` is what those over TCP must have.
///
/// # Errors
///
/// Why not.
pub fn request(
    caller: Caller,
    wanted: Wanted,
    headers: &HeaderMap,
    has_body: bool,
    token: Option<&Secret>,
) -> Result<(), Refusal> {
    match (caller, token) {
        (Caller::Stranger, _) => return Err(Refusal::Forbidden),
        (Caller::Remote, Some(token)) if wanted == Wanted::Data && !carries(headers, token) => {
            return Err(Refusal::Unauthorized);
        }
        // A page in a browser of this host may ask under its own name, which then leads here (DNS rebinding).
        (Caller::Remote, None) if !names_loopback(headers) => return Err(Refusal::Host),
        // Likewise where ssh forwards a port to the Unix socket; what asks there by itself may call it what it likes.
        (Caller::Owner | Caller::Member, _) if !names_loopback(headers) && !names_no_site(headers) => {
            return Err(Refusal::Host);
        }
        _ => {}
    }
    if wanted == Wanted::Data && is_of_another_site(headers) {
        return Err(Refusal::Host);
    }
    if has_body { Err(Refusal::Body) } else { Ok(()) }
}

/// RFC 6750, section 2.1. The comparison takes as long for a token that is nearly right as for any of its length.
fn carries(headers: &HeaderMap, token: &Secret) -> bool {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(given), None) = (given.next(), given.next()) else { return false };
    let given = given.as_bytes();
    let Some((scheme, given)) = given.split_at_checked(b"Bearer ".len()) else { return false };
    scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(given.ct_eq(token.expose().as_bytes()))
}

fn names_loopback(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(address, _)| address),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether `Host` is a word that leads nowhere in the Internet, such as `netsonde`, and without a port, as no browser
/// names a port that is forwarded.
fn names_no_site(headers: &HeaderMap) -> bool {
    headers.get(header::HOST).is_none_or(|host| host.as_bytes().iter().all(|byte| !b".:[".contains(byte)))
}

/// Whether a browser says that another site's page asks: it could not read the answer, but have something done.
fn is_of_another_site(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site" || site == "same-site")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const MEMBERS: Members = Members { own_uid: 990, gid: 991 };

    fn headers(of: &[(header::HeaderName, &str)]) -> HeaderMap {
        let pairs = of
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_bytes(value.as_bytes()).expect("a value")));
        let mut headers = HeaderMap::new();
        pairs.for_each(|(name, value)| {
            headers.append(name, value);
        });
        headers
    }

    #[test]
    fn root_the_own_user_and_members_are_known_and_others_are_strangers() {
        let peer = |uid, gid, groups: &[u32]| Peer { uid, gid, groups: groups.to_vec() };
        assert_eq!(caller(&peer(0, 5, &[]), MEMBERS), Caller::Owner);
        assert_eq!(caller(&peer(990, 5, &[]), MEMBERS), Caller::Owner);
        assert_eq!(caller(&peer(7, 991, &[]), MEMBERS), Caller::Member);
        assert_eq!(caller(&peer(7, 5, &[4, 991]), MEMBERS), Caller::Member);
        assert_eq!(caller(&peer(991, 990, &[990, 0]), MEMBERS), Caller::Stranger);
        assert!([Caller::Member, Caller::Stranger, Caller::Remote].iter().all(|c| !c.may_change()));
    }

    #[test]
    fn a_token_is_asked_for_over_tcp_only_and_must_be_the_whole_of_it() {
        let token = Secret::new("s3cret");
        let with = |value| {
            request(
                Caller::Remote,
                Wanted::Data,
                &headers(&[(header::AUTHORIZATION, value)]),
                false,
                Some(&token),
            )
        };
        assert_eq!(with("Bearer s3cret"), Ok(()));
        assert_eq!(with("bearer s3cret"), Ok(()));
        for wrong in
            ["Bearer s3cre", "Bearer s3cret ", "Bearer s3creT", "Basic s3cret", "s3cret", "Bearer", ""]
        {
            assert_eq!(with(wrong), Err(Refusal::Unauthorized), "{wrong}");
        }
        assert_eq!(
            request(Caller::Remote, Wanted::Data, &headers(&[]), false, Some(&token)),
            Err(Refusal::Unauthorized)
        );
        let twice = [(header::AUTHORIZATION, "Bearer s3cret"), (header::AUTHORIZATION, "Bearer x")];
        assert_eq!(
            request(Caller::Remote, Wanted::Data, &headers(&twice), false, Some(&token)),
            Err(Refusal::Unauthorized)
        );
        assert_eq!(request(Caller::Member, Wanted::Data, &headers(&[]), false, Some(&token)), Ok(()));
    }

    #[test]
    fn without_a_token_only_names_of_loopback_are_answered_over_tcp() {
        let host =
            |name| request(Caller::Remote, Wanted::Data, &headers(&[(header::HOST, name)]), false, None);
        for right in ["localhost", "LOCALHOST:9500", "127.0.0.1:9500", "127.9.9.9", "[::1]:9500", "[::1]"] {
            assert_eq!(host(right), Ok(()), "{right}");
        }
        for wrong in
            ["evil.example:9500", "localhost.evil.example", "10.0.0.1", "[::2]:9500", "[::1", "", ":1"]
        {
            assert_eq!(host(wrong), Err(Refusal::Host), "{wrong}");
        }
        assert_eq!(request(Caller::Remote, Wanted::Data, &headers(&[]), false, None), Err(Refusal::Host));
    }

    #[test]
    fn the_page_needs_no_token_but_keeps_to_all_other_rules() {
        let token = Secret::new("s3cret");
        let page = |caller, headers: &HeaderMap, token| request(caller, Wanted::Page, headers, false, token);
        assert_eq!(page(Caller::Remote, &headers(&[]), Some(&token)), Ok(()));
        assert_eq!(page(Caller::Stranger, &headers(&[]), Some(&token)), Err(Refusal::Forbidden));
        assert_eq!(
            page(Caller::Remote, &headers(&[(header::HOST, "evil.example")]), None),
            Err(Refusal::Host)
        );
        assert_eq!(page(Caller::Remote, &headers(&[(header::HOST, "localhost")]), None), Ok(()));
        assert_eq!(
            request(Caller::Remote, Wanted::Page, &headers(&[]), true, Some(&token)),
            Err(Refusal::Body)
        );
    }

    #[test]
    fn on_the_unix_socket_a_foreign_site_is_refused_and_a_made_up_name_is_not() {
        let host =
            |name| request(Caller::Owner, Wanted::Data, &headers(&[(header::HOST, name)]), false, None);
        for right in ["localhost", "localhost:9500", "127.0.0.1:9500", "netsonde", ""] {
            assert_eq!(host(right), Ok(()), "{right}");
        }
        for wrong in ["evil.example", "evil:9500", "[2001:db8::1]"] {
            assert_eq!(host(wrong), Err(Refusal::Host), "{wrong}");
        }
    }

    #[test]
    fn pages_of_other_sites_get_no_data_but_may_lead_to_the_page() {
        let site = |wanted, site| {
            let mut headers = headers(&[(header::HOST, "localhost")]);
            headers.insert("sec-fetch-site", HeaderValue::from_static(site));
            [Caller::Owner, Caller::Remote].map(|caller| request(caller, wanted, &headers, false, None))
        };
        assert_eq!(site(Wanted::Data, "same-origin"), [Ok(()); 2]);
        assert_eq!(site(Wanted::Data, "none"), [Ok(()); 2]);
        assert_eq!(site(Wanted::Data, "cross-site"), [Err(Refusal::Host); 2]);
        assert_eq!(site(Wanted::Data, "same-site"), [Err(Refusal::Host); 2]);
        assert_eq!(site(Wanted::Page, "cross-site"), [Ok(()); 2]);
    }

    #[test]
    fn bodies_and_strangers_are_refused() {
        assert_eq!(request(Caller::Owner, Wanted::Data, &headers(&[]), true, None), Err(Refusal::Body));
        assert_eq!(
            request(Caller::Stranger, Wanted::Data, &headers(&[]), false, None),
            Err(Refusal::Forbidden)
        );
    }

    proptest! {
        #[test]
        fn no_header_panics_and_only_the_token_itself_passes(
            authorization in proptest::collection::vec(32u8..=255, 0..40),
            host in proptest::collection::vec(32u8..=255, 0..40),
        ) {
            prop_assume!(!authorization.contains(&127) && !host.contains(&127));
            let mut given = HeaderMap::new();
            given.insert(header::AUTHORIZATION, HeaderValue::from_bytes(&authorization).expect("no control"));
            given.insert(header::HOST, HeaderValue::from_bytes(&host).expect("no control"));
            let token = Secret::new("correct horse battery staple");
            let passed = request(Caller::Remote, Wanted::Data, &given, false, Some(&token)).is_ok();
            prop_assert_eq!(passed, authorization.eq_ignore_ascii_case(b"bearer correct horse battery staple")
                && authorization.ends_with(b"correct horse battery staple"));
            let _ = request(Caller::Remote, Wanted::Data, &given, false, None);
        }
    }
}

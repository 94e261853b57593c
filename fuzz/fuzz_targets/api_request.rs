//! What the local API makes of a request: who is answered, by its headers, and what the query of the history asks for.
//!
//! The daemon is a binary and offers no library, so its modules are compiled into this target as they stand. Reading HTTP
//! itself is hyper's matter.
//!
//! A first line of the input is the query, the others are headers, `name: value`; what follows an empty line are
//! the groups of who asks, a byte each.
//!
//! `cargo +nightly fuzz run api_request -- -max_len=1024 -max_total_time=600`

#![no_main]
#![allow(dead_code, reason = "only what reads requests is called")]

#[path = "../../daemon/src/api/admit.rs"]
mod admit;
#[path = "../../daemon/src/api/asked.rs"]
mod asked;
#[path = "../../daemon/src/api/counts.rs"]
mod counts;

/// All that [`admit`] wants of the configuration: a text that is compared.
mod config {
    pub mod export {
        pub struct Secret(pub String);

        impl Secret {
            pub fn expose(&self) -> &str {
                &self.0
            }
        }
    }
}

use std::net::IpAddr;

use admit::{Caller, Members, Peer, Wanted, caller, request};
use asked::{Asked, PAGE, asked};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use config::export::Secret;
use libfuzzer_sys::fuzz_target;
use netsonde_history::Position;

const TOKEN: &str = "s3cret";

fn headers(lines: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}

/// The only value of a header, if it has one.
fn single(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let mut values = headers.get_all(name).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn is_loopback(host: &str) -> bool {
    let without_port = host.rsplit_once(':').map_or(host, |(name, _)| name);
    [host, without_port].iter().any(|name| {
        let bare = name.trim_start_matches('[').split(']').next().unwrap_or_default();
        let bare = if name.starts_with('[') { bare } else { name.split(':').next().unwrap_or_default() };
        bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|a| a.is_loopback())
    })
}

fn check_admission(headers: &HeaderMap, has_body: bool) {
    let token = Secret(TOKEN.to_owned());
    let admitted = |caller, token| request(caller, Wanted::Data, headers, has_body, token).is_ok();
    assert!(!admitted(Caller::Stranger, None) && !admitted(Caller::Stranger, Some(&token)));
    for known in [Caller::Owner, Caller::Member] {
        assert_eq!(admitted(known, Some(&token)), !has_body);
    }
    if admitted(Caller::Remote, Some(&token)) {
        let given = single(headers, header::AUTHORIZATION).expect("one token");
        let (scheme, given) = given.split_once(' ').expect("a scheme");
        assert!(scheme.eq_ignore_ascii_case("bearer") && given == TOKEN && !has_body);
    }
    if admitted(Caller::Remote, None) {
        let host = single(headers, header::HOST).expect("one host");
        assert!(is_loopback(&host) && !has_body, "{host}");
    }
}

fn check_query(query: &str) {
    if let Some(position) = Position::parse(query) {
        assert_eq!(position.to_text(), query.to_ascii_lowercase());
    }
    match asked(query) {
        Ok(Asked { limit, after, .. }) => {
            assert!((1..=PAGE).contains(&limit));
            assert!(after.is_none_or(|after| Position::parse(&after.to_text()) == Some(after)));
        }
        // One line, whatever was asked: what is wrong is quoted.
        Err(wrong) => {
            assert!(wrong.ends_with('\n') && wrong.trim_end_matches('\n').lines().count() <= 1, "{wrong:?}")
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (query, rest) = input.split_at(end);
    let empty = rest.windows(2).position(|pair| pair == b"\n\n").unwrap_or(rest.len());
    let (lines, groups) = rest.split_at(empty);
    if let Ok(query) = std::str::from_utf8(query) {
        check_query(query);
    }
    let headers = headers(lines);
    check_admission(&headers, headers.contains_key(header::CONTENT_LENGTH));
    let groups: Vec<u32> = groups.iter().map(|byte| u32::from(*byte)).collect();
    let members = Members { own_uid: 1, gid: 2 };
    let who = caller(&Peer { uid: 5, gid: 5, groups: groups.clone() }, members);
    assert_eq!(who == Caller::Member, groups.contains(&2));
    assert_ne!(who, Caller::Owner);
});

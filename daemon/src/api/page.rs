//! The web page: the files of `daemon/web` as the binary carries them, with the headers that keep a browser to them.
//!
//! They hold no secret and nothing of the host: whoever may come as far as the API gets them without a token. What the
//! page shows it asks the API for, like everybody else.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::Router;
use axum::body::Body;
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// One file.
#[derive(Debug)]
struct Asset {
    path: &'static str,
    body: &'static [u8],
}

/// A file of `daemon/web` under `/page/`.
macro_rules! asset {
    ($name:literal) => {
        Asset { path: concat!("/page/", $name), body: include_bytes!(concat!("../../web/", $name)) }
    };
}

const ASSETS: &[Asset] = &[
    Asset { path: "/", body: include_bytes!("../../web/index.html") },
    asset!("app.css"),
    asset!("icon.svg"),
    asset!("vendor/d3.min.js"),
    asset!("js/aggregate.js"),
    asset!("js/ask.js"),
    asset!("js/baseline.js"),
    asset!("js/charts/cursor.js"),
    asset!("js/charts/heatmap.js"),
    asset!("js/charts/time.js"),
    asset!("js/dom.js"),
    asset!("js/facets.js"),
    asset!("js/filterbar.js"),
    asset!("js/filters.js"),
    asset!("js/format.js"),
    asset!("js/graph.js"),
    asset!("js/location.js"),
    asset!("js/main.js"),
    asset!("js/poll.js"),
    asset!("js/quantiles.js"),
    asset!("js/store.js"),
    asset!("js/table.js"),
    asset!("js/theme.js"),
    asset!("js/tree.js"),
    asset!("js/views/dns.js"),
    asset!("js/views/latency.js"),
    asset!("js/views/listeners.js"),
    asset!("js/views/map.js"),
    asset!("js/views/overview.js"),
    asset!("js/views/processes.js"),
    asset!("js/views/status.js"),
    asset!("js/views/throughput.js"),
];

/// Only what comes from here is loaded, run, shown and asked; nothing is run that stands in the page itself, and nobody
/// shows the page within theirs.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HEADERS: &[(&str, &str)] = &[
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    // Kept, and asked for again each time: another version of the daemon has other files.
    ("cache-control", "no-cache"),
];

/// Whether a path is one of the page's files.
#[must_use]
pub fn has(path: &str) -> bool {
    ASSETS.iter().any(|asset| asset.path == path)
}

/// The routes of all files.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    ASSETS.iter().fold(Router::new(), |router, asset| {
        let tag = tag(asset.body);
        router.route(
            asset.path,
            get(move |headers: HeaderMap| {
                let answer = answer(asset, &tag, &headers);
                async move { answer }
            }),
        )
    })
}

/// A strong validator (RFC 9110, section 8.8.3): another text has another one.
fn tag(body: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

fn answer(asset: &Asset, tag: &str, asked: &HeaderMap) -> Response {
    let kept = asked.get_all(header::IF_NONE_MATCH).iter().any(|value| names(value, tag));
    let mut response = if kept {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = Response::new(Body::from(asset.body));
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(asset.path)));
        response
    };
    let headers = response.headers_mut();
    headers.extend(
        HEADERS.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))),
    );
    if let Ok(tag) = HeaderValue::from_str(tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

/// Whether an `If-None-Match` names a tag; weak ones count, as that header compares.
fn names(value: &HeaderValue, tag: &str) -> bool {
    let Ok(text) = value.to_str() else { return false };
    text.split(',').map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("html", |(_, extension)| extension) {
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => "text/html; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    fn files(directory: &Path, into: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry"))
        {
            let path = entry.path();
            if path.is_dir() { files(&path, into) } else { into.push(path) }
        }
    }

    #[test]
    fn every_file_that_the_page_loads_is_carried() {
        let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
        let mut found = vec![web.join("app.css"), web.join("icon.svg"), web.join("vendor/d3.min.js")];
        files(&web.join("js"), &mut found);
        let mut paths: Vec<String> = found
            .iter()
            .map(|file| format!("/page/{}", file.strip_prefix(&web).expect("below it").display()))
            .chain(["/".to_owned()])
            .collect();
        paths.sort();
        let mut carried: Vec<&str> = ASSETS.iter().map(|asset| asset.path).collect();
        carried.sort_unstable();
        assert_eq!(carried, paths);
        assert!(has("/") && has("/page/js/main.js") && !has("/api/v1/status") && !has("/page/"));
    }

    #[test]
    fn nothing_in_the_page_is_inline_or_from_elsewhere() {
        let index = std::str::from_utf8(ASSETS[0].body).expect("UTF-8");
        for piece in index.split('<').filter(|piece| piece.starts_with("script")) {
            assert!(piece.contains("src=\"page/") && piece.ends_with('>'), "{piece}");
        }
        for wrong in ["style=", " onclick", "http:", "https:", "src=\"/", "href=\"/"] {
            assert!(!index.contains(wrong), "{wrong}");
        }
    }

    #[test]
    fn what_a_browser_keeps_is_not_sent_again() {
        let asset = &ASSETS[0];
        let tag = tag(asset.body);
        let with = |value: &str| {
            let asked = HeaderMap::from_iter([(
                header::IF_NONE_MATCH,
                HeaderValue::from_str(value).expect("a value"),
            )]);
            answer(asset, &tag, &asked).status()
        };
        assert_eq!(answer(asset, &tag, &HeaderMap::new()).status(), StatusCode::OK);
        for kept in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
            assert_eq!(with(&kept), StatusCode::NOT_MODIFIED, "{kept}");
        }
        assert_eq!(with("\"other\""), StatusCode::OK);
        assert_ne!(tag, super::tag(b"another text"));
    }

    #[test]
    fn answers_carry_their_type_and_the_policy() {
        for asset in ASSETS {
            let response = answer(asset, "\"x\"", &HeaderMap::new());
            let header = |name: HeaderName| response.headers()[name].to_str().expect("text").to_owned();
            assert!(
                header(header::CONTENT_SECURITY_POLICY).starts_with("default-src 'none'; script-src 'self'")
            );
            let kind = header(header::CONTENT_TYPE);
            let expected = if asset.path.ends_with("js") { "text/javascript" } else { "" };
            assert!(
                kind.starts_with(expected) && (asset.path != "/" || kind.starts_with("text/html")),
                "{kind}"
            );
        }
    }
}

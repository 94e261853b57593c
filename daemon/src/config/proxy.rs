//! `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`: through which proxy a URL is reached.
//!
//! Owns reading and checking the variables. There is no standard for them; they are read as curl's manual and
//! Go's `net/http` have them, in upper case first. A destination on this host is never reached through a proxy,
//! as in Go. Talking to the proxy is the exporter's matter.

use http::Uri;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use url::{Host, Url};

use super::reader::{Place, Reader};
use super::secret::Secret;

/// The proxies of this process, by the scheme of what is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For `http://`; a URL that may hold a password.
    http: Option<Secret>,
    /// For `https://`.
    https: Option<Secret>,
    /// What is reached without.
    exceptions: String,
}

impl Proxies {
    /// Proxies from the values of the variables, for tests.
    #[cfg(test)]
    pub fn new(proxy: &str, exceptions: &str) -> Self {
        let proxy = Some(Secret::new(proxy));
        Self { http: proxy.clone(), https: proxy, exceptions: exceptions.to_owned() }
    }

    /// The proxy through which `url` is reached, if there is one.
    pub fn of(&self, url: &str) -> Option<Intercept> {
        let parsed = Url::parse(url).ok()?;
        let local = match parsed.host()? {
            Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.is_loopback(),
        };
        if local {
            return None;
        }
        let text =
            |proxy: &Option<Secret>| proxy.as_ref().map_or(String::new(), |url| url.expose().to_owned());
        let builder = Matcher::builder().http(text(&self.http)).https(text(&self.https));
        builder.no(self.exceptions.as_str()).build().intercept(&url.parse::<Uri>().ok()?)
    }
}

/// Reads the variables that matter for these URLs.
pub fn read(reader: &mut Reader<'_>, urls: &[&str]) -> Proxies {
    let mut of_scheme = |scheme: &str, names: [&'static str; 4]| {
        if !urls.iter().any(|url| url.starts_with(scheme)) {
            return None;
        }
        let set = |name: &&'static str| reader.given(name).map(|value| (*name, value));
        let (name, value) = names.iter().find_map(set)?;
        reader.judge("export.otlp", &Place::Environment(name), proxy(&value))
    };
    let http = of_scheme("http:", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]);
    let https = of_scheme("https:", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]);
    if http.is_none() && https.is_none() {
        return Proxies::default();
    }
    let exceptions = ["NO_PROXY", "no_proxy"].into_iter().find_map(|name| reader.given(name));
    Proxies { http, https, exceptions: exceptions.unwrap_or_default() }
}

fn proxy(text: &str) -> Result<Secret, String> {
    // The text stays out of the messages: it may hold a password.
    const FORM: &str = "write it as http://host:port";
    let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&full).map_err(|error| format!("not the URL of a proxy ({error}); {FORM}"))?;
    if url.scheme() != "http" {
        return Err(format!(
            "a proxy of the kind {}:// cannot be used, only one of http://, which also passes on what is encrypted; \
             {FORM}, or name the collector in NO_PROXY",
            url.scheme()
        ));
    }
    // What the matcher cannot read it would leave out without a word.
    let matcher = Matcher::builder().all(full.as_str()).build();
    if matcher.intercept(&Uri::from_static("http://example.com/")).is_none() {
        return Err(format!("not the URL of a proxy; {FORM}"));
    }
    Ok(Secret::new(full))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(proxies: &Proxies, url: &str) -> Option<String> {
        proxies.of(url).map(|proxy| proxy.uri().to_string())
    }

    #[test]
    fn exceptions_and_this_host_are_reached_without() {
        let proxies = Proxies::new("http://proxy:3128", "intern.example, 10.0.0.0/8");
        for url in [
            "http://a.intern.example:4317",
            "https://10.1.2.3:4317",
            "http://localhost:4317",
            "http://x.localhost",
            "http://127.8.9.1:1",
            "http://[::1]:1",
        ] {
            assert_eq!(reached(&proxies, url), None, "{url}");
        }
        for url in ["http://example:4317", "https://192.0.2.1/v1/logs", "http://[2001:db8::1]:4317"] {
            assert_eq!(reached(&proxies, url).as_deref(), Some("http://proxy:3128/"), "{url}");
        }
    }

    #[test]
    fn a_password_is_sent_and_not_shown() {
        let proxies = Proxies::new("http://me:hunter2@proxy:3128", "");
        let proxy = proxies.of("https://example").expect("a proxy");
        assert_eq!(proxy.basic_auth().expect("a password"), "Basic bWU6aHVudGVyMg==");
        assert!(!format!("{proxies:?} {proxy:?} {}", proxy.uri()).contains("hunter2"));
    }
}

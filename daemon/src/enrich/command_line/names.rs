//! Which names are those of secrets.

use super::Secret;

/// A name that contains one of these is the name of a secret.
const SECRET: [&str; 13] = [
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "pwd",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "accountkey",
    "privatekey",
    "credential",
    "signature",
];
/// Likewise at its end, where in the middle they would be part of other words.
const SECRET_END: [&str; 4] = ["pass", "cookie", "requirepass", "masterauth"];
/// Parts of other words.
const HARMLESS: [&str; 13] = [
    "author",
    "tokeniz",
    "authenticator",
    "secretary",
    "bypass",
    "compass",
    "singlepass",
    "twopass",
    "multipass",
    "firstpass",
    "maxtoken",
    "mintoken",
    "numtoken",
];
/// What says something about a secret, rather than being it.
const ABOUT_END: [&str; 63] = [
    "file",
    "path",
    "stdin",
    "dir",
    "directory",
    "command",
    "cmd",
    "prompt",
    "policy",
    "ttl",
    "lifetime",
    "expiry",
    "expires",
    "expiresin",
    "expiration",
    "timeout",
    "length",
    "len",
    "size",
    "count",
    "limit",
    "type",
    "name",
    "url",
    "uri",
    "endpoint",
    "certhash",
    "algorithm",
    "alg",
    "method",
    "methods",
    "mode",
    "mechanism",
    "database",
    "source",
    "server",
    "service",
    "host",
    "port",
    "address",
    "realm",
    "scope",
    "scopes",
    "issuer",
    "audience",
    "version",
    "helper",
    "provider",
    "plugin",
    "format",
    "enabled",
    "required",
    "env",
    "fd",
    "user",
    "username",
    "replicas",
    "authentication",
    "authentications",
    "interval",
    "sock",
    "socket",
    "store",
];
/// What a switch begins with; no value follows it.
const SWITCH: [&str; 15] = [
    "no", "disable", "skip", "without", "enable", "allow", "require", "ask", "show", "use", "with", "is",
    "has", "prompt", "list",
];

/// The names of secrets, with those that were configured.
#[derive(Debug, PartialEq, Eq)]
pub struct Names {
    extra: Vec<String>,
}

impl Names {
    pub fn new(extra: &[String]) -> Self {
        let extra = extra.iter().map(|name| normal(name)).filter(|name| !name.is_empty());
        Self { extra: extra.collect() }
    }

    /// What of its value is secret, if anything is.
    pub fn secret(&self, name: &str) -> Option<Secret> {
        let whole = normal(name);
        if self.extra.iter().any(|extra| whole.contains(extra.as_str())) {
            return Some(Secret::Whole);
        }
        let strip = |name: &str| {
            // `authorization` is a secret's name, `author` and `authority` are not.
            let name = name.replace("authoriz", "auth");
            HARMLESS.iter().fold(name, |name, harmless| name.replace(harmless, ""))
        };
        let stripped = strip(&whole);
        if ABOUT_END.iter().any(|end| stripped.ends_with(end)) {
            return None;
        }
        // The working directory of a shell, and an X server's file of cookies.
        if matches!(whole.as_str(), "pwd" | "oldpwd" | "auth")
            || ["privatekey", "credential"].iter().any(|part| stripped.contains(part))
            || stripped.ends_with("creds")
        {
            return Some(Secret::UnlessPath);
        }
        // `auth` is the name of many a group of settings, so only a name itself counts, not the group's.
        let last = strip(&normal(name.rsplit('.').next().unwrap_or(name)));
        let is_secret = SECRET.iter().any(|part| stripped.contains(part))
            || SECRET_END.iter().any(|end| stripped.ends_with(end))
            || last.contains("auth")
            || name.rsplit(['-', '_', '.']).next().is_some_and(|part| part.eq_ignore_ascii_case("pw"));
        is_secret.then_some(Secret::Whole)
    }
}

/// Whether an option of this name stands for itself, as `--no-password` and `--ask-pass` do.
pub fn is_switch(name: &str) -> bool {
    name.split_once(['-', '_'])
        .is_some_and(|(first, _)| SWITCH.contains(&first.to_ascii_lowercase().as_str()))
}

fn normal(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

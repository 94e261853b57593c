//! Secrets anywhere in a text: credentials of URLs, pairs of name and value, and what has a shape of its own.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::names::Names;
use super::{REDACTED, Secret, replace};

macro_rules! pattern {
    ($name:ident, $pattern:expr) => {
        static $name: LazyLock<Regex> = LazyLock::new(|| Regex::new($pattern).expect("a constant pattern"));
    };
}

pattern!(
    KEY_BLOCK,
    r"(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|$)"
);
// RFC 3986, 3.2.1: user information ends at the last @ of the authority. Passwords with an unescaped / are met all the
// same; what is behind a colon and all digits up to a / is a port.
pattern!(
    URL,
    r#"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<user>[^\s/?\#@:"'\[\]]*)(?:(?P<colon>:)(?P<password>[^\s/?\#"']*@|[^\s@"']+@)|@)"#
);
// `user:password@tcp(host)/database` of Go's MySQL driver, `user:password@host` of mysqlsh.
pattern!(
    NO_SCHEME,
    r#"(?P<head>(?:^|[\s="',])[A-Za-z0-9_.%+-]+:)(?P<password>[^\s/"'@][^\s"'@]*)(?P<host>@[A-Za-z0-9_.-]+)"#
);
pattern!(PAIR, r#"(?P<key>[A-Za-z_][A-Za-z0-9_.\[\]-]*)(?P<quote>\\*["'])?(?P<separator>[ \t]*[=:]\s*)"#);
// Where a value without quotes ends: at a space, a quote or the next pair.
pattern!(VALUE_END, r#"[\s&"']|[,;]["'\s]*[A-Za-z_][A-Za-z0-9_.\[\]-]*["']?\s*[=:]"#);
pattern!(LIST_END, r#"["']\s*\]"#);
pattern!(LINE_END, r#"["'\r\n]"#);
pattern!(BEARER, r"(?i)\b(bearer\s+)[A-Za-z0-9._~+/=-]{8,}");
// Public prefixes of tokens: RFC 7519 (JWT), GitHub, GitLab, Slack, AWS, OpenAI and Stripe, Vault, npm, Google,
// SendGrid, Docker Hub, PyPI.
pattern!(
    SHAPE,
    r"(?x)\b(?:
      eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*)*
    | gh[pousr]_[A-Za-z0-9_]{16,}
    | github_pat_[A-Za-z0-9_]{16,}
    | gl(?:pat|ptt|rt|dt|cbt|ft|soat)-[A-Za-z0-9_.-]{16,}
    | xox[a-z]-[A-Za-z0-9-]{8,} | xapp-[A-Za-z0-9-]{8,}
    | (?:AKIA|ASIA)[0-9A-Z]{16}(?:[:/,][A-Za-z0-9/+=]{30,})?
    | (?:sk|rk|pk)[-_](?:[A-Za-z0-9]+[-_])*[A-Za-z0-9]{16,}[A-Za-z0-9_-]*
    | hv[sbr]\.[A-Za-z0-9_-]{16,}
    | (?:npm|dckr_pat|pypi|dop_v1|shpat)[_-][A-Za-z0-9_-]{20,}
    | AIza[A-Za-z0-9_-]{30,} | ya29\.[A-Za-z0-9_-]{16,}
    | SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}
    )"
);

/// Masks everything in a text that can be told by the text alone.
pub fn mask_text<'t>(names: &Names, text: &'t str) -> Cow<'t, str> {
    let text = replace(Cow::Borrowed(text), &KEY_BLOCK, |_| REDACTED.to_owned());
    let text = replace(text, &URL, url);
    let text = replace(text, &NO_SCHEME, |found| match &found["host"] {
        // An image's digest: `nginx:1.25@sha256:…`.
        "@sha256" => found[0].to_owned(),
        // `rest:https://…` is a URL, and has been dealt with.
        _ if found["password"].contains("://") => found[0].to_owned(),
        host => format!("{}{REDACTED}{host}", &found["head"]),
    });
    let text = match pairs(names, &text) {
        Some(masked) => Cow::Owned(masked),
        None => text,
    };
    let text = replace(text, &BEARER, |found| format!("{}{REDACTED}", &found[1]));
    replace(text, &SHAPE, |_| REDACTED.to_owned())
}

fn url(found: &Captures<'_>) -> String {
    /// A user this long is a token, as `https://TOKEN@github.com` has it.
    const LONGEST_USER: usize = 20;
    let (scheme, user) = (&found["scheme"], &found["user"]);
    let is_token = user.len() >= LONGEST_USER && scheme.starts_with("http");
    let user = if is_token { REDACTED } else { user };
    let Some(password) = found.name("password") else { return format!("{scheme}{user}@") };
    let password = password.as_str().trim_end_matches('@');
    let port = password.split(['/', '?', '#']).next().unwrap_or_default();
    if port.len() < password.len() && !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) {
        return found[0].to_owned();
    }
    match password {
        "" => format!("{scheme}{user}:@"),
        _ => format!("{scheme}{user}:{REDACTED}@"),
    }
}

/// Masks the values of secret names; `None` when there are none.
fn pairs(names: &Names, text: &str) -> Option<String> {
    let mut masked = String::new();
    let (mut done, mut at) = (0, 0);
    while let Some(found) = PAIR.captures_at(text, at) {
        let (pair, key) = (found.get(0)?, found.name("key")?);
        at = pair.end();
        if let Some(secret) = secret_of_pair(names, text, &found) {
            let (start, end) = value(text, key.as_str(), pair.end());
            let value = &text[start..end];
            if secret == Secret::UnlessPath && is_path(value) || is_switch(value) || value.is_empty() {
                continue;
            }
            masked.push_str(&text[done..start]);
            masked.push_str(REDACTED);
            (done, at) = (end, end);
        }
    }
    masked.push_str(&text[done..]);
    (done > 0).then_some(masked)
}

fn secret_of_pair(names: &Names, text: &str, found: &Captures<'_>) -> Option<Secret> {
    let (key, separator) = (found.name("key")?, found.name("separator")?.as_str());
    let before = text[..key.start()].chars().next_back();
    let after = &text[found.get(0)?.end()..];
    let is_query = matches!(before, Some('?' | '&'));
    if is_query && key.as_str().eq_ignore_ascii_case("sig") {
        return Some(Secret::Whole);
    }
    // `==`, `a::b`, an image `x/auth:1.2` and a mount `secret:/run` are no pairs.
    let path =
        separator == ":" && found.name("quote").is_none() && (before == Some('/') || after.starts_with('/'));
    // Nor is a name with a group of settings behind it, each of which is looked at by itself.
    let group = separator.contains(':')
        && after.strip_prefix('{').is_some_and(|group| group.starts_with(['"', '\'', '\\', ' ', '}', '\n']));
    if path || group || after.starts_with(['=', ':']) {
        return None;
    }
    names.secret(key.as_str())
}

/// Where the value that begins at `start` is, without its quotes.
fn value(text: &str, key: &str, start: usize) -> (usize, usize) {
    let rest = &text[start..];
    let escapes = rest.len() - rest.trim_start_matches('\\').len();
    let open = rest[escapes..].starts_with(['"', '\'']).then(|| &rest[..=escapes]);
    if let Some(open) = open {
        let start = start + open.len();
        let inner = &text[start..];
        let closes = |at: usize| open.len() > 1 || open == "'" || !escaped(&inner[..at]);
        let end = inner.match_indices(open).map(|(at, _)| at).find(|at| closes(*at)).unwrap_or(inner.len());
        return (start, start + end);
    }
    // A list, as in JSON.
    if text[..start].trim_end().ends_with(':') && rest.starts_with('[') {
        let end = if rest.contains(['"', '\'']) {
            LIST_END.find(rest).map(|end| end.end())
        } else {
            rest.find(']').map(|end| end + 1)
        };
        return (start, end.map_or(text.len(), |end| start + end));
    }
    let key = key.to_ascii_lowercase();
    let end = if key.ends_with("authorization") || key.ends_with("cookie") { &LINE_END } else { &VALUE_END };
    (start, end.find(rest).map_or(text.len(), |end| start + end.start()))
}

/// Whether what follows this text is behind an odd number of backslashes.
fn escaped(text: &str) -> bool {
    (text.len() - text.trim_end_matches('\\').len()) % 2 == 1
}

/// A value that switches something, and so is no secret.
pub fn is_switch(value: &str) -> bool {
    const SWITCHES: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "none", "null", "prompt"];
    SWITCHES.iter().any(|switch| value.eq_ignore_ascii_case(switch))
}

/// A value that looks like the path of a file.
pub fn is_path(value: &str) -> bool {
    const EXTENSIONS: [&str; 8] = [".pem", ".key", ".json", ".p12", ".pfx", ".crt", ".cert", ".jks"];
    ["/", "./", "../", "~"].iter().any(|start| value.starts_with(start))
        || EXTENSIONS.iter().any(|extension| value.ends_with(extension))
}

/// Whether a word could be a line of words.
pub fn has_space(text: &str) -> bool {
    text.contains(|c: char| c.is_whitespace())
}

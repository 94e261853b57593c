//! Which events a reader wants: by type, binary, port and unit.

use netsonde_audit::globs::Globs;

use crate::model::Attributes;

/// Ports that one filter can name.
const PORTS: usize = 1024;

/// Which events. An event is wanted when each key that is given has a value that fits; an empty filter wants all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Names of events.
    types: Vec<String>,
    /// Paths of binaries, and of scripts.
    binaries: Globs,
    /// Ports of the server, or of the client.
    ports: Vec<u16>,
    /// systemd units, of the system or of a user.
    units: Globs,
}

impl EventFilter {
    /// Reads pairs of a key (`type`, `binary`, `port`, `unit`) and a value; keys may come again, and `type` and `port`
    /// take several values with commas between them. `known` are the names of all events: a type is one of these, with
    /// or without `netsonde.` or `netsonde.tcp.` before it.
    ///
    /// # Errors
    ///
    /// One sentence for the user.
    pub fn read(pairs: impl IntoIterator<Item = (String, String)>, known: &[&str]) -> Result<Self, String> {
        let (mut filter, mut binaries, mut units) = (Self::default(), Vec::new(), Vec::new());
        for (key, value) in pairs {
            match key.as_str() {
                "type" => {
                    for word in value.split(',') {
                        filter.types.push(event_name(word, known)?);
                    }
                }
                "port" => {
                    for port in value.split(',') {
                        let read = port.parse().map_err(|_| format!("port: {port:?} is no port"))?;
                        filter.ports.push(read);
                    }
                }
                "binary" => binaries.push(value),
                "unit" => units.push(value),
                _ => return Err(format!("{key:?} is not known; a filter has type, binary, port and unit")),
            }
        }
        if filter.ports.len() > PORTS {
            return Err(format!("port: more than {PORTS} are too many"));
        }
        filter.binaries = Globs::new(binaries).map_err(|e| format!("binary: {e}"))?;
        filter.units = Globs::new(units).map_err(|e| format!("unit: {e}"))?;
        Ok(filter)
    }

    /// Whether an event of this name with these attributes is wanted.
    #[must_use]
    pub fn wants(&self, name: &str, attributes: &Attributes) -> bool {
        let text = |key: &str| attributes.get(key).and_then(|value| value.as_str());
        let port = |key: &str| attributes.get(key).and_then(serde_json::Value::as_u64);
        let either = |globs: &Globs, keys: [&str; 2]| {
            globs.is_empty() || keys.into_iter().filter_map(text).any(|text| globs.matches(text))
        };
        let of_port = || ["server.port", "client.port"].into_iter().filter_map(port);
        (self.types.is_empty() || self.types.iter().any(|wanted| wanted == name))
            && (self.ports.is_empty()
                || of_port().any(|port| self.ports.iter().any(|p| u64::from(*p) == port)))
            && either(&self.binaries, ["process.executable.path", "netsonde.process.script.path"])
            && either(&self.units, ["systemd.unit", "systemd.user_unit"])
    }
}

fn event_name(word: &str, known: &[&str]) -> Result<String, String> {
    let names = [word.to_owned(), format!("netsonde.{word}"), format!("netsonde.tcp.{word}")];
    let name = names.iter().find(|name| known.contains(&name.as_str()));
    name.cloned().ok_or_else(|| {
        let short: Vec<&str> =
            known.iter().map(|name| name.strip_prefix("netsonde.").unwrap_or(name)).collect();
        format!("type: {word:?} is no event; there are {}", short.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KNOWN: [&str; 3] = ["netsonde.tcp.close", "netsonde.listen.open", "netsonde.dns.response"];

    fn read(pairs: &[(&str, &str)]) -> Result<EventFilter, String> {
        EventFilter::read(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())), &KNOWN)
    }

    fn close() -> Attributes {
        [
            ("process.executable.path", json!("/usr/bin/python3.13")),
            ("netsonde.process.script.path", json!("/opt/app/main.py")),
            ("server.port", json!(443)),
            ("client.port", json!(40000)),
            ("systemd.unit", json!("app.service")),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }

    #[test]
    fn each_key_that_is_given_must_fit() {
        for (pairs, wanted) in [
            (&[][..], true),
            (&[("type", "close")], true),
            (&[("type", "tcp.close")], true),
            (&[("type", "netsonde.tcp.close")], true),
            (&[("type", "listen.open,dns.response")], false),
            (&[("type", "listen.open"), ("type", "close")], true),
            (&[("port", "443")], true),
            (&[("port", "1,40000")], true),
            (&[("port", "44")], false),
            (&[("binary", "/usr/bin/*")], true),
            (&[("binary", "/opt/**")], true),
            (&[("binary", "/usr/*")], false),
            (&[("unit", "*.service")], true),
            (&[("unit", "ssh*")], false),
            (&[("port", "443"), ("unit", "ssh*")], false),
        ] {
            let filter = read(pairs).expect("right");
            assert_eq!(filter.wants("netsonde.tcp.close", &close()), wanted, "{pairs:?}");
        }
        assert!(!read(&[("unit", "*")]).expect("right").wants("netsonde.tcp.close", &Attributes::new()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (pair, named) in [
            (("type", "opened"), "tcp.close, listen.open, dns.response"),
            (("port", "http"), "\"http\" is no port"),
            (("port", "65536"), "port"),
            (("binary", "[z-a]"), "binary"),
            (("colour", "red"), "\"colour\""),
        ] {
            let text = read(&[pair]).expect_err(named);
            assert!(text.contains(named), "{text}");
        }
    }
}

//! Attributes as labels.

use crate::telemetry::{Attribute, AttributeValue};

/// The labels of a point, as they stand between the braces.
pub fn labels<'a>(attributes: impl Iterator<Item = &'a Attribute>) -> String {
    joined(attributes.map(|(key, value)| (*key, value)))
}

/// Likewise those of what all points are of.
pub fn of_resource(attributes: &[(String, AttributeValue)]) -> String {
    joined(attributes.iter().map(|(key, value)| (key.as_str(), value)))
}

/// Keys that become one label have their values joined, as the compatibility specification wants it.
fn joined<'a>(attributes: impl Iterator<Item = (&'a str, &'a AttributeValue)>) -> String {
    let mut labels: Vec<(String, String)> = Vec::new();
    for (key, value) in attributes {
        let (name, text) = (label_name(key), text(value));
        // An empty label is none.
        if text.is_empty() {
            continue;
        }
        match labels.iter_mut().find(|(known, _)| *known == name) {
            Some((_, value)) => {
                value.push(';');
                value.push_str(&text);
            }
            None => labels.push((name, text)),
        }
    }
    let pairs: Vec<String> =
        labels.into_iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(&value))).collect();
    pairs.join(",")
}

/// `[a-zA-Z_][a-zA-Z0-9_]*`
fn label_name(key: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = key.chars().map(plain).collect();
    match name.chars().next() {
        Some(first) if first.is_ascii_digit() => format!("key_{name}"),
        Some(_) => name,
        None => "_".to_owned(),
    }
}

/// Text as it is; what is none as JSON.
fn text(value: &AttributeValue) -> String {
    match value {
        AttributeValue::String(text) => text.to_string(),
        other => other.to_json().to_string(),
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::AttributeValue::{Array, Bool, Int, String as Text};

    #[test]
    fn values_are_text_or_json_and_escaped() {
        let names = ["bash", "say \"hi\""].map(|name| Text(name.into()));
        let attributes = [
            ("process.executable.path", Text("/opt/a\\b\n\"c\"".into())),
            ("server.port", Int(443)),
            ("otel.metric.overflow", Bool(true)),
            ("netsonde.process.ancestry", Array(names.to_vec())),
            ("empty", Text("".into())),
        ];
        assert_eq!(
            labels(attributes.iter()),
            r#"process_executable_path="/opt/a\\b\n\"c\"",server_port="443",otel_metric_overflow="true",netsonde_process_ancestry="[\"bash\",\"say \\\"hi\\\"\"]""#
        );
    }

    #[test]
    fn names_are_those_that_prometheus_takes() {
        for (key, name) in [
            ("server.address", "server_address"),
            ("2nd.key", "key_2nd_key"),
            ("héé", "h__"),
            ("", "_"),
            ("le-x", "le_x"),
        ] {
            assert_eq!(label_name(key), name);
        }
    }

    #[test]
    fn keys_that_become_one_are_joined() {
        let resource = [("a.b", "1"), ("a-b", "2"), ("c", "3")];
        let resource = resource.map(|(key, value)| (key.to_owned(), Text(value.into())));
        assert_eq!(of_resource(&resource), r#"a_b="1;2",c="3""#);
    }
}

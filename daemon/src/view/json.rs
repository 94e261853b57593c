//! Attributes as JSON.

use netsonde_view::model::Attributes;
use serde_json::Value;

use crate::telemetry::{Attribute, AttributeValue};

/// Attributes as an object.
#[must_use]
pub fn attributes(of: &[Attribute]) -> Attributes {
    of.iter().map(|(key, value)| ((*key).to_owned(), json(value))).collect()
}

fn json(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::String(text) => Value::from(&**text),
        AttributeValue::Int(n) => Value::from(*n),
        AttributeValue::Double(n) => Value::from(*n),
        AttributeValue::Bool(is) => Value::from(*is),
        AttributeValue::Array(values) => Value::Array(values.iter().map(json).collect()),
        AttributeValue::Map(values) => {
            Value::Object(values.iter().map(|(key, value)| ((*key).to_owned(), json(value))).collect())
        }
    }
}

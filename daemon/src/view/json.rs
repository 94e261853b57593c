//! Attributes as readers get them.

use netsonde_view::model::Attributes;

use crate::telemetry::Attribute;

/// Attributes as an object.
#[must_use]
pub fn attributes(of: &[Attribute]) -> Attributes {
    of.iter().map(|(key, value)| ((*key).to_owned(), value.to_json())).collect()
}

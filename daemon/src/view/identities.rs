//! Numbers for what intervals are about: each distinct set of attributes is kept once, as the JSON that readers get.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;

use crate::telemetry::Attribute;

/// What an entry takes besides its text.
const ENTRY_BYTES: u64 = 96;

/// The number of all that there was no room to tell apart.
pub const FOLDED: u32 = 0;

/// Something that intervals name.
#[derive(Debug, PartialEq, Eq)]
pub struct Named {
    /// Its number; never given again as long as the daemon runs.
    pub id: u32,
    /// Its attributes, a JSON object.
    pub attributes: Box<str>,
}

impl Named {
    /// All that there was no room to tell apart.
    #[must_use]
    pub fn folded() -> Self {
        Self { id: FOLDED, attributes: r#"{"otel.metric.overflow":true}"#.into() }
    }

    /// About how many bytes it takes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.attributes.len() as u64 + ENTRY_BYTES
    }
}

/// All that is named by an interval that is kept, or by the one that runs.
#[derive(Debug, Default)]
pub struct Identities {
    /// By 128 bits that stand for the attributes: two hashes whose keys nobody else knows. That is a tenth of what the
    /// attributes themselves would take beside their JSON.
    known: HashMap<(u64, u64), Arc<Named>>,
    keys: (RandomState, RandomState),
    last: u32,
    bytes: u64,
}

impl Identities {
    /// The number of something, which is new if need be; `None` when it is, and there is no room for it within `room`
    /// bytes.
    pub fn intern(
        &mut self,
        of: &impl Hash,
        room: u64,
        attributes: impl FnOnce() -> Vec<Attribute>,
    ) -> Option<Arc<Named>> {
        let digest = (self.keys.0.hash_one(of), self.keys.1.hash_one(of));
        if let Some(known) = self.known.get(&digest) {
            return Some(Arc::clone(known));
        }
        if self.bytes >= room {
            return None;
        }
        let attributes = super::json::attributes(&attributes());
        let attributes = serde_json::to_string(&attributes).unwrap_or_else(|_| "{}".to_owned());
        self.last += 1;
        let named = Arc::new(Named { id: self.last, attributes: attributes.into() });
        self.bytes += named.bytes();
        self.known.insert(digest, Arc::clone(&named));
        Some(named)
    }

    /// Forgets what nothing else holds.
    pub fn forget_unused(&mut self) {
        let mut gone = 0;
        self.known.retain(|_, named| {
            let used = Arc::strong_count(named) > 1;
            gone += if used { 0 } else { named.bytes() };
            used
        });
        self.bytes -= gone;
        if self.known.capacity() > 4 * self.known.len() {
            self.known.shrink_to(2 * self.known.len());
        }
    }

    /// About how many bytes they take.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::AttributeValue;

    fn named(identities: &mut Identities, of: u32, room: u64) -> Option<Arc<Named>> {
        identities.intern(&of, room, || vec![("server.port", AttributeValue::Int(of.into()))])
    }

    #[test]
    fn the_same_has_the_same_number_and_another_a_new_one() {
        let mut identities = Identities::default();
        let first = named(&mut identities, 80, 1000).expect("room");
        assert_eq!((first.id, &*first.attributes), (1, r#"{"server.port":80}"#));
        assert_eq!(named(&mut identities, 443, 1000).map(|n| n.id), Some(2));
        assert_eq!(named(&mut identities, 80, 1000), Some(first));
    }

    #[test]
    fn without_room_only_what_is_known_has_a_number() {
        let mut identities = Identities::default();
        let first = named(&mut identities, 80, 1).expect("room");
        assert_eq!(named(&mut identities, 443, 1), None);
        assert_eq!(named(&mut identities, 80, 1), Some(first));
    }

    #[test]
    fn what_nobody_holds_makes_room_and_its_number_does_not_come_again() {
        let mut identities = Identities::default();
        let first = named(&mut identities, 80, 1000).expect("room");
        let held = identities.bytes();
        named(&mut identities, 443, 1000).expect("room");
        identities.forget_unused();
        assert_eq!(identities.bytes(), held);
        assert_eq!(named(&mut identities, 443, 1000).map(|n| n.id), Some(3));
        drop(first);
        identities.forget_unused();
        assert_eq!(identities.bytes(), 0);
    }
}

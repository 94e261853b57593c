//! The place that a client has: what it is at, and whether it may stay.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What one client is at.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// It has asked, and is being answered.
    pub(super) answering: AtomicBool,
    /// It has been answered at least once.
    pub(super) answered: AtomicBool,
    /// It stays for as long as it likes.
    pub(super) keeps: AtomicBool,
}

/// The place of the client that a request comes from.
#[derive(Debug, Clone)]
pub struct Place {
    pub(super) turn: Arc<Turn>,
    /// Clients that keep their places.
    pub(super) kept: Arc<AtomicUsize>,
    /// At most.
    pub(super) most_kept: usize,
}

impl Place {
    /// Keeps the place for as long as what is given lives: nobody else's turn ends it. `None` when too many do so.
    #[must_use]
    pub fn keep(&self) -> Option<Kept> {
        let one_more = |kept: usize| (kept < self.most_kept).then_some(kept + 1);
        self.kept.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        self.turn.keeps.store(true, Ordering::Relaxed);
        Some(Kept(self.clone()))
    }
}

/// A place that is kept.
#[derive(Debug)]
pub struct Kept(Place);

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.turn.keeps.store(false, Ordering::Relaxed);
        self.0.kept.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_keep_their_places_and_one_who_leaves_makes_room() {
        let (kept, most_kept) = (Arc::<AtomicUsize>::default(), 2);
        let place = || Place { turn: Arc::default(), kept: Arc::clone(&kept), most_kept };
        let first = place();
        let keeps = first.keep().expect("room");
        assert!(first.turn.keeps.load(Ordering::Relaxed));
        let second = place().keep();
        assert!(second.is_some() && place().keep().is_none());
        drop(keeps);
        assert!(!first.turn.keeps.load(Ordering::Relaxed));
        assert!(place().keep().is_some());
    }
}

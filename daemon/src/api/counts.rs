//! What became of the clients of the local API: atomics, written by its thread and read by the aggregation.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a client or its request was not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Neither root nor the daemon's user nor a member of the group, or it asked for what is not for it.
    Forbidden,
    /// Over TCP, without the right token.
    Unauthorized,
    /// Under a name that is not this host's, or from another site's page.
    Host,
    /// It brought a body, and nothing here takes one.
    Body,
    /// The head of its request was too large.
    HeadTooLarge,
    /// Its request was no HTTP.
    Malformed,
    /// It took too long to ask.
    Timeout,
    /// It did not take its answer.
    Stalled,
    /// It had to make room, or found none.
    TooMany,
    /// The system had no descriptor for it.
    Accept,
}

impl Refusal {
    /// Each, with its word in `netsonde.api.refusal`.
    pub const WORDS: [(Self, &'static str); 10] = [
        (Self::Forbidden, "forbidden"),
        (Self::Unauthorized, "unauthorized"),
        (Self::Host, "host"),
        (Self::Body, "body"),
        (Self::HeadTooLarge, "head_too_large"),
        (Self::Malformed, "malformed"),
        (Self::Timeout, "timeout"),
        (Self::Stalled, "stalled"),
        (Self::TooMany, "too_many"),
        (Self::Accept, "accept_failed"),
    ];
}

/// Counts since the start.
#[derive(Debug, Default)]
pub struct Counts {
    clients: AtomicU64,
    requests: AtomicU64,
    refused: [AtomicU64; Refusal::WORDS.len()],
}

impl Counts {
    /// Counts a refusal.
    pub fn refuse(&self, why: Refusal) {
        self.refused[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that is handed to its route.
    pub fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Says how many clients there are.
    pub fn set_clients(&self, n: usize) {
        self.clients.store(n as u64, Ordering::Relaxed);
    }

    /// Clients now.
    pub fn clients(&self) -> u64 {
        self.clients.load(Ordering::Relaxed)
    }

    /// Requests that were handed to their routes.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Refusals by their word.
    pub fn refused(&self) -> Vec<(&'static str, u64)> {
        let count = |(why, word)| (word, self.refused[why as usize].load(Ordering::Relaxed));
        Refusal::WORDS.into_iter().map(count).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_own_count() {
        let counts = Counts::default();
        for (n, (why, _)) in (1..).zip(Refusal::WORDS) {
            (0..n).for_each(|_| counts.refuse(why));
        }
        let expected: Vec<_> = (1..).zip(Refusal::WORDS).map(|(n, (_, word))| (word, n)).collect();
        assert_eq!(counts.refused(), expected);
    }
}

//! When a destination's failures are worth a line in the journal: when its state changes, not each time.
//!
//! Owns that decision and the line; counting is the ledger's.

/// How a destination fared in its last attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It took everything.
    Well,
    /// It took the request and threw some of it away.
    Rejecting,
    /// It refuses what it is sent.
    Refusing,
    /// It cannot be reached, asks to wait, or cannot be written to.
    Failing,
}

/// Remembers the last state, to tell changes from repetitions.
#[derive(Debug)]
pub struct HealthLog {
    state: Health,
    failures: u64,
}

impl HealthLog {
    /// A destination that has not failed yet.
    pub fn new() -> Self {
        Self { state: Health::Well, failures: 0 }
    }

    /// Takes note of an attempt; answers the number of failed attempts before it if the state has changed.
    fn change(&mut self, state: Health) -> Option<u64> {
        let failures = self.failures;
        self.failures = if state == Health::Well { 0 } else { failures + 1 };
        let changed = self.state != state;
        self.state = state;
        changed.then_some(failures)
    }

    /// Takes note of an attempt and logs it if it tells something new.
    pub fn observe(&mut self, state: Health, destination: &str, signal: &str, detail: &str) {
        let Some(failures) = self.change(state) else { return };
        match state {
            Health::Well => {
                tracing::info!(destination, signal, failed_attempts = failures, "export works again");
            }
            Health::Rejecting => {
                tracing::warn!(destination, signal, detail, "collector rejected part of a request");
            }
            Health::Refusing => {
                tracing::error!(destination, signal, detail, "collector refused a request; it is dropped");
            }
            Health::Failing => tracing::warn!(destination, signal, detail, "export fails"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_are_told() {
        let mut log = HealthLog::new();
        assert_eq!(log.change(Health::Well), None);
        assert_eq!(log.change(Health::Failing), Some(0));
        assert_eq!(log.change(Health::Failing), None);
        assert_eq!(log.change(Health::Refusing), Some(2));
        assert_eq!(log.change(Health::Well), Some(3));
        assert_eq!(log.change(Health::Well), None);
    }
}

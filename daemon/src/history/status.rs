//! How the history is doing: what it holds, what it lost, by reason.

use serde::Serialize;

/// More happened than the thread could take.
pub const INBOX_FULL: &str = "inbox_full";
/// The disk had no room for so long that what waited for it was given up.
pub const DISK_FULL: &str = "disk_full";
/// The store could not be written for another reason, for as long.
pub const STORE_FAILED: &str = "store_failed";
/// The store holds twice its size, and what closed cannot be forgotten fast enough.
pub const STORE_FULL: &str = "store_full";
/// More listeners are open than a history keeps.
pub const TOO_MANY_OPEN: &str = "too_many_open";
/// What is told of one listener is too long.
pub const UNWRITABLE: &str = "unwritable";

/// Every reason why an opening or a closing is not in the history.
const LOSS_REASONS: [&str; 6] = [INBOX_FULL, DISK_FULL, STORE_FAILED, STORE_FULL, TOO_MANY_OPEN, UNWRITABLE];

/// How the history is doing. Counts are since the start.
#[derive(Debug, Clone, Serialize)]
pub struct HistoryStatus {
    /// `off`, `opening`, `open` or `failing`.
    pub state: &'static str,
    /// Where it is.
    pub directory: String,
    /// Openings in it.
    pub records: u64,
    /// Of those, the ones that are open.
    pub open: u64,
    /// Bytes that it takes of the disk.
    pub bytes: u64,
    /// Openings and closings that were stored.
    pub stored: u64,
    /// Those that wait for the store.
    pub waiting: u64,
    /// Those that were lost, by reason.
    pub losses: Vec<(&'static str, u64)>,
    /// Damaged stores that were set aside.
    pub set_aside: u64,
    /// Why the last of them was, and where it is.
    pub last_set_aside: Option<String>,
    /// What failed last, while it does.
    pub last_error: Option<String>,
}

impl Default for HistoryStatus {
    fn default() -> Self {
        Self {
            state: "off",
            directory: String::new(),
            records: 0,
            open: 0,
            bytes: 0,
            stored: 0,
            waiting: 0,
            losses: LOSS_REASONS.map(|reason| (reason, 0)).to_vec(),
            set_aside: 0,
            last_set_aside: None,
            last_error: None,
        }
    }
}

impl HistoryStatus {
    /// Sets how many were lost for a reason.
    pub fn lost(&mut self, reason: &str, count: u64) {
        for (known, n) in &mut self.losses {
            if *known == reason {
                *n = count;
            }
        }
    }

    /// Whether anything is missing from it, or it cannot be written.
    #[must_use]
    pub fn is_troubled(&self) -> bool {
        self.set_aside > 0 || self.last_error.is_some() || self.losses.iter().any(|(_, n)| *n > 0)
    }

    /// One sentence about it.
    #[must_use]
    pub fn sentence(&self) -> String {
        let mut said = format!(
            "{}: {} openings, {} of them open, {:.1} MiB in {}",
            self.state,
            self.records,
            self.open,
            self.bytes as f64 / f64::from(1 << 20),
            self.directory
        );
        for (reason, n) in self.losses.iter().filter(|(_, n)| *n > 0) {
            said.push_str(&format!(", {n} lost ({reason})"));
        }
        if self.waiting > 0 && self.last_error.is_some() {
            said.push_str(&format!(", {} wait", self.waiting));
        }
        if let Some(why) = &self.last_set_aside {
            said.push_str(&format!("; set aside: {why}"));
        }
        if let Some(error) = &self.last_error {
            said.push_str(&format!("; {error}"));
        }
        said
    }
}

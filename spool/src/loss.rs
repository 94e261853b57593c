//! What a spool could not keep, and why.

/// Why records were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// They made room for newer ones.
    Full,
    /// They were being written when the process or the host died.
    Torn,
    /// Their bytes are not what was written.
    Corrupt,
    /// Their file is gone, or cannot be read.
    Missing,
}

impl Loss {
    /// Every reason, in the order of its counts.
    pub const ALL: [Self; 4] = [Self::Full, Self::Torn, Self::Corrupt, Self::Missing];
}

/// Lost records and their items, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    records: [u64; Loss::ALL.len()],
    items: [u64; Loss::ALL.len()],
}

impl Losses {
    /// Adds to a reason.
    pub(crate) fn add(&mut self, loss: Loss, records: u64, items: u64) {
        let index = loss as usize;
        self.records[index] = self.records[index].saturating_add(records);
        self.items[index] = self.items[index].saturating_add(items);
    }

    /// Records lost for a reason.
    #[must_use]
    pub fn records(&self, loss: Loss) -> u64 {
        self.records[loss as usize]
    }

    /// Items in them, as far as known.
    #[must_use]
    pub fn items(&self, loss: Loss) -> u64 {
        self.items[loss as usize]
    }

    /// Whether nothing was lost.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

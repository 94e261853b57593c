//! How many events of lookups are written: as many a second as of the other kinds, which the kernel limits.

const SECOND_NS: u64 = 1_000_000_000;

/// A bucket that leaks so many a second and holds ten times that, as the kernel's do.
#[derive(Debug)]
pub struct RateLimit {
    per_second: u64,
    /// In billionths of an event.
    level: u64,
    at_ns: u64,
}

impl RateLimit {
    /// An empty one; 0 for no limit.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        Self { per_second: per_second.into(), level: 0, at_ns: 0 }
    }

    /// Leaks so many from now on.
    pub fn set(&mut self, per_second: u32) {
        self.per_second = per_second.into();
    }

    /// Whether one more fits now.
    pub fn allows(&mut self, now_ns: u64) -> bool {
        let leak = now_ns.saturating_sub(self.at_ns).saturating_mul(self.per_second);
        self.at_ns = self.at_ns.max(now_ns);
        self.level = self.level.saturating_sub(leak);
        if self.per_second != 0 && self.level > (10 * self.per_second - 1) * SECOND_NS {
            return false;
        }
        self.level = self.level.saturating_add(if self.per_second == 0 { 0 } else { SECOND_NS });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(limit: &mut RateLimit, of: u32, now_ns: u64) -> usize {
        (0..of).filter(|_| limit.allows(now_ns)).count()
    }

    #[test]
    fn ten_seconds_worth_at_once_and_then_as_many_as_leak() {
        let mut limit = RateLimit::new(5);
        let start = 1000 * SECOND_NS;
        assert_eq!(allowed(&mut limit, 100, start), 50);
        assert_eq!(allowed(&mut limit, 100, start + SECOND_NS), 5);
        assert_eq!(allowed(&mut limit, 100, start + SECOND_NS + SECOND_NS / 5), 1);
        assert_eq!(allowed(&mut limit, 100, start), 0, "time that runs backwards gives nothing");
        assert_eq!(allowed(&mut limit, 100, u64::MAX), 50);
    }

    #[test]
    fn without_a_limit_all_fit() {
        let mut limit = RateLimit::new(0);
        assert_eq!(allowed(&mut limit, 1000, 0), 1000);
        limit.set(1);
        assert_eq!(allowed(&mut limit, 1000, 0), 10);
    }
}

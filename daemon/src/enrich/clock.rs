//! From the kernel's boot time to Unix time.

use std::time::SystemTime;

use rustix::time::{ClockId, Timespec, clock_gettime};

/// How far the clocks were apart when they were read last. Read anew for each batch, because the wall clock
/// may be set at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    boot_ns: u64,
    unix_ns: u64,
}

fn nanoseconds(t: Timespec) -> u64 {
    // Never negative on a running system.
    u64::try_from(t.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(t.tv_nsec).unwrap_or(0)
}

impl Clock {
    /// Reads both clocks.
    #[must_use]
    pub fn read() -> Self {
        let boot_ns = nanoseconds(clock_gettime(ClockId::Boottime));
        // From the C library, where a test can put another clock in its place. Zero if it is set to before 1970.
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { boot_ns, unix_ns: u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX) }
    }

    /// Now, Unix nanoseconds.
    #[must_use]
    pub fn unix_ns(&self) -> u64 {
        self.unix_ns
    }

    /// Now, nanoseconds since boot.
    #[must_use]
    pub fn boot_ns(&self) -> u64 {
        self.boot_ns
    }

    /// The Unix time of a moment given in nanoseconds since boot.
    #[must_use]
    pub fn unix_of(&self, boot_ns: u64) -> u64 {
        self.unix_ns.saturating_add_signed(boot_ns.cast_signed().wrapping_sub(self.boot_ns.cast_signed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_before_and_after_the_reading_are_placed() {
        let clock = Clock { boot_ns: 1_000, unix_ns: 1_700_000_000_000_000_000 };
        assert_eq!(clock.unix_of(400), 1_699_999_999_999_999_400);
        assert_eq!(clock.unix_of(1_600), 1_700_000_000_000_000_600);
    }
    #[test]
    fn a_moment_is_placed_by_the_clock_as_it_is_when_it_is_read() {
        let moment = 5_000_000_000;
        // Set forward by a day, back by a year, to 1970: each reading counts from itself.
        for unix_ns in [1_700_000_000_000_000_000, 1_700_086_400_000_000_000, 1_668_464_000_000_000_000, 0] {
            let clock = Clock { boot_ns: 6_000_000_000, unix_ns };
            assert_eq!(clock.unix_of(moment), u64::saturating_sub(unix_ns, 1_000_000_000));
            let later = Clock { boot_ns: 6_000_000_000 + 7, unix_ns: unix_ns + 7 };
            assert_eq!(
                later.unix_of(moment),
                clock.unix_of(moment).max(u64::saturating_sub(unix_ns + 7, 1_000_000_007))
            );
        }
    }
}

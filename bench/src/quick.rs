//! What a quick run measures: one of each kind, in less than five minutes, enough to see that something is badly wrong. Its numbers
//! are never quoted.

/// In the order of a whole run. Left out are variants of the same load, much of anything, and what only a person can feel.
pub const NAMES: [&str; 12] = [
    "keep-alive",
    "connection-per-request",
    "bulk",
    "redis-pipelined",
    "small-udp",
    "dns",
    "process-churn",
    "bpf",
    "packets",
    "cpu",
    "start",
    "memory",
];

/// Whether something of this name is measured.
pub fn has(name: &str) -> bool {
    NAMES.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_everything_that_is_measured_quickly() {
        let all = crate::names();
        assert!(NAMES.iter().all(|name| all.contains(name)));
    }
}

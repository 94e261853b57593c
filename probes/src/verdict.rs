//! Decides, from facts and from what became of each hook, in which state a signal is. Pure: it loads and
//! asks nothing.

use std::fmt;

use crate::facts::Kernel;

/// Where a program attaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A BTF-typed raw tracepoint.
    Tracepoint(&'static str),
    /// A BPF iterator, run when it is read.
    Iterator(&'static str),
    /// A hook at the root of the unified control group hierarchy, in libbpf's words.
    Cgroup(&'static str),
}

/// What a signal is without one of its hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Required,
    /// Less: this says what is missing, as part of a sentence.
    Optional(&'static str),
}

/// One program of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hook {
    /// Name of the C function.
    pub program: &'static str,
    /// Where it attaches.
    pub target: Target,
    /// What the signal is without it.
    pub need: Need,
    /// Whether the program keeps state in socket storage.
    pub uses_socket_storage: bool,
}

/// The state of one signal, as served to the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignalState {
    /// Everything works.
    Active,
    /// Works with less; what is missing, and why.
    Degraded(String),
    /// This kernel cannot carry it, and why.
    Unsupported(String),
    /// It should work here, and did not; the error.
    Failed(String),
    /// Switched off in the configuration.
    Disabled,
}

impl SignalState {
    /// One word, as exported in `netsonde.signal.state`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Degraded(_) => "degraded",
            Self::Unsupported(_) => "unsupported",
            Self::Failed(_) => "failed",
            Self::Disabled => "disabled",
        }
    }

    /// Why it is not active.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Degraded(why) | Self::Unsupported(why) | Self::Failed(why) => Some(why),
            Self::Active | Self::Disabled => None,
        }
    }
}

impl fmt::Display for SignalState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason() {
            Some(why) => write!(f, "{}: {why}", self.word()),
            None => f.write_str(self.word()),
        }
    }
}

/// What became of one hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookOutcome {
    /// Loaded and attached.
    Attached,
    /// The kernel has no such hook; what it lacks.
    Missing(String),
    /// The kernel has it and refused the program; the error.
    Refused(String),
}

/// Whether a kernel can carry a hook; the error says what it lacks.
///
/// # Errors
///
/// The name of what is missing.
pub fn usable(hook: &Hook, kernel: &dyn Kernel) -> Result<(), String> {
    match hook.target {
        Target::Tracepoint(name) if !kernel.has_tracepoint(name) => {
            return Err(format!("this kernel has no tracepoint {name}"));
        }
        Target::Iterator(name) if !kernel.has_iterator(name) => {
            return Err(format!("this kernel has no BPF iterator {name}"));
        }
        _ => {}
    }
    if hook.uses_socket_storage && !kernel.has_tracing_socket_storage() {
        return Err("this kernel keeps no socket storage for tracing programs (5.11 does)".to_owned());
    }
    Ok(())
}

/// The state of a signal, from what became of each of its hooks.
#[must_use]
pub fn signal_state(outcomes: &[(Hook, HookOutcome)]) -> SignalState {
    let mut lacks = Vec::new();
    let mut refused = None;
    let mut unsupported = None;
    for (hook, outcome) in outcomes {
        match (outcome, hook.need) {
            (HookOutcome::Attached, _) => {}
            (HookOutcome::Missing(why), Need::Required) => {
                unsupported.get_or_insert_with(|| why.clone());
            }
            (HookOutcome::Refused(why), Need::Required) => {
                refused.get_or_insert_with(|| format!("{}: {why}", hook.program));
            }
            (HookOutcome::Missing(why) | HookOutcome::Refused(why), Need::Optional(without)) => {
                lacks.push(format!("{without} ({why})"));
            }
        }
    }
    match (refused, unsupported) {
        (Some(why), _) => SignalState::Failed(why),
        (None, Some(why)) => SignalState::Unsupported(why),
        (None, None) if lacks.is_empty() => SignalState::Active,
        (None, None) => SignalState::Degraded(lacks.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Without(&'static [&'static str]);

    impl Kernel for Without {
        fn has_tracepoint(&self, name: &str) -> bool {
            !self.0.contains(&name)
        }
        fn has_iterator(&self, name: &str) -> bool {
            !self.0.contains(&name)
        }
        fn has_tracing_socket_storage(&self) -> bool {
            !self.0.contains(&"storage")
        }
    }

    const REQUIRED: Hook = Hook {
        program: "state_changed",
        target: Target::Tracepoint("inet_sock_set_state"),
        need: Need::Required,
        uses_socket_storage: true,
    };
    const OPTIONAL: Hook = Hook {
        program: "reset_sent",
        target: Target::Tracepoint("tcp_send_reset"),
        need: Need::Optional("sent resets are not counted"),
        uses_socket_storage: false,
    };

    #[test]
    fn a_hook_is_usable_when_the_kernel_has_all_it_needs() {
        assert_eq!(usable(&REQUIRED, &Without(&[])), Ok(()));
        assert!(usable(&REQUIRED, &Without(&["inet_sock_set_state"])).unwrap_err().contains("tracepoint"));
        assert!(usable(&REQUIRED, &Without(&["storage"])).unwrap_err().contains("5.11"));
        assert_eq!(usable(&OPTIONAL, &Without(&["storage"])), Ok(()));
    }

    #[test]
    fn a_signal_is_as_good_as_its_hooks() {
        use HookOutcome::{Attached, Missing, Refused};
        let state = |a, b| signal_state(&[(REQUIRED, a), (OPTIONAL, b)]);
        assert_eq!(state(Attached, Attached), SignalState::Active);
        assert_eq!(
            state(Attached, Missing("no tcp_send_reset".into())),
            SignalState::Degraded("sent resets are not counted (no tcp_send_reset)".into())
        );
        assert!(matches!(state(Missing("x".into()), Attached), SignalState::Unsupported(_)));
        // A refusal tells more than a missing hook, and is somebody's to mend.
        assert!(matches!(
            signal_state(&[(REQUIRED, Missing("x".into())), (REQUIRED, Refused("EPERM".into()))]),
            SignalState::Failed(_)
        ));
    }
}

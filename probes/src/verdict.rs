//! Decides, from facts and from what became of each hook, in which state a signal is. Pure: it loads and
//! asks nothing.

use std::collections::BTreeMap;
use std::fmt;

use crate::facts::Kernel;
use crate::records::raw::socket_number;

/// Where a program attaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A BTF-typed raw tracepoint.
    Tracepoint(&'static str),
    /// Likewise, where the kernel is of this shape; else another hook does its work.
    TracepointWhere(&'static str, Shape),
    /// The end of each call of a kernel's function, where the kernel is of this shape.
    FunctionWhere(&'static str, Shape),
    /// A BPF iterator, run when it is read.
    Iterator(&'static str),
    /// A hook at the root of the unified control group hierarchy, in libbpf's words.
    Cgroup(&'static str),
}

/// What tells two kernels apart that want different programs for the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// This tracepoint has at least so many arguments.
    Carries(&'static str, usize),
    /// It has fewer.
    Lacks(&'static str, usize),
    /// A task can be preempted within a tracepoint's program.
    PreemptsTracepoints,
}

impl Shape {
    fn holds(self, kernel: &dyn Kernel) -> bool {
        let arguments = |name| kernel.tracepoint_arguments(name).unwrap_or(0);
        match self {
            Self::Carries(name, wanted) => arguments(name) >= wanted,
            Self::Lacks(name, wanted) => arguments(name) < wanted,
            Self::PreemptsTracepoints => kernel.preempts_tracepoints(),
        }
    }
}

/// What a signal is without one of its hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Required,
    /// Less: this says what is missing, as part of a sentence.
    Optional(&'static str),
    /// As `Optional`, and another program, the first of these two, makes it superfluous wherever it could be attached.
    InsteadOf(&'static str, &'static str),
}

/// Where a program finds what is known of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketState {
    /// It knows nothing of sockets.
    Unused,
    /// In storage that the kernel keeps with the socket, and nowhere else.
    WithSocket,
    /// In storage or, where there is none, in a table by the socket's address.
    WithSocketOrByAddress,
    /// In that table, and there is nothing to do for it where there is storage.
    ByAddress,
}

/// Where a kernel has the programs keep what is known of sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeping {
    /// In storage with the socket, changed by atomic operations.
    WithSocket,
    /// In a table by the socket's address, for the reason given.
    ByAddress(&'static str),
}

/// Decides which of the two objects is for this kernel.
#[must_use]
pub fn keeping(kernel: &dyn Kernel) -> Keeping {
    if !kernel.has_tracing_socket_storage() {
        Keeping::ByAddress("this kernel keeps no socket storage for tracing programs; 5.11 does")
    } else if !kernel.has_atomic_operations() {
        Keeping::ByAddress("BPF has no atomic operations but addition in this kernel; 5.12 has")
    } else {
        Keeping::WithSocket
    }
}

/// What a signal is less than it could be while sockets are known by their address.
#[must_use]
pub fn less_by_address(hooks: &[Hook], keeping: Keeping) -> Option<String> {
    let Keeping::ByAddress(why) = keeping else { return None };
    let rests_on_it =
        |hook: &Hook| hook.need == Need::Required && hook.sockets == SocketState::WithSocketOrByAddress;
    hooks.iter().any(rests_on_it).then(|| {
        format!(
            "sockets are known by their address ({why}): no more than {} are followed at once, and what listeners \
             with SO_REUSEPORT accepted is told of the connections alone",
            socket_number::SOCKETS_BY_ADDRESS.0
        )
    })
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
    /// Where it finds what is known of a socket.
    pub sockets: SocketState,
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
    /// Another hook does its work on this kernel.
    Superfluous,
}

/// What becomes of a hook without a try; `None` when the kernel has all that it needs.
#[must_use]
pub fn outcome_by_facts(hook: &Hook, kernel: &dyn Kernel) -> Option<HookOutcome> {
    let missing = |what: String| Some(HookOutcome::Missing(what));
    match hook.target {
        Target::Tracepoint(name) | Target::TracepointWhere(name, _)
            if kernel.tracepoint_arguments(name).is_none() =>
        {
            return missing(format!("this kernel has no tracepoint {name}"));
        }
        Target::TracepointWhere(_, shape) | Target::FunctionWhere(_, shape) if !shape.holds(kernel) => {
            return Some(HookOutcome::Superfluous);
        }
        Target::FunctionWhere(name, _) if !kernel.has_function(name) => {
            return missing(format!("this kernel has no function {name}"));
        }
        Target::FunctionWhere(..) if !kernel.traces_functions() => {
            return missing("kernel.ftrace_enabled is 0".to_owned());
        }
        Target::Iterator(name) if !kernel.has_iterator(name) => {
            return missing(format!("this kernel has no BPF iterator {name}"));
        }
        _ => {}
    }
    match (hook.sockets, keeping(kernel)) {
        (SocketState::WithSocket, Keeping::ByAddress(why)) => missing(why.to_owned()),
        (SocketState::ByAddress, Keeping::WithSocket) => Some(HookOutcome::Superfluous),
        _ => None,
    }
}

/// Whether a hook need not be attached after what became of those before it.
#[must_use]
pub fn is_done_by_another(hook: &Hook, outcomes: &BTreeMap<&'static str, HookOutcome>) -> bool {
    matches!(hook.need, Need::InsteadOf(other, _) if outcomes.get(other) == Some(&HookOutcome::Attached))
}

/// The state of a signal, from what became of each of its hooks and what it is less for another reason.
#[must_use]
pub fn signal_state(outcomes: &[(Hook, HookOutcome)], less: Option<String>) -> SignalState {
    let mut lacks: Vec<String> = less.into_iter().collect();
    let mut refused = None;
    let mut unsupported = None;
    for (hook, outcome) in outcomes {
        match (outcome, hook.need) {
            (HookOutcome::Superfluous | HookOutcome::Attached, _) => {}
            (HookOutcome::Missing(why), Need::Required) => {
                unsupported.get_or_insert_with(|| why.clone());
            }
            (HookOutcome::Refused(why), Need::Required) => {
                refused.get_or_insert_with(|| format!("{}: {why}", hook.program));
            }
            (
                HookOutcome::Missing(why) | HookOutcome::Refused(why),
                Need::Optional(without) | Need::InsteadOf(_, without),
            ) => {
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
        fn tracepoint_arguments(&self, name: &str) -> Option<usize> {
            (!self.0.contains(&name)).then_some(3)
        }
        fn has_function(&self, name: &str) -> bool {
            !self.0.contains(&name)
        }
        fn traces_functions(&self) -> bool {
            !self.0.contains(&"tracing")
        }
        fn has_iterator(&self, name: &str) -> bool {
            !self.0.contains(&name)
        }
        fn has_tracing_socket_storage(&self) -> bool {
            !self.0.contains(&"storage")
        }
        fn preempts_tracepoints(&self) -> bool {
            !self.0.contains(&"preemption")
        }
        fn has_atomic_operations(&self) -> bool {
            !self.0.contains(&"atomics")
        }
    }

    const REQUIRED: Hook = Hook {
        program: "state_changed",
        target: Target::Tracepoint("inet_sock_set_state"),
        need: Need::Required,
        sockets: SocketState::WithSocket,
    };
    const OPTIONAL: Hook = Hook {
        program: "reset_sent",
        target: Target::Tracepoint("tcp_send_reset"),
        need: Need::Optional("sent resets are not counted"),
        sockets: SocketState::Unused,
    };

    #[test]
    fn a_hook_is_usable_when_the_kernel_has_all_it_needs() {
        let lacks = |hook: &Hook, what| match outcome_by_facts(hook, &Without(what)) {
            Some(HookOutcome::Missing(why)) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(outcome_by_facts(&REQUIRED, &Without(&[])), None);
        assert!(lacks(&REQUIRED, &["inet_sock_set_state"]).contains("tracepoint"));
        assert!(lacks(&REQUIRED, &["storage"]).contains("5.11"));
        assert!(lacks(&REQUIRED, &["atomics"]).contains("5.12"));
        assert_eq!(outcome_by_facts(&OPTIONAL, &Without(&["storage"])), None);
    }

    #[test]
    fn a_signal_that_can_do_without_storage_is_degraded_and_another_is_missing() {
        let either = Hook { sockets: SocketState::WithSocketOrByAddress, ..REQUIRED };
        for lacks in ["storage", "atomics"] {
            let kernel = Without(if lacks == "storage" { &["storage"] } else { &["atomics"] });
            assert_eq!(outcome_by_facts(&either, &kernel), None);
            assert!(matches!(outcome_by_facts(&REQUIRED, &kernel), Some(HookOutcome::Missing(_))));
            let less = less_by_address(&[OPTIONAL, either], keeping(&kernel)).expect("less");
            assert!(less.contains("131072"), "{less}");
            let state = signal_state(&[(either, HookOutcome::Attached)], Some(less.clone()));
            assert_eq!(state, SignalState::Degraded(less));
            assert_eq!(less_by_address(&[OPTIONAL], keeping(&kernel)), None);
        }
        assert_eq!(keeping(&Without(&[])), Keeping::WithSocket);
        let of_the_table = Hook { sockets: SocketState::ByAddress, ..REQUIRED };
        assert_eq!(outcome_by_facts(&of_the_table, &Without(&["storage"])), None);
        assert_eq!(outcome_by_facts(&of_the_table, &Without(&[])), Some(HookOutcome::Superfluous));
        assert_eq!(less_by_address(&[either], Keeping::WithSocket), None);
    }

    #[test]
    fn of_two_hooks_for_two_shapes_of_a_kernel_one_is_used() {
        let hook = |shape| Hook { target: Target::TracepointWhere("kfree_skb", shape), ..OPTIONAL };
        let outcome = |shape, without| outcome_by_facts(&hook(shape), &Without(without));
        assert_eq!(outcome(Shape::Carries("udp_fail_queue_rcv_skb", 3), &[]), None);
        assert_eq!(outcome(Shape::Carries("udp_fail_queue_rcv_skb", 4), &[]), Some(HookOutcome::Superfluous));
        assert_eq!(outcome(Shape::Lacks("udp_fail_queue_rcv_skb", 4), &[]), None);
        assert_eq!(outcome(Shape::Lacks("udp_fail_queue_rcv_skb", 3), &[]), Some(HookOutcome::Superfluous));
        assert!(matches!(
            outcome(Shape::Lacks("udp_fail_queue_rcv_skb", 4), &["kfree_skb"]),
            Some(HookOutcome::Missing(_))
        ));
        assert_eq!(outcome(Shape::PreemptsTracepoints, &[]), None);
        assert_eq!(outcome(Shape::PreemptsTracepoints, &["preemption"]), Some(HookOutcome::Superfluous));
        assert_eq!(signal_state(&[(OPTIONAL, HookOutcome::Superfluous)], None), SignalState::Active);
    }

    #[test]
    fn one_hook_stands_in_for_another_that_could_not_be_attached() {
        use HookOutcome::{Attached, Missing, Refused, Superfluous};
        let shape = Shape::Lacks("udp_fail_queue_rcv_skb", 4);
        let all = Hook { target: Target::FunctionWhere("udp_queue", shape), ..OPTIONAL };
        let half = Hook { program: "half", need: Need::InsteadOf(all.program, "half of it"), ..OPTIONAL };
        assert_eq!(outcome_by_facts(&all, &Without(&[])), None);
        assert!(matches!(outcome_by_facts(&all, &Without(&["udp_queue"])), Some(Missing(_))));
        assert!(matches!(outcome_by_facts(&all, &Without(&["tracing"])), Some(Missing(_))));
        let done = |outcome| is_done_by_another(&half, &BTreeMap::from([(all.program, outcome)]));
        assert!(done(Attached));
        assert!(!done(Refused("EBUSY".into())) && !done(Missing("no udp_queue".into())));
        assert_eq!(signal_state(&[(all, Attached), (half, Superfluous)], None), SignalState::Active);
        assert_eq!(
            signal_state(&[(all, Refused("EBUSY".into())), (half, Attached)], None),
            SignalState::Degraded("sent resets are not counted (EBUSY)".into())
        );
    }

    #[test]
    fn a_signal_is_as_good_as_its_hooks() {
        use HookOutcome::{Attached, Missing, Refused};
        let state = |a, b| signal_state(&[(REQUIRED, a), (OPTIONAL, b)], None);
        assert_eq!(state(Attached, Attached), SignalState::Active);
        assert_eq!(
            state(Attached, Missing("no tcp_send_reset".into())),
            SignalState::Degraded("sent resets are not counted (no tcp_send_reset)".into())
        );
        assert!(matches!(state(Missing("x".into()), Attached), SignalState::Unsupported(_)));
        // A refusal tells more than a missing hook, and is somebody's to mend.
        assert!(matches!(
            signal_state(&[(REQUIRED, Missing("x".into())), (REQUIRED, Refused("EPERM".into()))], None),
            SignalState::Failed(_)
        ));
    }
}

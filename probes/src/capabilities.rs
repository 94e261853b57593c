//! The capabilities that netsonde works with: what each is for, until when, and what is missing without it. What
//! follows from those of the process is decided here; giving them up is the daemon's matter.
//!
//! Which call asks for which was found by leaving each out on 6.18, and agrees with `kernel/bpf/syscall.c`
//! (`bpf_prog_load()`, `bpf_prog_attach_check_attach_type()`), `fs/fsopen.c`, `net/core/net_namespace.c`
//! (`netns_install()`) and `kernel/ptrace.c` (`__ptrace_may_access()`); capabilities(7) has the words.

use rustix::thread::CapabilitySet;

/// Until when a capability is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Until the probes are loaded and attached.
    Attached,
    /// To the end, by the thread that sweeps.
    EndBySweeping,
    /// To the end, by the thread that sweeps and the one that names processes.
    EndByNaming,
}

/// One capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capability {
    /// Which.
    pub set: CapabilitySet,
    /// Its name, as in capabilities(7).
    pub name: &'static str,
    /// What it is for: a verb and its objects.
    pub purpose: &'static str,
    /// Until when.
    pub until: Until,
    /// What is missing without it; `None` when nothing works.
    pub without: Option<&'static str>,
    /// `CAP_SYS_ADMIN` does instead.
    pub implied: bool,
}

/// All of them.
pub const CAPABILITIES: &[Capability] = &[
    Capability {
        set: CapabilitySet::BPF,
        name: "CAP_BPF",
        purpose: "loads the probes",
        until: Until::Attached,
        without: None,
        implied: true,
    },
    Capability {
        set: CapabilitySet::PERFMON,
        name: "CAP_PERFMON",
        purpose: "lets the probes read kernel structures",
        until: Until::Attached,
        without: None,
        implied: true,
    },
    Capability {
        set: CapabilitySet::NET_ADMIN,
        name: "CAP_NET_ADMIN",
        purpose: "attaches the programs that see packets",
        until: Until::Attached,
        without: Some("UDP, DNS and TLS are not observed"),
        // Since 6.9; before, attaching asks for CAP_NET_ADMIN itself, and the signals say so.
        implied: true,
    },
    Capability {
        set: CapabilitySet::SYS_ADMIN,
        name: "CAP_SYS_ADMIN",
        purpose: "enters the other network namespaces to sweep their sockets",
        until: Until::EndBySweeping,
        without: Some(
            "open sockets of other network namespaces are not swept: of their connections, only those that close are told of",
        ),
        implied: false,
    },
    Capability {
        set: CapabilitySet::SYS_PTRACE,
        name: "CAP_SYS_PTRACE",
        purpose: "finds the network namespaces of other users' processes, and reads the paths of their binaries",
        until: Until::EndByNaming,
        without: Some(
            "processes of other users that were there before netsonde have no binary path, and network namespaces that only such processes are in are not swept",
        ),
        implied: false,
    },
];

/// What of [`CAPABILITIES`] is not there, where nothing that is there does instead.
pub fn missing(have: CapabilitySet) -> impl Iterator<Item = &'static Capability> {
    CAPABILITIES
        .iter()
        .filter(move |c| !(have.contains(c.set) || c.implied && have.contains(CapabilitySet::SYS_ADMIN)))
}

/// Those of [`CAPABILITIES`] that are needed until then, or longer.
#[must_use]
pub fn needed_until(moments: &[Until]) -> CapabilitySet {
    CAPABILITIES
        .iter()
        .filter(|c| moments.contains(&c.until))
        .fold(CapabilitySet::empty(), |all, c| all | c.set)
}

/// What this thread may do.
///
/// # Errors
///
/// When the kernel does not answer capget(2).
pub fn of_this_thread() -> std::io::Result<CapabilitySet> {
    Ok(rustix::thread::capabilities(None)?.effective)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(have: CapabilitySet) -> Vec<&'static str> {
        missing(have).map(|c| c.name).collect()
    }

    #[test]
    fn cap_sys_admin_stands_for_those_that_were_split_off_it() {
        let both = CapabilitySet::SYS_ADMIN | CapabilitySet::SYS_PTRACE;
        assert_eq!(names(both), Vec::<&str>::new());
        assert_eq!(names(CapabilitySet::SYS_ADMIN), ["CAP_SYS_PTRACE"]);
        let narrow = CapabilitySet::BPF | CapabilitySet::PERFMON;
        assert_eq!(names(narrow), ["CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE"]);
        assert_eq!(names(CapabilitySet::empty()).len(), CAPABILITIES.len());
    }

    #[test]
    fn only_loading_is_indispensable() {
        let needed: Vec<_> = CAPABILITIES.iter().filter(|c| c.without.is_none()).map(|c| c.name).collect();
        assert_eq!(needed, ["CAP_BPF", "CAP_PERFMON"]);
    }

    #[test]
    fn after_the_start_less_is_needed() {
        assert_eq!(
            needed_until(&[Until::EndBySweeping, Until::EndByNaming]),
            CapabilitySet::SYS_ADMIN | CapabilitySet::SYS_PTRACE
        );
        assert_eq!(needed_until(&[Until::EndByNaming]), CapabilitySet::SYS_PTRACE);
    }
}

//! Whether a peer can be measured on this machine, and why not.

use std::fmt;

/// What became of a peer that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trial {
    /// There is no such program.
    NotThere,
    /// It was started and told of a connection.
    Told,
    /// It did not; what went wrong, with what it said last.
    Failed(String),
}

/// Whether a peer can be measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Runs,
    /// With the reason.
    Refused(String),
}

/// What tools say around a reason, and the reason.
const REASONS: [(&str, &str); 4] = [
    ("kernel headers", "it compiles itself and finds no headers of this kernel"),
    ("Failed to compile BPF module", "the headers that it finds do not suit it"),
    ("kprobe", "it needs kprobes, which this kernel has not"),
    ("invalid CO-RE relocation", "it looks for a field that this kernel has not"),
];

impl Verdict {
    /// From a trial of a peer of this package.
    pub fn of(package: &str, trial: &Trial) -> Self {
        match trial {
            Trial::Told => Self::Runs,
            Trial::NotThere => Self::Refused(format!("not there (package {package})")),
            Trial::Failed(words) => {
                let reason = REASONS.iter().find(|(word, _)| words.contains(word)).map(|(_, reason)| *reason);
                let last = || words.lines().rfind(|line| !line.trim().is_empty()).unwrap_or(words);
                Self::Refused(reason.unwrap_or_else(last).trim().to_owned())
            }
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Runs => f.write_str("runs here"),
            Self::Refused(why) => write!(f, "does not run here: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_found_in_what_tools_say() {
        let refused = |words: &str| match Verdict::of("a", &Trial::Failed(words.into())) {
            Verdict::Refused(why) => why,
            Verdict::Runs => panic!("{words}"),
        };
        // As libbpf-tools 0.26 says it, the reason first.
        let words = "tcpconnect ended with exit status: 1: libbpf: failed to add legacy kprobe event for \
                     'tcp_v4_connect+0x0': No such file or directory\nlibbpf: prog 'tcp_v4_connect': failed to \
                     auto-attach: -2\nfailed to attach BPF programs: No such file or directory\n";
        assert!(refused(words).contains("kprobes"));
        // As bpfcc-tools 0.26 says it, last of all the line of a stack trace.
        let words = "Unable to find kernel headers. Try rebuilding kernel with CONFIG_IKHEADERS=m (module) or \
                     installing the kernel development package for your running kernel version.\nmodprobe: FATAL: \
                     Module kheaders not found\nException: Failed to compile BPF module <text>";
        assert!(refused(words).contains("no headers"));
        assert_eq!(refused("it ended\nwith something else\n\n"), "with something else");
        assert_eq!(refused(""), "");
    }

    #[test]
    fn what_told_runs_and_what_is_not_there_has_a_package() {
        assert_eq!(Verdict::of("a", &Trial::Told).to_string(), "runs here");
        let missing = Verdict::of("nethogs", &Trial::NotThere).to_string();
        assert_eq!(missing, "does not run here: not there (package nethogs)");
    }
}

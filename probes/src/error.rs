//! What can go wrong between netsonde and the kernel, with the value that was in the way.

use thiserror::Error;

/// An error of this crate.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// The kernel publishes no types of its own.
    #[error(
        "this kernel has no BTF (/sys/kernel/btf/vmlinux): boot one that is built with CONFIG_DEBUG_INFO_BTF=y"
    )]
    NoBtf,
    /// The process may not do what the probes need.
    #[error("missing {missing}: run netsonde as root, through its systemd unit, or grant them to it")]
    MissingCapabilities {
        /// Each with its use.
        missing: String,
    },
    /// A step of loading failed.
    #[error("cannot {step}")]
    Load {
        /// What was being done.
        step: String,
        /// libbpf's word.
        #[source]
        source: libbpf_rs::Error,
    },
    /// The compiled object has no such part: the build is broken.
    #[error("the probes have no {kind} named {name}")]
    NoSuchPart {
        /// Map or program.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A map operation failed.
    #[error("cannot {step} the BPF map {map}")]
    Map {
        /// What was being done.
        step: &'static str,
        /// Name of the map.
        map: &'static str,
        /// libbpf's word.
        #[source]
        source: libbpf_rs::Error,
    },
    /// The kernel gave a record that does not have the layout of these probes.
    #[error("{what} of {length} bytes cannot be decoded")]
    Undecodable {
        /// Which record.
        what: &'static str,
        /// Its length.
        length: usize,
    },
    /// A system call failed.
    #[error("cannot {step}")]
    System {
        /// What was being done.
        step: String,
        /// The kernel's word.
        #[source]
        source: std::io::Error,
    },
}

impl ProbeError {
    pub(crate) fn system(step: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self::System { step: step.into(), source: source.into() }
    }

    /// Whether it is the machine that lacks something, rather than netsonde that failed.
    #[must_use]
    pub fn is_unsupported_host(&self) -> bool {
        matches!(self, Self::NoBtf | Self::MissingCapabilities { .. })
    }
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, ProbeError>;

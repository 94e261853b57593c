//! What comes out of the kernel, decoded: addresses as [`IpAddr`], processes as [`ProcessId`], kinds as
//! enums. The layouts themselves are generated from `include/records.h`; this module is the only one that
//! reads them from bytes.

use std::net::{IpAddr, Ipv6Addr};

#[cfg(test)]
mod counted;
mod listener;
mod payload;
mod process;

pub use listener::{Accepts, Listener, SpecialKind, SpecialSocket};
pub(crate) use listener::{Held, LISTENER_BYTES, held, listener};
pub use payload::{DnsPacket, TlsHello};
pub(crate) use payload::{Payload, payload};
pub use process::{BinaryPath, CgroupEvent, Execution, ProcessEvent, ProcessEventKind, split_arguments};
pub(crate) use process::{ProcessRecord, process_event, process_record};

#[allow(
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    unused_imports,
    unused_qualifications,
    reason = "written by libbpf-cargo"
)]
pub mod raw {
    //! The layouts of `include/records.h`, generated from their BTF.
    include!(concat!(env!("OUT_DIR"), "/layouts.rs"));
}

/// The compiled BPF programs.
pub(crate) const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/netsonde.bpf.o"));

/// Likewise, for kernels on which sockets are known by their address.
pub(crate) const OBJECT_BY_ADDRESS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/by-address.bpf.o"));

/// A generated layout that consists of integers only, so that any bytes of its size are a valid value.
///
/// # Safety
///
/// Every bit pattern must be a valid value of the type, and it must have no padding that is read.
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: generated `repr(C)` structs of integers and arrays of integers.
unsafe impl Plain for raw::flow_key {}
// SAFETY: as above.
unsafe impl Plain for raw::flow_value {}
// SAFETY: as above.
unsafe impl Plain for raw::socket_event {}
// SAFETY: as above.
unsafe impl Plain for raw::listener_record {}
// SAFETY: as above.
unsafe impl Plain for raw::process_record {}
// SAFETY: as above.
unsafe impl Plain for raw::exec_record {}
// SAFETY: as above.
unsafe impl Plain for raw::cgroup_record {}
// SAFETY: as above.
unsafe impl Plain for raw::holder_record {}
// SAFETY: as above.
unsafe impl Plain for raw::payload_record {}
// SAFETY: as above.
unsafe impl Plain for raw::select_rule {}
// SAFETY: as above.
unsafe impl Plain for raw::settings {}
// SAFETY: as above.
unsafe impl Plain for raw::sweep_totals {}
// SAFETY: as above.
unsafe impl Plain for raw::shed_counts {}

/// Reads a record from the start of `bytes`; `None` when there are too few.
pub(crate) fn read<T: Plain>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: there are enough bytes, the read does not ask for alignment, and `Plain` promises that any
    // bits are a value.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// The bytes of a record.
pub(crate) fn bytes_of<T: Plain>(value: &T) -> &[u8] {
    // SAFETY: the value lives as long as the slice, and `Plain` promises that it has no uninitialised
    // padding.
    unsafe { std::slice::from_raw_parts((&raw const *value).cast(), size_of::<T>()) }
}

/// A process of this host: its thread-group id in the host's namespace and when it started. The pair is
/// never used twice, a pid alone is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId {
    /// Thread-group id; 0 when no process is known.
    pub pid: u32,
    /// Start of its first thread, nanoseconds of `CLOCK_BOOTTIME`.
    pub start_ns: u64,
}

impl ProcessId {
    /// Whether it names a process at all.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.pid != 0
    }
}

/// Which process a socket belongs to, running which program, and under which user it got the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The process.
    pub process: ProcessId,
    /// Which of its programs: grows with every exec, and a fork inherits it (`task_struct.self_exec_id`).
    pub image: u32,
    /// Real user id.
    pub uid: u32,
}

impl Owner {
    /// Whether the kernel made the socket for itself, as an NFS client's is.
    #[must_use]
    pub fn is_kernel(&self) -> bool {
        self.process.pid == raw::process_number::KERNEL_TGID.0
    }
}

impl From<raw::owner> for Owner {
    fn from(o: raw::owner) -> Self {
        Self { process: ProcessId { pid: o.tgid, start_ns: o.start_ns }, image: o.image, uid: o.uid }
    }
}

/// Which side of a connection a process is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// It connected.
    Client,
    /// It accepted.
    Server,
    /// Not known: a reset that the kernel sent for nobody.
    Unknown,
}

impl Role {
    /// The value of `netsonde.socket.role`.
    #[must_use]
    pub fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Client => Some("client"),
            Self::Server => Some("server"),
            Self::Unknown => None,
        }
    }

    fn from_raw(role: u8) -> Self {
        match raw::socket_role(u32::from(role)) {
            raw::socket_role::ROLE_CLIENT => Self::Client,
            raw::socket_role::ROLE_SERVER | raw::socket_role::ROLE_LISTENER => Self::Server,
            _ => Self::Unknown,
        }
    }
}

fn address(bytes: [u8; 16]) -> IpAddr {
    let v6 = Ipv6Addr::from(bytes);
    v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)
}

/// A transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    fn from_raw(protocol: u8) -> Self {
        if protocol == PROTOCOL_UDP { Self::Udp } else { Self::Tcp }
    }

    /// The value of `network.transport`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// `IPPROTO_UDP` (RFC 768).
const PROTOCOL_UDP: u8 = 17;

/// What measurements are summed by in the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Whose socket.
    pub owner: Owner,
    /// Over what.
    pub transport: Transport,
    /// What goes over that, if it can be told: a value of `network.protocol.name`.
    pub application: Option<&'static str>,
    /// Which side.
    pub role: Role,
    /// Address of the serving side.
    pub server_address: IpAddr,
    /// Port of the serving side; 0 when not known.
    pub server_port: u16,
    /// Address of the connecting side, when the kernel was asked to keep it.
    pub client_address: Option<IpAddr>,
    /// Inode number of the network namespace.
    pub network_namespace: u32,
    /// Which selection rules may apply.
    pub rules: RuleMask,
    /// What did not fit the table, folded: nothing above is known.
    pub overflow: bool,
}

impl From<&raw::flow_key> for Flow {
    fn from(k: &raw::flow_key) -> Self {
        Self {
            owner: k.owner.into(),
            transport: Transport::from_raw(k.transport),
            application: (u32::from(k.application) == raw::application_protocol::APPLICATION_QUIC.0)
                .then_some("quic"),
            role: Role::from_raw(k.role),
            server_address: address(k.server_address),
            server_port: k.server_port,
            client_address: (k.client_address != [0; 16]).then(|| address(k.client_address)),
            network_namespace: k.network_namespace,
            rules: RuleMask(k.rules),
            overflow: k.transport == 0,
        }
    }
}

/// What a flow did since the last drain; read through its signal's `measure`.
#[derive(Clone, Copy)]
pub struct FlowCounts(pub(crate) raw::flow_value);

impl FlowCounts {
    /// So many connections that were accepted, of which some are still open, each with a request of 200 bytes and a
    /// response of 1,000; for tests.
    #[must_use]
    pub fn accepted(connections: u32, open: u32) -> Self {
        let (n, closed) = (u64::from(connections), u64::from(connections.saturating_sub(open)));
        let mut counts = raw::flow_value {
            transmit_bytes: n * 1000,
            receive_bytes: n * 200,
            transmit_segments: n * 5,
            receive_segments: n * 6,
            accepted: n,
            closed,
            active: i64::from(open),
            rtt_sum_us: n * 40,
            duration_sum_us: closed * 3000,
            ..raw::flow_value::default()
        };
        counts.rtt.buckets[3] = connections;
        counts.connection_duration.buckets[2] = connections.saturating_sub(open);
        Self(counts)
    }
}

impl std::fmt::Debug for FlowCounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a connection failed. The words are values of `error.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Answered with a reset.
    Refused,
    /// Reset after it was established.
    Reset,
    /// No answer in time.
    TimedOut,
    /// ICMP host unreachable.
    HostUnreachable,
    /// ICMP network unreachable.
    NetUnreachable,
    /// The program closed the socket before an answer came.
    Aborted,
    /// Anything else.
    Other,
}

impl Failure {
    /// In the order of `enum failure_kind`.
    pub(crate) const ALL: [Self; 7] = [
        Self::Refused,
        Self::Reset,
        Self::TimedOut,
        Self::HostUnreachable,
        Self::NetUnreachable,
        Self::Aborted,
        Self::Other,
    ];

    /// The value of `error.type`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::TimedOut => "timed_out",
            Self::HostUnreachable => "host_unreachable",
            Self::NetUnreachable => "net_unreachable",
            Self::Aborted => "aborted",
            // As the semantic conventions have it for a class without a name.
            Self::Other => "_OTHER",
        }
    }
}

/// What happened on a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketEventKind {
    /// `listen()` was called.
    ListenOpen,
    /// A listener was closed.
    ListenClose,
    /// A connection that this side asked for was established.
    Connect,
    /// A connection that the other side asked for was established.
    Accept,
    /// A connection ended.
    Close,
    /// A connection could not be established, or broke.
    Failure(Failure),
}

/// Counters of a connection that closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConnectionTotals {
    /// Application bytes sent.
    pub transmit_bytes: u64,
    /// Application bytes received.
    pub receive_bytes: u64,
    /// Segments sent, bare acknowledgements included.
    pub transmit_segments: u32,
    /// Segments received.
    pub receive_segments: u32,
    /// Segments sent again.
    pub retransmits: u32,
    /// Smoothed round-trip time at the end, microseconds; 0 when none was measured.
    pub smoothed_rtt_us: u32,
    /// The connection is older than netsonde: bytes are those since its start.
    pub partial: bool,
}

/// How a socket was set up before it listened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenOptions {
    /// bind(2) named the port; else the kernel took one that was free.
    pub port_chosen: bool,
    /// An IPv6 socket that takes no IPv4.
    pub ipv6_only: bool,
    /// `SO_REUSEPORT`.
    pub reuse_port: bool,
}

/// One happening on one socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketEvent {
    /// What happened.
    pub kind: SocketEventKind,
    /// When, nanoseconds of `CLOCK_BOOTTIME`.
    pub time_ns: u64,
    /// Whose socket.
    pub owner: Owner,
    /// Which side.
    pub role: Role,
    /// The kernel's number for the socket, never used twice until reboot.
    pub cookie: u64,
    /// This end.
    pub local: (IpAddr, u16),
    /// The other end; unspecified for listeners.
    pub remote: (IpAddr, u16),
    /// Inode number of the network namespace.
    pub network_namespace: u32,
    /// Connect and failure: since the SYN. Close: since established. Nanoseconds.
    pub duration_ns: u64,
    /// Close only.
    pub totals: ConnectionTotals,
    /// Listen only: limit of the accept queue.
    pub backlog: u32,
    /// Failure only: the kernel's errno, 0 when it set none.
    pub errno: u32,
    /// When the owner got the socket, its binary had been unlinked.
    pub binary_deleted: bool,
    /// Over what.
    pub transport: Transport,
    /// Listen only: index of the device that it is bound to, where that is known.
    pub interface: Option<u32>,
    /// Listen only: how it was set up; not known of UDP.
    pub options: Option<ListenOptions>,
    /// Which selection rules may apply.
    pub rules: RuleMask,
}

impl SocketEvent {
    /// The serving side, by role.
    #[must_use]
    pub fn server(&self) -> (IpAddr, u16) {
        if self.role == Role::Client { self.remote } else { self.local }
    }

    /// The connecting side, by role.
    #[must_use]
    pub fn client(&self) -> (IpAddr, u16) {
        if self.role == Role::Client { self.local } else { self.remote }
    }
}

/// Decodes one record of the event ring; `None` when it is none that we know.
pub(crate) fn socket_event(bytes: &[u8]) -> Option<SocketEvent> {
    let e: raw::socket_event = read(bytes)?;
    let flag = |flag: raw::event_flag| u32::from(e.flags) & flag.0 != 0;
    let kind = match raw::event_kind(u32::from(e.kind)) {
        raw::event_kind::EVENT_LISTEN_OPEN => SocketEventKind::ListenOpen,
        raw::event_kind::EVENT_LISTEN_CLOSE => SocketEventKind::ListenClose,
        raw::event_kind::EVENT_CONNECT => SocketEventKind::Connect,
        raw::event_kind::EVENT_ACCEPT => SocketEventKind::Accept,
        raw::event_kind::EVENT_CLOSE => SocketEventKind::Close,
        raw::event_kind::EVENT_FAILURE => {
            SocketEventKind::Failure(*Failure::ALL.get(usize::from(e.failure))?)
        }
        _ => return None,
    };
    Some(SocketEvent {
        kind,
        time_ns: e.time_ns,
        owner: e.owner.into(),
        role: Role::from_raw(e.role),
        cookie: e.socket_cookie,
        local: (address(e.local_address), e.local_port),
        remote: (address(e.remote_address), e.remote_port),
        network_namespace: e.network_namespace,
        duration_ns: e.duration_ns,
        totals: ConnectionTotals {
            transmit_bytes: e.transmit_bytes,
            receive_bytes: e.receive_bytes,
            transmit_segments: e.transmit_segments,
            receive_segments: e.receive_segments,
            retransmits: e.retransmits,
            smoothed_rtt_us: e.smoothed_rtt_us,
            partial: flag(raw::event_flag::EVENT_PARTIAL),
        },
        backlog: e.backlog,
        errno: e.kernel_error,
        binary_deleted: flag(raw::event_flag::EVENT_BINARY_DELETED),
        transport: Transport::from_raw(e.transport),
        interface: (e.interface != 0).then_some(e.interface),
        options: flag(raw::event_flag::EVENT_SOCKET_KNOWN).then(|| ListenOptions {
            port_chosen: flag(raw::event_flag::EVENT_PORT_CHOSEN),
            ipv6_only: flag(raw::event_flag::EVENT_IPV6_ONLY),
            reuse_port: flag(raw::event_flag::EVENT_REUSE_PORT),
        }),
        rules: RuleMask(e.rules),
    })
}

/// There is nothing left to decide.
const DECIDED: u32 = raw::rule_mask::RULES_DECIDED.0;

/// Which of the two halves of the kernel's table the rules are in.
const ODD: u32 = raw::rule_mask::RULES_ODD.0;

/// The selection rules that may apply to a socket, as far as the kernel can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RuleMask(pub(crate) u32);

impl RuleMask {
    /// Those rules, by number from 0; for tests and for what the kernel did not judge.
    #[must_use]
    pub fn of(rules: impl IntoIterator<Item = usize>) -> Self {
        Self(rules.into_iter().filter(|&i| i < crate::select::MAX_RULES).fold(0, |mask, i| mask | 1 << i))
    }

    /// Whether any rule is left to be judged: else the kernel has let the socket in.
    #[must_use]
    pub fn is_open(self) -> bool {
        self.0 & !ODD != 0 && self.0 & DECIDED == 0
    }

    /// Whether it is of the rules in force at an odd change of them, or at an even one: those in force and those
    /// before differ in it.
    #[must_use]
    pub fn is_odd(self) -> bool {
        self.0 & ODD != 0
    }

    /// Their numbers, ascending.
    pub fn rules(self) -> impl Iterator<Item = usize> {
        (0..crate::select::MAX_RULES).filter(move |i| self.0 & (1 << i) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_of_rules_is_read_back() {
        let mask = RuleMask::of([0, 3, 29]);
        assert_eq!(mask.rules().collect::<Vec<_>>(), [0, 3, 29]);
        assert!(mask.is_open());
        assert!(!RuleMask(DECIDED).is_open() && !RuleMask::default().is_open());
        assert_eq!(RuleMask(DECIDED | ODD).rules().count(), 0, "the kernel's words are no rules");
        assert!(RuleMask(ODD).is_odd() && !mask.is_odd() && !RuleMask(ODD).is_open());
    }
}

//! Everything of netsonde that touches the kernel: facts about it, loading and attaching the probes,
//! sweeping sockets, draining what was aggregated, decoding what comes out. The only crate with unsafe
//! code.
//!
//! What a process is called, how series are summed and where they go is the daemon's matter.

#![warn(missing_docs)]
#![deny(unsafe_op_in_unsafe_fn, clippy::undocumented_unsafe_blocks)]

pub mod capabilities;
pub mod descriptor;
pub mod error;
pub mod facts;
mod flows;
mod load;
pub mod loss;
pub mod memory;
mod namespaces;
pub mod peer;
mod programs;
pub mod records;
mod rings;
pub mod select;
pub mod signals;
mod sweep;
pub mod verdict;
pub mod verifier;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use libbpf_rs::{MapCore, MapFlags, MapHandle};

pub use error::{ProbeError, Result};
pub use load::Sizes;
pub use programs::ProgramRuntime;
pub use rings::{Records, RingFill};
pub use sweep::{Holders, Sweep, SweepTotals};

use crate::facts::RunningKernel;
use crate::flows::FlowTables;
use crate::load::Loaded;
use crate::loss::Losses;
use crate::namespaces::Home;
use crate::programs::Statistics;
use crate::records::{bytes_of, raw};
use crate::rings::Rings;
use crate::select::{KernelSelection, RuleMatches, Rules};
use crate::signals::Signal;
use crate::sweep::HolderWalks;
use crate::verdict::SignalState;

/// On how many ports payloads may be read, for whatever.
pub const MAX_PAYLOAD_PORTS: usize = 16;

/// What can change while the probes run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Events to write, by their key in the configuration.
    pub events: BTreeSet<String>,
    /// Events a second of each kind, listen events apart; 0 for no limit.
    pub events_per_second: u64,
    /// Keep client addresses in flows, at the price of an entry for each.
    pub keep_client_address: bool,
    /// Ports on which DNS is spoken. Together with the next no more than [`MAX_PAYLOAD_PORTS`] are used.
    pub dns_ports: BTreeSet<u16>,
    /// Ports on which clients speak TLS.
    pub tls_ports: BTreeSet<u16>,
    /// Payloads a second that are copied to user space: DNS messages, queries and responses on both sides counted, and
    /// first messages of TLS; 0 for no limit. Where there are n times as many, a sample is
    /// followed, an nth of this limit but no less than a 16th, and the other lookups not at all.
    pub payloads_per_second: u32,
    /// Read the arguments of what is executed.
    pub keep_arguments: bool,
    /// Have the kernel measure the run time of its BPF programs, those of others included.
    pub program_statistics: bool,
    /// Which sockets are observed.
    pub selection: KernelSelection,
}

/// Everything needed to load the probes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Signals that are switched off, by name.
    pub disabled: BTreeSet<String>,
    /// Load only what a single sweep runs, which takes a fraction of the time: nothing is attached to the kernel's own
    /// ways, no event is told and nothing is counted.
    pub sweep_only: bool,
    /// Sizes of the maps.
    pub sizes: Sizes,
    /// The cgroup v1 hierarchy whose changes are told of, beside the unified one; by number as in
    /// `/proc/self/cgroup`.
    pub legacy_hierarchy: Option<u32>,
    /// The rest.
    pub settings: Settings,
}

/// The probes, loaded and attached. Belongs to one thread, which it moves through network namespaces
/// during a sweep.
pub struct Probes {
    loaded: Loaded,
    rings: Rings,
    flows: FlowTables,
    losses: Losses,
    rules: Rules,
    settings_map: MapHandle,
    totals_map: MapHandle,
    settings: raw::settings,
    home: Home,
    holders: HolderWalks,
    statistics: Option<Statistics>,
}

/// Tables of the kernel side that hold something of processes or sockets for a while, by the name of their map.
const TABLES: [&str; 4] = ["accepts", "images", "multipath_owners", "openers"];

/// How full a table of the kernel side is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableFill {
    /// The name of its map.
    pub name: &'static str,
    /// Entries.
    pub fill: u64,
    /// Entries at most.
    pub limit: u64,
}

/// The state of one signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignalStatus {
    /// Which signal.
    pub name: &'static str,
    /// What it tells.
    pub description: &'static str,
    /// How it is.
    pub state: SignalState,
}

/// The compiled BPF programs, an ELF object.
#[must_use]
pub fn object() -> &'static [u8] {
    records::OBJECT
}

/// The same for kernels on which sockets are known by their address ([`verdict::keeping`]).
#[must_use]
pub fn object_by_address() -> &'static [u8] {
    records::OBJECT_BY_ADDRESS
}

/// Says whether the probes can run here at all.
///
/// # Errors
///
/// [`ProbeError::NoBtf`] or [`ProbeError::MissingCapabilities`].
pub fn check_host() -> Result<RunningKernel> {
    let have =
        capabilities::of_this_thread().map_err(|e| ProbeError::system("read the own capabilities", e))?;
    if capabilities::missing(have).any(|c| c.without.is_none()) {
        let missing = capabilities::missing(have).map(|c| format!("{} ({})", c.name, c.purpose));
        return Err(ProbeError::MissingCapabilities { missing: missing.collect::<Vec<_>>().join(", ") });
    }
    RunningKernel::read().ok_or(ProbeError::NoBtf)
}

impl Probes {
    /// Loads and attaches the probes and looks for the holders of the sockets that are there.
    ///
    /// # Errors
    ///
    /// When this host cannot run them ([`ProbeError::is_unsupported_host`]), or loading fails.
    pub fn load(options: &Options) -> Result<Self> {
        let kernel = check_host()?;
        let enabled = |s: &Signal| s.essential || !options.disabled.contains(s.name);
        let loaded = load::load(&kernel, &enabled, options.sweep_only, options.sizes)?;
        let map = |name: &'static str| {
            let found = loaded.object.maps().find(|m| m.name() == name);
            let found = found.ok_or_else(|| ProbeError::NoSuchPart { kind: "map", name: name.to_owned() })?;
            MapHandle::try_from(&found).map_err(|source| ProbeError::Map { step: "open", map: name, source })
        };
        let rings = Rings::new(&map("events")?, &map("payloads")?, &map("process_events")?)?;
        let flows = FlowTables::new(map("flows")?, map("flows_even")?, map("flows_odd")?)?;
        let losses = Losses::new(map("losses")?, map(".data.shed")?);
        let rules = Rules::new(map("rules")?, map("rule_matches")?);
        let (settings_map, totals_map) = (map(".data.settings")?, map(".data.totals")?);
        let mut probes = Self {
            rings,
            flows,
            losses,
            rules,
            settings_map,
            totals_map,
            settings: raw::settings::default(),
            home: Home::of_this_thread()?,
            holders: HolderWalks::default(),
            statistics: None,
            loaded,
        };
        probes.settings.legacy_hierarchy = options.legacy_hierarchy.unwrap_or(0);
        // A ring that is a quarter full wakes its reader, which otherwise comes by the clock.
        probes.settings.wakeup_bytes = options.sizes.event_ring.min(options.sizes.process_ring) / 4;
        probes.settings.payload_wakeup_bytes = options.sizes.payload_ring / 4;
        probes.set(&options.settings)?;
        probes.find_holders()?;
        Ok(probes)
    }

    /// Changes the settings from now on.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the update of their map.
    pub fn set(&mut self, settings: &Settings) -> Result<()> {
        self.settings.events_per_second = settings.events_per_second;
        self.settings.keep_client_address = u32::from(settings.keep_client_address);
        self.settings.keep_arguments = u32::from(settings.keep_arguments);
        self.settings.payload_ports = <[_; MAX_PAYLOAD_PORTS]>::default();
        let ports = self.payload_ports(settings);
        self.settings.payload_port_count = 0;
        for (slot, (port, kinds)) in self.settings.payload_ports.iter_mut().zip(ports) {
            *slot = raw::payload_port { port, kinds };
            self.settings.payload_port_count += 1;
        }
        self.settings.payloads_per_second = settings.payloads_per_second;
        self.settings.count_datagrams = u32::from(self.loaded.is_enabled("udp"));
        let reads_streams = self.loaded.is_enabled("dns") || self.loaded.is_enabled("tls");
        self.settings.keep_stream_owners = u32::from(reads_streams && !self.loaded.is_enabled("tcp"));
        self.settings.events_enabled = rings::event_mask(&settings.events);
        self.measure_programs(settings.program_statistics);
        self.rules.prepare(&settings.selection, &mut self.settings)?;
        self.write_settings()
    }

    /// What cannot be measured costs no signal.
    fn measure_programs(&mut self, wanted: bool) {
        if !wanted {
            self.statistics = None;
        } else if self.statistics.is_none() {
            let enabled = Statistics::enable().map_err(|e| {
                let error = std::error::Error::source(&e).map(ToString::to_string);
                tracing::warn!(error, "{e}: netsonde.self.program.run_time stays as it is");
            });
            self.statistics = enabled.ok();
        }
    }

    /// Ports with what is read there, by the signals that are at work.
    fn payload_ports(&self, settings: &Settings) -> BTreeMap<u16, u16> {
        let mut ports = BTreeMap::new();
        for (signal, wanted, kind) in [
            ("dns", &settings.dns_ports, raw::payload_kind::PAYLOAD_DNS),
            ("tls", &settings.tls_ports, raw::payload_kind::PAYLOAD_TLS_HELLO),
        ] {
            for port in wanted.iter().filter(|_| self.loaded.is_enabled(signal)) {
                *ports.entry(*port).or_default() |= kind.0 as u16;
            }
        }
        ports
    }

    fn write_settings(&self) -> Result<()> {
        self.settings_map
            .update(&0u32.to_ne_bytes(), bytes_of(&self.settings), MapFlags::ANY)
            .map_err(|source| ProbeError::Map { step: "update", map: "settings", source })
    }

    /// Waits until a ring fills up or the time is over, then hands over all that the rings hold. Process
    /// records are read last: those of every process that a socket event names are among them.
    ///
    /// # Errors
    ///
    /// When the rings cannot be polled.
    pub fn poll(&mut self, timeout: Duration) -> Result<Records> {
        self.rings.poll(timeout)
    }

    /// The state of every signal.
    #[must_use]
    pub fn signals(&self) -> Vec<SignalStatus> {
        self.loaded
            .states
            .iter()
            .map(|(signal, state)| SignalStatus {
                name: signal.name,
                description: signal.description,
                state: state.clone(),
            })
            .collect()
    }

    /// What was lost since the start, by reason.
    ///
    /// # Errors
    ///
    /// When the kernel's counters cannot be read.
    pub fn losses(&self) -> Result<Vec<(&'static str, u64)>> {
        let mut losses = self.losses.read()?;
        losses.push((loss::UNDECODABLE, self.rings.undecodable()));
        losses.push((loss::HOLDERS, self.holders.dropped));
        Ok(losses)
    }

    /// DNS messages that were not handed on since the start, because the ring was full or they were too many. Read
    /// after [`Probes::poll`], it has all that are missing from what was handed on.
    ///
    /// # Errors
    ///
    /// When the kernel's counters cannot be read.
    pub fn dns_messages_shed(&self) -> Result<u64> {
        let shed = [raw::loss::LOSS_PAYLOAD_RING_FULL, raw::loss::LOSS_PAYLOAD_RATE_LIMITED];
        shed.into_iter().map(|index| self.losses.total(index)).sum()
    }

    /// Sockets that the kernel decided by each selection rule, since the rules are in force.
    ///
    /// # Errors
    ///
    /// When the kernel's counters cannot be read.
    pub fn rule_matches(&self) -> Result<RuleMatches> {
        self.rules.matches()
    }

    /// Run times of the programs, in the order of their names; a program whose times cannot be read is left out.
    #[must_use]
    pub fn program_runtimes(&self) -> Vec<ProgramRuntime> {
        self.loaded.programs().filter_map(|(name, program)| programs::runtime(name, program)).collect()
    }

    /// How full the rings were since this was asked last.
    pub fn ring_fills(&mut self) -> Vec<RingFill> {
        self.rings.fills()
    }

    /// How full the kernel's own tables are. Costs a call into the kernel for each entry; they are almost empty, and
    /// what is full is not counted beyond its limit.
    #[must_use]
    pub fn table_fills(&self) -> Vec<TableFill> {
        let counted = self.loaded.object.maps().filter_map(|map| {
            let name = *TABLES.iter().find(|name| map.name() == **name)?;
            let limit = map.max_entries();
            Some(TableFill {
                name,
                fill: map.keys().take(limit as usize).count() as u64,
                limit: limit.into(),
            })
        });
        counted.collect()
    }

    /// How many flows one interval can hold.
    #[must_use]
    pub fn flow_capacity(&self) -> u32 {
        self.flows.capacity()
    }
}

//! One look at the kernel without a daemon: loads the probes, sweeps once and lets go of them.

use netsonde_audit::report::Source;
use netsonde_probes::{Options, ProbeError, Probes};

use super::Inventory;
use super::convert::Circumstances;
use super::places::Places;
use super::take::Taker;
use crate::config::Config;
use crate::enrich::{Clock, ProcessTable, Users};
use crate::select::{Selection, Selections, with_facts};

/// Signals that have nothing to do with what listens.
const UNRELATED: [&str; 2] = ["dns", "tls"];

/// Reads what listens now, of what the configuration's rules include. Takes as long as loading the probes does, and
/// moves the calling thread through network namespaces.
///
/// # Errors
///
/// The probes cannot be loaded, as without root, or the sweep fails.
pub fn read(config: &Config, options: Options) -> Result<Inventory, ProbeError> {
    let mut options = options;
    options.disabled.extend(UNRELATED.map(str::to_owned));
    options.settings.events.clear();
    options.sweep_only = true;
    let mut probes = Probes::load(&options)?;
    let sweep = probes.sweep()?;
    let clock = Clock::read();
    let limit = (config.limits.processes.get() as usize).max(sweep.processes.len());
    let mut processes = ProcessTable::new(limit, 0, None);
    processes.scan_cgroups(&std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default());
    processes.take_walk(&sweep.processes, clock.boot_ns());
    let mut users = Users::new("/etc/passwd");
    let mut selections = Selections::new(Selection::new(&config.select));
    let (places, holders) = (Places::read(), sweep.holders.unwrap_or_default());
    let at = Circumstances { places: &places, clock: &clock, source: Source::Kernel };
    let mut listeners = Vec::with_capacity(sweep.listeners.len());
    for found in &sweep.listeners {
        let process = processes.resolve(found.owner);
        let included = with_facts(found.owner, process.as_deref(), |uid, facts| {
            selections.includes(found.rules, uid, facts)
        });
        if included {
            listeners.push(Taker::new(&mut processes, &mut users, &holders, at).listener(found, process));
        }
    }
    let mut taker = Taker::new(&mut processes, &mut users, &holders, at);
    listeners.extend(taker.special(|owner, process| {
        with_facts(owner, process, |uid, facts| selections.includes_portless(uid, facts))
    }));
    let truncated = listeners.len().saturating_sub(config.limits.listeners.get() as usize) as u64;
    listeners.truncate(config.limits.listeners.get() as usize);
    Ok(Inventory { taken_unix_ns: clock.unix_ns(), listeners, truncated })
}

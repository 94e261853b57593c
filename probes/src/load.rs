//! Loads the BPF object and attaches each signal's hooks. A program that the kernel refuses is left out
//! and the rest is loaded without it; what that means for its signal is decided in [`crate::verdict`].

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;

use libbpf_rs::{Link, Object, ObjectBuilder, OpenObject, PrintLevel};

use crate::error::{ProbeError, Result};
use crate::facts::{Kernel, pid_max, root_cgroup};
use crate::records::{OBJECT, OBJECT_BY_ADDRESS, raw::process_number};
use crate::signals::{REGISTRY, Signal};
use crate::verdict::{
    Hook, HookOutcome, Keeping, SignalState, Target, is_done_by_another, keeping, less_by_address,
    outcome_by_facts, signal_state,
};

/// Sizes that are fixed when the maps are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Flows in each of the two tables.
    pub flows: u32,
    /// Bytes of the ring of socket events; a power of two and a multiple of the page size.
    pub event_ring: u32,
    /// Bytes of the ring of payloads; likewise.
    pub payload_ring: u32,
    /// Bytes of the ring of process events; likewise.
    pub process_ring: u32,
}

/// A loaded object with its links; dropping it detaches everything.
pub struct Loaded {
    /// The maps and programs.
    pub object: Object,
    /// Iterators by the name of their program; read to run them.
    pub iterators: BTreeMap<&'static str, Link>,
    /// State of every signal of the registry, in its order.
    pub states: Vec<(&'static Signal, SignalState)>,
    /// Names of the attached programs, each once.
    programs: BTreeSet<&'static str>,
    tracepoints: Vec<Link>,
    /// The root of the unified hierarchy; why it could not be opened.
    root_cgroup: std::io::Result<OwnedFd>,
}

/// libbpf's complaints since the last load began: the only place where it names the program at fault.
static COMPLAINTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// What the verifier said of programs that it let in, where it was asked to; libbpf hands that over nowhere else.
static LOGS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Have the verifier say what a program cost, and no more (`BPF_LOG_STATS`, include/linux/bpf_verifier.h).
const LOG_STATISTICS: u32 = 4;

#[allow(clippy::needless_pass_by_value, reason = "libbpf-rs wants this signature")]
fn note_complaint(level: PrintLevel, text: String) {
    let text = text.trim_end();
    match level {
        PrintLevel::Debug => {
            tracing::trace!(target: "libbpf", "{text}");
            if text.contains("BEGIN PROG LOAD LOG")
                && let Ok(mut logs) = LOGS.lock()
            {
                logs.push(text.to_owned());
            }
        }
        PrintLevel::Info => tracing::debug!(target: "libbpf", "{text}"),
        PrintLevel::Warn => {
            tracing::debug!(target: "libbpf", "{text}");
            if let Ok(mut complaints) = COMPLAINTS.lock() {
                complaints.push(text.to_owned());
            }
        }
    }
}

/// Which program a failed load was about, and what the verifier said last.
fn culprit(complaints: &[String]) -> Option<(String, String)> {
    let name = complaints.iter().find_map(|line| {
        let rest = line.strip_prefix("libbpf: prog '")?;
        let (name, what) = rest.split_once('\'')?;
        what.contains("load failed").then(|| name.to_owned())
    })?;
    let said = complaints
        .iter()
        .find(|line| line.contains("BEGIN PROG LOAD LOG"))
        .and_then(|log| log.lines().rev().find(|l| is_verifier_complaint(l)))
        .or_else(|| complaints.iter().flat_map(|c| c.lines()).find(|l| l.contains("load failed")))
        .unwrap_or("refused without a word");
    Some((name, said.trim_start_matches("libbpf: ").to_owned()))
}

fn is_verifier_complaint(line: &str) -> bool {
    !line.is_empty()
        && !["processed ", "--", "verification time", "stack depth", "libbpf:", "mark_precise", ";"]
            .iter()
            .any(|noise| line.starts_with(noise))
}

/// Loads and attaches the hooks of the enabled signals, or only those that a sweep runs.
///
/// # Errors
///
/// When the object cannot be opened, or cannot be loaded for a reason that is no single program's.
pub fn load(
    kernel: &dyn Kernel,
    enabled: &dyn Fn(&Signal) -> bool,
    sweep_only: bool,
    sizes: Sizes,
) -> Result<Loaded> {
    libbpf_rs::set_print(Some((PrintLevel::Debug, note_complaint)));
    let mut outcomes: BTreeMap<&'static str, HookOutcome> = BTreeMap::new();
    for hook in REGISTRY.iter().filter(|s| enabled(s)).flat_map(|s| s.hooks) {
        if sweep_only && !matches!(hook.target, Target::Iterator(_)) {
            outcomes.insert(hook.program, HookOutcome::Missing("only a sweep is wanted".to_owned()));
        } else if let Some(outcome) = outcome_by_facts(hook, kernel) {
            outcomes.insert(hook.program, outcome);
        }
    }
    let keeping = keeping(kernel);
    let object = load_what_the_kernel_takes(keeping, enabled, sizes, 0, &mut outcomes)?;

    let mut loaded = Loaded {
        object,
        iterators: BTreeMap::new(),
        states: Vec::new(),
        programs: BTreeSet::new(),
        tracepoints: Vec::new(),
        root_cgroup: root_cgroup(),
    };
    for signal in REGISTRY {
        if !enabled(signal) {
            loaded.states.push((signal, SignalState::Disabled));
            continue;
        }
        let mut of_signal = Vec::new();
        for hook in signal.hooks {
            // Signals may share a program.
            let outcome = match outcomes.get(hook.program) {
                Some(outcome) => outcome.clone(),
                None if is_done_by_another(hook, &outcomes) => HookOutcome::Superfluous,
                None => loaded.attach(hook)?,
            };
            outcomes.insert(hook.program, outcome.clone());
            of_signal.push((*hook, outcome));
        }
        loaded.states.push((signal, signal_state(&of_signal, less_by_address(signal.hooks, keeping))));
    }
    Ok(loaded)
}

/// Names of the programs of all signals; a name that several share comes several times.
pub fn programs() -> impl Iterator<Item = &'static str> {
    REGISTRY.iter().flat_map(|s| s.hooks).map(|h| h.program)
}

/// Programs that were refused, with the reasons.
pub type Refused = Vec<(&'static str, String)>;

/// Loads the programs of all signals that this kernel has hooks for, with what the verifier said of each.
///
/// # Errors
///
/// As [`load`].
pub fn load_verbosely(kernel: &dyn Kernel, sizes: Sizes) -> Result<(Object, Refused, Vec<String>)> {
    libbpf_rs::set_print(Some((PrintLevel::Debug, note_complaint)));
    let mut outcomes = BTreeMap::new();
    for hook in REGISTRY.iter().flat_map(|s| s.hooks) {
        if let Some(outcome) = outcome_by_facts(hook, kernel) {
            outcomes.insert(hook.program, outcome);
        }
    }
    let object =
        load_what_the_kernel_takes(keeping(kernel), &|_| true, sizes, LOG_STATISTICS, &mut outcomes)?;
    let refused = outcomes.into_iter().filter_map(|(name, outcome)| match outcome {
        HookOutcome::Refused(why) => Some((name, why)),
        HookOutcome::Missing(_) | HookOutcome::Attached | HookOutcome::Superfluous => None,
    });
    let logs = LOGS.lock().map(|mut logs| std::mem::take(&mut *logs)).unwrap_or_default();
    Ok((object, refused.collect(), logs))
}

fn open(
    keeping: Keeping,
    enabled: &dyn Fn(&Signal) -> bool,
    sizes: Sizes,
    log_level: u32,
    skip: &dyn Fn(&str) -> bool,
) -> Result<OpenObject> {
    let error = |step: &str| {
        let step = step.to_owned();
        move |source| ProbeError::Load { step, source }
    };
    let (object, processes_in_a_word) = match keeping {
        Keeping::WithSocket => (OBJECT, process_number::PROCESSES_IN_A_WORD),
        Keeping::ByAddress(_) => (OBJECT_BY_ADDRESS, process_number::PROCESSES_IN_BYTES),
    };
    let mut object = ObjectBuilder::default()
        .name("netsonde")
        .and_then(|b| b.open_memory(object))
        .map_err(error("open the BPF object"))?;
    let wanted = |name: &str| {
        REGISTRY.iter().any(|s| enabled(s) && s.hooks.iter().any(|h| h.program == name)) && !skip(name)
    };
    for mut program in object.progs_mut() {
        let load = program.name().to_str().is_some_and(&wanted);
        program.set_autoload(load);
        program.set_log_level(log_level);
    }
    for mut map in object.maps_mut() {
        let entries = match map.name().to_str() {
            Some("flows_even" | "flows_odd") => sizes.flows,
            Some("events") => sizes.event_ring,
            Some("payloads") => sizes.payload_ring,
            Some("process_events") => sizes.process_ring,
            Some("marks") => pid_max().div_ceil(processes_in_a_word.0),
            _ => continue,
        };
        map.set_max_entries(entries).map_err(error("size a BPF map"))?;
    }
    Ok(object)
}

fn load_what_the_kernel_takes(
    keeping: Keeping,
    enabled: &dyn Fn(&Signal) -> bool,
    sizes: Sizes,
    log_level: u32,
    outcomes: &mut BTreeMap<&'static str, HookOutcome>,
) -> Result<Object> {
    loop {
        if let Ok(mut complaints) = COMPLAINTS.lock() {
            complaints.clear();
        }
        let object = open(keeping, enabled, sizes, log_level, &|name| outcomes.contains_key(name))?;
        let source = match object.load() {
            Ok(object) => return Ok(object),
            Err(source) => source,
        };
        let complaints = COMPLAINTS.lock().map(|c| c.clone()).unwrap_or_default();
        let known = culprit(&complaints).and_then(|(name, why)| {
            let hook = REGISTRY.iter().flat_map(|s| s.hooks).find(|h| h.program == name)?;
            (!outcomes.contains_key(hook.program)).then_some((hook.program, why))
        });
        let Some((program, why)) = known else {
            return Err(ProbeError::Load { step: "load the BPF object".to_owned(), source });
        };
        tracing::warn!(program, why, "the kernel refused a program: going on without it");
        outcomes.insert(program, HookOutcome::Refused(why));
    }
}

impl Loaded {
    /// Whether a signal was loaded and can tell anything.
    pub fn is_enabled(&self, name: &str) -> bool {
        let works = |state: &SignalState| matches!(state, SignalState::Active | SignalState::Degraded(_));
        self.states.iter().any(|(signal, state)| signal.name == name && works(state))
    }

    /// Names and descriptors of the programs that are at work.
    pub fn programs(&self) -> impl Iterator<Item = (&'static str, BorrowedFd<'_>)> {
        self.programs.iter().filter_map(|name| {
            let descriptor = self.object.progs().find(|p| p.name() == *name)?.as_fd().as_raw_fd();
            // SAFETY: the program belongs to the object, which is borrowed for as long; libbpf-rs ties the descriptor
            // to the handle of the program instead, which is made anew each time.
            Some((*name, unsafe { BorrowedFd::borrow_raw(descriptor) }))
        })
    }

    fn attach(&mut self, hook: &Hook) -> Result<HookOutcome> {
        let program = self
            .object
            .progs_mut()
            .find(|p| p.name() == hook.program)
            .ok_or_else(|| ProbeError::NoSuchPart { kind: "program", name: hook.program.to_owned() })?;
        self.programs.insert(hook.program);
        let attached = match hook.target {
            Target::Tracepoint(_) | Target::TracepointWhere(..) | Target::FunctionWhere(..) => {
                program.attach_trace()
            }
            Target::Iterator(_) => program.attach(),
            Target::Cgroup(_) => match &self.root_cgroup {
                Ok(root) => program.attach_cgroup(root.as_raw_fd()),
                Err(why) => return Ok(HookOutcome::Missing(format!("no cgroup2 file system: {why}"))),
            },
        };
        Ok(match (attached, hook.target) {
            (Ok(link), Target::Iterator(_)) => {
                self.iterators.insert(hook.program, link);
                HookOutcome::Attached
            }
            (Ok(link), _) => {
                self.tracepoints.push(link);
                HookOutcome::Attached
            }
            (Err(e), _) => HookOutcome::Refused(format!("cannot attach: {e:#}")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refused_program_is_read_from_libbpfs_complaint() {
        let complaints = [
            "libbpf: prog 'tcp_sweep': BPF program load failed: Permission denied".to_owned(),
            "libbpf: prog 'tcp_sweep': -- BEGIN PROG LOAD LOG --\n0: R1=ctx()\nR7 unbounded memory access\n\
             processed 12 insns (limit 1000000)\n-- END PROG LOAD LOG --"
                .to_owned(),
            "libbpf: prog 'tcp_sweep': failed to load: -13".to_owned(),
        ];
        let (name, why) = culprit(&complaints).expect("a culprit");
        assert_eq!(name, "tcp_sweep");
        assert_eq!(why, "R7 unbounded memory access");
        assert_eq!(culprit(&["libbpf: failed to load object".to_owned()]), None);
    }
}

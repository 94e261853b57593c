//! Giving up privileges. Capabilities belong to threads, and a new thread has those of the one that makes it: so the
//! two threads that need some are made first, keep what is theirs, and the main thread gives up the rest before it
//! makes any other.
//!
//! Which capability is for what is [`netsonde_probes::capabilities`]' matter.

use std::io;
use std::sync::mpsc;

use rustix::process::{DumpableBehavior, geteuid, set_dumpable_behavior};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, set_capabilities,
    set_no_new_privs,
};

/// What the main thread of a netsonde that was started as root keeps, and the threads that write files: a file may
/// lie where only its owner, who is not root, may write. Root's own files are open to it anyway.
const FILES_OF_OTHERS: CapabilitySet = CapabilitySet::DAC_OVERRIDE;

/// Says for the whole process, while it has one thread, that no program that it may run has more privileges, and that
/// nobody but root may look into its memory, where collectors' tokens are.
///
/// # Errors
///
/// When the kernel refuses, which it has no reason to.
pub fn seal() -> io::Result<()> {
    // Before 6.4 (commit ddc65971bb67, PR_GET_AUXV) rustix reads what the kernel told this process at its start, of which
    // this is a part, from /proc/self/auxv when it is first asked, and that is closed from here on: it would panic.
    let _known_from_here_on = rustix::param::page_size();
    set_no_new_privs(true)?;
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Has this thread keep these capabilities, as far as it has them, and no others.
///
/// # Errors
///
/// When the kernel refuses, which it has no reason to: giving up needs no privilege.
pub fn keep_only(kept: CapabilitySet) -> io::Result<()> {
    let kept = capabilities(None)?.permitted & kept;
    // Else a program that it runs would have them.
    clear_ambient_capability_set()?;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    Ok(set_capabilities(None, sets)?)
}

/// As [`keep_only`], but keeps `spare` as well where something fails without.
///
/// # Errors
///
/// As [`keep_only`].
pub fn keep_only_unless(
    kept: CapabilitySet,
    spare: CapabilitySet,
    works: impl FnOnce() -> bool,
) -> io::Result<()> {
    let all = capabilities(None)?;
    set_capabilities(None, CapabilitySets { effective: all.permitted & kept, ..all })?;
    keep_only(if works() { kept } else { kept | spare })
}

/// Has the main thread keep what it needs after the start, and nothing where netsonde has a user of its own.
///
/// # Errors
///
/// As [`keep_only`].
pub fn keep_for_main() -> io::Result<()> {
    keep_only(if geteuid().is_root() { FILES_OF_OTHERS } else { CapabilitySet::empty() })
}

/// Has this thread keep nothing, whatever the one that made it has.
pub fn keep_none() {
    if let Err(error) = keep_only(CapabilitySet::empty()) {
        tracing::warn!(%error, "a thread keeps privileges that it does not need");
    }
}

type Work = Box<dyn FnOnce() + Send>;

/// A thread that was made while there were privileges, and waits for its work.
pub struct Reserved {
    work: mpsc::Sender<Work>,
    thread: std::thread::JoinHandle<()>,
}

impl Reserved {
    /// Makes a thread that keeps these capabilities, as far as this one has them.
    ///
    /// # Errors
    ///
    /// When there is no thread to be had.
    pub fn new(name: &str, kept: CapabilitySet) -> io::Result<Self> {
        let (work, waiting) = mpsc::channel::<Work>();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            if let Err(error) = keep_only(kept) {
                tracing::warn!(%error, "a thread keeps privileges that it does not need");
            }
            // Without work, its sender is dropped.
            if let Ok(work) = waiting.recv() {
                work();
            }
        })?;
        Ok(Self { work, thread })
    }

    /// Gives it its work; the thread ends with it.
    pub fn run(self, work: impl FnOnce() + Send + 'static) -> std::thread::JoinHandle<()> {
        // It waits for nothing else.
        let _ = self.work.send(Box::new(work));
        self.thread
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_thread_keeps_what_it_was_given_and_others_are_not_touched() {
        let before = capabilities(None).expect("read");
        let reserved = Reserved::new("reserved", CapabilitySet::SYS_PTRACE).expect("a thread");
        let (to, from) = mpsc::channel();
        let thread = reserved.run(move || to.send(capabilities(None).expect("read")).expect("it waits"));
        let there = from.recv().expect("it ran");
        thread.join().expect("it ended");
        assert_eq!(there.permitted, before.permitted & CapabilitySet::SYS_PTRACE);
        assert_eq!(there.effective, there.permitted);
        assert_eq!(there.inheritable, CapabilitySet::empty());
        assert_eq!(capabilities(None).expect("read"), before);
    }

    #[test]
    fn a_spare_capability_is_kept_where_something_fails_without() {
        for (works, expected) in [(true, CapabilitySet::empty()), (false, CapabilitySet::SYS_PTRACE)] {
            let before = capabilities(None).expect("read").permitted;
            let thread = std::thread::spawn(move || {
                let mut effective = CapabilitySet::all();
                keep_only_unless(CapabilitySet::empty(), CapabilitySet::SYS_PTRACE, || {
                    effective = capabilities(None).expect("read").effective;
                    works
                })
                .expect("given up");
                (effective, capabilities(None).expect("read"))
            });
            let (during, after) = thread.join().expect("it ended");
            assert_eq!(during, CapabilitySet::empty(), "it is tried without");
            assert_eq!((after.effective, after.permitted), (expected & before, expected & before));
        }
    }

    #[test]
    fn what_was_given_up_does_not_come_back() {
        let thread = std::thread::spawn(|| {
            keep_only(CapabilitySet::empty()).expect("given up");
            keep_only(CapabilitySet::all()).expect("nothing more is had");
            capabilities(None).expect("read")
        });
        let there = thread.join().expect("it ended");
        assert_eq!(there.permitted | there.effective, CapabilitySet::empty());
    }
}

//! How many connections each flow has open, and under which name they were told of.
//!
//! The kernel tells changes, and a connection may close under another name than it was opened under: its
//! process moved to another unit, became another program, or is forgotten; a rule leaves it out by now. So
//! what was added under a name is taken back under that name, and added under the next. What found no room for a series of
//! its own is taken back where it was folded to, whether or not there is room by then.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use netsonde_probes::records::{Flow, Owner};

use super::identity::{Identity, NamedFlow};
use crate::config::FlowAttribute;
use crate::view::Named;

#[derive(Debug)]
struct Counted {
    open: i64,
    /// Under which name they are told of now; `None` when they are left out.
    told: Option<NamedFlow>,
    /// They are told of under overflow, whatever their name, until the last of them is closed.
    folded: bool,
    /// What readers of intervals know the flow by.
    shown: Option<Arc<Named>>,
}

/// Open connections by flow; a flow without any takes no room.
#[derive(Debug)]
pub struct ActiveConnections {
    flows: HashMap<Flow, Counted>,
    limit: usize,
}

impl ActiveConnections {
    /// Keeps track of at most `limit` flows: connections of others are told of as the kernel tells them.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { flows: HashMap::new(), limit }
    }

    /// The name under which the connections of a flow are told of.
    #[must_use]
    pub fn told(&self, flow: &Flow) -> Option<&NamedFlow> {
        self.flows.get(flow)?.told.as_ref()
    }

    /// Adds what changed in a flow that has this name now, or is left out. `tell` is called with each name whose
    /// number changes, by how much, and whether that was folded before; it says whether it is now. `chosen` are the
    /// attributes that make two names one.
    pub fn change(
        &mut self,
        flow: &Flow,
        change: i64,
        name: Option<&NamedFlow>,
        chosen: &BTreeSet<FlowAttribute>,
        mut tell: impl FnMut(&NamedFlow, i64, bool) -> bool,
    ) {
        if !self.flows.contains_key(flow) {
            if change == 0 {
                return;
            }
            if self.flows.len() >= self.limit {
                if let Some(name) = name {
                    tell(name, change, false);
                }
                return;
            }
        }
        let counted = self.flows.entry(flow.clone()).or_insert(Counted {
            open: 0,
            told: None,
            folded: false,
            shown: None,
        });
        let before = counted.open;
        counted.open += change;
        match (&counted.told, name) {
            (Some(told), Some(name)) if Identity::of(told, chosen) == Identity::of(name, chosen) => {
                counted.folded = tell(name, change, counted.folded);
            }
            (told, name) => {
                if let Some(told) = told {
                    tell(told, -before, counted.folded);
                }
                counted.folded = name.is_some_and(|name| tell(name, counted.open, false));
            }
        }
        counted.told = name.cloned();
        if counted.open == 0 {
            self.flows.remove(flow);
        }
    }

    /// Forgets under which names connections were told of, because nobody remembers those sums any more.
    pub fn forget_names(&mut self) {
        self.flows.values_mut().for_each(|counted| (counted.told, counted.folded) = (None, false));
    }

    /// Says what readers of intervals know a flow by from now on, if it has connections open.
    pub fn show(&mut self, flow: &Flow, as_named: Option<Arc<Named>>) {
        if let Some(counted) = self.flows.get_mut(flow) {
            counted.shown = as_named;
        }
    }

    /// Each flow with connections open that is not left out: whose, what readers of intervals know it by, and how many.
    pub fn open(&self) -> impl Iterator<Item = (Owner, Option<&Arc<Named>>, u64)> {
        self.flows.iter().filter(|(_, counted)| counted.told.is_some()).filter_map(|(flow, counted)| {
            let open = u64::try_from(counted.open).ok().filter(|open| *open > 0)?;
            Some((flow.owner, counted.shown.as_ref(), open))
        })
    }

    /// How many flows have connections open, and of how many that is known.
    #[must_use]
    pub fn fill(&self) -> (usize, usize) {
        (self.flows.len(), self.limit)
    }

    /// Every flow that has connections open.
    pub fn flows(&self) -> impl Iterator<Item = &Flow> {
        self.flows.keys()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::{IpAddr, Ipv4Addr};

    use netsonde_probes::records::{Owner, ProcessId, Role, RuleMask, Transport};

    use super::*;

    fn flow() -> Flow {
        Flow {
            owner: Owner { process: ProcessId { pid: 1, start_ns: 1 }, image: 0, uid: 0 },
            transport: Transport::Tcp,
            application: None,
            role: Role::Server,
            server_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            server_port: 22,
            client_address: None,
            network_namespace: 1,
            rules: RuleMask::default(),
            overflow: false,
        }
    }

    fn named(user: &str) -> NamedFlow {
        NamedFlow::new(&flow(), None, Some(user.into()))
    }

    /// What each name comes to.
    #[derive(Default)]
    struct Told {
        by_name: BTreeMap<String, i64>,
        /// New names find no room.
        full: bool,
    }

    impl Told {
        fn change(&mut self, active: &mut ActiveConnections, change: i64, name: Option<&str>) {
            let chosen = BTreeSet::from([FlowAttribute::ProcessUserName]);
            let name = name.map(named);
            active.change(&flow(), change, name.as_ref(), &chosen, |name, n, folded| {
                let name = name.user.as_deref().unwrap_or_default().to_owned();
                let folds = folded || self.full && !self.by_name.contains_key(&name);
                let name = if folds { "overflow".to_owned() } else { name };
                *self.by_name.entry(name).or_default() += n;
                folds
            });
        }

        fn of(&self, name: &str) -> i64 {
            self.by_name.get(name).copied().unwrap_or(0)
        }
    }

    #[test]
    fn what_was_told_under_one_name_is_taken_back_under_it() {
        let (mut active, mut told) = (ActiveConnections::new(10), Told::default());
        told.change(&mut active, 3, Some("sshd"));
        told.change(&mut active, 0, Some("sshd"));
        assert_eq!((told.of("sshd"), told.of("session")), (3, 0));
        told.change(&mut active, -1, Some("session"));
        assert_eq!((told.of("sshd"), told.of("session")), (0, 2));
        told.change(&mut active, -2, Some("session"));
        assert_eq!((told.of("sshd"), told.of("session")), (0, 0));
        assert!(active.flows.is_empty());
    }

    #[test]
    fn what_was_folded_is_taken_back_from_overflow_though_there_is_room_by_then() {
        let (mut active, mut told) = (ActiveConnections::new(10), Told { full: true, ..Told::default() });
        told.change(&mut active, 3, Some("a"));
        assert_eq!((told.of("a"), told.of("overflow")), (0, 3));
        told.full = false;
        told.change(&mut active, -1, Some("a"));
        assert_eq!((told.of("a"), told.of("overflow")), (0, 2));
        told.change(&mut active, 0, Some("b"));
        assert_eq!((told.of("b"), told.of("overflow")), (2, 0), "another name has a place of its own");
        told.change(&mut active, -2, Some("b"));
        assert_eq!((told.of("b"), told.of("overflow")), (0, 0));
        told.change(&mut active, 1, Some("a"));
        assert_eq!((told.of("a"), told.of("overflow")), (1, 0), "and what opens later begins anew");
    }

    #[test]
    fn what_is_left_out_by_now_is_told_of_no_more_and_comes_back_whole() {
        let (mut active, mut told) = (ActiveConnections::new(10), Told::default());
        told.change(&mut active, 2, Some("a"));
        told.change(&mut active, 1, None);
        assert_eq!(told.of("a"), 0);
        told.change(&mut active, 0, Some("a"));
        assert_eq!(told.of("a"), 3);
        told.change(&mut active, -3, None);
        assert_eq!(told.of("a"), 0);
        assert!(active.flows.is_empty());
    }

    #[test]
    fn sums_that_began_anew_get_the_whole_number() {
        let (mut active, mut told) = (ActiveConnections::new(10), Told::default());
        told.change(&mut active, 2, Some("a"));
        active.forget_names();
        told.by_name.clear();
        told.change(&mut active, 0, Some("a"));
        assert_eq!(told.of("a"), 2);
    }

    #[test]
    fn beyond_the_limit_changes_are_told_as_they_come() {
        let (mut active, mut told) = (ActiveConnections::new(0), Told::default());
        told.change(&mut active, 2, Some("a"));
        told.change(&mut active, -2, Some("a"));
        assert_eq!((told.of("a"), active.flows.len()), (0, 0));
    }
}

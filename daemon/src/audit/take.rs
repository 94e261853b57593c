//! Joins what a sweep found with who the processes are.

use std::collections::HashMap;
use std::sync::Arc;

use netsonde_audit::model;
use netsonde_probes::Holders;
use netsonde_probes::records::{Listener, Owner, SocketEvent, SocketEventKind, SpecialSocket};

use super::convert::{self, Circumstances, Parties, Party};
use crate::enrich::{Process, ProcessTable, Users};
use crate::select::user_id;

/// Makes rows, with what it asks for names.
pub struct Taker<'a> {
    processes: &'a mut ProcessTable,
    users: &'a mut Users,
    holders: &'a Holders,
    at: Circumstances<'a>,
}

impl<'a> Taker<'a> {
    /// Makes rows with these names; `holders` is what the newest walk over open files found.
    #[must_use]
    pub fn new(
        processes: &'a mut ProcessTable,
        users: &'a mut Users,
        holders: &'a Holders,
        at: Circumstances<'a>,
    ) -> Self {
        Self { processes, users, holders, at }
    }

    /// The row of a listening TCP socket or a bound UDP socket, whose owner has been resolved.
    pub fn listener(&mut self, found: &Listener, owner: Option<Arc<Process>>) -> model::Listener {
        let owner = owner.map(|process| self.party(found.owner, process));
        let opener = found.opener.and_then(|opener| self.resolved(opener));
        let all = self.holders.by_cookie.get(&found.cookie).map_or(&[][..], Vec::as_slice);
        let holders = all.iter().filter_map(|&holder| self.resolved(holder)).collect();
        convert::listener(found, &Parties { owner, holders, opener }, self.at)
    }

    /// The row of a socket that opened or closed, whose owner has been resolved. What the event does not tell comes with
    /// the next sweep.
    pub fn told(
        &mut self,
        event: &SocketEvent,
        opened_ns: Option<u64>,
        owner: Option<Arc<Process>>,
    ) -> model::Listener {
        let owner = owner.map(|process| self.party(event.owner, process));
        // Who opens it is who has it: it called listen() or bind().
        let opener = owner.clone().filter(|_| event.kind == SocketEventKind::ListenOpen);
        convert::told(event, opened_ns, &Parties { owner, opener, ..Parties::default() }, self.at)
    }

    /// Rows of raw, packet and SCTP sockets, of those that `is_included` lets in by who holds them longest.
    pub fn special(
        &mut self,
        mut is_included: impl FnMut(Owner, Option<&Process>) -> bool,
    ) -> Vec<model::Listener> {
        let mut sockets: HashMap<u64, (&SpecialSocket, Vec<Owner>)> = HashMap::new();
        let found = self.holders;
        for socket in &found.special {
            sockets.entry(socket.cookie).or_insert_with(|| (socket, Vec::new())).1.push(socket.holder);
        }
        let mut rows = Vec::with_capacity(sockets.len());
        for (socket, mut owners) in sockets.into_values() {
            owners.sort_by_key(|owner| (owner.process.start_ns, owner.process.pid));
            let parties: Vec<Party> = owners.iter().filter_map(|&owner| self.resolved(owner)).collect();
            let Some(&first) = owners.first() else { continue };
            let process = parties.first().filter(|party| party.process.id == first.process);
            if is_included(first, process.map(|party| &*party.process)) {
                let parties = Parties { holders: parties, ..Parties::default() };
                rows.push(convert::special(socket, &parties, self.at));
            }
        }
        rows
    }

    fn resolved(&mut self, owner: Owner) -> Option<Party> {
        let process = self.processes.resolve(owner)?;
        Some(self.party(owner, process))
    }

    fn party(&mut self, owner: Owner, process: Arc<Process>) -> Party {
        let user_id = user_id(owner);
        Party { process, user_id, user: user_id.map(|uid| self.users.name(uid)) }
    }
}

//! Queries joined with their responses: what became of each lookup, and how long it took.
//!
//! A response belongs to a query when both were seen on one socket, in opposite directions, with the same peer, id
//! and question. A query that was sent to a multicast address (multicast DNS, RFC 6762; LLMNR, RFC 4795) takes its
//! response from any peer at that port, and a response to a multicast address answers all who asked that socket for
//! it from that port. A response without a question, as servers give that could not read the query
//! and as multicast DNS prescribes, belongs to the only query in flight that it can belong to, else to the one that
//! its answers answer.
//!
//! The outcome depends on the times of the messages alone, not on when [`Lookups::expire`] is called: a response
//! later than the timeout is late, whether or not the timeout was told of. Each question of a query ends exactly
//! once: answered, timed out, or dropped because there were too many ([`MatchCounts`]).
//!
//! Both sides of a lookup can be observed, as on a host with a resolver of its own. Which side a socket is on is
//! known from the direction of the query ([`Role`]). What a lookup is worth to whom is for the caller to decide; it
//! gets back what it gave with the query.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;

use lru::LruCache;

use crate::codes::{RecordType, ResponseCode};
use crate::message::{Answer, CLASS_IN, Message, Question, RecordData};
use crate::{Direction, SECOND_NS, SocketKey};

/// Ended lookups that are remembered, to tell a second response from one that nobody asked for.
const ENDED: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// Questions asked of one socket that a response to a multicast address is compared with.
const COMPARED: usize = 4096;

/// How many queries are followed, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct MatchLimits {
    /// Questions in flight; above, the oldest is dropped.
    pub pending: usize,
    /// A query without a response for so long has timed out.
    pub timeout_ns: u64,
}

impl Default for MatchLimits {
    fn default() -> Self {
        Self { pending: 65_536, timeout_ns: 5 * SECOND_NS }
    }
}

/// Which side of a lookup a socket is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// It sends queries.
    Client,
    /// It answers them.
    Server,
}

/// A message, as it was seen.
#[derive(Debug, Clone)]
pub struct Sighting {
    /// The socket that it went through.
    pub socket: SocketKey,
    /// The other end.
    pub peer: SocketAddr,
    /// Out of the socket or into it.
    pub direction: Direction,
    /// When, by any clock that all sightings share.
    pub time_ns: u64,
    /// What it says.
    pub message: Message,
}

/// What became of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup<T> {
    /// The socket that it was seen on.
    pub socket: SocketKey,
    /// Whether that socket's side asked or was asked.
    pub role: Role,
    /// The other end: the server of a client's lookup. For a query to a multicast address, who responded.
    pub peer: SocketAddr,
    /// What the caller gave with the query.
    pub carried: T,
    /// What was asked.
    pub question: Question,
    /// How it ended.
    pub outcome: Outcome,
    /// When the query was first seen, by the clock of the sightings.
    pub sent_ns: u64,
    /// From the first query to the response; the timeout where there was none.
    pub latency_ns: u64,
    /// How often the query was repeated before.
    pub retries: u32,
    /// TC: there was more to say than fitted into the response.
    pub truncated: bool,
    /// The answers, as far as they could be read.
    pub answers: Vec<Answer>,
}

/// How a lookup ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// With a response.
    Answered(ResponseCode),
    /// Without one.
    Timeout,
}

/// What was seen, since the start. `queries` is the sum of `answered`, `timed_out`, `dropped` and what is
/// [in flight](Lookups::pending).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MatchCounts {
    /// Questions asked, repetitions apart.
    pub queries: u64,
    /// Questions that ended with a response.
    pub answered: u64,
    /// Questions that ended without one.
    pub timed_out: u64,
    /// Questions given up because too many were in flight.
    pub dropped: u64,
    /// Questions asked once more while in flight.
    pub retried: u64,
    /// Responses to what had been answered before.
    pub duplicate_responses: u64,
    /// Responses to what had timed out.
    pub late_responses: u64,
    /// Responses to what was never seen asked.
    pub unsolicited_responses: u64,
    /// Queries that ask nothing.
    pub without_question: u64,
    /// Messages of other kinds than QUERY: updates, notifications, stateful operations.
    pub other_opcodes: u64,
}

/// All lookups in flight. `T` is what a caller wants to know again when a lookup ends.
#[derive(Debug)]
pub struct Lookups<T> {
    limits: MatchLimits,
    pending: BTreeMap<Key, Pending<T>>,
    /// Pending questions by when they were asked, oldest first.
    by_age: BTreeMap<Age, Key>,
    ended: LruCache<Key, Ended>,
    /// Tells apart questions of the same time.
    serial: u64,
    counts: MatchCounts,
}

/// A question in flight. Ordered, so that all questions of an exchange are neighbours.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    exchange: Exchange,
    question: Question,
}

/// The id comes early in the order, because it tells most exchanges of a socket apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Exchange {
    socket: SocketKey,
    role: Role,
    id: u16,
    /// With an unspecified address for a query by multicast, which anyone may answer.
    peer: SocketAddr,
}

/// All that others may choose, so that they cannot choose what collides; in few pieces, each of which costs.
impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { exchange, question } = self;
        match exchange.peer.ip() {
            IpAddr::V4(address) => state.write_u32(address.to_bits()),
            IpAddr::V6(address) => state.write_u128(address.to_bits()),
        }
        state.write_u64(exchange.socket.0);
        let numbers = [exchange.role as u16, exchange.id, exchange.peer.port(), question.record_type.0];
        state.write_u64(numbers.into_iter().fold(0, |all, one| all << 16 | u64::from(one)));
        state.write(question.name.as_bytes());
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Age {
    sent_ns: u64,
    serial: u64,
}

#[derive(Debug)]
struct Pending<T> {
    age: Age,
    peer: SocketAddr,
    retries: u32,
    carried: T,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Answered,
    TimedOut,
}

impl<T> Lookups<T> {
    /// None in flight.
    #[must_use]
    pub fn new(limits: MatchLimits) -> Self {
        Self {
            limits,
            pending: BTreeMap::new(),
            by_age: BTreeMap::new(),
            ended: LruCache::new(ENDED),
            serial: 0,
            counts: MatchCounts::default(),
        }
    }

    /// Follows as many queries for so long from now on, those in flight included.
    pub fn set_limits(&mut self, limits: MatchLimits) {
        self.limits = limits;
    }

    /// Takes note of a message; gives the lookups that it ends. `carry` is called for each question that is new.
    pub fn observe(&mut self, sighting: Sighting, carry: impl FnMut() -> T) -> Vec<Lookup<T>> {
        if sighting.message.opcode != 0 {
            self.counts.other_opcodes += 1;
            Vec::new()
        } else if sighting.message.is_response {
            self.response(sighting)
        } else {
            self.query(sighting, carry)
        }
    }

    /// Ends what has timed out by now. To be called when all that was seen until `now_ns` has been observed.
    pub fn expire(&mut self, now_ns: u64) -> Vec<Lookup<T>> {
        let mut ended = Vec::new();
        while let Some((age, key)) = self.by_age.first_key_value() {
            if !self.is_over(*age, now_ns) {
                break;
            }
            let key = key.clone();
            ended.extend(self.time_out(&key));
        }
        ended
    }

    /// When the next lookup times out.
    #[must_use]
    pub fn next_timeout_ns(&self) -> Option<u64> {
        self.by_age.first_key_value().map(|(age, _)| age.sent_ns.saturating_add(self.limits.timeout_ns))
    }

    /// What was seen, since the start.
    #[must_use]
    pub fn counts(&self) -> MatchCounts {
        self.counts
    }

    /// Questions in flight.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    fn query(&mut self, sighting: Sighting, mut carry: impl FnMut() -> T) -> Vec<Lookup<T>> {
        let mut ended = Vec::new();
        self.counts.without_question += u64::from(sighting.message.questions.is_empty());
        let exchange = Exchange {
            socket: sighting.socket,
            role: match sighting.direction {
                Direction::Sent => Role::Client,
                Direction::Received => Role::Server,
            },
            peer: if sighting.peer.ip().is_multicast() { anyone(sighting.peer) } else { sighting.peer },
            id: sighting.message.id,
        };
        for question in sighting.message.questions {
            let key = Key { exchange, question };
            if let Some(pending) = self.pending.get_mut(&key) {
                if !is_over(&self.limits, pending.age, sighting.time_ns) {
                    pending.retries += 1;
                    self.counts.retried += 1;
                    continue;
                }
                ended.extend(self.time_out(&key));
            }
            self.serial += 1;
            let age = Age { sent_ns: sighting.time_ns, serial: self.serial };
            self.by_age.insert(age, key.clone());
            self.pending.insert(key, Pending { age, peer: sighting.peer, retries: 0, carried: carry() });
            self.counts.queries += 1;
            if self.pending.len() > self.limits.pending
                && let Some((_, oldest)) = self.by_age.pop_first()
            {
                self.pending.remove(&oldest);
                self.counts.dropped += 1;
            }
        }
        ended
    }

    fn response(&mut self, mut sighting: Sighting) -> Vec<Lookup<T>> {
        let role = match sighting.direction {
            Direction::Received => Role::Client,
            Direction::Sent => Role::Server,
        };
        let exchange =
            Exchange { socket: sighting.socket, role, peer: sighting.peer, id: sighting.message.id };
        let by_multicast = Exchange { peer: anyone(sighting.peer), ..exchange };
        let mut ended = Vec::new();
        let mut known = false;
        let questions = self.questions_of(&sighting, exchange, by_multicast);
        // Nobody else wants the answers, as nearly always.
        let is_only = questions.len() == 1 && !is_told_to_all(&sighting, role);
        for question in questions {
            let mut key = Key { exchange, question };
            let mut age = self.pending.get(&key).map(|pending| pending.age);
            if age.is_none() {
                let other = Key { exchange: by_multicast, question: key.question.clone() };
                age = self.pending.get(&other).map(|pending| pending.age);
                if age.is_some() || self.ended.contains(&other) {
                    key = other;
                }
            }
            if let Some(age) = age {
                known = true;
                if self.is_over(age, sighting.time_ns) {
                    self.counts.late_responses += 1;
                    ended.extend(self.time_out(&key));
                } else {
                    let answers = match is_only {
                        true => std::mem::take(&mut sighting.message.answers),
                        false => sighting.message.answers.clone(),
                    };
                    ended.extend(self.answer(key, &sighting, answers));
                }
            } else if let Some(how) = self.ended.get(&key) {
                known = true;
                match how {
                    Ended::Answered => self.counts.duplicate_responses += 1,
                    Ended::TimedOut => self.counts.late_responses += 1,
                }
            }
        }
        for key in self.asked_for_what_all_are_told(&sighting, role) {
            known = true;
            ended.extend(self.answer(key, &sighting, sighting.message.answers.clone()));
        }
        self.counts.unsolicited_responses += u64::from(!known);
        ended
    }

    /// What a server's response to a multicast address answers (RFC 6762, section 6): it is for all who asked for it,
    /// and not addressed to any of them.
    fn asked_for_what_all_are_told(&self, sighting: &Sighting, role: Role) -> Vec<Key> {
        if !is_told_to_all(sighting, role) {
            return Vec::new();
        }
        let message = &sighting.message;
        let is_answered = |question: &Question| {
            message.questions.contains(question)
                || message.answers.iter().any(|answer| answered(answer) == *question)
        };
        let first = Key {
            exchange: Exchange {
                socket: sighting.socket,
                role,
                peer: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
                id: 0,
            },
            question: Question { name: "".into(), record_type: RecordType(0), class: 0 },
        };
        self.pending
            .range(first..)
            .take_while(|(key, _)| (key.exchange.socket, key.exchange.role) == (sighting.socket, role))
            .take(COMPARED)
            .filter(|(key, _)| key.exchange.peer.port() == sighting.peer.port())
            .filter(|(_, pending)| !self.is_over(pending.age, sighting.time_ns))
            .filter(|(key, _)| is_answered(&key.question))
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// What a response answers: its question, or what can be told where it has none.
    fn questions_of(&self, sighting: &Sighting, exchange: Exchange, by_multicast: Exchange) -> Vec<Question> {
        let message = &sighting.message;
        let in_time = |pending: &Pending<T>| !self.is_over(pending.age, sighting.time_ns);
        if !message.questions.is_empty() {
            return message.questions.clone();
        }
        let first = Question { name: "".into(), record_type: RecordType(0), class: 0 };
        let mut in_flight = self
            .pending
            .range(Key { exchange, question: first }..)
            .take_while(|(key, _)| key.exchange == exchange)
            .filter(|(_, pending)| in_time(pending))
            .map(|(key, _)| key);
        match (in_flight.next(), in_flight.next()) {
            (Some(only), None) => vec![only.question.clone()],
            (Some(_), Some(_)) => Vec::new(),
            (None, _) => {
                let asked = |question: &Question| {
                    let key = Key { exchange: by_multicast, question: question.clone() };
                    self.pending.get(&key).is_some_and(in_time)
                };
                let mut questions: Vec<_> = message.answers.iter().map(answered).filter(asked).collect();
                questions.sort_unstable();
                questions.dedup();
                questions
            }
        }
    }

    fn answer(&mut self, key: Key, sighting: &Sighting, answers: Vec<Answer>) -> Option<Lookup<T>> {
        let pending = self.remove(&key)?;
        let (exchange, question) = (key.exchange, key.question.clone());
        self.ended.put(key, Ended::Answered);
        self.counts.answered += 1;
        let message = &sighting.message;
        Some(Lookup {
            socket: exchange.socket,
            role: exchange.role,
            peer: match exchange.role {
                Role::Client => sighting.peer,
                // All were told, this one had asked.
                Role::Server => pending.peer,
            },
            carried: pending.carried,
            question,
            outcome: Outcome::Answered(message.code),
            sent_ns: pending.age.sent_ns,
            latency_ns: sighting.time_ns.saturating_sub(pending.age.sent_ns),
            retries: pending.retries,
            truncated: message.truncated,
            answers,
        })
    }

    fn time_out(&mut self, key: &Key) -> Option<Lookup<T>> {
        let pending = self.remove(key)?;
        self.ended.put(key.clone(), Ended::TimedOut);
        self.counts.timed_out += 1;
        Some(Lookup {
            socket: key.exchange.socket,
            role: key.exchange.role,
            peer: pending.peer,
            carried: pending.carried,
            question: key.question.clone(),
            outcome: Outcome::Timeout,
            sent_ns: pending.age.sent_ns,
            latency_ns: self.limits.timeout_ns,
            retries: pending.retries,
            truncated: false,
            answers: Vec::new(),
        })
    }

    fn remove(&mut self, key: &Key) -> Option<Pending<T>> {
        let pending = self.pending.remove(key)?;
        self.by_age.remove(&pending.age);
        Some(pending)
    }

    fn is_over(&self, age: Age, now_ns: u64) -> bool {
        is_over(&self.limits, age, now_ns)
    }
}

fn is_over(limits: &MatchLimits, age: Age, now_ns: u64) -> bool {
    now_ns >= age.sent_ns.saturating_add(limits.timeout_ns)
}

/// Whether a message is a server's response to a multicast address.
fn is_told_to_all(sighting: &Sighting, role: Role) -> bool {
    role == Role::Server && sighting.peer.ip().is_multicast()
}

/// Stands for every peer at the port of this one.
fn anyone(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), peer.port())
}

/// The question that an answer answers.
fn answered(answer: &Answer) -> Question {
    let record_type = match &answer.data {
        RecordData::Other(record_type) => *record_type,
        data => data.record_type(),
    };
    Question { name: answer.name.clone(), record_type, class: CLASS_IN }
}

#[cfg(test)]
mod tests;

//! Which connection used which lookup.
//!
//! Input: answers to processes ([`UseTable::observe`]), and steps of the connections that processes open
//! ([`UseTable::connect`]), in order of time. Output: [`Use`]s, one for the first connection of a process to an address by
//! a name, and then at most one a minute for all alike. `docs/uses.md` describes the method and its limits.
//!
//! A pure state machine: time comes with its input. A connection is matched when it begins, since later answers
//! cannot have led to it. Memory is bounded; when it is exhausted, the oldest answers are forgotten, and connections
//! and sums are emitted early.

mod answers;

use crate::attribution::Attribution;
use crate::lookup::{LookupRef, LookupTable};
use crate::view::TransactionView;
use answers::{AnswerTable, Answered, Fit, ProcessKey};
use dnscribe_dns::rtype::{A, AAAA, CNAME, DNAME};
use dnscribe_record::ledger;
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::decode::{Connect, MessageId};
use dnscribe_transaction::packet::{ConnectStep, Task, Transport};
use dnscribe_transaction::pair::{Status, Vantage};
use foldhash::fast::RandomState;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Time after which a connection without an outcome has none: the kernel gives up after 127 seconds by default
/// (`net.ipv4.tcp_syn_retries`).
const PATIENCE: Duration = Duration::from_secs(135);

/// Time within which a reset after the beginning counts as the outcome.
const RESET_WINDOW: Duration = Duration::from_secs(1);

/// Time after the beginning within which the peer's first data is waited for.
const FIRST_BYTE_WINDOW: Duration = Duration::from_secs(5);

/// A program that gives up before this time has not waited for an answer: the kernel repeats the first packet after it.
const GIVES_UP: Duration = Duration::from_secs(1);

/// Time between two records of uses that are alike.
const INTERVAL: Duration = Duration::from_mins(1);

/// Time without a use after which the next one is a first use again.
const IDLE: Duration = Duration::from_hours(1);

/// Least time since an answer expired from which on a connection is long stale,
const LONG_STALE: Duration = Duration::from_mins(1);

/// and as a multiple of its TTL.
const LONG_STALE_TTLS: u32 = 5;

/// Most names in `candidates`.
const MAX_CANDIDATES: usize = 64;

/// Entries of connections that have ended, beside one for each that has not, up to which they stay in the queue.
const MAX_ENDED: usize = 1 << 12;

const ENETUNREACH: i32 = 101;
const ETIMEDOUT: i32 = 110;
const EHOSTDOWN: i32 = 112;
const EHOSTUNREACH: i32 = 113;

dnscribe_record::named_enum! {
    /// How the name of a connection was found.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum Match {
        /// The only name that the process got the address for.
        Sole = "sole",
        /// One of several, but the only one that was looked up within the second before, and not used since. No other one
        /// of the last 30 seconds waits to be used.
        Newest = "newest",
        /// One of several, or answers may have been missed.
        Ambiguous = "ambiguous",
        /// No answer gave the address.
        None = "none",
    }
}

dnscribe_record::named_enum! {
    /// Whose lookup it was.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum LookupScope {
        /// Made by the process.
        Process = "process",
        /// Made by the process that forked it.
        Parent = "parent",
    }
}

dnscribe_record::named_enum! {
    /// What became of a connection.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub enum UseOutcome {
        /// The peer accepted it.
        Established = "established",
        /// The peer, or a router, refused it.
        Refused = "refused",
        /// Nothing came until the kernel or the program gave up.
        Timeout = "timeout",
        /// The peer reset it within a second.
        Reset = "reset",
        /// Unknown.
        Unknown = "unknown",
    }
}

/// Connections of one process that are alike.
#[derive(Clone, Debug)]
pub struct Use {
    /// The ring's record of the first.
    pub id: MessageId,
    /// Number of connections.
    pub count: u64,
    /// Time of the first.
    pub first: Timestamp,
    /// Time of the last.
    pub last: Timestamp,
    /// The protocol.
    pub transport: Transport,
    /// The address.
    pub remote: SocketAddr,
    /// How the name was found.
    pub matched: Match,
    /// The name; none if it is ambiguous or unknown.
    pub name: Option<Arc<str>>,
    /// Names that fit, if it is ambiguous.
    pub candidates: Vec<Arc<str>>,
    /// The lookup, and whose it was.
    pub lookup: Option<(MessageId, LookupScope)>,
    /// Age of the answer when the last connection began, and its TTL.
    pub age_and_ttl: Option<(Duration, Duration)>,
    /// Time that the lookup took.
    pub lookup_time: Option<Duration>,
    /// Time until the last connection was established or had failed, or the program gave up.
    pub connect_time: Option<Duration>,
    /// Round-trip time of the last connection when it was established.
    pub rtt: Option<Duration>,
    /// Time from when the last connection was established until the peer's first data arrived.
    pub first_byte_time: Option<Duration>,
    /// What became of them.
    pub outcome: UseOutcome,
    /// The process with its container and pod.
    pub attribution: Attribution,
}

impl Use {
    /// Returns the pid of the process; 0 if it is unknown.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.attribution.process.as_ref().map_or(0, |process| process.pid)
    }

    /// Returns whether the answer was stale.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.age_and_ttl.is_some_and(|(age, ttl)| age > ttl)
    }

    /// Returns the time since the answer expired, if that was long ago.
    #[must_use]
    pub fn long_stale(&self) -> Option<Duration> {
        let (age, ttl) = self.age_and_ttl?;
        let least = LONG_STALE.max(ttl.saturating_mul(LONG_STALE_TTLS));
        Some(age.saturating_sub(ttl)).filter(|stale| *stale >= least)
    }
}

/// Receiver of uses.
type Each<'a> = &'a mut dyn FnMut(&Use);

/// What uses that are summed up have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kind {
    process: ProcessKey,
    transport: Transport,
    remote: SocketAddr,
    matched: Match,
    name: Option<Arc<str>>,
    outcome: UseOutcome,
    is_stale: bool,
    is_long_stale: bool,
}

/// Uses of one kind.
#[derive(Debug)]
struct Sum {
    /// Uses that no record counts yet.
    next: Option<Use>,
    /// Time of the last record.
    written: Timestamp,
    /// Time of the last use.
    last: Timestamp,
}

/// What is known of the process that opens a connection.
pub trait Connecting {
    /// Returns its attribution, and the pid of the process that forked it; 0 if unknown.
    fn attribute(&mut self) -> (Attribution, u32);

    /// Returns when the process began that has a pid now, in nanoseconds of `CLOCK_BOOTTIME`; none if unknown.
    fn start_ns(&mut self, pid: u32) -> Option<u64>;

    /// Returns whether two start times are of the same process: those in /proc are rounded down to ticks.
    fn is_same_start(&self, a_ns: u64, b_ns: u64) -> bool;
}

/// A connection whose outcome is not known.
#[derive(Debug)]
struct Pending {
    process: ProcessKey,
    /// The process whose answers gave the name: this one, or the one that forked it.
    source: Option<ProcessKey>,
    of: Use,
    /// Whether an ICMP error came at once.
    is_refused: bool,
    established: Option<Timestamp>,
    due: Timestamp,
}

/// Counts by [`Match`] and [`UseOutcome`].
pub type UseCounts = [[u64; UseOutcome::ALL.len()]; Match::ALL.len()];

/// Limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UseOptions {
    /// Most answers kept: names by address and process.
    pub max_answers: usize,
    /// Most connections without an outcome.
    pub max_pending: usize,
    /// Most kinds of uses that are summed up; 0: each use has a record of its own.
    pub max_kinds: usize,
}

impl UseOptions {
    /// 262,144 answers, 65,536 connections and as many kinds of uses.
    pub const DEFAULT: Self =
        Self { max_answers: 1 << 18, max_pending: 1 << 16, max_kinds: 1 << 16 };

    /// Returns the most memory that a table takes, in bytes: with names of 64 bytes, and processes with a path.
    #[must_use]
    pub const fn max_bytes(&self) -> u64 {
        let (answers, uses) = (self.max_answers, self.max_pending + self.max_kinds);
        (answers * 320 + uses * 640) as u64
    }
}

/// Finds the lookups that connections used.
#[derive(Debug)]
pub struct UseTable {
    options: UseOptions,
    answers: AnswerTable,
    /// By the cookie of the socket.
    pending: HashMap<u64, Pending, RandomState>,
    /// When a connection may have no outcome any more.
    due: BinaryHeap<Reverse<(Timestamp, u64)>>,
    /// Whether answers are missed now.
    is_missing: bool,
    sums: HashMap<Kind, Sum, RandomState>,
    /// When sums are checked next.
    next_check: Timestamp,
    counters: ledger::Uses,
    /// Ended connections.
    pub outcomes: UseCounts,
}

impl UseTable {
    /// Creates an empty table.
    #[must_use]
    pub fn new(options: UseOptions) -> Self {
        Self {
            options,
            answers: AnswerTable::new(options.max_answers),
            pending: HashMap::default(),
            due: BinaryHeap::new(),
            is_missing: false,
            sums: HashMap::default(),
            next_check: Timestamp::default(),
            counters: ledger::Uses::default(),
            outcomes: Default::default(),
        }
    }

    /// Returns the counters. `lost`: connections that did not fit into the ring.
    #[must_use]
    pub const fn counters(&self, lost: u64) -> ledger::Uses {
        let ledger::Uses { connects, .. } = self.counters;
        ledger::Uses { connects: connects + lost, lost, ..self.counters }
    }

    /// Takes note that answers are missed from `at` on, or no more: transactions are left out by sampling.
    pub fn set_missing(&mut self, at: Timestamp, is_missing: bool) {
        if self.is_missing || is_missing {
            self.answers.note_missing(at);
        }
        self.is_missing = is_missing;
    }

    /// Takes note that answers may have been missed in a span of time, as it ends. Names found meanwhile for connections
    /// that have no record yet are no longer certain.
    pub fn note_missing(&mut self, from: Timestamp, to: Timestamp) {
        let Self { answers, pending, counters, .. } = self;
        answers.note_missing(to);
        for Pending { source, of, .. } in pending.values_mut() {
            if of.first < from || !matches!(of.matched, Match::Sole | Match::Newest) {
                continue;
            }
            counters.matched -= 1;
            counters.ambiguous += 1;
            let name = of.name.take();
            let names = source.map(|source| answers.names(source, of.remote.ip()));
            of.candidates = names.unwrap_or_default();
            if let Some(name) = name.filter(|name| !of.candidates.contains(name)) {
                // Its answer has been forgotten.
                of.candidates.insert(0, name);
            }
            of.candidates.truncate(MAX_CANDIDATES);
            of.matched = Match::Ambiguous;
            (of.lookup, of.age_and_ttl, of.lookup_time) = (None, None, None);
        }
    }

    /// Adds the answer to a process's query; `task` sent it, and `lookup` is its lookup. Answers without addresses
    /// are ignored, and so are those to others.
    pub fn observe(
        &mut self,
        task: Option<&Task>,
        view: &TransactionView<'_>,
        lookup: Option<LookupRef>,
    ) {
        // A resolver does not connect to the addresses that it looks up for others.
        let is_own = view.vantage == Vantage::Client
            && view.parent.is_none()
            && matches!(view.status, Status::Answered | Status::Late);
        let (Some(task), Some(name), Some(at)) = (task, view.qname, view.response_ts) else {
            return;
        };
        let mut addresses = addresses(view).peekable();
        if !is_own || addresses.peek().is_none() {
            return;
        }
        // The answer is as fresh as its least fresh part: the CNAMEs on the way count as well.
        let aliases = view.answers.iter().filter(|answer| is_alias(answer.rtype));
        let least = aliases.map(|answer| answer.ttl_seconds).min().unwrap_or(u32::MAX);
        let name: Arc<str> = name.into();
        let is_taken = self.answers.mark(process_key(task), &name, at);
        for (address, ttl) in addresses {
            let answer = Answered {
                name: Arc::clone(&name),
                at,
                ttl: Duration::from_secs(ttl.min(least).into()),
                lookup,
                is_used: false,
                is_taken: Arc::clone(&is_taken),
            };
            self.answers.insert(process_key(task), address, answer);
        }
    }

    /// Adds a step of a connection. `connecting` is asked at the first one. `lookups` knows the lookups in
    /// [`Self::observe`].
    pub fn connect(
        &mut self,
        connect: &Connect,
        connecting: &mut impl Connecting,
        lookups: Option<&LookupTable>,
        each: Each<'_>,
    ) {
        let (now, cookie) = (connect.ts, connect.cookie);
        let outcome = match connect.step {
            ConnectStep::Begun { transport, remote, is_discarded } => {
                // A socket may connect again after it has failed.
                self.end(cookie, None, now, each);
                let process = connect.task.as_ref().map(process_key);
                let (mut begun, source) =
                    self.matched(connect, (transport, remote), connecting, lookups);
                if is_discarded {
                    begun.outcome = UseOutcome::Refused;
                }
                let process = process.unwrap_or(ProcessKey { pid: 0, start_ns: 0 });
                if transport == Transport::Tcp {
                    self.hold(cookie, (process, source), begun, each);
                } else {
                    self.add(process, begun, each);
                }
                return;
            }
            ConnectStep::Established { rtt, awaits_byte } => {
                let Some(pending) = self.pending.get_mut(&cookie) else { return };
                pending.of.outcome = UseOutcome::Established;
                pending.of.connect_time = Some(now.since(pending.of.first));
                pending.of.rtt = rtt;
                pending.established = Some(now);
                pending.due = now.plus(if awaits_byte { FIRST_BYTE_WINDOW } else { RESET_WINDOW });
                let due = pending.due;
                self.schedule(due, cookie);
                return;
            }
            ConnectStep::FirstByte => return self.first_byte(cookie, now),
            ConnectStep::Unreachable => {
                // At once this is a router's refusal. Later, nobody has answered on the way: the host is gone.
                if !self.has_waited(cookie, now)
                    && let Some(pending) = self.pending.get_mut(&cookie)
                {
                    pending.is_refused = true;
                }
                return;
            }
            ConnectStep::Failed { .. } if self.is_refused(cookie) => Some(UseOutcome::Refused),
            ConnectStep::Reset if self.is_young(cookie, now) => Some(UseOutcome::Reset),
            ConnectStep::Failed { errno: ETIMEDOUT } => Some(UseOutcome::Timeout),
            ConnectStep::Reset | ConnectStep::Failed { errno: 0 } => None,
            ConnectStep::Failed { errno: ENETUNREACH | EHOSTDOWN | EHOSTUNREACH }
                if self.has_waited(cookie, now) =>
            {
                Some(UseOutcome::Timeout)
            }
            ConnectStep::Failed { .. } => Some(UseOutcome::Refused),
        };
        self.end(cookie, outcome, now, each);
    }

    /// Emits what is due at `now`.
    pub fn expire(&mut self, now: Timestamp, each: Each<'_>) {
        while let Some(Reverse((due, cookie))) = self.due.peek().copied()
            && due < now
        {
            self.due.pop();
            if self.pending.get(&cookie).is_some_and(|pending| pending.due == due)
                && let Some(pending) = self.pending.remove(&cookie)
            {
                self.add(pending.process, pending.of, each);
            }
        }
        if now < self.next_check {
            return;
        }
        self.next_check = now.plus(Duration::from_secs(1));
        self.sums.retain(|_, sum| {
            if now.since(sum.written) >= INTERVAL
                && let Some(done) = sum.next.take()
            {
                each(&done);
                sum.written = now;
            }
            now.since(sum.last) < IDLE
        });
    }

    /// Emits everything at the end of the capture.
    pub fn finish(&mut self, now: Timestamp, each: Each<'_>) {
        self.expire(now, each);
        let mut pending: Vec<_> = self.pending.drain().map(|(_, pending)| pending).collect();
        pending.sort_unstable_by_key(|pending| pending.of.id);
        for pending in pending {
            self.add(pending.process, pending.of, each);
        }
        self.flush(each);
    }

    /// Returns a connection that begins, with its name, and the process whose answers gave it.
    fn matched(
        &mut self,
        connect: &Connect,
        (transport, remote): (Transport, SocketAddr),
        connecting: &mut impl Connecting,
        lookups: Option<&LookupTable>,
    ) -> (Use, Option<ProcessKey>) {
        let (now, ip) = (connect.ts, remote.ip());
        let (attribution, parent) = connecting.attribute();
        let own = connect.task.as_ref().map(process_key);
        if let Some(own) = own {
            self.answers.note_process(own, |a, b| connecting.is_same_start(a, b));
        }
        if self.is_missing {
            self.answers.note_missing(now);
        }
        let own = own.filter(|own| self.answers.knows(*own, ip));
        let known = own.map(|own| (own, LookupScope::Process)).or_else(|| {
            let parent = self.answers.process(parent);
            // Another process may have its pid meanwhile.
            let is_same = |parent: &ProcessKey| {
                let start_ns = connecting.start_ns(parent.pid);
                start_ns.is_none_or(|ns| connecting.is_same_start(ns, parent.start_ns))
            };
            let parent = parent.filter(|parent| self.answers.knows(*parent, ip));
            parent.filter(is_same).map(|parent| (parent, LookupScope::Parent))
        });
        let (fit, scope) = match known {
            Some((process, scope)) => (self.answers.find(process, ip, now), scope),
            None => (Fit::None, LookupScope::Process),
        };
        let (matched, answer, candidates) = match fit {
            Fit::Sole(answer) => (Match::Sole, Some(answer), Vec::new()),
            Fit::Newest(answer) => (Match::Newest, Some(answer), Vec::new()),
            Fit::Ambiguous(names) => (Match::Ambiguous, None, names),
            Fit::None => (Match::None, None, Vec::new()),
        };
        self.counters.connects += 1;
        *match matched {
            Match::Sole | Match::Newest => &mut self.counters.matched,
            Match::Ambiguous => &mut self.counters.ambiguous,
            Match::None => &mut self.counters.none,
        } += 1;
        let lookup = answer.as_ref().and_then(|answer| answer.lookup);
        let begun = Use {
            id: MessageId { packet: connect.id, index: 0 },
            count: 1,
            first: now,
            last: now,
            transport,
            remote,
            matched,
            candidates: candidates.into_iter().take(MAX_CANDIDATES).collect(),
            lookup: lookup.map(|lookup| (lookup.first, scope)),
            age_and_ttl: answer.as_ref().map(|answer| (now.since(answer.at), answer.ttl)),
            lookup_time: lookup
                .as_ref()
                .map(|lookup| lookups.map_or(lookup.waited, |lookups| lookups.waited(lookup, now))),
            name: answer.map(|answer| answer.name),
            connect_time: None,
            rtt: None,
            first_byte_time: None,
            outcome: UseOutcome::Unknown,
            attribution,
        };
        (begun, known.map(|(source, _)| source))
    }

    /// Holds a connection until its outcome.
    fn hold(
        &mut self,
        cookie: u64,
        (process, source): (ProcessKey, Option<ProcessKey>),
        of: Use,
        each: Each<'_>,
    ) {
        while self.pending.len() >= self.options.max_pending {
            // Entries of connections that have ended stay in the queue until their time.
            let Some(Reverse((_, oldest))) = self.due.pop() else { break };
            if let Some(oldest) = self.pending.remove(&oldest) {
                self.add(oldest.process, oldest.of, each);
            }
        }
        let due = of.first.plus(PATIENCE);
        let pending = Pending { process, source, of, is_refused: false, established: None, due };
        self.pending.insert(cookie, pending);
        self.schedule(due, cookie);
    }

    /// Queues when a connection may have no outcome any more. Entries of connections that have ended stay in the queue,
    /// within bounds.
    fn schedule(&mut self, due: Timestamp, cookie: u64) {
        let Self { due: queue, pending, .. } = self;
        queue.push(Reverse((due, cookie)));
        if queue.len() > 2 * pending.len() + MAX_ENDED {
            *queue = pending.iter().map(|(cookie, one)| Reverse((one.due, *cookie))).collect();
        }
    }

    /// Notes the peer's first data, of which only the first report counts.
    fn first_byte(&mut self, cookie: u64, now: Timestamp) {
        let Some(pending) = self.pending.get_mut(&cookie) else { return };
        let Some(established) = pending.established else { return };
        if pending.of.first_byte_time.is_some() {
            return;
        }
        pending.of.first_byte_time = Some(now.since(established));
        pending.due = now.max(established.plus(RESET_WINDOW));
        let due = pending.due;
        self.schedule(due, cookie);
    }

    /// Returns whether a connection was established so lately that a reset is its outcome.
    fn is_young(&self, cookie: u64, now: Timestamp) -> bool {
        let established = self.pending.get(&cookie).and_then(|one| one.established);
        established.is_some_and(|established| now.since(established) <= RESET_WINDOW)
    }

    /// Returns whether a connection has waited longer than a program that gives up at once.
    fn has_waited(&self, cookie: u64, now: Timestamp) -> bool {
        self.pending.get(&cookie).is_some_and(|one| now.since(one.of.first) >= GIVES_UP)
    }

    fn is_refused(&self, cookie: u64) -> bool {
        self.pending.get(&cookie).is_some_and(|one| one.is_refused)
    }

    /// Ends a connection. Without an outcome the program gave up.
    fn end(&mut self, cookie: u64, outcome: Option<UseOutcome>, now: Timestamp, each: Each<'_>) {
        let Some(mut pending) = self.pending.remove(&cookie) else { return };
        let waited = now.since(pending.of.first);
        if pending.established.is_none() {
            pending.of.connect_time = Some(waited);
            pending.of.outcome = match outcome {
                Some(outcome) => outcome,
                None if waited >= GIVES_UP => UseOutcome::Timeout,
                None => UseOutcome::Unknown,
            };
        } else if let Some(outcome) = outcome {
            pending.of.outcome = outcome;
        }
        self.add(pending.process, pending.of, each);
    }

    /// Adds a use whose outcome is known, and emits it if it is the first of its kind.
    fn add(&mut self, process: ProcessKey, of: Use, each: Each<'_>) {
        self.outcomes[of.matched as usize][of.outcome as usize] += 1;
        if self.options.max_kinds == 0 {
            return each(&of);
        }
        let kind = Kind {
            process,
            transport: of.transport,
            remote: of.remote,
            matched: of.matched,
            name: of.name.clone(),
            outcome: of.outcome,
            is_stale: of.is_stale(),
            is_long_stale: of.long_stale().is_some(),
        };
        if let Some(sum) = self.sums.get_mut(&kind) {
            sum.last = of.last;
            sum.next = Some(match sum.next.take() {
                // In order of their ends; the last is the one that began last.
                Some(before) if before.last > of.last => {
                    Use { count: before.count + 1, first: before.first.min(of.first), ..before }
                }
                Some(Use { id, count, first, .. }) => {
                    Use { id, count: count + 1, first: first.min(of.first), ..of }
                }
                None => of,
            });
            return;
        }
        if self.sums.len() >= self.options.max_kinds {
            self.flush(each);
        }
        each(&of);
        self.sums.insert(kind, Sum { next: None, written: of.last, last: of.last });
    }

    /// Emits all sums, and forgets them.
    fn flush(&mut self, each: Each<'_>) {
        let mut sums: Vec<Use> = self.sums.drain().filter_map(|(_, sum)| sum.next).collect();
        sums.sort_unstable_by_key(|sum| sum.id);
        sums.iter().for_each(each);
    }
}

const fn process_key(task: &Task) -> ProcessKey {
    ProcessKey { pid: task.pid, start_ns: task.start_ns }
}

const fn is_alias(rtype: u16) -> bool {
    matches!(rtype, CNAME | DNAME)
}

/// Returns the addresses in an answer, with their TTLs in seconds.
pub(crate) fn addresses<'a>(
    view: &TransactionView<'a>,
) -> impl Iterator<Item = (IpAddr, u32)> + use<'a> {
    let answers = view.answers.iter().filter(|answer| matches!(answer.rtype, A | AAAA));
    answers.filter_map(|answer| {
        let address: IpAddr = answer.data.parse().ok()?;
        Some((address.to_canonical(), answer.ttl_seconds))
    })
}

#[cfg(test)]
mod tests;

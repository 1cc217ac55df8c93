//! Rule `no_lookup`: processes that connect to public addresses that no lookup gave. The addresses are written into a
//! program or its configuration, or were looked up by encrypted DNS.
//!
//! A process without an answer that has an address says little: nscd or a resolver with a socket of its own may have asked
//! for it, or a process of its name, or the capture began later. So a connection counts as without a lookup if no answer
//! on this host had the address in the last hours, and none that a process of this name and pod got. See
//! `docs/detectors.md`.

use super::attribution::{AddressKind, Attribution, hash_address, share};
use super::finding::{Detector, Evidence, Figure, Finding, Rule, Severity};
use super::options::NoLookupOptions;
use super::resolver_processes::{ResolverProcesses, hash_pid};
use super::rolling::{BloomFilter, Rolling};
use super::table::AssociativeTable;
use super::{DetectOptions, HostFacts};
use crate::uses::{Match, Use, UseOutcome, addresses};
use crate::view::TransactionView;
use dnscribe_record::number::to_f64;
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::encrypted::ConnectionReport;
use dnscribe_transaction::packet::encrypted::ENCRYPTED_PORT;
use dnscribe_transaction::pair::Vantage;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Half of the look-back.
const SPAN: Duration = Duration::from_mins(30);
/// Time from the begin of the capture in which addresses that an older process connects to count as looked up before,
/// and time for which they do after sampling has left out answers.
const GRACE: Duration = Duration::from_hours(1);
/// Time for which answers on this host are remembered.
const ANSWER_IDLE: Duration = Duration::from_hours(12);
/// Share of a process's connections to public addresses from which on they are a warning.
const WARNING_SHARE: f64 = 0.5;
const MAX_ANSWERED: usize = 1 << 16;
const MAX_USERS: usize = 1024;
const MAX_ENCRYPTED: usize = 1024;
/// Destinations and pids of a process that are named.
const MAX_NAMED: usize = 8;
/// Time after which an idle process is forgotten.
const IDLE: Duration = Duration::from_hours(24);

/// Finds processes that connect to public addresses that no lookup gave.
#[derive(Debug)]
pub struct NoLookup {
    options: NoLookupOptions,
    hosts: BTreeSet<IpAddr>,
    /// Since when connections are captured, by `CLOCK_BOOTTIME`, and by the clock of the capture.
    since_ns: u64,
    since: Option<Timestamp>,
    /// When sampling has left out transactions last.
    sampled: Option<Timestamp>,
    /// Addresses in answers to anybody on this host.
    answered: AssociativeTable<(), MAX_ANSWERED>,
    users: AssociativeTable<User, MAX_USERS>,
    /// Servers of encrypted DNS, by the pid of their client.
    encrypted: AssociativeTable<Box<str>, MAX_ENCRYPTED>,
    resolver_processes: ResolverProcesses,
}

/// Connections of the processes of a name, in one pod.
#[derive(Debug)]
struct User {
    attribution: Attribution,
    pids: Vec<u32>,
    /// Addresses that have an explanation.
    explained: BloomFilter<64>,
    counts: Rolling<Counts>,
}

/// Connections to public addresses.
#[derive(Clone, Debug, Default)]
struct Counts {
    all: u64,
    /// Connections without a lookup among them.
    unknown: u64,
    /// When the first and the last of these began.
    times: Option<(Timestamp, Timestamp)>,
    destinations: Vec<SocketAddr>,
    has_more: bool,
}

impl NoLookup {
    /// Creates a detector. `since_ns`: since when connections are captured, by `CLOCK_BOOTTIME`.
    #[must_use]
    pub fn new(options: &DetectOptions, facts: &HostFacts, since_ns: u64) -> Self {
        Self {
            options: options.no_lookup.clone(),
            hosts: facts.hosts.clone(),
            since_ns,
            since: None,
            sampled: None,
            answered: AssociativeTable::default(),
            users: AssociativeTable::default(),
            encrypted: AssociativeTable::default(),
            resolver_processes: ResolverProcesses::default(),
        }
    }

    /// Returns whether the address of a connection has an explanation other than the process's earlier ones.
    fn is_explained(&self, one: &Use, address: IpAddr) -> bool {
        let is_within_grace =
            |begin: Option<Timestamp>| begin.is_some_and(|begin| one.first.since(begin) < GRACE);
        let process = one.attribution.process.as_ref();
        let is_older = process.is_none_or(|process| process.start_ns <= self.since_ns);
        one.matched != Match::None
            || self.hosts.contains(&address)
            || self.answered.get(hash_address(address)).is_some()
            || self.resolver_processes.contains(one.pid())
            || is_older && is_within_grace(self.since)
            || is_within_grace(self.sampled)
    }

    fn finding(&self, user: &User) -> Option<Finding> {
        let NoLookupOptions { min_connections, span, .. } = self.options;
        let Rolling { current, previous, .. } = &user.counts;
        let (first, _) = previous.times.or(current.times)?;
        let (_, last) = current.times.or(previous.times)?;
        let unknown = user.counts.sum(|counts| counts.unknown);
        if unknown < min_connections || last.since(first) < span {
            return None;
        }
        let share = share(unknown, user.counts.sum(|counts| counts.all));
        let all = [previous, current];
        let destinations: BTreeSet<SocketAddr> =
            all.iter().flat_map(|counts| counts.destinations.iter().copied()).collect();
        let mut named: Vec<String> =
            destinations.iter().take(MAX_NAMED).map(ToString::to_string).collect();
        if destinations.len() > MAX_NAMED || all.iter().any(|counts| counts.has_more) {
            named.push("others".to_owned());
        }
        let servers = user.pids.iter().filter_map(|pid| self.encrypted.get(hash_pid(*pid)));
        let resolvers: Vec<Box<str>> =
            servers.cloned().collect::<BTreeSet<_>>().into_iter().collect();
        let encrypted = if resolvers.is_empty() {
            String::new()
        } else {
            format!("; it uses encrypted DNS of {}", resolvers.join(", "))
        };
        let summary = format!(
            "{} connects to addresses that no lookup gave: {unknown} connections within 60 min to {}, {:.0} % of \
             those to public addresses{encrypted}",
            user.attribution,
            named.join(", "),
            share * 100.0,
        );
        let is_warning = share >= WARNING_SHARE || !resolvers.is_empty();
        let processes = user.pids.iter().filter_map(|pid| user.attribution.process_text(*pid));
        Some(Finding {
            rule: Rule::NoLookup,
            entity: user.attribution.entity(),
            level: if is_warning { Severity::Warning } else { Severity::Info },
            summary,
            evidence: Evidence {
                figures: vec![
                    Figure::new("connections", to_f64(unknown), Some(to_f64(min_connections))),
                    Figure::new("no_lookup_ratio", share, None),
                ],
                processes: processes.collect(),
                resolvers,
                ..Evidence::default()
            },
        })
    }
}

impl User {
    fn record(&mut self, one: &Use, address: IpAddr, is_explained: bool) {
        self.counts.roll(one.last, SPAN);
        let counts = &mut self.counts.current;
        counts.all += one.count;
        let hash = hash_address(address);
        if is_explained {
            self.explained.insert(hash);
        }
        if self.explained.contains(hash) {
            return;
        }
        let pid = one.pid();
        if !self.pids.contains(&pid) {
            if self.pids.len() == MAX_NAMED {
                self.pids.remove(0);
            }
            self.pids.push(pid);
        }
        counts.unknown += one.count;
        let (first, last) = counts.times.unwrap_or((one.first, one.last));
        counts.times = Some((first.min(one.first), last.max(one.last)));
        let destination = SocketAddr::new(address, one.remote.port());
        if !counts.destinations.contains(&destination) {
            if counts.destinations.len() < MAX_NAMED {
                counts.destinations.push(destination);
            } else {
                counts.has_more = true;
            }
        }
    }
}

impl Detector for NoLookup {
    fn rules(&self) -> &'static [Rule] {
        &[Rule::NoLookup]
    }

    #[cfg(any(test, feature = "testing"))]
    fn settings_in_force(&self) -> String {
        format!("{:?} {:?} {:?}", self.rules(), self.options, self.hosts)
    }

    fn reconfigure(&mut self, options: &DetectOptions, facts: &HostFacts) {
        self.options.clone_from(&options.no_lookup);
        self.hosts.clone_from(&facts.hosts);
    }

    fn observe(&mut self, observation: &TransactionView<'_>) {
        let ts = observation.ts;
        self.resolver_processes.observe(observation);
        if observation.sample_ratio < 1.0 {
            self.sampled = Some(ts);
        }
        for (address, _) in addresses(observation) {
            if AddressKind::of(address) == AddressKind::Public {
                self.answered.entry(hash_address(address), ts, || ());
            }
        }
    }

    fn connection(&mut self, report: &ConnectionReport<'_>, resolver: &str) {
        let connection = report.connection;
        let task = connection.task.filter(|_| connection.vantage == Vantage::Client);
        let Some(task) = task.filter(|_| report.status.has_worked()) else { return };
        let hello = connection.handshake.client.as_ref();
        let name = hello.and_then(|hello| hello.sni.as_deref()).unwrap_or(resolver);
        *self.encrypted.entry(hash_pid(task.pid), connection.last, Box::default) = name.into();
    }

    fn used(&mut self, one: &Use) {
        self.since.get_or_insert(one.first);
        let address = one.remote.ip().to_canonical();
        let is_judged = AddressKind::of(address) == AddressKind::Public
            && !address.is_multicast()
            && !self.options.ignored.contains(address);
        let Some((key, attribution)) = Attribution::of_use(one).filter(|_| is_judged) else {
            return;
        };
        if one.remote.port() == ENCRYPTED_PORT {
            // Resolvers are configured by address; `encrypted_bypass` judges them.
            let name = || address.to_string().into();
            if !matches!(one.outcome, UseOutcome::Refused | UseOutcome::Timeout) {
                self.encrypted.entry(hash_pid(one.pid()), one.last, name);
            }
            return;
        }
        let is_explained = self.is_explained(one, address);
        let user = self.users.entry(key, one.last, || User {
            attribution: attribution(),
            pids: Vec::new(),
            explained: BloomFilter::default(),
            counts: Rolling::default(),
        });
        user.record(one, address, is_explained);
    }

    fn evaluate(&mut self, now: Timestamp, each: &mut dyn FnMut(Finding)) {
        self.since.get_or_insert(now);
        self.users.values_mut().for_each(|user| user.counts.roll(now, SPAN));
        self.users.age(now, IDLE);
        self.answered.age(now, ANSWER_IDLE);
        self.encrypted.age(now, IDLE);
        self.resolver_processes.age(now);
        self.users.iter().filter_map(|user| self.finding(user)).for_each(each);
    }
}

#[cfg(test)]
mod tests;

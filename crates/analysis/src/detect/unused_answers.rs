//! Rule `unused_answers`: processes that look up a name again and again, and never connect to it.
//!
//! Many lookups end without a connection and are right: of resolvers and caches, of `host` and `ping`, of programs that
//! keep a connection for days. So only processes are judged that have connected to
//! other names that they looked up, and that began after the capture. See `docs/detectors.md`.

use super::attribution::{AddressKind, Attribution, combine_hashes, hash, hash_address};
use super::finding::{Detector, Entity, Evidence, Figure, Finding, Rule, Severity};
use super::options::UnusedAnswersOptions;
use super::resolver_processes::ResolverProcesses;
use super::rolling::{BloomFilter, Rolling};
use super::table::AssociativeTable;
use super::{DetectOptions, HostFacts};
use crate::uses::{Use, addresses};
use crate::view::TransactionView;
use dnscribe_dns::rtype::A;
use dnscribe_record::number::to_f64;
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::pair::Vantage;
use std::time::Duration;

/// Half of the look-back.
const SPAN: Duration = Duration::from_mins(30);
const MAX_USERS: usize = 1024;
const MAX_NAMES: usize = 4096;
/// Time after which an idle process or name is forgotten.
const IDLE: Duration = Duration::from_hours(24);

/// Finds processes that look up a name in vain.
#[derive(Debug)]
pub struct UnusedAnswers {
    options: UnusedAnswersOptions,
    /// Since when connections are captured, by `CLOCK_BOOTTIME`.
    since_ns: u64,
    /// Processes that have connected to a name that they looked up, and to what.
    users: AssociativeTable<Used, MAX_USERS>,
    names: AssociativeTable<Name, MAX_NAMES>,
    resolver_processes: ResolverProcesses,
}

/// Names and addresses that the processes of a name, in one pod, have connected to.
type Used = BloomFilter<64>;

/// A name that a process looks up.
#[derive(Debug)]
struct Name {
    /// Key of the process in [`UnusedAnswers::users`].
    user: u64,
    attribution: Attribution,
    pid: u32,
    qname: Box<str>,
    since: Timestamp,
    /// Answers with addresses by A, and by AAAA.
    lookups: Rolling<[u64; 2]>,
    /// Whether an answer had an address that the process has connected to.
    is_used: bool,
}

impl Name {
    fn finding(&self, now: Timestamp, options: UnusedAnswersOptions) -> Option<Finding> {
        let UnusedAnswersOptions { min_lookups, span } = options;
        // A program that asks by both types has made one lookup.
        let lookups = [0, 1].map(|qtype| self.lookups.sum(|counts| counts[qtype]));
        let lookups = lookups.into_iter().max().unwrap_or(0);
        if self.is_used || lookups < min_lookups || now.since(self.since) < span {
            return None;
        }
        let summary = format!(
            "{} looks up {} again and again and never connects to it: {lookups} lookups within 60 min",
            self.attribution, self.qname
        );
        Some(Finding {
            rule: Rule::UnusedAnswers,
            entity: Entity { qname: Some(self.qname.clone()), ..self.attribution.entity() },
            level: Severity::Info,
            summary,
            evidence: Evidence {
                figures: vec![Figure::new("lookups", to_f64(lookups), Some(to_f64(min_lookups)))],
                qnames: vec![self.qname.clone()],
                processes: self.attribution.process_text(self.pid).into_iter().collect(),
                ..Evidence::default()
            },
        })
    }
}

impl UnusedAnswers {
    /// Creates a detector. `since_ns`: since when connections are captured, by `CLOCK_BOOTTIME`.
    #[must_use]
    pub fn new(options: &DetectOptions, since_ns: u64) -> Self {
        Self {
            options: options.unused_answers,
            since_ns,
            users: AssociativeTable::default(),
            names: AssociativeTable::default(),
            resolver_processes: ResolverProcesses::default(),
        }
    }
}

impl Detector for UnusedAnswers {
    fn rules(&self) -> &'static [Rule] {
        &[Rule::UnusedAnswers]
    }

    #[cfg(any(test, feature = "testing"))]
    fn settings_in_force(&self) -> String {
        format!("{:?} {:?}", self.rules(), self.options)
    }

    fn reconfigure(&mut self, options: &DetectOptions, _: &HostFacts) {
        self.options = options.unused_answers;
    }

    fn observe(&mut self, observation: &TransactionView<'_>) {
        if self.resolver_processes.observe(observation)
            || observation.vantage != Vantage::Client
            || !observation.is_query()
        {
            return;
        }
        let (Some(process), Some(qname)) = (observation.process, observation.qname) else { return };
        let started = observation.attribution.and_then(|one| one.process.as_ref());
        // An older process may have connected before the capture.
        if started.is_none_or(|process| process.start_ns <= self.since_ns)
            || self.resolver_processes.contains(process.pid)
        {
            return;
        }
        let ts = observation.ts;
        let key = Attribution::hash(observation);
        let mut used = self.users.get_mut(key, ts);
        if let Some(used) = &mut used {
            // A server of names may be what it looks up.
            used.insert(hash_address(observation.server.ip()));
        }
        // Lists of blocked addresses answer with some in 127.0.0.0/8.
        let mut answered = addresses(observation)
            .filter(|(address, _)| AddressKind::of(*address) != AddressKind::Nowhere)
            .peekable();
        if answered.peek().is_none() {
            return;
        }
        let name = self.names.entry(combine_hashes(key, hash(qname.as_bytes())), ts, || Name {
            user: key,
            attribution: Attribution::new(observation),
            pid: process.pid,
            qname: qname.into(),
            since: ts,
            lookups: Rolling::default(),
            is_used: false,
        });
        name.is_used |= used
            .is_some_and(|used| answered.any(|(address, _)| used.contains(hash_address(address))));
        name.lookups.roll(ts, SPAN);
        name.lookups.current[usize::from(observation.qtype != Some(A))] += 1;
    }

    fn used(&mut self, one: &Use) {
        let Some((key, _)) = Attribution::of_use(one) else { return };
        let mut names = one.name.iter().chain(&one.candidates).peekable();
        let used = if names.peek().is_some() {
            self.users.entry(key, one.last, Used::default)
        } else {
            let Some(used) = self.users.get_mut(key, one.last) else { return };
            used
        };
        used.insert(hash_address(one.remote.ip().to_canonical()));
        for name in names {
            used.insert(hash(name.as_bytes()));
        }
    }

    fn evaluate(&mut self, now: Timestamp, each: &mut dyn FnMut(Finding)) {
        self.users.age(now, IDLE);
        self.resolver_processes.age(now);
        self.names.values_mut().for_each(|name| name.lookups.roll(now, SPAN));
        self.names.age(now, IDLE);
        let is_judged = |name: &&Name| {
            let used = self.users.get(name.user);
            used.is_some_and(|used| !used.contains(hash(name.qname.as_bytes())))
                && !self.resolver_processes.contains(name.pid)
        };
        let names = self.names.iter().filter(is_judged);
        names.filter_map(|name| name.finding(now, self.options)).for_each(each);
    }
}

#[cfg(test)]
mod tests;

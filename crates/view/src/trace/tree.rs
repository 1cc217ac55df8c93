//! The tree: processes, their lookups, the queries of each, and what resolvers on this host did for them.

use super::collect::{Collector, TraceSubject};
use super::record::{ConnectionFields, LookupFields, TransactionFields, UseFields};
use super::wait::{Interval, by_cause, covered, covered_by, millis};
use dnscribe_record::time::Timestamp;
use dnscribe_record::trace::{
    Trace, TracedConnection, TracedLookup, TracedProcess, TracedQuery, TracedUse,
};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

/// Levels below a query that are shown: the resolver's own transaction, its queries, and those of a resolver behind it.
const MAX_LEVELS: usize = 6;

/// A query that follows another of its lookup by more than this was sent because the stub no longer waited for that
/// one. Those for A and AAAA are sent at once.
const GAVE_UP: Duration = Duration::from_millis(100);

impl Collector {
    /// Builds the tree of everything collected.
    #[must_use]
    pub fn finish(&self, subject: &TraceSubject) -> Trace {
        Builder::new(self, subject).build()
    }
}

/// After every other time.
const NEVER: Timestamp = Timestamp::from_nanos(u64::MAX);

/// In place of the `event_id` of a lookup.
const NO_LOOKUP: &str = "";

struct Builder<'a> {
    records: &'a Collector,
    subject: &'a TraceSubject,
    /// Transactions by the one that caused them, in order of time.
    caused: HashMap<&'a str, Vec<&'a TransactionFields>>,
    /// Connections by the lookup that they used, in order of time.
    used: HashMap<&'a str, Vec<&'a UseFields>>,
}

/// Lookups and other transactions of a process.
#[derive(Default)]
struct ProcessRecords<'a> {
    comm: &'a str,
    exe: Option<&'a str>,
    lookups: Vec<(&'a LookupFields, Vec<&'a TransactionFields>)>,
    others: Vec<&'a TransactionFields>,
    encrypted: Vec<&'a ConnectionFields>,
    /// Connections that used no lookup of the trace.
    uses: Vec<&'a UseFields>,
}

impl<'a> Builder<'a> {
    fn new(records: &'a Collector, subject: &'a TraceSubject) -> Self {
        let mut caused: HashMap<&str, Vec<&TransactionFields>> = HashMap::new();
        for transaction in records.candidates.iter().chain(records.queries.values()) {
            if let Some(parent) = &transaction.parent_event_id {
                caused.entry(parent).or_default().push(transaction);
            }
        }
        for transactions in caused.values_mut() {
            transactions.sort_by(|a, b| (a.ts, &a.event_id).cmp(&(b.ts, &b.event_id)));
        }
        let known: HashSet<&str> = records.lookups.iter().map(|one| &*one.event_id).collect();
        let mut used: HashMap<&str, Vec<&UseFields>> = HashMap::new();
        for one in &records.uses {
            let lookup = one.lookup_event_id.as_deref().filter(|lookup| known.contains(lookup));
            used.entry(lookup.unwrap_or(NO_LOOKUP)).or_default().push(one);
        }
        for uses in used.values_mut() {
            uses.sort_by_key(|one| one.ts);
        }
        Self { records, subject, caused, used }
    }

    fn build(&self) -> Trace {
        let processes = self.by_process();
        let intervals: Vec<Interval<'_>> =
            processes.values().flat_map(|process| self.intervals(process)).collect();
        let lookups = || processes.values().flat_map(|process| &process.lookups);
        let others = || processes.values().flat_map(|process| &process.others);
        let asked =
            others().filter(|query| is_question(query)).map(|query| u64::from(query.retries) + 1);
        let waited = covered(&intervals);
        let connects = self.records.uses.iter().map(UseFields::span);
        let busy = covered_by(intervals.iter().map(Interval::span).chain(connects.clone()));
        let connect = self.records.has_uses.then(|| busy.saturating_sub(waited));
        let first_bytes = self.records.uses.iter().filter_map(UseFields::first_byte_span);
        let spans = intervals.iter().map(Interval::span).chain(connects).chain(first_bytes);
        let first_byte = covered_by(spans).saturating_sub(busy);
        Trace {
            schema: "dns.trace/1",
            subject: self.subject.name.clone(),
            command: self.subject.command.clone(),
            started: self.subject.started,
            duration_ms: millis(self.subject.ended.since(self.subject.started)),
            exit_code: self.subject.exit_code,
            wait_ms: millis(waited),
            connect_ms: connect.map(millis),
            first_byte_ms: Some(millis(first_byte)).filter(|ms| *ms > 0.0),
            lookups: lookups().count(),
            queries: lookups().map(|(lookup, _)| u64::from(lookup.packets)).sum::<u64>()
                + asked.sum::<u64>(),
            queries_wasted: lookups().map(|(lookup, _)| u64::from(lookup.packets_wasted)).sum(),
            waits: by_cause(&intervals),
            processes: processes.iter().map(|(pid, process)| self.process(*pid, process)).collect(),
            lost_packets: self.records.lost_packets,
            not_kept: self.records.not_kept,
        }
    }

    fn by_process(&self) -> BTreeMap<u32, ProcessRecords<'a>> {
        let records = self.records;
        let mut processes: BTreeMap<u32, ProcessRecords<'a>> = BTreeMap::new();
        let mut in_lookups: HashSet<&str> = HashSet::new();
        let mut lookups: Vec<_> = records.lookups.iter().collect();
        lookups.sort_by(|a, b| (a.ts, &a.qname).cmp(&(b.ts, &b.qname)));
        for lookup in lookups {
            let members = lookup.transaction_ids.iter().filter_map(|id| records.queries.get(id));
            let mut members: Vec<_> = members.collect();
            members.sort_by_key(|query| query.ts);
            in_lookups.extend(members.iter().map(|query| &*query.event_id));
            let process = lookup.process.as_ref();
            let found = processes.entry(process.map_or(0, |process| process.pid)).or_default();
            found.comm = process.map_or("", |process| &*process.comm);
            found.exe = process.and_then(|process| process.exe.as_deref());
            found.lookups.push((lookup, members));
        }
        let mut others: Vec<_> = records
            .queries
            .values()
            .filter(|query| !in_lookups.contains(&*query.event_id) && !self.is_below_another(query))
            .collect();
        others.sort_by(|a, b| (a.ts, &a.event_id).cmp(&(b.ts, &b.event_id)));
        for query in others {
            let process = query.process.as_ref();
            let found = processes.entry(process.map_or(0, |process| process.pid)).or_default();
            found.comm = process.map_or(found.comm, |process| &*process.comm);
            found.others.push(query);
        }
        for connection in records.connections.values() {
            let process = connection.process.as_ref();
            let found = processes.entry(process.map_or(0, |process| process.pid)).or_default();
            found.comm = process.map_or(found.comm, |process| &*process.comm);
            found.encrypted.push(connection);
        }
        for one in self.used.get(NO_LOOKUP).into_iter().flatten() {
            let process = one.process.as_ref();
            let found = processes.entry(process.map_or(0, |process| process.pid)).or_default();
            found.comm = process.map_or(found.comm, |process| &*process.comm);
            found.exe = process.and_then(|process| process.exe.as_deref()).or(found.exe);
            found.uses.push(one);
        }
        processes
    }

    /// Returns whether another transaction of the trace shows this one below it.
    fn is_below_another(&self, query: &TransactionFields) -> bool {
        let parent = query.parent_event_id.as_ref();
        parent.is_some_and(|parent| self.records.queries.contains_key(parent))
    }

    fn intervals(&self, process: &ProcessRecords<'a>) -> Vec<Interval<'a>> {
        let of_lookups = process
            .lookups
            .iter()
            .flat_map(|(lookup, queries)| self.lookup_intervals(lookup, queries));
        let of_others =
            process.others.iter().copied().filter(|query| is_question(query)).map(|query| {
                Interval { query, end: self.wait_end(query, None), is_search_miss: false }
            });
        of_lookups.chain(of_others).collect()
    }

    fn lookup_intervals(
        &self,
        lookup: &LookupFields,
        queries: &[&'a TransactionFields],
    ) -> Vec<Interval<'a>> {
        // The next attempt to which the query itself was not sent again, or the answer to its question by another
        // query. `queries` are in order of time.
        let next = |query: &TransactionFields| {
            let mut last = query.ts;
            let attempts = queries.iter().filter(|other| {
                let is_another = other.ts.since(last) > GAVE_UP;
                if is_another {
                    last = other.ts;
                }
                is_another
            });
            let answers = queries
                .iter()
                .filter(|other| (&other.qname, &other.qtype) == (&query.qname, &query.qtype))
                .filter(|other| matches!(other.outcome(), "NOERROR" | "NXDOMAIN"))
                .filter_map(|other| other.answered_at())
                .filter(|answered| *answered >= query.ts);
            let attempt = attempts
                .map(|other| other.ts)
                .nth(usize::try_from(query.retries).unwrap_or(usize::MAX));
            answers.chain(attempt).min()
        };
        let uses = self.uses_of(lookup);
        queries
            .iter()
            .copied()
            .map(|query| Interval {
                query,
                // Who connects waits no more.
                end: self
                    .wait_end(query, next(query))
                    .min(uses.iter().map(|one| one.ts).find(|ts| *ts >= query.ts).unwrap_or(NEVER)),
                is_search_miss: is_search_miss(lookup, query),
            })
            .collect()
    }

    /// Returns the moment until which the application waited for a query; `next` is that of its next attempt.
    fn wait_end(&self, query: &TransactionFields, next: Option<Timestamp>) -> Timestamp {
        let ended = self.subject.ended.max(query.ts);
        let limit = query.ts.plus(self.subject.query_timeout).min(ended);
        match (query.answered_at(), &*query.status) {
            (Some(answered), _) => answered,
            // The time of the ICMP error is not part of the record; it takes about a round trip.
            (None, "icmp_error") => query.ts,
            (None, _) => next.unwrap_or(limit),
        }
    }

    fn process(&self, pid: u32, process: &ProcessRecords<'a>) -> TracedProcess {
        let lookups = process.lookups.iter().map(|(lookup, queries)| self.lookup(lookup, queries));
        TracedProcess {
            pid,
            comm: process.comm.to_owned(),
            exe: process.exe.map(str::to_owned),
            wait_ms: millis(covered(&self.intervals(process))),
            lookups: lookups.collect(),
            others: process
                .others
                .iter()
                .map(|query| self.query(query, self.wait_end(query, None), false, 0))
                .collect(),
            encrypted: process.encrypted.iter().copied().map(traced).collect(),
            uses: process.uses.iter().map(|one| self.traced_use(one)).collect(),
        }
    }

    fn lookup(&self, lookup: &LookupFields, queries: &[&'a TransactionFields]) -> TracedLookup {
        let intervals = self.lookup_intervals(lookup, queries);
        TracedLookup {
            start_ms: self.offset(lookup.ts),
            wait_ms: millis(covered(&intervals)),
            qname: lookup.qname.clone(),
            qtypes: lookup.qtypes.clone(),
            outcome: lookup.outcome.clone(),
            partial: lookup.partial,
            answered_name: lookup.answered_name.clone().filter(|name| *name != lookup.qname),
            addresses: lookup.addresses.clone(),
            packets: lookup.packets,
            packets_wasted: lookup.packets_wasted,
            search_expansions: lookup.search_expansions,
            retries: lookup.retries,
            queries: intervals
                .iter()
                .map(|one| self.query(one.query, one.end, one.is_search_miss, 0))
                .collect(),
            uses: self.uses_of(lookup).iter().map(|one| self.traced_use(one)).collect(),
        }
    }

    /// Returns the connections that used a lookup, in order of time.
    fn uses_of(&self, lookup: &LookupFields) -> &[&'a UseFields] {
        let uses = self.used.get(&*lookup.event_id).filter(|_| lookup.event_id != NO_LOOKUP);
        uses.map_or(&[], Vec::as_slice)
    }

    fn traced_use(&self, one: &UseFields) -> TracedUse {
        TracedUse {
            start_ms: self.offset(one.ts),
            protocol: one.protocol.clone(),
            address: one.address.clone(),
            port: one.port,
            matched: one.matched.clone(),
            name: one.name.clone(),
            candidates: one.candidates.clone(),
            outcome: one.outcome.clone(),
            connect_ms: one.connect_ms,
            first_byte_ms: one.first_byte_ms,
            ttl_left_ms: one.ttl_left_ms,
            count: one.count,
        }
    }

    /// Returns a query with those that it caused. The resolver's own view of the query is not shown: it says whether
    /// the cache had the answer, and the resolver's queries are below it.
    fn query(
        &self,
        query: &TransactionFields,
        end: Timestamp,
        search_miss: bool,
        level: usize,
    ) -> TracedQuery {
        let caused = self.caused.get(&*query.event_id).map_or(&[][..], Vec::as_slice);
        let (own_views, others): (Vec<&TransactionFields>, Vec<_>) =
            caused.iter().copied().partition(|one| one.parent_match.as_deref() == Some("exchange"));
        let below_view = own_views
            .iter()
            .flat_map(|view| self.caused.get(&*view.event_id).into_iter().flatten().copied());
        let upstream: Vec<&TransactionFields> = if level < MAX_LEVELS {
            others.into_iter().chain(below_view).collect()
        } else {
            Vec::new()
        };
        let cache =
            query.cache.as_ref().or_else(|| own_views.iter().find_map(|view| view.cache.as_ref()));
        let shown = |rtype: &str| !matches!(rtype, "RRSIG" | "NSEC" | "NSEC3");
        TracedQuery {
            start_ms: self.offset(query.ts),
            qname: query.qname.clone(),
            qtype: query.qtype.clone(),
            vantage: query.vantage.clone(),
            transport: query.transport.clone(),
            resolver: query.resolver.clone(),
            outcome: query.outcome().to_owned(),
            latency_ms: query.latency_ms,
            wait_ms: millis(end.since(query.ts)),
            sent: query.retries + 1,
            answers: query
                .answers
                .iter()
                .filter(|answer| shown(&answer.rtype))
                .map(|answer| answer.data.clone())
                .collect(),
            cache: cache.cloned(),
            lost_at: query.lost_at.clone(),
            path: query.path.clone(),
            search_miss,
            upstream: upstream
                .into_iter()
                .map(|below| self.query(below, self.wait_end(below, None), false, level + 1))
                .collect(),
        }
    }

    fn offset(&self, ts: Timestamp) -> f64 {
        millis(ts.since(self.subject.started))
    }
}

/// Returns whether the process sent the query itself.
fn is_question(query: &TransactionFields) -> bool {
    query.vantage != "server" && !matches!(&*query.status, "late" | "duplicate" | "orphan")
}

/// Returns whether a name is one of the search list that had no records.
fn is_search_miss(lookup: &LookupFields, query: &TransactionFields) -> bool {
    let decided = lookup.answered_name.as_ref().unwrap_or(&lookup.qname);
    let qname = query.qname.as_deref().unwrap_or_default();
    lookup.search_expansions > 0
        && qname != decided
        && !lookup.cname_chain.iter().any(|target| target == qname)
}

fn traced(connection: &ConnectionFields) -> TracedConnection {
    TracedConnection {
        protocol: connection.protocol.clone(),
        resolver: connection.resolver.clone(),
        sni: connection.sni.clone(),
        status: connection.status.clone(),
        handshake_ms: connection.handshake_ms,
    }
}

//! Identities 6 and 7: the counters of stream jobs against the topics, and the rows of stores against
//! the records.
//!
//! A job's ledger is cumulative. A job that is submitted again without its state begins a new ledger
//! (a run), whose checkpoints begin again; the last record of each run counts.

use super::Findings;
use super::sort::{Age, SortEntry, Sorter};
use dnscribe_record::ledger::Reasons;
use dnscribe_record::time::Timestamp;
use dnscribe_record::{
    EventId, Stream, StreamInput, StreamLedgerRecord, StreamOutput, read_object,
};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_128;

/// A job whose newest checkpoint is older than this while records wait does not run.
const LONGEST_CHECKPOINT: Duration = Duration::from_mins(2);

/// Reason of a sink for records that are older than what its store keeps.
const EXPIRED: &str = "expired";

/// Rows of records that are older than this at a checkpoint are in the store.
const RECENT: Duration = Duration::from_mins(1);

/// Records of a topic or of a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FoundTotals {
    /// Records, copies included.
    pub records: u64,
    /// Records, copies counted once.
    pub distinct: u64,
    /// Distinct records that are older than what the store keeps.
    pub expired: u64,
    /// Distinct records that are so new that their rows may still be on their way.
    pub recent: u64,
}

/// Times between which records are compared with rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Times before which records are expired, by step of the window in seconds; 0 for records that
    /// are no windows.
    pub expired: BTreeMap<u64, Timestamp>,
    /// The time from which on rows may still be on their way.
    pub recent: Option<Timestamp>,
}

impl Bounds {
    /// Returns the age of a record or window that begins and ends at these times.
    pub(super) fn age(&self, step: u64, begin: Timestamp, end: Timestamp) -> Age {
        if self.expired.get(&step).is_some_and(|expired| begin < *expired) {
            Age::Expired
        } else if self.recent.is_some_and(|recent| end >= recent) {
            Age::Recent
        } else {
            Age::Kept
        }
    }
}

/// Ledger records of all jobs.
#[derive(Debug, Default)]
pub struct StreamLedgers {
    /// Last record of each run, by job.
    runs: BTreeMap<String, Vec<StreamLedgerRecord>>,
    /// The record before the newest one of the same run, by job.
    previous: BTreeMap<String, StreamLedgerRecord>,
    /// Records before the offsets of the newest checkpoint, by job and topic.
    read: BTreeMap<(String, String), u64>,
    /// Last counters of sinks that a job stopped to write without losing its state, by job and sink.
    ended: BTreeMap<(String, String), StreamOutput>,
}

/// Counters of one job for one topic beside what the topic has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InputLine {
    /// Name of the job.
    pub job: String,
    /// Name of the topic.
    pub topic: String,
    /// Counters, the sum of all runs.
    #[serde(flatten)]
    pub counters: StreamInput,
    /// Records found in the topic, unreadable ones included; none if the topic was not read.
    pub found: Option<u64>,
    /// Readable records among `found`, copies counted once.
    pub found_distinct: Option<u64>,
    /// Records among `found` that arrived after the newest checkpoint.
    pub unread: u64,
}

/// Rows of a table beside the records that feed it. Identity 7: `rows + expired + dropped = unique`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoreLine {
    /// Store: kind and address.
    pub store: String,
    /// Name of the table or measurement.
    pub table: String,
    /// Rows, duplicates that replace each other counted once.
    pub rows: u64,
    /// Records that are older than what the table keeps, and therefore not among `rows`.
    pub expired: u64,
    /// Records that the store refused, by the job's ledger.
    pub dropped: u64,
    /// Records that feed the table, copies counted once.
    pub unique: u64,
    /// The time from which on rows and records are left out, because records still arrive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// What a topic has, for the comparison with a job's counters.
#[derive(Clone, Copy, Debug, Default)]
pub struct TopicTotals {
    /// Readable records.
    pub found: FoundTotals,
    /// Records that are not readable.
    pub unreadable: u64,
    /// Whether records of the topic are gone.
    pub has_gaps: bool,
}

impl StreamLedgers {
    /// Adds a record of the topic of stream ledgers, in the order of the topic.
    ///
    /// # Errors
    /// Returns a sentence if the value is no such record, or does not balance.
    pub fn add(&mut self, value: &[u8]) -> Result<(), String> {
        let record: StreamLedgerRecord =
            read_object(value).map_err(|error| format!("not a stream ledger record: {error}"))?;
        let problem = imbalance(&record);
        let runs = self.runs.entry(record.job.clone()).or_default();
        match runs.last_mut() {
            Some(last) if record.head.event_id == last.head.event_id => {}
            Some(last) if record.checkpoint > last.checkpoint => {
                for (sink, output) in &last.output {
                    if !record.output.contains_key(sink) {
                        let key = (record.job.clone(), sink.clone());
                        let ended = self.ended.entry(key).or_default();
                        ended.records += output.records;
                        ended.written += output.written;
                        for (reason, count) in &output.dropped {
                            *ended.dropped.entry(reason.clone()).or_default() += count;
                        }
                    }
                }
                self.previous.insert(record.job.clone(), std::mem::replace(last, record));
            }
            _ => {
                self.previous.remove(&record.job);
                runs.push(record);
            }
        }
        problem.map_or(Ok(()), Err)
    }

    /// Counts a record of a topic, for the jobs that had read it at their newest checkpoint.
    pub fn count(&mut self, topic: &str, partition: i32, offset: i64) {
        let partition = u32::try_from(partition).unwrap_or(u32::MAX);
        for (job, runs) in &self.runs {
            let inputs = runs.iter().rev().filter_map(|run| run.input.get(topic));
            let mut offsets = inputs.map(|input| &input.offsets).filter(|all| !all.is_empty());
            let Some(newest) = offsets.next() else { continue };
            // A run without an offset of a partition had nothing new there: an earlier one has it.
            let next = newest.get(&partition);
            let next = next.or_else(|| offsets.find_map(|earlier| earlier.get(&partition)));
            let is_read = next.is_some_and(|next| offset < *next);
            *self.read.entry((job.clone(), topic.to_owned())).or_default() += u64::from(is_read);
        }
    }

    /// Returns the time from which on the rows of a sink may still be on their way.
    #[must_use]
    pub fn recent(&self, sink: &str) -> Option<Timestamp> {
        let newest = self.runs.values().filter_map(|runs| runs.last());
        let writers = newest.filter(|run| run.output.contains_key(sink));
        writers.map(|run| run.head.ts.minus(RECENT)).max()
    }

    /// Returns the time of a job's newest checkpoint.
    fn newest(&self, job: &str) -> Option<Timestamp> {
        self.runs.get(job).and_then(|runs| runs.last()).map(|run| run.head.ts)
    }

    /// Returns the number of records of a topic that a job had read at its newest checkpoint; none if
    /// its ledger has no offsets.
    fn read_of(&self, job: &str, topic: &str) -> Option<u64> {
        self.read.get(&(job.to_owned(), topic.to_owned())).copied()
    }

    /// Completes the line of a topic that jobs write with the records `found` there, which
    /// [`Self::count`] has counted.
    pub(super) fn compare_read(
        &self,
        line: &mut InputLine,
        found: u64,
        notes: &mut Findings,
        problems: &mut Findings,
    ) {
        let InputLine { job, topic, counters, .. } = line;
        let records = counters.records;
        let is_one_run = self.runs.get(job).is_some_and(|runs| runs.len() == 1);
        let name = format!("{job}: {topic}");
        // A ledger of an older version has no offsets.
        let read = self.read_of(job, topic).unwrap_or_else(|| records.min(found));
        line.found = Some(found);
        line.unread = found.saturating_sub(read);
        let sentence = format!("{name}: the job has counted {records} of {read} records");
        if records < read {
            notes.add(|| format!("{sentence}: it began later"));
        } else if records > read && is_one_run {
            problems.add(|| sentence);
        } else if records > read {
            notes.add(|| format!("{sentence}: it was submitted again without its state"));
        }
        if let Some(newest) = self.newest(job) {
            line.check_unread(newest, notes, problems);
        }
    }

    /// Returns the counters of each job and topic, and the number of runs.
    fn inputs(&self) -> BTreeMap<(&str, &str), (StreamInput, usize)> {
        let mut sums = BTreeMap::<_, (StreamInput, usize)>::new();
        for (job, runs) in &self.runs {
            for (topic, input) in runs.iter().flat_map(|run| &run.input) {
                let (sum, runs) = sums.entry((job.as_str(), topic.as_str())).or_default();
                sum.records += input.records;
                sum.unique += input.unique;
                sum.duplicates += input.duplicates;
                sum.malformed += input.malformed;
                *runs += 1;
            }
        }
        sums
    }

    /// Returns the number of records of a topic that jobs call malformed.
    #[must_use]
    pub fn malformed(&self, topic: &str) -> u64 {
        let of_topic = self.inputs().into_iter().filter(|((_, name), _)| *name == topic);
        of_topic.map(|(_, (input, _))| input.malformed).max().unwrap_or_default()
    }

    /// Returns the number of records that a sink did not take; none if no job writes to it. Those that the store would
    /// not have kept are older than its rows, and expired.
    #[must_use]
    pub fn dropped(&self, sink: &str) -> Option<u64> {
        let outputs = self.runs.values().flatten().filter_map(|run| run.output.get(sink));
        let outputs = outputs.chain(self.ended_of(sink));
        let dropped = |reasons: &Reasons| {
            reasons
                .iter()
                .filter(|(reason, _)| *reason != EXPIRED)
                .map(|(_, count)| count)
                .sum::<u64>()
        };
        outputs.map(|output| dropped(&output.dropped)).reduce(|all, more| all + more)
    }

    /// Returns the names of all outputs: topics and other sinks.
    #[must_use]
    pub fn outputs(&self) -> BTreeSet<&str> {
        let of_runs = self.runs.values().flatten().flat_map(|run| run.output.keys());
        of_runs.chain(self.ended.keys().map(|(_, sink)| sink)).map(String::as_str).collect()
    }

    /// Returns the last counters of jobs that no longer write a sink.
    fn ended_of(&self, sink: &str) -> impl Iterator<Item = &StreamOutput> {
        self.ended.iter().filter(move |((_, name), _)| name == sink).map(|(_, output)| output)
    }

    /// Returns the number of records that all jobs have written to a sink.
    fn written(&self, sink: &str) -> u64 {
        let ended: u64 = self.ended_of(sink).map(|output| output.written).sum();
        ended + self.runs.values().flatten().map(|run| written_by(run, sink)).sum::<u64>()
    }

    /// Returns the number of records among [`Self::written`] whose commits have certainly ended: a
    /// checkpoint's topics are committed one by one, but before the next checkpoint.
    fn committed(&self, sink: &str) -> u64 {
        let is_recent = |run: &StreamLedgerRecord| run.head.ts.plus(RECENT) > Timestamp::now();
        let of_job = |(job, runs): (&String, &Vec<StreamLedgerRecord>)| -> u64 {
            let Some((newest, earlier)) = runs.split_last() else { return 0 };
            let committed = if is_recent(newest) { self.previous.get(job) } else { Some(newest) };
            // Otherwise those of the record before are among `ended`.
            let committed = committed.filter(|_| newest.output.contains_key(sink));
            let earlier: u64 = earlier.iter().map(|run| written_by(run, sink)).sum();
            earlier + committed.map_or(0, |run| written_by(run, sink))
        };
        let ended: u64 = self.ended_of(sink).map(|output| output.written).sum();
        ended + self.runs.iter().map(of_job).sum::<u64>()
    }

    /// Compares the counters with the topics (identity 6). `topics` has those that were read.
    #[must_use]
    pub fn compare(
        &self,
        topics: &BTreeMap<String, TopicTotals>,
        notes: &mut Findings,
        problems: &mut Findings,
    ) -> Vec<InputLine> {
        for ((job, sink), StreamOutput { written, .. }) in &self.ended {
            let newest = self.runs.get(job).and_then(|runs| runs.last());
            if newest.is_some_and(|run| run.output.contains_key(sink)) {
                continue;
            }
            notes
                .add(|| format!("{job}: it no longer writes {sink}: {written} records until then"));
        }
        let mut lines = Vec::new();
        for ((job, topic), (counters, runs)) in self.inputs() {
            let newest = self.runs.get(job).and_then(|runs| runs.last());
            if newest.is_none_or(|run| !run.input.contains_key(topic)) {
                // It no longer reads the topic.
                continue;
            }
            let totals = topics.get(topic);
            let mut line = InputLine {
                job: job.to_owned(),
                topic: topic.to_owned(),
                counters,
                found: totals.map(|totals| totals.found.records + totals.unreadable),
                found_distinct: totals.map(|totals| totals.found.distinct),
                unread: 0,
            };
            if let Some(found) = line.found {
                let read = self.read_of(job, topic);
                line.unread = read.map_or(0, |read| found.saturating_sub(read));
            }
            if let (Some(totals), Some(newest)) = (totals, self.newest(job)) {
                line.check(runs, totals, newest, notes, problems);
            }
            lines.push(line);
        }
        lines
    }
}

fn written_by(run: &StreamLedgerRecord, sink: &str) -> u64 {
    run.output.get(sink).map_or(0, |output| output.written)
}

/// Returns whether a stream job wrote a record: the others of its topic are of agents and probes.
#[must_use]
pub fn is_of_job(value: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Writer<'a> {
        schema: &'a str,
        #[serde(borrow)]
        node: Cow<'a, str>,
        stage: Option<&'a str>,
        scope: Option<&'a str>,
    }
    let Ok(Writer { schema, node, stage, scope }) = read_object(value) else {
        return false;
    };
    match schema {
        "dns.dlq/1" => node == "stream" && matches!(stage, Some("stream" | "store")),
        "dns.alert/1" => node == "fleet" && scope == Some("fleet"),
        _ => true,
    }
}

/// Records of a topic that jobs wrote, beside what their ledgers say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutputLine {
    /// Name of the topic.
    pub topic: String,
    /// Records that the jobs have written to it, by their newest ledger records.
    pub written: u64,
    /// Records of jobs found in the topic.
    pub found: u64,
}

impl OutputLine {
    /// Compares the records that jobs have written with those that were found after `before` and before
    /// `after` were read. `has_gaps` says whether records of the topic or of the ledgers are gone.
    pub(super) fn compare(
        topic: &str,
        found: u64,
        (before, after): (&StreamLedgers, &StreamLedgers),
        has_gaps: bool,
        notes: &mut Findings,
        problems: &mut Findings,
    ) -> Self {
        let (least, most) = (before.committed(topic), after.written(topic));
        let sentence = if found < least {
            let missing = least - found;
            Some(format!(
                "{topic}: the jobs say that they have written {least} records, {found} were found: \
                 {missing} missing"
            ))
        } else if found > most {
            Some(format!(
                "{topic}: the jobs say that they have written {most} records, {found} were found: \
                 {} too many",
                found - most
            ))
        } else {
            None
        };
        match sentence {
            Some(sentence) if has_gaps => notes.add(|| format!("{sentence}; the oldest are gone")),
            Some(sentence) => problems.add(|| sentence),
            None => {}
        }
        Self { topic: topic.to_owned(), written: most, found }
    }
}

/// Returns what does not balance in a record by itself.
fn imbalance(record: &StreamLedgerRecord) -> Option<String> {
    let mut problem = None;
    for (topic, input) in &record.input {
        let settled = input.unique + input.duplicates + input.malformed;
        if input.records != settled {
            problem = Some(format!(
                "input.{topic}: records = unique + duplicates + malformed does not hold: {} is not \
                 {settled}",
                input.records
            ));
        }
    }
    for (sink, output) in &record.output {
        let settled = output.written + output.dropped.values().sum::<u64>();
        if output.records != settled {
            problem = Some(format!(
                "output.{sink}: records = written + dropped does not hold: {} is not {settled}",
                output.records
            ));
        }
    }
    if problem.is_none() && !record.balanced {
        problem = Some("`balanced` says false".to_owned());
    }
    problem.map(|problem| format!("{}, checkpoint {}: {problem}", record.job, record.checkpoint))
}

impl InputLine {
    /// Checks identity 6 beside a topic. `newest` is the time of the newest checkpoint.
    #[expect(clippy::comparison_chain, reason = "each case has a sentence of its own")]
    fn check(
        &self,
        runs: usize,
        totals: &TopicTotals,
        newest: Timestamp,
        notes: &mut Findings,
        problems: &mut Findings,
    ) {
        let name = format!("{}: {}", self.job, self.topic);
        let StreamInput { records, unique, malformed, .. } = self.counters;
        let unread = self.unread;
        let read = (totals.found.records + totals.unreadable).saturating_sub(unread);
        let distinct = totals.found.distinct;
        if records < read {
            problems.add(|| {
                format!(
                    "{name}: the job has counted {records} of {read} records: it has not read to the \
                     end yet, or it began later"
                )
            });
        } else if records > read {
            let sentence =
                format!("{name}: the job has counted {records} records, the topic has {read}");
            if totals.has_gaps {
                notes.add(|| format!("{sentence}: the oldest are gone"));
            } else if runs > 1 {
                notes
                    .add(|| format!("{sentence}: it was submitted {runs} times without its state"));
            } else {
                problems.add(|| sentence);
            }
        } else {
            // A record that this program can read may be malformed for the job: it checks every field.
            let most = unique + malformed.saturating_sub(totals.unreadable) + unread;
            if distinct < unique || distinct > most {
                problems.add(|| {
                    format!(
                        "{name}: {unique} records are unique for the job, {distinct} in the topic"
                    )
                });
            }
        }
        self.check_unread(newest, notes, problems);
    }

    /// Checks that the job still reads. `newest` is the time of its newest checkpoint.
    fn check_unread(&self, newest: Timestamp, notes: &mut Findings, problems: &mut Findings) {
        let name = format!("{}: {}", self.job, self.topic);
        let unread = self.unread;
        if unread > 0 && newest.plus(LONGEST_CHECKPOINT) < Timestamp::now() {
            problems.add(|| {
                format!(
                    "{name}: the job does not run: its newest checkpoint is of {newest}, and {unread} \
                     records are not read"
                )
            });
        } else if unread > 0 {
            notes.add(|| format!("{name}: {unread} records arrived after the newest checkpoint"));
        }
    }
}

impl StoreLine {
    /// Checks identity 7. `may_be_fewer` is the number of records that a job left out as malformed;
    /// `has_gaps` whether the topic has lost records.
    pub fn check(
        &self,
        may_be_fewer: u64,
        has_gaps: bool,
        notes: &mut Findings,
        problems: &mut Findings,
    ) {
        let Self { store, table, rows, expired, dropped, unique, until } = self;
        if let Some(until) = until {
            notes.add(|| {
                format!("{store}, {table}: compared up to {until}, because records still arrive")
            });
        }
        let kept = unique.saturating_sub(*expired);
        let least = kept.saturating_sub(dropped + may_be_fewer);
        if *rows < least {
            problems.add(|| format!("{store}, {table}: {} rows are missing", least - rows));
        } else if *rows > kept && has_gaps {
            notes.add(|| {
                format!(
                    "{store}, {table}: {} rows of records that the topic no longer has",
                    rows - kept
                )
            });
        } else if *rows > kept {
            problems.add(|| format!("{store}, {table}: {} rows more than records", rows - kept));
        }
    }
}

/// Counts records by key in bounded memory.
pub(super) struct KeyCounter {
    sorter: Sorter,
    records: u64,
}

impl KeyCounter {
    pub(super) const fn new(sorter: Sorter) -> Self {
        Self { sorter, records: 0 }
    }

    fn add(&mut self, key: &[u8], age: Age) -> io::Result<()> {
        self.records += 1;
        // Nodes and streams do not matter here.
        let entry = SortEntry::new(EventId(xxh3_128(key)), 0, Stream::Ledger, None);
        self.sorter.push(entry.with_age(age))
    }

    fn totals(self) -> io::Result<FoundTotals> {
        let mut totals = FoundTotals { records: self.records, ..FoundTotals::default() };
        self.sorter.distinct(&mut |entry, _| {
            totals.distinct += 1;
            totals.expired += u64::from(entry.is_expired());
            totals.recent += u64::from(entry.is_recent());
        })?;
        Ok(totals)
    }
}

/// Records of a topic that no agent writes, by `event_id`, or for `dns.fleet/1` by window.
pub struct TopicCounter {
    keys: KeyCounter,
    unreadable: u64,
    /// Times between which records are compared with rows.
    pub bounds: Bounds,
    /// Only windows of this grouping count.
    pub grouping: Option<&'static str>,
}

/// Fields that identify a record or a merged window.
#[derive(Deserialize)]
struct KeyFields<'a> {
    event_id: &'a str,
    ts: Timestamp,
    revision: Option<u64>,
    #[serde(default)]
    window_seconds: u64,
    #[serde(default)]
    step_seconds: u64,
    #[serde(default)]
    grouping: String,
    #[serde(default)]
    vantage: String,
    region: Option<String>,
    resolver: Option<String>,
    zone: Option<String>,
    qtype: Option<String>,
    #[serde(default)]
    other: bool,
}

impl TopicCounter {
    pub(super) fn new(sorter: Sorter) -> Self {
        Self {
            keys: KeyCounter::new(sorter),
            unreadable: 0,
            bounds: Bounds::default(),
            grouping: None,
        }
    }

    /// Adds a record.
    ///
    /// # Errors
    /// The temporary files cannot be written.
    pub fn add(&mut self, value: &[u8]) -> io::Result<()> {
        let Ok(fields) = read_object::<KeyFields<'_>>(value) else {
            self.unreadable += 1;
            return Ok(());
        };
        let end = fields.ts.plus(Duration::from_secs(fields.window_seconds));
        let age = self.bounds.age(fields.step_seconds, fields.ts, end);
        if fields.revision.is_none() {
            return self.keys.add(fields.event_id.as_bytes(), age);
        }
        if self.grouping.is_some_and(|grouping| grouping != fields.grouping) {
            return Ok(());
        }
        // With grouping `all`, the region is that of no node.
        let region = fields.region.filter(|_| fields.grouping == "region");
        let key = (
            (fields.ts.as_nanos(), fields.window_seconds, fields.step_seconds),
            (fields.grouping, fields.vantage, region, fields.other),
            (fields.resolver, fields.zone, fields.qtype),
        );
        self.keys.add(format!("{key:?}").as_bytes(), age)
    }

    /// Returns what was counted.
    ///
    /// # Errors
    /// The temporary files cannot be read.
    pub fn totals(self, has_gaps: bool) -> io::Result<TopicTotals> {
        Ok(TopicTotals { found: self.keys.totals()?, unreadable: self.unreadable, has_gaps })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(checkpoint: u64, unique: u64, duplicates: u64, malformed: u64) -> Vec<u8> {
        let records = unique + duplicates + malformed;
        let dropped = json!({"refused": 1});
        json!({
            "schema": "dns.stream.ledger/1", "event_id": format!("{checkpoint:032x}"),
            "ts": "2026-11-20T07:30:00Z", "node": "enrich", "job": "enrich",
            "checkpoint": checkpoint, "late": 0, "balanced": true,
            "input": {"dns.normalized": {"records": records, "unique": unique,
                "duplicates": duplicates, "malformed": malformed}},
            "output": {"clickhouse": {"records": unique, "written": unique - 1, "dropped": dropped}},
        })
        .to_string()
        .into_bytes()
    }

    fn compare(ledgers: &StreamLedgers, totals: TopicTotals) -> (Findings, Findings) {
        let (mut notes, mut problems) = (Findings::default(), Findings::default());
        let topics = [("dns.normalized".to_owned(), totals)].into();
        assert_eq!(ledgers.compare(&topics, &mut notes, &mut problems).len(), 1);
        (notes, problems)
    }

    fn totals(records: u64, distinct: u64, unreadable: u64) -> TopicTotals {
        let found = FoundTotals { records, distinct, ..FoundTotals::default() };
        TopicTotals { found, unreadable, has_gaps: false }
    }

    #[test]
    fn newest_checkpoint_of_each_run_counts() {
        let mut ledgers = StreamLedgers::default();
        for checkpoint in [1, 2, 2, 3] {
            ledgers.add(&record(checkpoint, 10 * checkpoint, 2, 1)).unwrap();
        }
        assert_eq!(
            (ledgers.malformed("dns.normalized"), ledgers.dropped("clickhouse")),
            (1, Some(1))
        );
        let (notes, problems) = compare(&ledgers, totals(32, 30, 1));
        assert!(notes.is_empty() && problems.is_empty(), "{problems:?}");
        ledgers.add(&record(1, 5, 0, 0)).unwrap();
        let (notes, problems) = compare(&ledgers, totals(32, 30, 1));
        assert!(!notes.is_empty() && problems.is_empty());
        assert_eq!(ledgers.dropped("influxdb"), None);
    }

    #[test]
    fn records_that_the_store_would_not_keep_are_not_dropped() {
        let mut ledger: serde_json::Value = serde_json::from_slice(&record(1, 30, 0, 0)).unwrap();
        ledger["output"]["clickhouse"]["written"] = 27.into();
        ledger["output"]["clickhouse"]["dropped"]["expired"] = 2.into();
        let mut ledgers = StreamLedgers::default();
        ledgers.add(ledger.to_string().as_bytes()).unwrap();
        assert_eq!(ledgers.dropped("clickhouse"), Some(1));
    }

    #[test]
    fn every_missing_unit_is_found() {
        let mut ledgers = StreamLedgers::default();
        ledgers.add(&record(1, 30, 2, 1)).unwrap();
        for wrong in [totals(33, 31, 1), totals(31, 29, 1), totals(32, 29, 1), totals(32, 31, 1)] {
            let (_, problems) = compare(&ledgers, wrong);
            assert!(!problems.is_empty(), "{wrong:?}");
        }
        // The job finds a field wrong that is not looked at here.
        assert!(compare(&ledgers, totals(33, 31, 0)).1.is_empty());
        let mut broken: serde_json::Value = serde_json::from_slice(&record(2, 1, 0, 0)).unwrap();
        broken["input"]["dns.normalized"]["records"] = json!(2);
        assert!(ledgers.add(broken.to_string().as_bytes()).is_err());
    }

    #[test]
    fn records_after_the_newest_checkpoint_are_no_loss() {
        let counted = |minutes: u64, records: u64, offset: i64| {
            let mut ledgers = StreamLedgers::default();
            let mut value: serde_json::Value =
                serde_json::from_slice(&record(1, records, 0, 0)).unwrap();
            value["ts"] =
                Timestamp::now().minus(Duration::from_secs(60 * minutes)).to_string().into();
            value["input"]["dns.normalized"]["offsets"] = json!({"1": offset});
            ledgers.add(value.to_string().as_bytes()).unwrap();
            for offset in 0..10 {
                ledgers.count("dns.normalized", 1, offset);
            }
            ledgers.count("dns.normalized", 2, 0);
            compare(&ledgers, totals(11, 11, 0))
        };
        let (notes, problems) = counted(0, 7, 7);
        assert!(!notes.is_empty() && problems.is_empty(), "{problems:?}");
        assert!(!counted(0, 6, 7).1.is_empty(), "one is missing");
        assert!(!counted(0, 8, 7).1.is_empty(), "one too many");
        assert!(!counted(3, 7, 7).1.is_empty(), "the job has stopped");
    }

    #[test]
    fn topics_have_what_jobs_say_that_they_wrote() {
        let written = |checkpoint: u64, minutes: u64, count: u64| {
            let mut value: serde_json::Value =
                serde_json::from_slice(&record(checkpoint, 1, 0, 0)).unwrap();
            value["ts"] =
                Timestamp::now().minus(Duration::from_secs(60 * minutes)).to_string().into();
            value["output"]["dns.fleet"] = json!({"records": count, "written": count});
            value.to_string().into_bytes()
        };
        let compare = |ledgers: &StreamLedgers, found, has_gaps| {
            let (mut notes, mut problems) = (Findings::default(), Findings::default());
            let both = (ledgers, ledgers);
            OutputLine::compare("dns.fleet", found, both, has_gaps, &mut notes, &mut problems);
            (notes.shown, problems.shown)
        };
        let mut ledgers = StreamLedgers::default();
        // A run, then one without its state.
        for (checkpoint, count) in [(7, 1000), (1, 3000), (2, 3090)] {
            ledgers.add(&written(checkpoint, 2, count)).unwrap();
        }
        assert_eq!(ledgers.outputs(), ["clickhouse", "dns.fleet"].into());
        assert_eq!(compare(&ledgers, 4090, false), (vec![], vec![]));
        let lost = "dns.fleet: the jobs say that they have written 4090 records, 4042 were found: \
                    48 missing";
        assert_eq!(compare(&ledgers, 4042, false), (vec![], vec![lost.to_owned()]));
        assert!(compare(&ledgers, 4042, true).1.is_empty());
        assert_eq!(compare(&ledgers, 4091, false).1.len(), 1);
        // The newest checkpoint's topics may still be committed.
        ledgers.add(&written(3, 0, 3100)).unwrap();
        for found in [4090, 4100] {
            assert_eq!(compare(&ledgers, found, false), (vec![], vec![]));
        }
        assert_eq!(compare(&ledgers, 4089, false).1.len(), 1);
    }

    #[test]
    fn others_topics_are_compared_by_offsets() {
        let compare = |minutes: u64, runs: &[u64], offset: Option<i64>| {
            let mut ledgers = StreamLedgers::default();
            for records in runs {
                let mut value: serde_json::Value =
                    serde_json::from_slice(&record(1, *records, 0, 0)).unwrap();
                value["event_id"] = format!("{records:032x}").into();
                value["ts"] =
                    Timestamp::now().minus(Duration::from_secs(60 * minutes)).to_string().into();
                if let Some(offset) = offset {
                    value["input"]["dns.normalized"]["offsets"] = json!({"0": offset});
                }
                ledgers.add(value.to_string().as_bytes()).unwrap();
            }
            // Every other offset is that of a transaction's end.
            for offset in 0..37 {
                ledgers.count("dns.normalized", 0, 2 * offset);
            }
            let (mut notes, mut problems) = (Findings::default(), Findings::default());
            let mut lines = ledgers.compare(&BTreeMap::new(), &mut notes, &mut problems);
            ledgers.compare_read(&mut lines[0], 37, &mut notes, &mut problems);
            (lines[0].unread, notes.shown.len(), problems.shown.len())
        };
        assert_eq!(compare(0, &[37], Some(74)), (0, 0, 0));
        assert_eq!(compare(0, &[30], Some(60)), (7, 1, 0), "seven came later");
        assert_eq!(compare(3, &[30], Some(60)), (7, 0, 1), "the job does not run");
        assert_eq!(compare(0, &[10], Some(74)), (0, 1, 0), "it began later, and has read all");
        assert_eq!(compare(0, &[31], Some(60)), (7, 1, 1), "one too many");
        // The sum of two runs hides nothing that is not read.
        assert_eq!(compare(0, &[25, 30], Some(60)), (7, 2, 0));
        assert_eq!(compare(0, &[30], None), (7, 1, 0), "a ledger without offsets");
    }

    #[test]
    fn partitions_without_records_since_a_new_run_are_read() {
        let mut ledgers = StreamLedgers::default();
        for (id, offsets) in [(1, json!({"0": 3, "1": 2})), (2, json!({"0": 5}))] {
            let mut value: serde_json::Value = serde_json::from_slice(&record(1, 5, 0, 0)).unwrap();
            value["event_id"] = format!("{id:032x}").into();
            value["input"]["dns.normalized"]["offsets"] = offsets;
            ledgers.add(value.to_string().as_bytes()).unwrap();
        }
        for (partition, offset) in [(0, 3), (0, 5), (1, 1), (1, 2), (2, 0)] {
            ledgers.count("dns.normalized", partition, offset);
        }
        assert_eq!(ledgers.read_of("enrich", "dns.normalized"), Some(2));
    }

    #[test]
    fn sinks_that_a_job_no_longer_writes_still_count() {
        let written = |checkpoint: u64, topics: &[(&str, u64)]| {
            let mut value: serde_json::Value =
                serde_json::from_slice(&record(checkpoint, 1, 0, 0)).unwrap();
            value["output"] = json!({});
            for (topic, count) in topics {
                value["output"][topic] =
                    json!({"records": count + 1, "written": count, "dropped": {"refused": 1}});
            }
            value["ts"] = Timestamp::now().to_string().into();
            value.to_string().into_bytes()
        };
        let mut ledgers = StreamLedgers::default();
        ledgers.add(&written(1, &[("a", 10), ("b", 5)])).unwrap();
        ledgers.add(&written(2, &[("a", 20)])).unwrap();
        assert_eq!((ledgers.written("b"), ledgers.committed("b")), (5, 5));
        // It is switched on again: its counters begin anew.
        ledgers.add(&written(3, &[("a", 30), ("b", 2)])).unwrap();
        assert_eq!((ledgers.written("b"), ledgers.committed("b")), (7, 5));
        ledgers.add(&written(4, &[("a", 30), ("b", 3)])).unwrap();
        assert_eq!((ledgers.written("b"), ledgers.committed("b")), (8, 7));
        assert_eq!((ledgers.written("a"), ledgers.dropped("b")), (30, Some(2)));
        assert_eq!(ledgers.outputs(), ["a", "b"].into());
        let (mut notes, mut problems) = (Findings::default(), Findings::default());
        let _lines = ledgers.compare(&BTreeMap::new(), &mut notes, &mut problems);
        assert!(notes.is_empty());
        let mut last: serde_json::Value =
            serde_json::from_slice(&written(5, &[("a", 31)])).unwrap();
        last["input"] = json!({});
        ledgers.add(last.to_string().as_bytes()).unwrap();
        let lines = ledgers.compare(&BTreeMap::new(), &mut notes, &mut problems);
        assert!(lines.is_empty(), "it reads nothing any more");
        assert_eq!(notes.shown, ["enrich: it no longer writes b: 8 records until then"]);
    }

    #[test]
    fn records_of_jobs_are_not_those_of_agents() {
        for (line, expected) in [
            (r#"{"schema":"dns.fleet/1"}"#, false),
            (r#"{"schema":"dns.fleet/1","node":"fleet"}"#, true),
            (r#"{"schema":"dns.enriched/1","node":"\u00e4"}"#, true),
            (r#"{"schema":"dns.dlq/1","node":"stream","stage":"decode"}"#, false),
            (r#"{"schema":"dns.dlq/1","node":"stream","stage":"stream"}"#, true),
            (r#"{"schema":"dns.alert/1","node":"fleet","scope":"node"}"#, false),
            (r#"{"schema":"dns.alert/1","node":"fleet","scope":"fleet"}"#, true),
        ] {
            assert_eq!(is_of_job(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn age_is_that_of_the_window() {
        let at = |seconds: u64| Timestamp::from_nanos(seconds * 1_000_000_000);
        let bounds = Bounds { expired: [(60, at(100))].into(), recent: Some(at(200)) };
        assert_eq!(bounds.age(60, at(99), at(159)), Age::Expired);
        assert_eq!(bounds.age(10, at(99), at(109)), Age::Kept);
        assert_eq!(bounds.age(60, at(150), at(210)), Age::Recent);
        assert_eq!(Bounds::default().age(0, at(0), at(u32::MAX.into())), Age::Kept);
    }

    #[test]
    fn rows_are_compared_to_the_unit() {
        let line = |rows| StoreLine {
            store: "clickhouse".into(),
            table: "dns_transactions".into(),
            rows,
            expired: 10,
            dropped: 1,
            unique: 100,
            until: None,
        };
        let closes = |rows, may_be_fewer, has_gaps| {
            let (mut notes, mut problems) = (Findings::default(), Findings::default());
            line(rows).check(may_be_fewer, has_gaps, &mut notes, &mut problems);
            problems.is_empty()
        };
        assert!(closes(89, 0, false) && closes(90, 0, false) && closes(88, 1, false));
        assert!(!closes(88, 0, false) && !closes(91, 0, false) && closes(91, 0, true));
    }
}

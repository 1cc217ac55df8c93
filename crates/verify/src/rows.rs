//! Identities 6 and 7: the counters of stream jobs against the topics, and the rows of stores against
//! the records.
//!
//! A job's ledger is cumulative. A job that is submitted again without its state begins a new ledger
//! (a run), whose checkpoints begin again; the last record of each run counts. So does one that goes on
//! from an older savepoint: what the run before had written until then is in its own counters.

mod count;

pub use count::TopicCounter;

use super::Findings;
use super::sort::Age;
use dnscribe_record::ledger::Reasons;
use dnscribe_record::time::Timestamp;
use dnscribe_record::{StreamInput, StreamLedgerRecord, StreamOutput, StreamRestored, read_object};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

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
    /// Records among `expired` that are older than what the store keeps by default.
    pub expired_by_default: u64,
    /// Distinct records that are so new that their rows may still be on their way.
    pub recent: u64,
    /// Copies, without the first of each, that were written long after their time.
    pub late_copies: u64,
}

impl FoundTotals {
    /// Counts a record that is no copy.
    pub(super) const fn add_distinct(&mut self, age: Age) {
        self.distinct += 1;
        match age {
            Age::Expired => self.expired += 1,
            Age::ExpiredByDefault => {
                self.expired += 1;
                self.expired_by_default += 1;
            }
            Age::Recent => self.recent += 1,
            Age::Kept => {}
        }
    }
}

/// Times between which records are compared with rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Times before which records are expired, by step of the window in seconds; 0 for all that have
    /// no time of their own, and records that are no windows.
    pub expired: BTreeMap<u64, Timestamp>,
    /// These times by the store's default retention, for steps of which the store has no row.
    pub expired_by_default: BTreeMap<u64, Timestamp>,
    /// The time from which on rows may still be on their way.
    pub recent: Option<Timestamp>,
}

impl Bounds {
    /// Returns the age of a record or window that begins and ends at these times.
    pub(super) fn age(&self, step: u64, begin: Timestamp, end: Timestamp) -> Age {
        let is_before = |times: &BTreeMap<u64, Timestamp>| {
            times.get(&step).or_else(|| times.get(&0)).is_some_and(|expired| begin < *expired)
        };
        if is_before(&self.expired) {
            Age::Expired
        } else if is_before(&self.expired_by_default) {
            Age::ExpiredByDefault
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
        let is_copy = |last: &StreamLedgerRecord| {
            (last.head.event_id, last.head.ts) == (record.head.event_id, record.head.ts)
        };
        match (runs.last_mut(), &record.restored) {
            (Some(last), _) if is_copy(last) => {}
            (Some(last), Some(restored)) if restored.checkpoint < last.checkpoint => {
                leave_rest(last, restored);
                self.previous.remove(&record.job);
                runs.push(record);
            }
            (Some(last), _) if record.checkpoint > last.checkpoint => {
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
        let runs = self.runs.get(job).into_iter().flatten();
        let is_one_run = runs.filter(|run| run.input.contains_key(topic)).count() == 1;
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
    pub(super) fn malformed(&self, topic: &str) -> u64 {
        let of_topic = self.inputs().into_iter().filter(|((_, name), _)| *name == topic);
        of_topic.map(|(_, (input, _))| input.malformed).max().unwrap_or_default()
    }

    /// Returns the number of records of a topic that this program can read and a job left out as malformed.
    /// `unreadable` is the number that neither can read.
    #[must_use]
    pub fn left_out(&self, topic: &str, unreadable: u64) -> u64 {
        self.malformed(topic).saturating_sub(unreadable)
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

/// Leaves in the last record of a run what the next one, which went on from an older checkpoint, has not in
/// its own counters: what was written after that checkpoint. All that was read after it is read again.
fn leave_rest(last: &mut StreamLedgerRecord, restored: &StreamRestored) {
    last.input.clear();
    for (sink, before) in &restored.output {
        let Some(output) = last.output.get_mut(sink) else { continue };
        output.records = output.records.saturating_sub(before.records);
        output.written = output.written.saturating_sub(before.written);
        for (reason, count) in &before.dropped {
            if let Some(dropped) = output.dropped.get_mut(reason) {
                *dropped = dropped.saturating_sub(*count);
            }
        }
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
            let more = unique.saturating_sub(distinct);
            if more > 0 && more <= totals.found.late_copies {
                let setting = self.job.split('-').next().unwrap_or_default();
                notes.add(|| {
                    format!(
                        "{name}: {more} copies are unique for the job, as they came later than `{setting}.deduplicate` \
                         after the first: up to {more} missing records would not show"
                    )
                });
            } else if distinct < unique || distinct > most {
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
    /// Checks identity 7. `left_out` is the number of records among `unique` that a job left out as
    /// malformed; `has_gaps` whether the topic has lost records.
    pub fn check(
        &self,
        left_out: u64,
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
        let least = kept.saturating_sub(dropped + left_out);
        if *rows < least {
            problems.add(|| format!("{store}, {table}: {} rows are missing", least - rows));
        } else if *rows > least && *rows <= kept {
            // A record may be dropped or malformed once and written another time, or expire after it was dropped.
            notes.add(|| {
                let more = rows - least;
                format!(
                    "{store}, {table}: {more} rows of records that a job dropped or left out, or that expired since: \
                     up to {more} missing rows would not show"
                )
            });
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

#[cfg(test)]
mod tests;

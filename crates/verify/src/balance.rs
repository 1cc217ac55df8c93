//! Compares the ledger with the records found, capture by capture.
//!
//! For each stream of a capture, with the counters of its newest ledger record:
//!
//! - At least `delivered` records were found. Once the spool was emptied, at least `delivered +
//!   spooled`: a later run of the node took over the spool and reports, under the sink's name with
//!   the suffix `_recovered`, that nothing of it is left.
//! - At most `delivered + spooled + in_flight + dropped` were found, if that ledger record is
//!   final: a broker may have kept a record whose acknowledgement never arrived.
//! - Records that a later run dropped from the spool may be missing. One counter covers the spools
//!   of all earlier captures, so these are balanced as a sum.
//! - A ledger record counts what was delivered before it, so never itself.

use super::sort::SortEntry;
use super::{BalanceReport, Incomplete, report::BalanceLine};
use dnscribe_record::ledger::{Delivery, Pairing};
use dnscribe_record::{LedgerRecord, Stream};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Suffix of a sink's name for what it found in the spool of earlier captures.
pub(super) const RECOVERED: &str = "_recovered";

const STREAMS: usize = Stream::ALL.len();

/// A status of transactions and its counter.
type Status = (&'static str, fn(&Pairing) -> u64);

const STATUSES: [Status; 8] = [
    ("answered", |pairing| pairing.answered),
    ("timeout", |pairing| pairing.timeout),
    ("late", |pairing| pairing.late),
    ("icmp_error", |pairing| pairing.icmp_error),
    ("duplicate", |pairing| pairing.duplicate),
    ("orphan", |pairing| pairing.orphan),
    ("evicted", |pairing| pairing.evicted),
    ("open", |pairing| pairing.open),
];

/// Returns the index of a status in [`STATUSES`].
pub(super) fn status_number(name: &str) -> Option<u8> {
    let place = STATUSES.iter().position(|(status, _)| *status == name)?;
    u8::try_from(place).ok()
}

/// Records found, by stream and by status of transactions.
#[derive(Clone, Debug, Default)]
pub(super) struct FoundRecords {
    records: [u64; STREAMS],
    distinct: [u64; STREAMS],
    statuses: [u64; STATUSES.len()],
}

impl FoundRecords {
    /// Adds an event that was found in `copies` copies.
    pub(super) fn add(&mut self, event: &SortEntry, copies: u64) {
        let stream = usize::from(event.stream);
        self.records[stream] += copies;
        self.distinct[stream] += 1;
        if stream == Stream::Transactions as usize
            && let Some(count) = self.statuses.get_mut(usize::from(event.status()))
        {
            *count += 1;
        }
    }
}

/// One capture: its newest ledger record and the records found.
pub(super) struct CaptureBalance<'a> {
    pub(super) ledger: &'a LedgerRecord,
    pub(super) found: FoundRecords,
}

impl CaptureBalance<'_> {
    /// Returns the number of found records of a stream to compare with `delivered`.
    fn comparable(&self, stream: Stream) -> u64 {
        self.found.distinct[stream as usize]
    }

    /// Returns the sink that the records of a stream were read from, and what it delivered of it: the sink of this name
    /// or, since each of several sinks gets its own copy of a record, the one that fits all that was found. It has these
    /// streams, delivered nothing of others, and has the most records. Another one counts only for records that this one
    /// cannot have written.
    fn source(&self, name: Option<&str>, stream: Stream) -> Option<(&str, &Delivery)> {
        let is_found = |stream: Stream| self.comparable(stream) > 0;
        let fit = |streams: &BTreeMap<String, Delivery>| {
            let (mut lacking, mut absent, mut records) = (0, 0, 0);
            for stream in Stream::ALL {
                let delivered = streams.get(stream.name()).map(|delivery| delivery.delivered);
                lacking += u32::from(is_found(stream) && delivered.is_none());
                absent += u32::from(!is_found(stream) && delivered.unwrap_or(0) > 0);
                records += delivered.unwrap_or(0);
            }
            (Reverse(lacking), Reverse(absent), records)
        };
        let sinks = self.ledger.counters.delivery.iter().filter(|(sink, _)| match name {
            Some(name) => name == *sink,
            None => !sink.ends_with(RECOVERED),
        });
        let best = sinks.clone().max_by_key(|(_, streams)| fit(streams));
        best.and_then(|sink| delivery_of(stream, sink)).or_else(|| {
            let others = sinks.filter(|_| is_found(stream));
            let others = others.filter_map(|sink| delivery_of(stream, sink));
            others.max_by_key(|(_, delivery)| delivery.delivered)
        })
    }
}

/// Returns the name of a sink and what it delivered of a stream, if it has the stream.
fn delivery_of<'a>(
    stream: Stream,
    (sink, streams): (&'a String, &'a BTreeMap<String, Delivery>),
) -> Option<(&'a str, &'a Delivery)> {
    Some((sink, streams.get(stream.name())?))
}

/// All captures of one node.
pub(super) struct NodeBalance<'a> {
    pub(super) name: &'a str,
    /// Captures in order of their start.
    pub(super) epochs: Vec<CaptureBalance<'a>>,
    /// Records found that belong to none of them.
    pub(super) unknown: FoundRecords,
}

/// What the ledger of a capture says about a stream.
struct LedgerClaim<'a> {
    sink: &'a str,
    delivery: &'a Delivery,
    /// Records delivered, the newest ledger record itself included.
    delivered: u64,
    /// Whether nothing is left of the spool.
    emptied: bool,
    /// Records that later runs dropped from the spool; may include those of other captures.
    dropped_later: u64,
}

/// Losses of all captures whose spool was emptied.
#[derive(Default)]
struct SpoolLosses {
    /// Records delivered or spooled that were not found.
    missing: u64,
    /// Records that later runs dropped from the spool.
    dropped: u64,
}

impl NodeBalance<'_> {
    /// Adds the node's lines, notes and problems to the report.
    pub(super) fn balance(
        &self,
        sink: Option<&str>,
        incomplete: &Incomplete,
        report: &mut BalanceReport,
    ) {
        for CaptureBalance { ledger, .. } in
            self.epochs.iter().filter(|epoch| !epoch.ledger.is_final)
        {
            report.notes.add(|| {
                format!(
                    "{}, epoch {}: not ended: its newest ledger record is not final; the \
                     capture is still running, was killed, or its final record is in the spool",
                    self.name, ledger.epoch
                )
            });
        }
        for stream in Stream::ALL {
            let hint = match incomplete.get(&stream).map(Vec::as_slice) {
                None | Some([]) => String::new(),
                Some([why]) => format!("; {why}"),
                Some([why, more @ ..]) => format!("; {why}; and {} more such gaps", more.len()),
            };
            self.balance_stream(stream, sink, &hint, report);
        }
        self.unknown_captures(report);
    }

    fn balance_stream(
        &self,
        stream: Stream,
        sink: Option<&str>,
        hint: &str,
        report: &mut BalanceReport,
    ) {
        let mut sums: BTreeMap<&str, SpoolLosses> = BTreeMap::new();
        for (index, epoch) in self.epochs.iter().enumerate() {
            let Some(claim) = self.claim(index, sink, stream) else {
                self.add_unclaimed(stream, epoch, report);
                continue;
            };
            let found_count = epoch.comparable(stream);
            report.lines.push(claim.line(self.name, stream, epoch));
            claim.check(self.name, stream, epoch, hint, report);
            if claim.emptied {
                let sum = sums.entry(claim.sink).or_default();
                sum.missing += claim.accepted().saturating_sub(found_count);
                // The oldest capture's value covers all captures.
                sum.dropped = sum.dropped.max(claim.dropped_later);
            }
        }
        for (sink, SpoolLosses { missing, dropped }) in sums {
            if dropped > 0 && missing > dropped {
                report.problems.add(|| {
                    format!(
                        "{}: {}: {missing} records that {sink} delivered or spooled are missing in \
                         epochs whose spool was emptied, but later runs dropped only \
                         {dropped}{hint}",
                        self.name,
                        stream.name(),
                    )
                });
            }
        }
    }

    /// Returns what the newest ledger record of a capture says about a stream; none if no sink had
    /// it.
    fn claim(&self, index: usize, sink: Option<&str>, stream: Stream) -> Option<LedgerClaim<'_>> {
        let (sink, delivery) = self.epochs.get(index)?.source(sink, stream)?;
        let (mut emptied, mut dropped_later) = (false, 0);
        for later in &self.epochs[index + 1..] {
            let name = format!("{sink}{RECOVERED}");
            let Some(recovered) = later.ledger.counters.delivery.get(&name) else { continue };
            // If the stream is absent, the spool held none of its records.
            let left = recovered.get(stream.name()).map(|of| (of.spooled + of.in_flight, of));
            emptied |= left.is_none_or(|(left, _)| left == 0);
            dropped_later += left.map_or(0, |(_, of)| of.dropped.values().sum());
        }
        let delivered = delivery.delivered + u64::from(stream == Stream::Ledger);
        Some(LedgerClaim { sink, delivery, delivered, emptied, dropped_later })
    }

    /// Notes records of a stream that the capture's newest ledger record does not mention: another
    /// run with the same epoch wrote them, such as a second replay with other streams.
    fn add_unclaimed(
        &self,
        stream: Stream,
        epoch: &CaptureBalance<'_>,
        report: &mut BalanceReport,
    ) {
        let line = line(self.name, stream, &epoch.found);
        if line.found == 0 {
            return;
        }
        report.notes.add(|| {
            format!(
                "{}, epoch {}: {}: {} records were found that its newest ledger record does not \
                 mention",
                self.name,
                epoch.ledger.epoch,
                stream.name(),
                line.found
            )
        });
        let epoch = epoch.ledger;
        report.lines.push(BalanceLine {
            epoch: Some(epoch.epoch.clone()),
            ended: epoch.is_final,
            ..line
        });
    }

    /// Adds lines and a note for records of captures that the ledger does not know.
    fn unknown_captures(&self, report: &mut BalanceReport) {
        let lines = Stream::ALL.map(|stream| line(self.name, stream, &self.unknown));
        let before = report.lines.len();
        report.lines.extend(lines.into_iter().filter(|line| line.found > 0));
        let count: u64 = report.lines[before..].iter().map(|line| line.found).sum();
        if count > 0 {
            report.notes.add(|| {
                format!(
                    "{}: {count} records belong to no epoch in the ledger: the capture was killed \
                     before its first ledger record, the ledger records have expired, or another \
                     program wrote them",
                    self.name
                )
            });
        }
    }
}

/// Returns a line without a claim.
fn line(node: &str, stream: Stream, found: &FoundRecords) -> BalanceLine {
    let (records, distinct) = (found.records[stream as usize], found.distinct[stream as usize]);
    BalanceLine {
        node: node.to_owned(),
        epoch: None,
        ended: false,
        stream: stream.name(),
        sink: None,
        delivered: None,
        spooled: None,
        waiting: 0,
        found: distinct,
        duplicates: records - distinct,
    }
}

impl LedgerClaim<'_> {
    /// Returns the minimum number of records to be found.
    fn min_found(&self) -> u64 {
        let spooled = self.delivery.spooled;
        let arrived = if self.emptied { spooled.saturating_sub(self.dropped_later) } else { 0 };
        self.delivered + arrived
    }

    /// Returns the number of records delivered or spooled.
    fn accepted(&self) -> u64 {
        self.delivered + self.delivery.spooled
    }

    /// Returns the number of records that were or will be sent.
    fn sent(&self) -> u64 {
        self.accepted() + self.delivery.in_flight
    }

    /// Returns the number of records that may still be in the spool.
    fn waiting(&self, distinct: u64) -> u64 {
        if self.emptied { 0 } else { self.accepted().saturating_sub(distinct.max(self.delivered)) }
    }

    /// Returns the maximum number of records to be found once the capture has ended.
    fn max_found(&self) -> u64 {
        self.sent() + self.delivery.dropped.values().sum::<u64>()
    }

    /// Returns whether every record of the stream was delivered.
    fn is_lossless(&self) -> bool {
        let Delivery { records, delivered, spooled, .. } = *self.delivery;
        let arrived = spooled == 0 || self.emptied && self.dropped_later == 0;
        arrived && delivered + spooled == records
    }

    fn line(&self, node: &str, stream: Stream, epoch: &CaptureBalance<'_>) -> BalanceLine {
        BalanceLine {
            epoch: Some(epoch.ledger.epoch.clone()),
            ended: epoch.ledger.is_final,
            sink: Some(self.sink.to_owned()),
            delivered: Some(self.delivered),
            spooled: Some(self.delivery.spooled),
            waiting: self.waiting(epoch.comparable(stream)),
            ..line(node, stream, &epoch.found)
        }
    }

    fn check(
        &self,
        node: &str,
        stream: Stream,
        epoch: &CaptureBalance<'_>,
        hint: &str,
        report: &mut BalanceReport,
    ) {
        let CaptureBalance { ledger, found } = epoch;
        let what = || format!("{node}, epoch {}: {}", ledger.epoch, stream.name());
        let distinct = found.distinct[stream as usize];
        let (least, sent, most) = (self.min_found(), self.sent(), self.max_found());
        let found_count = epoch.comparable(stream);
        if found_count < least {
            let how = if least > self.delivered { "delivered or spooled" } else { "delivered" };
            report.problems.add(|| {
                format!(
                    "{}: the ledger says that {} {how} {least} records, {found_count} were found: \
                     {} missing{hint}",
                    what(),
                    self.sink,
                    least - found_count
                )
            });
        } else if ledger.is_final && distinct > most {
            report.problems.add(|| {
                format!(
                    "{}: the ledger accounts for {most} records of {}, {distinct} were found",
                    what(),
                    self.sink
                )
            });
        } else if ledger.is_final && distinct > sent {
            let excess = distinct - sent;
            report.notes.add(|| {
                format!("{}: {excess} records were found that the ledger counts as dropped", what())
            });
        }
        let waiting = self.waiting(found_count);
        if waiting > 0 {
            report.notes.add(|| format!("{}: {waiting} records may still be in the spool", what()));
        }
        if stream == Stream::Transactions && ledger.is_final && self.is_lossless() {
            check_statuses(&what(), epoch, report);
        }
    }
}

/// Checks that the statuses of the transactions are those that pairing counted. Valid only if every
/// transaction was delivered.
fn check_statuses(what: &str, epoch: &CaptureBalance<'_>, report: &mut BalanceReport) {
    for ((status, counter), found) in STATUSES.iter().zip(epoch.found.statuses) {
        let counters = &epoch.ledger.counters;
        let merged = counters.seen_by.as_ref().and_then(|seen_by| seen_by.merged.get(*status));
        let counted = counter(&counters.pairing) - merged.copied().unwrap_or(0);
        if found != counted {
            report.problems.add(|| {
                format!(
                    "{what}: pairing.{status} is {counted}, but {found} such transactions were found"
                )
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dnscribe_record::Labels;
    use dnscribe_record::Stream::{Alerts, Ledger, Messages, Metrics, Transactions};
    use dnscribe_record::ledger::Counters;

    /// What sinks delivered, by stream.
    type Delivered = [(&'static str, &'static [(Stream, u64)])];

    /// Returns the problems of a capture whose sinks delivered these records, and of which these were found.
    fn problems(delivered: &Delivered, found: &[(Stream, u64)], sink: Option<&str>) -> Vec<String> {
        let mut counters = Counters::default();
        for (sink, streams) in delivered {
            let deliveries = streams.iter().map(|(stream, count)| {
                let (records, delivered) = (*count, *count);
                (stream.name().to_owned(), Delivery { records, delivered, ..Delivery::default() })
            });
            counters.delivery.insert((*sink).to_owned(), deliveries.collect());
        }
        let ledger = LedgerRecord {
            schema: "dns.ledger/1".to_owned(),
            event_id: "0".repeat(32),
            ts: "t".to_owned(),
            node: "n".to_owned(),
            region: None,
            labels: Labels::new(),
            epoch: "e".to_owned(),
            uptime_seconds: 1.0,
            is_final: true,
            balanced: true,
            counters,
        };
        let mut records = FoundRecords::default();
        for (stream, count) in found {
            records.records[*stream as usize] = *count;
            records.distinct[*stream as usize] = *count;
        }
        let mut report = BalanceReport::default();
        let epochs = vec![CaptureBalance { ledger: &ledger, found: records }];
        let node = NodeBalance { name: "n", epochs, unknown: FoundRecords::default() };
        node.balance(sink, &Incomplete::default(), &mut report);
        report.problems.shown
    }

    #[test]
    fn streams_of_other_sinks_are_not_missing() {
        let file = [(Transactions, 9), (Alerts, 0), (Ledger, 1)];
        let all: &Delivered = &[
            ("alertmanager", &[(Alerts, 5)]),
            ("file", &[(Transactions, 9), (Alerts, 0), (Ledger, 0)]),
            ("kafka", &[(Messages, 70), (Transactions, 9), (Alerts, 0), (Ledger, 0)]),
            ("pcapng", &[(Messages, 70)]),
            ("parquet", &[(Transactions, 30), (Metrics, 8)]),
        ];
        assert_eq!(problems(all, &file, None), [""; 0]);
        // What a sink lacks is found out all the same, one that is named and one that is not.
        let less = [(Transactions, 8), (Ledger, 1)];
        for sink in [None, Some("file")] {
            let [problem] = <[_; 1]>::try_from(problems(all, &less, sink)).unwrap();
            assert!(problem.contains("transactions: the ledger says that file delivered 9"));
        }
        assert_eq!(problems(all, &file, Some("kafka")).len(), 1, "without its messages");
        // The only sink with the ledger has lost a whole stream.
        assert_eq!(problems(&all[1..2], &[(Ledger, 1)], None).len(), 1);
    }

    #[test]
    fn files_of_two_sinks_are_compared_with_both() {
        let all: &Delivered =
            &[("file", &[(Transactions, 9), (Ledger, 0)]), ("stdout", &[(Messages, 7)])];
        let found = |messages| [(Messages, messages), (Transactions, 9), (Ledger, 1)];
        assert_eq!(problems(all, &found(7), None), [""; 0]);
        assert_eq!(problems(all, &found(6), None).len(), 1);
    }
}

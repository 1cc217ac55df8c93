//! What the ledger says against what is there, capture by capture.
//!
//! Of each stream of a capture, with the counters of its newest ledger record:
//!
//! - At least `delivered` records are there. Once the spool was emptied, at least `delivered +
//!   spooled`: a later run of the node has taken over the spool and says, under the name of the
//!   sink with `_recovered` behind it, that nothing of it is left.
//! - At most `delivered + spooled + in_flight + dropped`, where that record is the last: a broker
//!   may have kept a record whose acknowledgement never came.
//! - What a later run dropped of the spool may be missing. One counter stands for the spools of all
//!   earlier captures, so that these are balanced as a sum.
//! - A ledger record counts what was delivered before it, so never itself.
//! - Where one agent took over from another, both deliver what waited meanwhile, under one event id: copies
//!   count then, of what must be there at least.

use super::agents::Whole;
use super::sort::Entry;
use super::{Incomplete, Report, report::Line, status};
use crate::ledger::Delivery;
use crate::record::LedgerRecord;
use crate::sink::Stream;
use std::collections::BTreeMap;

/// Behind the name of a sink: what it found in the spool of earlier captures.
pub(super) const RECOVERED: &str = "_recovered";

const STREAMS: usize = Stream::ALL.len();

/// What was found, by stream and by status of transactions.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    records: [u64; STREAMS],
    distinct: [u64; STREAMS],
    statuses: [u64; status::COUNT],
}

impl Found {
    /// Takes an event that is there in so many copies.
    pub(super) fn add(&mut self, event: &Entry, copies: u64) {
        let stream = event.stream();
        self.records[stream] += copies;
        self.distinct[stream] += 1;
        if stream == Stream::Transactions as usize
            && let Some(count) = self.statuses.get_mut(event.status())
        {
            *count += 1;
        }
    }
}

/// One capture: its newest ledger record and what was found.
pub(super) struct Epoch<'a> {
    pub(super) whole: &'a Whole,
    pub(super) ledger: &'a LedgerRecord,
    pub(super) found: Found,
}

impl Epoch<'_> {
    /// What of a stream is compared with what was delivered.
    fn there(&self, stream: Stream) -> u64 {
        let found = if self.whole.agents > 1 { self.found.records } else { self.found.distinct };
        found[stream as usize]
    }
}

/// All captures of one node.
pub(super) struct Node<'a> {
    pub(super) name: &'a str,
    /// In the order of their beginnings.
    pub(super) epochs: Vec<Epoch<'a>>,
    /// What belongs to none of them.
    pub(super) unknown: Found,
}

/// What the ledger of a capture says of a stream.
struct Claim<'a> {
    sink: &'a str,
    delivery: &'a Delivery,
    /// Delivered, the newest ledger record itself included.
    delivered: u64,
    /// Whether nothing is left of what was in the spool.
    emptied: bool,
    /// What later runs dropped of the spool; may be of other captures too.
    dropped_later: u64,
}

/// Of all captures whose spool was emptied.
#[derive(Default)]
struct Sum {
    /// Records delivered or spooled that are not there.
    missing: u64,
    /// Records that later runs dropped of the spool.
    dropped: u64,
}

impl Node<'_> {
    /// Adds the node's lines, notes and problems to the report.
    pub(super) fn balance(&self, sink: Option<&str>, incomplete: &Incomplete, report: &mut Report) {
        for Epoch { ledger, .. } in self.epochs.iter().filter(|epoch| !epoch.whole.complete) {
            report.notes.add(|| {
                format!(
                    "{}, epoch {}: taken over {} times, and not every agent's ledger is here: what \
                     pairing counted is not compared with the records",
                    self.name, ledger.epoch, ledger.takeovers
                )
            });
        }
        for Epoch { ledger, .. } in self.epochs.iter().filter(|epoch| !epoch.ledger.is_final) {
            report.notes.add(|| {
                format!(
                    "{}, epoch {}: not ended: its newest ledger record is not its last; the \
                     capture still runs, was killed, or its last waits in the spool",
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
            self.stream(stream, sink, &hint, report);
        }
        self.strangers(report);
    }

    fn stream(&self, stream: Stream, sink: Option<&str>, hint: &str, report: &mut Report) {
        let mut sums: BTreeMap<&str, Sum> = BTreeMap::new();
        for (place, epoch) in self.epochs.iter().enumerate() {
            let Some(claim) = self.claim(place, sink, stream) else {
                self.unclaimed(stream, epoch, report);
                continue;
            };
            let there = epoch.there(stream);
            report.lines.push(claim.line(self.name, stream, epoch));
            claim.check(self.name, stream, epoch, hint, report);
            if claim.emptied {
                let sum = sums.entry(claim.sink).or_default();
                sum.missing += claim.accepted().saturating_sub(there);
                // That of the oldest capture is that of all.
                sum.dropped = sum.dropped.max(claim.dropped_later);
            }
        }
        for (sink, Sum { missing, dropped }) in sums {
            if dropped > 0 && missing > dropped {
                report.problems.add(|| {
                    format!(
                        "{}: {}: of the epochs whose spool was emptied, {missing} records that \
                         {sink} delivered or spooled are missing, and later runs dropped but \
                         {dropped}{hint}",
                        self.name,
                        stream.name(),
                    )
                });
            }
        }
    }

    /// What the newest ledger record of a capture says of a stream; none where no sink had it.
    ///
    /// Without a sink's name the records may be those of any sink: the one that claims most is
    /// meant, for each of several sinks gets a copy of its own.
    fn claim(&self, place: usize, sink: Option<&str>, stream: Stream) -> Option<Claim<'_>> {
        let Epoch { ledger, whole, .. } = self.epochs.get(place)?;
        let sinks = ledger.counters.delivery.iter();
        let (sink, delivery) = sinks
            .filter(|(name, _)| match sink {
                Some(sink) => sink == *name,
                None => !name.ends_with(RECOVERED),
            })
            .filter_map(|(name, streams)| Some((name, streams.get(stream.name())?)))
            .max_by_key(|(_, delivery)| delivery.delivered)?;
        let (mut emptied, mut dropped_later) = (false, 0);
        for later in &self.epochs[place + 1..] {
            let name = format!("{sink}{RECOVERED}");
            let Some(recovered) = later.ledger.counters.delivery.get(&name) else { continue };
            // A stream that is not there: nothing of it was found in the spool.
            let left = recovered.get(stream.name()).map(|of| (of.spooled + of.in_flight, of));
            emptied |= left.is_none_or(|(left, _)| left == 0);
            dropped_later += left.map_or(0, |(_, of)| of.dropped.values().sum());
        }
        let ledgers = if stream == Stream::Ledger { whole.agents } else { 0 };
        let delivered = delivery.delivered + ledgers;
        Some(Claim { sink, delivery, delivered, emptied, dropped_later })
    }

    /// Records of a stream that the capture's newest ledger record does not have: another run with
    /// the same epoch wrote them, as a second replay with other streams does.
    fn unclaimed(&self, stream: Stream, epoch: &Epoch<'_>, report: &mut Report) {
        let Some(line) = line(self.name, stream, &epoch.found) else { return };
        report.notes.add(|| {
            format!(
                "{}, epoch {}: {}: {} records are there, of which its newest ledger record says \
                 nothing",
                self.name,
                epoch.ledger.epoch,
                stream.name(),
                line.found
            )
        });
        let epoch = epoch.ledger;
        report.lines.push(Line { epoch: Some(epoch.epoch.clone()), ended: epoch.is_final, ..line });
    }

    /// Records of no capture that the ledger knows.
    fn strangers(&self, report: &mut Report) {
        let lines =
            Stream::ALL.into_iter().filter_map(|stream| line(self.name, stream, &self.unknown));
        let before = report.lines.len();
        report.lines.extend(lines);
        let count: u64 = report.lines[before..].iter().map(|line| line.found).sum();
        if count > 0 {
            report.notes.add(|| {
                format!(
                    "{}: {count} records belong to no epoch that a ledger record names: the \
                     capture was killed before its first, the ledger was not kept as long, or \
                     something else wrote them",
                    self.name
                )
            });
        }
    }
}

/// A line without a claim; none where nothing is there.
fn line(node: &str, stream: Stream, found: &Found) -> Option<Line> {
    let (records, distinct) = (found.records[stream as usize], found.distinct[stream as usize]);
    (records > 0).then(|| Line {
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
    })
}

impl Claim<'_> {
    /// So many must be there.
    fn at_least(&self) -> u64 {
        let spooled = self.delivery.spooled;
        let arrived = if self.emptied { spooled.saturating_sub(self.dropped_later) } else { 0 };
        self.delivered + arrived
    }

    /// So many were delivered or kept for later.
    fn accepted(&self) -> u64 {
        self.delivered + self.delivery.spooled
    }

    /// So many have been sent, or will be.
    fn sent(&self) -> u64 {
        self.accepted() + self.delivery.in_flight
    }

    /// So many may still be in the spool.
    fn waiting(&self, distinct: u64) -> u64 {
        if self.emptied { 0 } else { self.accepted().saturating_sub(distinct.max(self.delivered)) }
    }

    /// So many may be there, once the capture has ended.
    fn at_most(&self) -> u64 {
        self.sent() + self.delivery.dropped.values().sum::<u64>()
    }

    /// Whether every record of the stream was delivered, so that all that was counted is there.
    fn lossless(&self) -> bool {
        let Delivery { records, delivered, spooled, .. } = *self.delivery;
        let arrived = spooled == 0 || self.emptied && self.dropped_later == 0;
        arrived && delivered + spooled == records
    }

    fn line(&self, node: &str, stream: Stream, epoch: &Epoch<'_>) -> Line {
        let distinct = epoch.found.distinct[stream as usize];
        Line {
            node: node.to_owned(),
            epoch: Some(epoch.ledger.epoch.clone()),
            ended: epoch.ledger.is_final,
            stream: stream.name(),
            sink: Some(self.sink.to_owned()),
            delivered: Some(self.delivered),
            spooled: Some(self.delivery.spooled),
            waiting: self.waiting(epoch.there(stream)),
            found: distinct,
            duplicates: epoch.found.records[stream as usize] - distinct,
        }
    }

    fn check(
        &self,
        node: &str,
        stream: Stream,
        epoch: &Epoch<'_>,
        hint: &str,
        report: &mut Report,
    ) {
        let Epoch { ledger, found, whole } = epoch;
        let what = || format!("{node}, epoch {}: {}", ledger.epoch, stream.name());
        let distinct = found.distinct[stream as usize];
        let (least, sent, most) = (self.at_least(), self.sent(), self.at_most());
        let there = epoch.there(stream);
        if there < least {
            report.problems.add(|| {
                format!(
                    "{}: the ledger says that {} delivered {least}, {there} are there: \
                     {} missing{hint}",
                    what(),
                    self.sink,
                    least - there
                )
            });
        } else if ledger.is_final && distinct > most {
            report.problems.add(|| {
                format!(
                    "{}: the ledger accounts for {most} of {}, {distinct} are there",
                    what(),
                    self.sink
                )
            });
        } else if ledger.is_final && distinct > sent {
            let kept = distinct - sent;
            report
                .notes
                .add(|| format!("{}: {kept} are there that the ledger counts as dropped", what()));
        }
        let waiting = self.waiting(there);
        if waiting > 0 {
            report.notes.add(|| format!("{}: {waiting} may still wait in the spool", what()));
        }
        let is_whole = ledger.is_final && whole.complete;
        if stream == Stream::Transactions && is_whole && self.lossless() {
            check_statuses(&what(), epoch, report);
        }
    }
}

/// Where every transaction was delivered, their statuses are those that pairing counted.
fn check_statuses(what: &str, epoch: &Epoch<'_>, report: &mut Report) {
    for ((status, counter), found) in status::ALL.iter().zip(epoch.found.statuses) {
        let counted = counter(&epoch.ledger.counters.pairing);
        if found != counted {
            report.problems.add(|| {
                format!(
                    "{what}: pairing.{status} is {counted}, {found} such transactions are there"
                )
            });
        }
    }
}

//! Measurements and counters as records, given to the router of the sinks, which masks them.

mod alert;

use crate::measure::Round;
use crate::table;
use dnscribe_delivery::{SinkRouter, Stream, append_json};
use dnscribe_record::ledger::{Counters, Probing};
use dnscribe_record::time::Timestamp;
use dnscribe_record::{EventId, Labels, LedgerRecord, Namespace, ProbeRecord, RecordHead};

/// Writes records, numbered from the start of this process.
#[derive(Debug)]
pub struct Recorder {
    node: String,
    region: Option<String>,
    labels: Labels,
    epoch: Timestamp,
    ids: Namespace,
    probes: u64,
    ledgers: u64,
    alerts: u64,
}

impl Recorder {
    /// Creates a recorder of a node that has started at `epoch`.
    #[must_use]
    pub fn new(node: String, region: Option<String>, labels: Labels, epoch: Timestamp) -> Self {
        let ids = Namespace::new(&node, epoch);
        Self { node, region, labels, epoch, ids, probes: 0, ledgers: 0, alerts: 0 }
    }

    /// Event ids of this node since its epoch.
    #[must_use]
    pub const fn ids(&self) -> Namespace {
        self.ids
    }

    /// Returns the fields that begin a record.
    #[must_use]
    pub fn head(&self, stream: Stream, event_id: EventId, ts: Timestamp) -> RecordHead<'_> {
        RecordHead {
            schema: stream.schema(),
            event_id,
            ts,
            node: &self.node,
            region: self.region.as_deref(),
            labels: Some(&self.labels).filter(|labels| !labels.is_empty()),
        }
    }

    /// Exports the measurements of a round, one record each. Returns the records' ids.
    pub fn export(&mut self, router: &mut SinkRouter, round: &Round) -> Vec<EventId> {
        let mut ids = Vec::with_capacity(round.found.len());
        for fields in &round.found {
            self.probes += 1;
            let id = self.ids.probe(self.probes);
            ids.push(id);
            if !router.asks_for(Stream::Probes, false) {
                continue;
            }
            let head = self.head(Stream::Probes, id, round.start);
            let record = ProbeRecord { head, probe: fields.clone(), masking: None };
            let json = |out: &mut Vec<u8>| append_json(out, &record);
            let text = |out: &mut Vec<u8>| table::line(out, round.start, fields);
            router.route(Stream::Probes, id, fields.target.as_bytes(), &json, Some(&text));
        }
        ids
    }

    /// Exports a ledger record with the counters of this moment. `is_last` is set in the last one.
    pub fn export_ledger(&mut self, router: &mut SinkRouter, probing: &Probing, is_last: bool) {
        router.offer();
        self.ledgers += 1;
        if router.asks_for(Stream::Ledger, false) {
            let now = Timestamp::now();
            let counters = counters(router, probing);
            let id = self.ids.ledger(self.ledgers);
            let record = LedgerRecord {
                schema: Stream::Ledger.schema().to_owned(),
                event_id: id.to_string(),
                ts: now.to_string(),
                node: self.node.clone(),
                region: self.region.clone(),
                labels: self.labels.clone(),
                epoch: self.epoch.to_string(),
                uptime_seconds: now.since(self.epoch).as_secs_f64(),
                is_final: is_last,
                balanced: counters.balanced(),
                counters,
            };
            router.push(Stream::Ledger, id, &record, self.node.as_bytes());
        }
        router.offer();
    }
}

/// Returns the counters of the ledger: of the rounds and of the sinks. The probe captures nothing.
#[must_use]
pub fn counters(router: &SinkRouter, probing: &Probing) -> Counters {
    Counters {
        probing: Some(probing.clone()),
        delivery: router.sinks.delivery(),
        ..Counters::default()
    }
}

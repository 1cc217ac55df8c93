//! Measurements as records, sent to the sinks.

mod alert;

use crate::measure::Round;
use dnscribe_delivery::{Batch, Sink, Stream};
use dnscribe_record::time::Timestamp;
use dnscribe_record::{EventId, Labels, Namespace, ProbeRecord, RecordHead};
use std::sync::Arc;

/// Writes records, numbered from the start of this process.
#[derive(Debug)]
pub struct Recorder {
    node: String,
    region: Option<String>,
    labels: Labels,
    ids: Namespace,
    probes: u64,
    alerts: u64,
}

impl Recorder {
    /// Creates a recorder of a node that has started at `epoch`.
    #[must_use]
    pub fn new(node: String, region: Option<String>, labels: Labels, epoch: Timestamp) -> Self {
        let ids = Namespace::new(&node, epoch);
        Self { node, region, labels, ids, probes: 0, alerts: 0 }
    }

    /// Makes a batch of the measurements of a round.
    pub fn batch(&mut self, round: &Round) -> Arc<Batch> {
        let mut batch = Batch::default();
        for fields in &round.found {
            self.probes += 1;
            let event_id = self.ids.probe(self.probes);
            let head = self.head(Stream::Probes, event_id, round.start);
            let record = ProbeRecord { head, probe: fields.clone() };
            batch.push_json(Stream::Probes, event_id.0, &record, fields.target.as_bytes());
        }
        Arc::new(batch)
    }

    fn head(&self, stream: Stream, event_id: EventId, ts: Timestamp) -> RecordHead<'_> {
        RecordHead {
            schema: stream.schema(),
            event_id,
            ts,
            node: &self.node,
            region: self.region.as_deref(),
            labels: Some(&self.labels).filter(|labels| !labels.is_empty()),
        }
    }
}

/// Returns the ids of the records of a batch.
#[must_use]
pub fn event_ids(batch: &Batch) -> Vec<EventId> {
    batch.iter().map(|record| EventId(record.event_id)).collect()
}

/// Offers a batch to every sink.
pub fn offer(sinks: &mut [Box<dyn Sink>], batch: &Arc<Batch>) {
    sinks.iter_mut().for_each(|sink| sink.offer(batch));
}

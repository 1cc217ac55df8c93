//! Makes dead letters (`dns.dlq/1`) of records that the destination rejects: stage, reason and the bytes
//! themselves.

use super::SpooledPlan;
use super::in_flight::RejectedRecord;
use crate::tally::DropReason;
use crate::threaded::SharedState;
use crate::{Batch, Stream};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use dnscribe_record::time::Timestamp;
use dnscribe_record::{DlqRecord, EventId, RecordHead};
use std::collections::BTreeSet;
use std::sync::Arc;
use tracing::warn;

/// Most dead letters in a batch: about 10 MB of the largest records.
const BATCH: usize = 128;

pub(super) struct DeadLetters {
    plan: Arc<SpooledPlan>,
    /// Whether the sink receives the stream `dlq`.
    wanted: bool,
    /// Knows whether dead letters may contain bytes of the record.
    shared: Arc<SharedState>,
    /// Streams and reasons that have been logged.
    logged: BTreeSet<(Stream, &'static str)>,
}

impl DeadLetters {
    pub(super) fn new(plan: &Arc<SpooledPlan>, shared: &Arc<SharedState>) -> Self {
        let wanted = shared.tally.streams.contains(Stream::Dlq);
        let (plan, shared) = (Arc::clone(plan), Arc::clone(shared));
        Self { plan, wanted, shared, logged: BTreeSet::new() }
    }

    /// Makes dead letters of rejected records. A rejected dead letter is only counted.
    pub(super) fn batches(&mut self, dead: &[RejectedRecord]) -> Vec<Batch> {
        for dead in dead {
            self.log_once(dead);
        }
        if !self.wanted {
            return Vec::new();
        }
        let letters: Vec<&RejectedRecord> =
            dead.iter().filter(|dead| dead.stream != Stream::Dlq).collect();
        let batch = |letters: &[&RejectedRecord]| {
            let mut batch = Batch::default();
            for dead in letters {
                let record = self.record(dead);
                let (id, key) = (record.head.event_id.0, self.plan.node.as_bytes());
                batch.push_json(Stream::Dlq, id, &record, key);
            }
            batch
        };
        letters.chunks(BATCH).map(batch).collect()
    }

    fn record(&self, dead: &RejectedRecord) -> DlqRecord<'_> {
        let original = EventId(dead.event_id);
        let bytes: &[u8] = if self.shared.hides_dead_letters.get() { &[] } else { &dead.bytes };
        let head = RecordHead {
            schema: Stream::Dlq.schema(),
            event_id: original.dead_letter(dead.stream),
            ts: Timestamp::now(),
            node: &self.plan.node,
            region: self.plan.region.as_deref(),
            labels: self.plan.labels.as_ref(),
        };
        DlqRecord {
            head,
            stage: if dead.reason == DropReason::NotEncodable { "encode" } else { "deliver" },
            reason: dead.reason.name(),
            stream: Some(dead.stream.name()),
            record_event_id: Some(original),
            bytes: BASE64.encode(bytes),
            captured_bytes: count(bytes.len()),
            record_bytes: Some(count(dead.whole_bytes)),
            ..DlqRecord::default()
        }
    }

    fn log_once(&mut self, dead: &RejectedRecord) {
        let reason = dead.reason.name();
        if self.logged.insert((dead.stream, reason)) {
            let stream = dead.stream.name();
            let outcome = match (dead.stream, self.wanted) {
                (Stream::Dlq, _) | (_, false) => "they are counted as dropped",
                (_, true) => "they are counted as dropped and go to the stream dlq",
            };
            let remedy = dead.reason.remedy();
            warn!(stream, reason, remedy, "{} refuses records; {outcome}", self.plan.name);
        }
    }
}

fn count(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

//! How a pipeline stops so that another agent can continue its capture, and how it continues that of another.
//!
//! Counters continue, so that a ledger record counts from the start of the capture whichever agent writes it.
//! Delivery is counted by each agent on its own. Windows, lookups and detection start anew.

use super::Pipeline;
use super::control::Control;
use super::event::{Event, EventSink};
use super::flow_stage::{FlowCounters, FlowStage};
use crate::capture::Received;
use crate::capture::sampling::Change;
use crate::pair::{HandoverQuery, HandoverQueryState};
use dnscribe_record::Merge as _;
use dnscribe_record::ledger;
use dnscribe_record::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Ordinals reserved for records that an agent writes after it has handed over: more than it will ever write.
const RESERVED_ORDINALS: u64 = 1 << 32;

/// State of a flow stage, from which the stage of another agent continues.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ShardState {
    counters: FlowCounters,
    last_packet: u64,
    expired: u64,
}

impl ShardState {
    /// Records read from the ring, by CPU.
    #[must_use]
    pub fn received(&self) -> &[Received] {
        &self.counters.received
    }
}

/// Numbers that the event ids of records are made of, and the number of agents before this one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ordinals {
    /// Agents that had this capture before.
    pub(super) handovers: u64,
    /// Ledger records.
    pub(super) ledgers: u64,
    /// Window records.
    pub(super) windows: u64,
    /// Alert records.
    pub(super) alerts: u64,
}

impl Ordinals {
    /// Returns the ordinals of the agent that continues.
    fn next(&self) -> Self {
        let beyond = |ordinal: u64| (ordinal / RESERVED_ORDINALS + 1) * RESERVED_ORDINALS;
        Self {
            handovers: self.handovers + 1,
            ledgers: beyond(self.ledgers),
            windows: beyond(self.windows),
            alerts: beyond(self.alerts),
        }
    }
}

/// State of a pipeline behind its flow stages, from which another agent continues.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PipelineState {
    ordinals: Ordinals,
    sampling: Option<ledger::Sampling>,
    /// Changes of the sampling ratio, oldest first: nanoseconds since 1970, and the cut.
    sampling_changes: Vec<(u64, u16)>,
}

impl FlowStage {
    /// Stops the stage: another agent continues. Passes on messages behind gaps, and ends zone transfers.
    pub fn pause(&mut self, sink: &mut dyn EventSink) {
        let at = self.last_time();
        self.run(at, sink, |decoder, trackers, emit| {
            decoder.finish(&mut |decoded| trackers.process(decoded, emit));
            trackers.pairer.end_transfers(at, &mut |ended| emit(&Event::Transaction(ended)));
        });
    }

    /// State of a paused stage that has read `received` from its ring.
    #[must_use]
    pub fn state(&self, received: &[Received]) -> ShardState {
        let mut counters = self.counters(received);
        counters.decode = self.decoder.counters_with_held_discarded();
        counters.decode.merge(&self.inherited.decode);
        ShardState {
            counters,
            last_packet: self.last_packet.as_nanos(),
            expired: self.expired.as_nanos(),
        }
    }

    /// Passes the queries that the other agent needs to `each`.
    pub fn export_queries(&self, each: &mut dyn FnMut(&HandoverQuery<'_>)) {
        self.trackers.pairer.for_each_handover_query(self.last_time(), each);
    }

    /// Ends a stage that another agent continues: what waits is `open`.
    pub fn leave(&mut self, sink: &mut dyn EventSink) {
        let at = self.last_time();
        self.run(at, sink, |_, trackers, emit| {
            trackers.pairer.emit_open(&mut |ended| emit(&Event::Transaction(ended)));
            if let Some(connections) = &mut trackers.connections {
                connections.finish(at, &mut |report| emit(&Event::Connection(report)));
            }
        });
    }

    /// Continues from the state of another agent's stage.
    pub fn continue_from(&mut self, state: &ShardState) {
        self.trackers.pairer.restore_counters(state.counters.pairing);
        self.inherited = state.counters.clone();
        self.last_packet = Timestamp::from_nanos(state.last_packet);
        self.expired = Timestamp::from_nanos(state.expired);
    }

    /// Adds a query of the other agent.
    pub fn import_query(&mut self, imported: &HandoverQuery<'_>, sink: &mut dyn EventSink) {
        self.run(imported.query.envelope.ts, sink, |_, trackers, emit| {
            trackers.pairer.restore_query(imported, &mut |ended| emit(&Event::Transaction(ended)));
            if imported.state == HandoverQueryState::Waiting {
                emit(&Event::Began(imported.query));
            }
        });
    }

    fn last_time(&self) -> Timestamp {
        self.last_packet.max(self.expired)
    }
}

impl Pipeline {
    /// State of the pipeline, from which another agent continues.
    #[must_use]
    pub fn state(&self) -> PipelineState {
        let (windows, alerts) = self.analysis.ordinals();
        let changes = self.sampling_timeline.changes();
        PipelineState {
            ordinals: Ordinals {
                handovers: self.handovers,
                ledgers: self.ledgers,
                windows,
                alerts,
            },
            sampling: self.sampling.clone(),
            sampling_changes: changes.map(|change| (change.at.as_nanos(), change.cut)).collect(),
        }
    }

    /// Continues at `now` from the state of another agent: the pipeline, and the flow stages, which have continued
    /// from theirs.
    pub fn continue_from(
        &mut self,
        state: &PipelineState,
        now: Timestamp,
        flows: &mut [FlowStage],
    ) {
        for (at, cut) in &state.sampling_changes {
            let change = Change { at: Timestamp::from_nanos(*at), cut: *cut };
            self.sample(change);
            for flow in flows.iter_mut() {
                flow.apply(&Control::Sample(change));
            }
        }
        self.sampling.clone_from(&state.sampling);
        let ordinals = state.ordinals.next();
        self.ledgers = ordinals.ledgers;
        self.handovers = ordinals.handovers;
        self.analysis.continue_from(now, &ordinals);
        self.now = now;
        self.next_ledger = now.plus(self.ledger_every);
    }
}

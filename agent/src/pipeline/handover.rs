//! What a pipeline needs to go on from where that of another agent has stopped, and how that one stops.
//!
//! The counters go on, so that a ledger record counts from the capture's epoch on whoever writes it; what
//! sinks were given is each agent's own. Windows, lookups and detection begin anew.

use super::batch::Batch;
use super::shard::Stand;
use super::{Fronts, Pipeline};
use crate::capture::Received;
use crate::capture::sampling::Change;
use crate::ledger;
use crate::pair::Carried;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// So many ordinals are left to an agent for what it writes after it has told them: more than it will ever
/// write.
const SPARE: u64 = 1 << 32;

/// Where a pipeline stands behind its fronts.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Standing {
    /// Agents that had the capture before.
    pub(super) takeovers: u64,
    /// Records of each kind whose ids are made of ordinals.
    pub(super) ledgers: u64,
    pub(super) windows: u64,
    pub(super) alerts: u64,
    sampling: Option<ledger::Sampling>,
    /// What was left out since when, oldest first: nanoseconds, parts.
    changes: Vec<(u64, u16)>,
}

impl Standing {
    /// Of the agent that takes over.
    fn next(self) -> Self {
        let beyond = |ordinal: u64| (ordinal / SPARE + 1) * SPARE;
        Self {
            takeovers: self.takeovers + 1,
            ledgers: beyond(self.ledgers),
            windows: beyond(self.windows),
            alerts: beyond(self.alerts),
            ..self
        }
    }
}

impl Pipeline {
    /// Another agent goes on from here. Fronts that are elsewhere must rest already.
    pub fn rest(&mut self) {
        let Self { fronts, back, .. } = self;
        if let Fronts::Here(shard) = fronts {
            shard.rest(&mut |at, told| back.take(at, told));
        }
        self.gather_all();
        self.flush_batches();
    }

    /// Where the front stands that is here, which has taken this much out of its ring.
    #[must_use]
    pub fn stand(&self, received: &[Received]) -> Option<Stand> {
        match &self.fronts {
            Fronts::Here(shard) => Some(shard.stand(received)),
            Fronts::Elsewhere(_) => None,
        }
    }

    /// Shows the queries of the front that is here.
    pub fn carry(&self, each: &mut dyn FnMut(&Carried<'_>)) {
        if let Fronts::Here(shard) = &self.fronts {
            shard.carry(each);
        }
    }

    /// Where all behind the fronts stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let (changes, [ledgers, windows, alerts], takeovers) = self.back.output.standing();
        let changes = changes.map(|change| (change.at.as_nanos(), change.cut)).collect();
        let sampling = self.sampling.clone();
        Standing { takeovers, ledgers, windows, alerts, sampling, changes }
    }

    /// Another agent has gone on from here: ends as at the capture's end, but for what that one goes on
    /// with, which is `open`. Fronts that are elsewhere must have left before.
    pub fn leave(&mut self, now: Timestamp) {
        let Self { fronts, back, .. } = self;
        if let Fronts::Here(shard) = fronts {
            shard.leave(&mut |at, told| back.take(at, told));
        }
        self.gather_all();
        self.back.output.tick(now);
        self.back.output.finish(now);
    }

    /// Goes on behind the fronts from where another agent stood, at `now`. `tell` passes on what fronts
    /// that are elsewhere must know of sampling.
    pub fn adopt(&mut self, standing: Standing, now: Timestamp, tell: &mut dyn FnMut(Change)) {
        let standing = standing.next();
        for (at, cut) in &standing.changes {
            let change = Change { at: Timestamp::from_nanos(*at), cut: *cut };
            self.sample(change);
            tell(change);
        }
        self.sampling.clone_from(&standing.sampling);
        self.back.output.adopt(&standing, now);
        self.next_ledger = now.plus(self.ledger_every);
    }

    /// The front that is here goes on from where another agent's stood.
    pub fn adopt_stand(&mut self, stand: &Stand) {
        if let Fronts::Here(shard) = &mut self.fronts {
            shard.adopt(stand);
        }
    }

    /// It goes on with a query of that agent.
    pub fn restore(&mut self, carried: &Carried<'_>) {
        let Self { fronts, back, .. } = self;
        if let Fronts::Here(shard) = fronts {
            shard.restore(carried, &mut |at, told| back.take(at, told));
        }
    }

    /// Takes a batch of before the first packet.
    pub fn put_restored(&mut self, batch: Batch) {
        self.put(batch);
        self.gather_all();
    }
}

impl super::Shard {
    /// Takes a query of that agent, and adds to a batch what comes of it.
    pub fn fill_restored(&mut self, carried: &Carried<'_>, batch: &mut Batch) {
        self.restore(carried, &mut |at, told| batch.push(at, told));
    }

    /// Completes a batch of what was restored.
    pub fn seal_restored(&mut self, batch: &mut Batch, received: &[Received], epoch: Timestamp) {
        self.seal(batch, received, Some(epoch));
    }
}

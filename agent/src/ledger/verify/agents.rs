//! The agents of one capture: each took over from the one before. Counters go on from one to the next, but
//! each says of its own sinks alone what they were given.

use crate::record::LedgerRecord;
use std::collections::BTreeMap;

/// The newest ledger record of each agent of a capture, by how many had it before.
#[derive(Debug, Default)]
pub(super) struct Agents(BTreeMap<u64, LedgerRecord>);

/// A capture as all of its agents tell.
#[derive(Debug)]
pub(super) struct Whole {
    /// The newest ledger record, with what the sinks of all agents were given; the last if each agent's is.
    pub(super) ledger: LedgerRecord,
    /// How many agents there are records of.
    pub(super) agents: u64,
    /// Whether none is missing.
    pub(super) complete: bool,
}

impl Agents {
    /// Takes a ledger record.
    pub(super) fn take(&mut self, record: LedgerRecord) {
        let newest = self.0.get(&record.takeovers);
        if newest.is_none_or(|newest| newest.uptime_seconds <= record.uptime_seconds) {
            self.0.insert(record.takeovers, record);
        }
    }

    /// The names of all sinks.
    pub(super) fn sinks(&self) -> impl Iterator<Item = &str> {
        self.0.values().flat_map(|ledger| ledger.counters.delivery.keys().map(String::as_str))
    }

    /// What they tell together; nothing where there is none.
    pub(super) fn whole(&self) -> Option<Whole> {
        let (last, newest) = self.0.last_key_value()?;
        let mut ledger = newest.clone();
        for (_, earlier) in self.0.range(..*last) {
            ledger.is_final &= earlier.is_final;
            for (sink, streams) in &earlier.counters.delivery {
                for (stream, delivery) in streams {
                    let sums = ledger.counters.delivery.entry(sink.clone()).or_default();
                    *sums.entry(stream.clone()).or_default() += delivery;
                }
            }
        }
        let agents = self.0.len() as u64;
        Some(Whole { ledger, agents, complete: agents == last + 1 })
    }
}

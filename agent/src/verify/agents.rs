//! Combines the ledger records of the agents that ran one capture, each handing over to the next.
//! Counters continue from one to the next, but `delivery` counts the sinks of each agent alone.

use dnscribe_record::LedgerRecord;
use std::collections::BTreeMap;

/// Newest ledger record of each agent of a capture, by the number of agents before it.
#[derive(Debug, Default)]
pub(super) struct AgentLedgers(BTreeMap<u64, LedgerRecord>);

/// A capture's ledger, combined from all of its agents.
#[derive(Debug)]
pub(super) struct CombinedLedger {
    /// Newest ledger record, with the deliveries of all agents added up; final if each agent's is.
    pub(super) ledger: LedgerRecord,
    /// Number of agents that ledger records were found of.
    pub(super) agents: u64,
    /// Whether ledger records of all agents were found.
    pub(super) complete: bool,
}

impl AgentLedgers {
    /// Adds a ledger record.
    pub(super) fn add(&mut self, record: LedgerRecord) {
        let newest = self.0.get(&record.takeovers);
        if newest.is_none_or(|newest| newest.uptime_seconds <= record.uptime_seconds) {
            self.0.insert(record.takeovers, record);
        }
    }

    /// Returns the names of all sinks.
    pub(super) fn sinks(&self) -> impl Iterator<Item = &str> {
        self.0.values().flat_map(|ledger| ledger.counters.delivery.keys().map(String::as_str))
    }

    /// Returns the combined ledger, or none without a record.
    pub(super) fn combined(&self) -> Option<CombinedLedger> {
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
        Some(CombinedLedger { ledger, agents, complete: agents == last + 1 })
    }
}

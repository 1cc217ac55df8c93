//! Processes that are resolvers: they answer queries, or query on behalf of others.

use super::attribution::{hash, is_echo};
use super::table::AssociativeTable;
use crate::view::TransactionView;
use dnscribe_record::time::Timestamp;
use dnscribe_transaction::pair::Vantage;
use std::time::Duration;

const MAX_PROCESSES: usize = 1024;
/// Time after which an idle process is forgotten.
const IDLE: Duration = Duration::from_hours(24);

/// Resolver processes by pid.
#[derive(Debug, Default)]
pub(super) struct ResolverProcesses(AssociativeTable<(), MAX_PROCESSES>);

impl ResolverProcesses {
    /// Returns whether a transaction is a resolver's: an answer to a client, or a query that another one caused. Its
    /// process is known as a resolver from then on.
    pub(super) fn observe(&mut self, observation: &TransactionView<'_>) -> bool {
        let is_resolvers = observation.vantage == Vantage::Server || is_echo(observation);
        if is_resolvers && let Some(process) = observation.process {
            self.0.entry(hash_pid(process.pid), observation.ts, || ());
        }
        is_resolvers
    }

    pub(super) fn contains(&self, pid: u32) -> bool {
        self.0.get(hash_pid(pid)).is_some()
    }

    pub(super) fn age(&mut self, now: Timestamp) {
        self.0.age(now, IDLE);
    }
}

/// Returns the hash of a pid, as a key of tables.
pub(super) fn hash_pid(pid: u32) -> u64 {
    hash(&pid.to_ne_bytes())
}

//! Builds `dns.lookup/1` from a finished lookup.

use super::{RecordBuilder, record_tail};
use dnscribe_analysis::lookup::Lookup;
use dnscribe_record::{LookupRecord, Stream};

/// Ids in `transaction_ids` at most.
const TRANSACTIONS: usize = 64;

impl RecordBuilder {
    /// Builds `dns.lookup/1`.
    #[must_use]
    pub fn lookup<'a>(&'a self, lookup: &'a Lookup<'_>) -> LookupRecord<'a> {
        let members = lookup.members.iter().take(TRANSACTIONS);
        LookupRecord {
            head: self.head(Stream::Lookups, self.namespace.lookup(lookup.id), lookup.ts),
            vantage: lookup.vantage.name(),
            fields: lookup.fields.clone(),
            transaction_ids: members.map(|id| self.namespace.message(*id)).collect(),
            evicted: lookup.evicted,
            tail: record_tail(lookup.attribution),
        }
    }
}

//! Builds `dns.lookup/1` from a finished lookup.

use super::RecordBuilder;
use super::record_tail;
use crate::analysis::lookup::Lookup;
use dnscribe_dns::{class_name, rcode_name, type_name};
use dnscribe_record::LookupRecord;
use dnscribe_record::Stream;
use dnscribe_record::number::milliseconds;

/// Names in `names_tried` at most.
const NAMES: usize = 32;

/// Ids in `transaction_ids` at most.
const TRANSACTIONS: usize = 64;

impl RecordBuilder {
    /// Builds `dns.lookup/1`.
    #[must_use]
    pub fn lookup<'a>(&'a self, lookup: &'a Lookup<'_>) -> LookupRecord<'a> {
        let names = lookup.names.iter().copied().filter(|_| lookup.search_expansions > 0);
        let members = lookup.members.iter().take(TRANSACTIONS);
        LookupRecord {
            head: self.head(Stream::Lookups, self.namespace.lookup(lookup.id), lookup.ts),
            vantage: lookup.vantage.name(),
            client_ip: lookup.client,
            resolvers: lookup.resolvers.iter().map(|name| &**name).collect(),
            qname: lookup.qname,
            qtypes: lookup.qtypes.iter().map(|qtype| type_name(*qtype)).collect(),
            qclass: class_name(lookup.qclass),
            outcome: lookup.outcome.name(),
            partial: lookup.partial,
            rcode: lookup.rcode.map(rcode_name),
            answered_name: lookup.answered_name,
            cname_chain: lookup.cname_chain.to_vec(),
            addresses: lookup.addresses.to_vec(),
            address_count: lookup.address_count,
            duration_ms: milliseconds(lookup.duration),
            transactions: lookup.transactions,
            packets: lookup.packets,
            packets_wasted: lookup.packets_wasted,
            search_expansions: lookup.search_expansions,
            names_tried: names.take(NAMES).collect(),
            retries: lookup.retries,
            servers_tried: lookup.servers_tried,
            tcp_fallback: lookup.tcp_fallback,
            transaction_ids: members.map(|id| self.namespace.message(*id)).collect(),
            evicted: lookup.evicted,
            tail: record_tail(lookup.attribution),
        }
    }
}

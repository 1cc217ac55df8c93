//! A lookup becomes a record.

use super::{Identity, milliseconds};
use crate::decode::dns::{class_name, rcode_name, type_name};
use crate::lookup::{Lookup, Texts};
use crate::record::{ContainerFields, LookupRecord, ProcessFields};
use crate::sink::Stream;

/// Names that a record lists.
const NAMES: usize = 32;

/// Transactions that a record lists.
const TRANSACTIONS: usize = 64;

impl Identity {
    /// `dns.lookup/1`.
    #[must_use]
    pub fn lookup<'a>(&'a self, lookup: &'a Lookup) -> LookupRecord<'a> {
        let names = lookup.names.iter().filter(|_| lookup.search_expansions > 0);
        let members = lookup.members.iter().take(TRANSACTIONS);
        LookupRecord {
            schema: Stream::Lookups.schema(),
            event_id: self.namespace.lookup(lookup.id),
            ts: lookup.ts,
            node: &self.node,
            region: self.region.as_deref(),
            vantage: lookup.vantage.name(),
            client_ip: lookup.client,
            resolvers: texts(&lookup.resolvers),
            qname: &lookup.qname,
            qtypes: lookup.qtypes.iter().map(|qtype| type_name(*qtype)).collect(),
            qclass: class_name(lookup.qclass),
            outcome: lookup.outcome.name(),
            partial: lookup.partial,
            rcode: lookup.rcode.map(rcode_name),
            answered_name: lookup.answered_name.as_deref(),
            cname_chain: texts(&lookup.cname_chain),
            addresses: texts(&lookup.addresses),
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
            process: lookup.process.as_ref().map(|process| ProcessFields {
                pid: process.pid,
                uid: process.uid,
                comm: (&*process.comm).into(),
                exe: process.exe.as_deref(),
            }),
            container: lookup
                .container
                .as_ref()
                .map(|container| ContainerFields { id: &container.id, runtime: container.runtime }),
            masking: None,
        }
    }
}

fn texts(texts: &Texts) -> Vec<&str> {
    texts.iter().collect()
}

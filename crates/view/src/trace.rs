//! What one command, process or pod asks of DNS, and what it waits for: the tree of `dnscribe trace`.
//!
//! Input: records of transactions, lookups, connections, uses and the ledger ([`Collector`]). Output: a `dns.trace/1`, as a
//! text or as JSON. No I/O, no clock.

mod collect;
mod record;
mod text;
mod tree;
mod wait;
#[cfg(test)]
mod tests;

pub use collect::{Collector, IsMember, STREAMS, TraceSubject};
pub use text::{has_dns, name_service, render};

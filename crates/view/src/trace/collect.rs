//! Collects the records of a scope, and the transactions that they caused at resolvers on this host.

use super::record::{ConnectionFields, LookupFields, ProcessFields, TransactionFields, UseFields};
use dnscribe_delivery::{Batch, Stream};
use dnscribe_record::LedgerRecord;
use dnscribe_record::ledger::Counters;
use dnscribe_record::time::Timestamp;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Streams that a trace is made of.
pub const STREAMS: [Stream; 5] =
    [Stream::Transactions, Stream::Lookups, Stream::Connections, Stream::Uses, Stream::Ledger];

/// Maximum number of transactions of the scope. A transaction takes about 1 KiB.
const MAX_QUERIES: usize = 1 << 16;

/// Maximum number of transactions of resolvers that wait for the transaction that caused them, which is reported later.
const MAX_CANDIDATES: usize = 1 << 14;

/// What is traced.
#[derive(Clone, Debug)]
pub struct TraceSubject {
    /// Name in sentences: `curl`, `process 4711`, `pod shop/web-1`.
    pub name: String,
    /// Words of the command, if it was started by the trace.
    pub command: Vec<String>,
    /// Start of the trace.
    pub started: Timestamp,
    /// End of the trace.
    pub ended: Timestamp,
    /// Exit code of the command, 128 and the number of the signal that ended it; none without a command.
    pub exit_code: Option<i32>,
    /// Time that queries wait for their responses.
    pub query_timeout: std::time::Duration,
}

/// Tells by a process's id whether it is in the scope.
pub type IsMember = Box<dyn Fn(u32) -> bool + Send>;

/// The records of a scope.
#[derive(Default)]
pub struct Collector {
    is_member: Option<IsMember>,
    /// Transactions of processes of the scope, by `event_id`.
    pub(super) queries: HashMap<String, TransactionFields>,
    /// Transactions of other processes that another one caused, in order of time.
    pub(super) candidates: VecDeque<TransactionFields>,
    pub(super) lookups: Vec<LookupFields>,
    pub(super) connections: BTreeMap<String, ConnectionFields>,
    pub(super) uses: Vec<UseFields>,
    /// Whether connections are captured, as of the newest ledger record.
    pub(super) has_uses: bool,
    /// Packets that the kernel could not hand over or that sampling left out, as of the newest ledger record.
    pub(super) lost_packets: u64,
    /// Records of the scope beyond [`MAX_QUERIES`].
    pub(super) not_kept: u64,
    /// Records that could not be read.
    pub(super) unreadable: u64,
}

impl Collector {
    /// Creates a collector of the records of these processes.
    #[must_use]
    pub fn new(is_member: IsMember) -> Self {
        Self { is_member: Some(is_member), ..Self::default() }
    }

    /// Adds a batch of records.
    pub fn observe(&mut self, batch: &Batch) {
        for rendered in batch.iter() {
            self.line(rendered.stream, rendered.line);
        }
    }

    /// Adds one record, as JSON.
    pub fn line(&mut self, stream: Stream, line: &[u8]) {
        let read = match stream {
            Stream::Transactions => serde_json::from_slice(line).map(|one| self.transaction(one)),
            Stream::Lookups => serde_json::from_slice(line).map(|one| self.lookup(one)),
            Stream::Connections => serde_json::from_slice(line).map(|one| self.connection(one)),
            Stream::Uses => serde_json::from_slice(line).map(|one| self.add_use(one)),
            Stream::Ledger => {
                serde_json::from_slice(line).map(|one: LedgerRecord| self.count(&one.counters))
            }
            _ => return,
        };
        self.unreadable += u64::from(read.is_err());
    }

    fn includes(&self, process: Option<&ProcessFields>) -> bool {
        let is_member = self.is_member.as_ref().zip(process);
        is_member.is_some_and(|(is_member, process)| is_member(process.pid))
    }

    fn transaction(&mut self, transaction: TransactionFields) {
        if self.includes(transaction.process.as_ref()) {
            if self.queries.len() >= MAX_QUERIES {
                self.not_kept += 1;
            } else {
                self.queries.insert(transaction.event_id.clone(), transaction);
            }
        } else if transaction.parent_event_id.is_some() {
            if self.candidates.len() >= MAX_CANDIDATES {
                self.candidates.pop_front();
            }
            self.candidates.push_back(transaction);
        }
    }

    fn lookup(&mut self, lookup: LookupFields) {
        if self.includes(lookup.process.as_ref()) {
            if self.lookups.len() >= MAX_QUERIES {
                self.not_kept += 1;
            } else {
                self.lookups.push(lookup);
            }
        }
    }

    fn add_use(&mut self, one: UseFields) {
        if self.includes(one.process.as_ref()) {
            if self.uses.len() >= MAX_QUERIES {
                self.not_kept += 1;
            } else {
                self.uses.push(one);
            }
        }
    }

    fn connection(&mut self, connection: ConnectionFields) {
        let is_member = self.includes(connection.process.as_ref());
        if is_member && connection.vantage != "server" && self.connections.len() < MAX_QUERIES {
            // The newest record of a connection has its totals.
            self.connections.insert(connection.connection_id.clone(), connection);
        }
    }

    pub(super) fn count(&mut self, counters: &Counters) {
        self.has_uses = counters.uses.is_some();
        let hooks = counters.kernel.values();
        self.lost_packets = hooks.map(|hook| hook.lost_ring_full + hook.sampled_out).sum();
    }
}

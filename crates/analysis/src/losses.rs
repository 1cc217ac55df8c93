//! Messages that the kernel discarded, for the transactions that miss them.
//!
//! Messages are found by client and id, not by server and network: destination NAT changes the server's address on the
//! way, and a packet leaves its network namespace.

use dnscribe_record::time::Timestamp;
use dnscribe_transaction::decode::{Dropped, MessageKey};
use dnscribe_transaction::packet::{Loss, LossStage};
use dnscribe_transaction::pair::{Status, Transaction};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Most messages that are remembered; beyond it, the oldest is forgotten.
const MAX_MESSAGES: usize = 1 << 16;

/// Most messages after a response that are compared with it. A client may send thousands with one port and id.
const MAX_RESPONSES: usize = 64;

/// Time that a message is remembered beyond the query timeout.
const SLACK: Duration = Duration::from_secs(10);

/// A client, and the id of its query.
type Key = (SocketAddr, u16);

/// The messages that were discarded lately, and counts of all.
#[derive(Debug, Default)]
pub struct LossTable {
    /// In order of time.
    messages: HashMap<Key, VecDeque<Seen>>,
    /// In order of arrival.
    order: VecDeque<(Timestamp, Key)>,
    /// All so far.
    pub counts: BTreeMap<LossKey, u64>,
    /// Time that a query waits for its response.
    pub query_timeout: Duration,
}

/// What is counted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LossKey {
    /// Whether responses were lost, not queries.
    pub is_response: bool,
    /// Where.
    pub stage: LossStage,
    /// Why, in the kernel's words.
    pub reason: Arc<str>,
}

#[derive(Clone, Debug)]
struct Seen {
    ts: Timestamp,
    is_response: bool,
    loss: Arc<Loss>,
}

/// What was lost of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Whether a response was lost first, not a query.
    pub is_response: bool,
    /// Where and why the first message was lost.
    pub loss: Arc<Loss>,
    /// Number of messages that were lost.
    pub count: u32,
}

/// Reason for datagrams to a port where nobody listens, which ICMP reports to the sender. As a response: the client gave
/// up before.
pub(crate) const NO_SOCKET: &str = "NO_SOCKET";

impl Lost {
    /// Returns whether the client's side of this host lost it. A query that a server of this host lost is that server's.
    #[must_use]
    pub fn is_of_client(&self) -> bool {
        (self.is_response || self.loss.stage != LossStage::Socket)
            && &*self.loss.reason != NO_SOCKET
    }
}

impl LossTable {
    /// Remembers a message that was discarded.
    pub fn observe(&mut self, dropped: &Dropped) {
        let Dropped { ts, message, ref loss } = *dropped;
        let MessageKey { client, id, is_response, .. } = message;
        let key = LossKey { is_response, stage: loss.stage, reason: Arc::clone(&loss.reason) };
        *self.counts.entry(key).or_default() += 1;
        if self.order.len() >= MAX_MESSAGES {
            self.forget_oldest();
        }
        let key = (client, id);
        self.order.push_back((ts, key));
        let seen = Seen { ts, is_response, loss: Arc::clone(loss) };
        // Those that never reached the hook come late: behind packets that waited.
        let messages = self.messages.entry(key).or_default();
        let at = messages.iter().rposition(|other| other.ts <= ts).map_or(0, |at| at + 1);
        messages.insert(at, seen);
    }

    /// Returns what was lost of a transaction that has ended. Of one with the response to its first query, this can
    /// only be that response, behind the hook; other messages were copies, such as a bridge makes for its ports.
    #[must_use]
    pub fn of(&self, transaction: &Transaction<'_>) -> Option<Lost> {
        if self.messages.is_empty() {
            return None;
        }
        let query = transaction.query?;
        let (client, server) = query.client_and_server();
        // Each member of a group has a copy.
        if transaction.status == Status::Duplicate || server.ip().is_multicast() {
            return None;
        }
        let arrived = transaction
            .response
            .filter(|_| transaction.retries == 0)
            .map(|response| response.envelope.ts);
        let seen = self.messages.get(&(client, query.dns.id))?;
        let since = arrived.unwrap_or(query.envelope.ts);
        let seen = seen.range(seen.partition_point(|one| one.ts < since)..);
        let (first, count) = if arrived.is_some() {
            // What was discarded behind the hook has the time of its message, and so has what netfilter discarded before
            // it. A later time is that of a copy behind the hook, or of a server's response on its way.
            let is_lost = |one: &&Seen| one.is_response && one.ts == since;
            let mut lost = seen.take(MAX_RESPONSES).filter(is_lost);
            (lost.next()?, lost.count() + 1)
        } else {
            let count = seen.len();
            (seen.into_iter().next()?, count)
        };
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        Some(Lost { is_response: first.is_response, loss: Arc::clone(&first.loss), count })
    }

    /// Forgets what no transaction that ends after `now` can miss.
    pub fn expire(&mut self, now: Timestamp) {
        let retention = self.query_timeout + SLACK;
        while self.order.front().is_some_and(|(ts, _)| now.since(*ts) > retention) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((_, key)) = self.order.pop_front() else { return };
        if let Some(seen) = self.messages.get_mut(&key) {
            seen.pop_front();
            if seen.is_empty() {
                self.messages.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_nanos(ms * 1_000_000)
    }

    fn dropped(ms: u64, port: u16) -> Dropped {
        let stage = LossStage::Socket;
        let loss = Loss { stage, reason: "SOCKET_RCVBUFF".into(), hook: None, function: None };
        let message = MessageKey {
            client: SocketAddr::from(([192, 0, 2, 1], port)),
            server: SocketAddr::from(([192, 0, 2, 53], 53)),
            id: 7,
            is_response: false,
        };
        Dropped { ts: at(ms), message, loss: Arc::new(loss) }
    }

    #[test]
    fn forgets_in_order_and_within_bounds() {
        let mut table = LossTable { query_timeout: Duration::from_secs(5), ..LossTable::default() };
        table.observe(&dropped(0, 1));
        table.observe(&dropped(10, 1));
        table.observe(&dropped(10_000, 2));
        table.expire(at(15_005));
        let seen: Vec<_> = table.messages.values().map(VecDeque::len).collect();
        assert_eq!(seen, [1, 1]);
        for number in 0..MAX_MESSAGES + 10 {
            table.observe(&dropped(20_000, u16::try_from(number % 1000).unwrap()));
        }
        assert_eq!(table.order.len(), MAX_MESSAGES);
        assert_eq!(table.messages.values().map(VecDeque::len).sum::<usize>(), MAX_MESSAGES);
        table.expire(at(100_000));
        assert!(table.messages.is_empty() && table.order.is_empty());
        assert_eq!(table.counts.values().sum::<u64>(), 3 + MAX_MESSAGES as u64 + 10);
    }
}

//! Messages that the kernel discarded, for the transactions that miss them.
//!
//! Messages are found by client and id, not by network, since a packet leaves its network namespace. A message belongs to the
//! last query before it that its client has sent to its server with that id. Destination NAT changes the server's address
//! on the way: one to or from a server that the client has not asked belongs to the only server that it has asked.

use dnscribe_record::time::Timestamp;
use dnscribe_transaction::decode::{Dropped, Envelope, Message, MessageKey};
use dnscribe_transaction::packet::{Loss, LossStage, Transport};
use dnscribe_transaction::pair::{Status, Transaction, Vantage};
use foldhash::fast::RandomState;
use smallvec::SmallVec;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::BuildHasher as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Most messages that are remembered; beyond it, the oldest is forgotten.
const MAX_MESSAGES: usize = 1 << 16;

/// Most messages after a response that are compared with it. A client may send thousands with one port and id.
const MAX_RESPONSES: usize = 64;

/// Most queries that are remembered; beyond it, the oldest is forgotten.
const MAX_QUERIES: usize = 1 << 17;

/// Most queries of one client with one id that are compared. Of those before them, it is not known what was lost.
const MAX_ALIKE: usize = 256;

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
    /// Queries that began transactions, in order of time, by the hash of client, id and vantage.
    queries: HashMap<u64, SmallVec<[Asked; 1]>, RandomState>,
    /// In order of arrival.
    query_order: VecDeque<(Timestamp, u64)>,
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
    server: SocketAddr,
    is_response: bool,
    loss: Arc<Loss>,
}

/// A query that began a transaction.
#[derive(Clone, Copy, Debug)]
struct Asked {
    ts: Timestamp,
    /// Hash of the server's address.
    server: u64,
}

/// What was lost of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Time when the first message was lost.
    pub ts: Timestamp,
    /// Whether a response was lost first, not a query.
    pub is_response: bool,
    /// Where and why the first message was lost.
    pub loss: Arc<Loss>,
    /// Number of messages that were lost.
    pub count: u32,
}

/// Reason for datagrams to a port where nobody listens, which ICMP reports to the sender. As a response: the client has
/// given up before, or another server has answered.
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
    /// Remembers a query that begins a transaction.
    pub fn begin(&mut self, query: &Message<'_>) {
        let Envelope { ts, direction, transport, .. } = *query.envelope;
        if transport != Transport::Udp {
            return;
        }
        if self.query_order.len() >= MAX_QUERIES {
            self.forget_oldest_query();
        }
        let (key, server) = self.hashes(query, Vantage::from_direction(direction, false));
        self.query_order.push_back((ts, key));
        let alike = self.queries.entry(key).or_default();
        if alike.len() >= MAX_ALIKE {
            alike.remove(0);
        }
        alike.insert(alike.partition_point(|other| other.ts <= ts), Asked { ts, server });
    }

    /// Returns the key of the queries of one client with one id, and the hash of the server.
    fn hashes(&self, query: &Message<'_>, vantage: Vantage) -> (u64, u64) {
        let (client, server) = query.client_and_server();
        let hasher = self.queries.hasher();
        (hasher.hash_one((client, query.dns.id, vantage)), hasher.hash_one(server))
    }

    /// Remembers a message that was discarded.
    pub fn observe(&mut self, dropped: &Dropped) {
        let Dropped { ts, message, ref loss } = *dropped;
        let MessageKey { client, server, id, is_response } = message;
        let key = LossKey { is_response, stage: loss.stage, reason: Arc::clone(&loss.reason) };
        *self.counts.entry(key).or_default() += 1;
        if self.order.len() >= MAX_MESSAGES {
            self.forget_oldest();
        }
        let key = (client, id);
        self.order.push_back((ts, key));
        let seen = Seen { ts, server, is_response, loss: Arc::clone(loss) };
        // Those that never reached the hook come late: behind packets that waited.
        let messages = self.messages.entry(key).or_default();
        let at = messages.iter().rposition(|other| other.ts <= ts).map_or(0, |at| at + 1);
        messages.insert(at, seen);
    }

    /// Returns what was lost of a transaction that has ended. Of one with the response to its first query, this can
    /// only be that response, behind the hook; other messages were copies, such as a bridge makes for its ports. So it is of a
    /// late one, whose other losses are those of the timeout before.
    #[must_use]
    pub fn of(&self, transaction: &Transaction<'_>) -> Option<Lost> {
        if self.messages.is_empty() {
            return None;
        }
        let query = transaction.query?;
        let (client, server) = query.client_and_server();
        // Each member of a group has a copy.
        if query.envelope.transport != Transport::Udp
            || transaction.status == Status::Duplicate
            || server.ip().is_multicast()
        {
            return None;
        }
        let arrived = transaction
            .response
            .filter(|_| transaction.retries == 0 || transaction.status == Status::Late)
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
            let (own, translated) = self.limits(&query, transaction.vantage);
            let limit = |one: &Seen| if one.server == server { own } else { translated };
            let mut lost = seen
                .take_while(|one| one.ts < own.max(translated))
                .filter(|one| one.ts < limit(one));
            (lost.next()?, lost.count() + 1)
        };
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let Seen { ts, is_response, ref loss, .. } = *first;
        Some(Lost { ts, is_response, loss: Arc::clone(loss), count })
    }

    /// Returns the times before which a message that was lost belongs to a query: of its own server, and of one that its
    /// client has not asked. At the server, no address is translated any more.
    fn limits(&self, query: &Message<'_>, vantage: Vantage) -> (Timestamp, Timestamp) {
        let ts = query.envelope.ts;
        let (key, server) = self.hashes(query, vantage);
        let alike = self.queries.get(&key).map_or(&[][..], SmallVec::as_slice);
        if alike.len() >= MAX_ALIKE && alike[0].ts > ts {
            return (ts, ts);
        }
        // What comes after its timeout may be the next query, which is not known before this transaction has ended.
        let end = ts.plus(self.query_timeout + Duration::from_nanos(1));
        let (mut own, mut translated) = (end, if vantage == Vantage::Server { ts } else { end });
        for other in alike {
            let (is_later, is_same) = (other.ts > ts, other.server == server);
            if is_later && is_same {
                own = own.min(other.ts);
            }
            if is_later || !is_same {
                translated = translated.min(other.ts);
            }
        }
        (own, translated)
    }

    /// Forgets what no transaction that ends after `now` can miss.
    pub fn expire(&mut self, now: Timestamp) {
        let retention = self.query_timeout + SLACK;
        while self.order.front().is_some_and(|(ts, _)| now.since(*ts) > retention) {
            self.forget_oldest();
        }
        // A query that ends now may have begun while another one waited.
        let retention = retention + self.query_timeout;
        while self.query_order.front().is_some_and(|(ts, _)| now.since(*ts) > retention) {
            self.forget_oldest_query();
        }
    }

    fn forget_oldest_query(&mut self) {
        let Some((ts, key)) = self.query_order.pop_front() else { return };
        if let Some(alike) = self.queries.get_mut(&key) {
            if let Some(at) = alike.iter().position(|one| one.ts == ts) {
                alike.remove(at);
            }
            if alike.is_empty() {
                self.queries.remove(&key);
            }
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
    use dnscribe_transaction::decode::{MessageId, OwnedMessage};
    use dnscribe_transaction::packet::Direction;
    use dnscribe_transaction::packet::net::test_packets;
    use proptest::prelude::*;
    use std::net::{IpAddr, Ipv4Addr};

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_nanos(ms * 1_000_000)
    }

    const CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 1);

    fn server(number: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 53 + number], 53))
    }

    fn direction(is_server: bool) -> Direction {
        if is_server { Direction::Ingress } else { Direction::Egress }
    }

    fn query(ms: u64, is_server: bool, to: SocketAddr, transport: Transport) -> OwnedMessage {
        let envelope = Envelope {
            id: MessageId::default(),
            ts: at(ms),
            scope: 0,
            direction: direction(is_server),
            task: None,
            cgroup_id: 0,
            transport,
            src: CLIENT,
            dst: to,
            report: None,
            seen_by: None,
        };
        OwnedMessage::parse(envelope, &test_packets::query(7, "www"), 30).unwrap()
    }

    fn table() -> LossTable {
        LossTable { query_timeout: Duration::from_secs(5), ..LossTable::default() }
    }

    /// Number of messages that a query misses that was never answered.
    fn count(table: &LossTable, query: &OwnedMessage) -> u32 {
        let query = query.message();
        let vantage = Vantage::from_direction(query.envelope.direction, false);
        let transaction =
            Transaction { query: Some(query), ..Transaction::new(Status::Timeout, vantage) };
        table.of(&transaction).map_or(0, |lost| lost.count)
    }

    /// Whether it is at the server, and which server was asked; `None`: a query that is lost, of any server.
    type Step = (Option<bool>, u8);

    /// Searches all queries for that which a loss belongs to.
    fn owner(queries: &[(u64, bool, u8)], is_server: bool, (ms, to): (u64, u8)) -> Option<usize> {
        let before = || {
            let all = queries.iter().enumerate();
            all.filter(|(_, query)| query.1 == is_server && query.0 < ms)
        };
        let newest = before().next_back()?;
        let own = before().rfind(|(_, query)| query.2 == to);
        let is_only = || !is_server && before().all(|(_, query)| query.2 == newest.1.2);
        own.or_else(|| is_only().then_some(newest)).map(|(number, _)| number)
    }

    proptest! {
        /// Each loss belongs to one transaction of a vantage, or to none.
        #[test]
        fn each_loss_has_one_owner(
            steps in prop::collection::vec((prop::option::of(any::<bool>()), 0..3_u8), 0..40),
        ) {
            let mut table = table();
            let (mut queries, mut losses) = (Vec::new(), Vec::new());
            for (ms, (kind, to)) in (0..).zip::<Vec<Step>>(steps) {
                if let Some(is_server) = kind {
                    table.begin(&query(ms, is_server, server(to), Transport::Udp).message());
                    queries.push((ms, is_server, to));
                } else {
                    losses.push((ms, to));
                }
            }
            for (ms, to) in &losses {
                let mut dropped = dropped(*ms, CLIENT.port());
                dropped.message.server = server(*to);
                table.observe(&dropped);
            }
            for (number, (ms, is_server, to)) in queries.iter().enumerate() {
                let owned = losses.iter().filter(|loss| owner(&queries, *is_server, **loss) == Some(number));
                let found = count(&table, &query(*ms, *is_server, server(*to), Transport::Udp));
                prop_assert_eq!(found as usize, owned.count(), "{} of {:?}", number, queries);
            }
        }
    }

    #[test]
    fn loss_of_udp_is_none_of_tcp() {
        let mut table = table();
        let [tcp, udp] = [(0, Transport::Tcp), (1, Transport::Udp)]
            .map(|(ms, transport)| query(ms, false, server(0), transport));
        for query in [&tcp, &udp] {
            table.begin(&query.message());
        }
        table.observe(&dropped(2, CLIENT.port()));
        assert_eq!((count(&table, &tcp), count(&table, &udp)), (0, 1));
    }

    /// A query is sent again after its timeout, and discarded before the hook: it has not begun when the first one ends.
    #[test]
    fn loss_after_the_timeout_is_that_of_the_next_query() {
        let mut table = table();
        let first = query(0, false, server(0), Transport::Udp);
        table.begin(&first.message());
        for ms in [5_000, 5_001] {
            table.observe(&dropped(ms, CLIENT.port()));
        }
        assert_eq!(count(&table, &first), 1);
    }

    /// A client may ask for thousands of names with one port and id.
    #[test]
    fn alike_queries_are_bounded() {
        let mut table = table();
        let queries: Vec<_> =
            (0..1_000).map(|ms| query(2 * ms, false, server(0), Transport::Udp)).collect();
        for (ms, query) in (0..).zip(&queries) {
            table.begin(&query.message());
            table.observe(&dropped(2 * ms + 1, CLIENT.port()));
        }
        let counts: Vec<_> = queries.iter().map(|query| count(&table, query)).collect();
        let (unknown, known) = counts.split_at(1_000 - MAX_ALIKE);
        assert!(unknown.iter().all(|count| *count == 0) && known.iter().all(|count| *count == 1));
        table.expire(at(100_000));
        assert!(table.queries.is_empty() && table.query_order.is_empty());
    }

    fn dropped(ms: u64, port: u16) -> Dropped {
        let stage = LossStage::Socket;
        let loss = Loss { stage, reason: "SOCKET_RCVBUFF".into(), hook: None, function: None };
        let message = MessageKey {
            client: SocketAddr::new(CLIENT.ip(), port),
            server: server(0),
            id: 7,
            is_response: false,
        };
        Dropped { ts: at(ms), message, loss: Arc::new(loss) }
    }

    #[test]
    fn forgets_in_order_and_within_bounds() {
        let mut table = table();
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

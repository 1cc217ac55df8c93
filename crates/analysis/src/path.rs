//! Times of messages on their way through this host, for the transactions that they belong to.
//!
//! Messages are found by client and id, not by server and network, as in [`crate::losses`].

use dnscribe_record::time::Timestamp;
use dnscribe_transaction::decode::{MessageStep, PathStep};
use dnscribe_transaction::pair::{Status, Transaction, Vantage};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// Most exchanges that are remembered; beyond it, the oldest is forgotten.
const MAX_EXCHANGES: usize = 1 << 17;

/// Time that an exchange is remembered beyond the query timeout.
const SLACK: Duration = Duration::from_secs(10);

/// A client, the id of its query, and whether this is about its server's socket.
type Key = (SocketAddr, u16, bool);

/// What is known of the exchanges that have not ended.
#[derive(Debug, Default)]
pub struct PathTable {
    exchanges: HashMap<Key, Exchange>,
    /// In order of their first step, those that have ended included.
    order: VecDeque<(Timestamp, Key)>,
    /// Time that a query waits for its response.
    pub query_timeout: Duration,
}

/// Steps of one exchange at one of its sockets.
#[derive(Debug)]
struct Exchange {
    /// Time of the first step.
    began: Timestamp,
    sent: Option<Sent>,
    /// When the message that arrived was read, and when it had arrived.
    read: Option<(Timestamp, Option<Timestamp>)>,
}

/// A query at the devices that it passes.
#[derive(Debug)]
struct Sent {
    /// When the last device took it.
    ts: Timestamp,
    /// Network and index of the first device.
    first: (u64, u32),
    /// Whether the query was sent again: later times are not those of the first one.
    is_repeated: bool,
}

/// Time that messages of a transaction took on this host, outside of what its latency has.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PathTimes {
    /// Time from the client's socket until the last device of this host took the query.
    pub send: Option<Duration>,
    /// Time from a device to the socket: of the response at a client, of the query at a server.
    pub arrive: Option<Duration>,
    /// Time of the same message in the socket's queue, until the process read it.
    pub read: Option<Duration>,
}

impl PathTable {
    /// Remembers a step.
    pub fn observe(&mut self, step: &MessageStep) {
        let MessageStep { ts, scope, message, step } = *step;
        let is_server = matches!(step, PathStep::Read { .. }) && !message.is_response;
        let key = (message.client, message.id, is_server);
        if self.order.len() >= MAX_EXCHANGES {
            self.forget_oldest();
        }
        let order = &mut self.order;
        let exchange = self.exchanges.entry(key).or_insert_with(|| {
            order.push_back((ts, key));
            Exchange { began: ts, sent: None, read: None }
        });
        match step {
            PathStep::Read { arrived } => {
                exchange.read.get_or_insert((ts, arrived));
            }
            PathStep::Sent { device } => {
                let device = (scope, device);
                match &mut exchange.sent {
                    Some(sent) if sent.first == device => sent.is_repeated = true,
                    Some(sent) if !sent.is_repeated => sent.ts = ts,
                    Some(_) => {}
                    None => {
                        exchange.sent = Some(Sent { ts, first: device, is_repeated: false });
                    }
                }
            }
        }
    }

    /// Returns the times of a transaction that has ended, and forgets them; `None` if nothing is known.
    pub fn take(&mut self, transaction: &Transaction<'_>) -> Option<PathTimes> {
        if self.exchanges.is_empty()
            || matches!(transaction.status, Status::Duplicate | Status::Late | Status::Orphan)
        {
            return None;
        }
        let query = transaction.query?;
        let is_server = match transaction.vantage {
            Vantage::Client => false,
            Vantage::Server => true,
            Vantage::Passive => return None,
        };
        let (client, _) = query.client_and_server();
        let Exchange { sent, read, .. } =
            self.exchanges.remove(&(client, query.dns.id, is_server))?;
        let after = |ts: Timestamp, since: Timestamp| (ts >= since).then(|| ts.since(since));
        let send = sent.and_then(|sent| after(sent.ts, query.envelope.ts));
        let arrived = if is_server { Some(query) } else { transaction.response };
        let at_socket = arrived.map(|message| message.envelope.ts);
        let read = at_socket.zip(read).and_then(|(at_socket, (ts, arrived))| {
            let arrive = arrived.and_then(|arrived| after(at_socket, arrived));
            Some((after(ts, at_socket)?, arrive))
        });
        let times = PathTimes {
            send,
            arrive: read.and_then(|(_, arrive)| arrive),
            read: read.map(|(read, _)| read),
        };
        (times != PathTimes::default()).then_some(times)
    }

    /// Forgets what no transaction that ends after `now` can miss.
    pub fn expire(&mut self, now: Timestamp) {
        let retention = self.query_timeout + SLACK;
        while self.order.front().is_some_and(|(began, _)| now.since(*began) > retention) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((began, key)) = self.order.pop_front() else { return };
        if self.exchanges.get(&key).is_some_and(|exchange| exchange.began == began) {
            self.exchanges.remove(&key);
        }
    }
}

//! Times of messages on their way through this host, for the transactions that they belong to.
//!
//! Messages are found by client and id, not by server and network, as in [`crate::losses`].

use dnscribe_record::time::Timestamp;
use dnscribe_transaction::decode::{MessageStep, PathStep};
use dnscribe_transaction::pair::{Status, Transaction, Vantage};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// Most messages that are remembered; beyond it, the oldest is forgotten.
const MAX_MESSAGES: usize = 1 << 18;

/// Time that a message is remembered beyond the query timeout.
const SLACK: Duration = Duration::from_secs(10);

/// A client, the id of its query, and when the message arrived at its socket; without a time, a query that leaves.
type Key = (SocketAddr, u16, Option<Timestamp>);

/// What is known of messages whose exchanges have not ended.
#[derive(Debug, Default)]
pub struct PathTable {
    messages: HashMap<Key, Way>,
    /// In order of their first step, those that have ended included.
    order: VecDeque<(Timestamp, Key)>,
    /// Time that a query waits for its response.
    pub query_timeout: Duration,
}

/// Way of one message: of a query that is sent, or of a message that was read.
#[derive(Debug)]
struct Way {
    /// Time of the first step.
    began: Timestamp,
    /// When the last device took the query, or the process read the message.
    ts: Timestamp,
    /// When the message that was read had arrived at a device.
    arrived: Option<Timestamp>,
    /// Network and index of the first device that took the query.
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
        let (at_socket, arrived, device) = match step {
            PathStep::Read { at_socket, arrived } => (Some(at_socket), arrived, 0),
            PathStep::Sent { device } => (None, None, device),
        };
        let (key, device) = ((message.client, message.id, at_socket), (scope, device));
        if let Some(way) = self.messages.get_mut(&key) {
            way.is_repeated |= at_socket.is_some() || way.first == device;
            if !way.is_repeated {
                way.ts = ts;
            }
            return;
        }
        if self.order.len() >= MAX_MESSAGES {
            self.forget_oldest();
        }
        self.order.push_back((ts, key));
        let way = Way { began: ts, ts, arrived, first: device, is_repeated: false };
        self.messages.insert(key, way);
    }

    /// Returns the times of a transaction that has ended, and forgets them; `None` if nothing is known.
    pub fn take(&mut self, transaction: &Transaction<'_>) -> Option<PathTimes> {
        if self.messages.is_empty()
            || matches!(transaction.status, Status::Duplicate | Status::Late | Status::Orphan)
        {
            return None;
        }
        let query = transaction.query?;
        let (client, _) = query.client_and_server();
        let mut take = |at_socket| self.messages.remove(&(client, query.dns.id, at_socket));
        let (sent, arrived) = match transaction.vantage {
            Vantage::Client => (take(None), transaction.response),
            Vantage::Server => (None, Some(query)),
            Vantage::Passive => return None,
        };
        let at_socket = arrived.map(|message| message.envelope.ts);
        let read = at_socket.and_then(|at_socket| take(Some(at_socket)));
        let after = |ts: Timestamp, since: Timestamp| (ts >= since).then(|| ts.since(since));
        let times = PathTimes {
            send: sent.and_then(|sent| after(sent.ts, query.envelope.ts)),
            arrive: read.as_ref().and_then(|read| after(at_socket?, read.arrived?)),
            read: read.and_then(|read| after(read.ts, at_socket?)),
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
        if self.messages.get(&key).is_some_and(|way| way.began == began) {
            self.messages.remove(&key);
        }
    }
}

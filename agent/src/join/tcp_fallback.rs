//! Joins a TCP transaction with the truncated UDP transaction that it follows (RFC 7766, 5).

use super::name::Name;
use crate::capture::Transport;
use crate::decode::{Message, MessageId};
use crate::pair::{Status, Transaction, Vantage};
use crate::time::Timestamp;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

/// Truncated transactions remembered at most.
const MAX_TRUNCATED: usize = 4096;

/// A client that turns to TCP does so at once; later than this it is another lookup.
const LIMIT: Duration = Duration::from_secs(10);

/// Same hosts, same question, whose name is a number; the port and the id differ.
type Key = (u64, Vantage, IpAddr, IpAddr, u64, u16, u16);

/// The truncated UDP transactions of the last seconds.
#[derive(Debug, Default)]
pub(super) struct Fallback {
    truncated: HashMap<Key, (Timestamp, MessageId)>,
    order: VecDeque<(Timestamp, Key)>,
    /// Room for the name that is looked at.
    text: String,
}

impl Fallback {
    /// Remembers a truncated UDP transaction; for one over TCP, names the one that it follows.
    pub(super) fn join(&mut self, transaction: &Transaction<'_>) -> Option<MessageId> {
        let query = transaction.query?;
        match query.envelope.transport {
            Transport::Udp => {
                let response = transaction.response?;
                if transaction.status == Status::Answered && response.dns.flags.truncated() {
                    let key = self.key(transaction.vantage, &query)?;
                    self.remember(key, response.envelope.ts, query.envelope.id);
                }
                None
            }
            Transport::Tcp if self.truncated.is_empty() => None,
            Transport::Tcp => {
                let key = self.key(transaction.vantage, &query)?;
                let (since, id) = self.truncated.remove(&key)?;
                (query.envelope.ts.since(since) <= LIMIT).then_some(id)
            }
        }
    }

    fn remember(&mut self, key: Key, now: Timestamp, id: MessageId) {
        while self.order.front().is_some_and(|(since, _)| {
            self.order.len() >= MAX_TRUNCATED || now.since(*since) > LIMIT
        }) {
            if let Some((since, old)) = self.order.pop_front()
                && self.truncated.get(&old).is_some_and(|(newest, _)| *newest == since)
            {
                self.truncated.remove(&old);
            }
        }
        self.order.push_back((now, key));
        self.truncated.insert(key, (now, id));
    }

    fn key(&mut self, vantage: Vantage, query: &Message<'_>) -> Option<Key> {
        let question = query.dns.question()?;
        let envelope = query.envelope;
        self.text.clear();
        question.name.push_lower_case(&mut self.text);
        Some((
            envelope.scope,
            vantage,
            envelope.src.ip(),
            envelope.dst.ip(),
            Name::whole_of(&self.text),
            question.qtype,
            question.qclass,
        ))
    }
}

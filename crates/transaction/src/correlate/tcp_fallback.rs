//! Links a TCP transaction to the truncated UDP transaction that it repeats (RFC 7766, 5).

use super::name_hash::NameHash;
use crate::decode::{Message, MessageId};
use crate::packet::Transport;
use crate::pair::{Status, Transaction, Vantage};
use dnscribe_record::time::Timestamp;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

/// Maximum number of remembered truncated transactions.
const MAX_TRUNCATED: usize = 4096;

/// Maximum time until a client repeats the query over TCP; later, it is another lookup.
const LIMIT: Duration = Duration::from_secs(10);

/// Scope, vantage, client and server address, hash of the name, type and class.
type FallbackKey = (u64, Vantage, IpAddr, IpAddr, u64, u16, u16);

/// The truncated UDP transactions of the last seconds.
#[derive(Debug, Default)]
pub(super) struct TcpFallback {
    truncated: HashMap<FallbackKey, (Timestamp, MessageId)>,
    order: VecDeque<(Timestamp, FallbackKey)>,
    /// Buffer for the name of the current query.
    text: String,
}

impl TcpFallback {
    /// Remembers a truncated UDP transaction. Returns the one that a TCP transaction repeats.
    pub(super) fn join(&mut self, transaction: &Transaction<'_>) -> Option<MessageId> {
        let query = transaction.query?;
        match query.envelope.transport {
            Transport::Udp => {
                let response = transaction.response?;
                if transaction.status == Status::Answered && response.dns.flags.is_truncated() {
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
            Transport::Dot | Transport::Doh | Transport::Doq | Transport::DnsCrypt => None,
        }
    }

    fn remember(&mut self, key: FallbackKey, now: Timestamp, id: MessageId) {
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

    fn key(&mut self, vantage: Vantage, query: &Message<'_>) -> Option<FallbackKey> {
        let question = query.dns.question()?;
        let envelope = query.envelope;
        self.text.clear();
        question.name.push_lower_case(&mut self.text);
        Some((
            envelope.scope,
            vantage,
            envelope.src.ip(),
            envelope.dst.ip(),
            NameHash::hash_whole(&self.text),
            question.qtype,
            question.qclass,
        ))
    }
}

//! What ties a response to its query.

use super::Vantage;
use crate::capture::Transport;
use crate::decode::dns::Question;
use crate::decode::{Message, Unreachable};
use std::net::SocketAddr;

/// The two ends of an exchange, as one vantage sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ends {
    scope: u64,
    vantage: Vantage,
    transport: Transport,
    client: SocketAddr,
    server: SocketAddr,
}

impl Ends {
    pub(super) fn of(message: &Message) -> Self {
        let envelope = &message.envelope;
        let (client, server) = message.ends();
        Self {
            scope: envelope.scope,
            vantage: Vantage::of(envelope.sight, message.dns.flags.response()),
            transport: envelope.transport,
            client,
            server,
        }
    }

    pub(super) fn of_unreachable(error: &Unreachable, vantage: Vantage) -> Self {
        Self {
            scope: error.scope,
            vantage,
            transport: error.transport,
            client: error.client,
            server: error.server,
        }
    }
}

/// The contract's pairing key: ends, id and question. Names compare without regard to case,
/// for the decoder has put them in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key<'a> {
    ends: Ends,
    id: u16,
    question: Option<(&'a str, u16, u16)>,
}

impl<'a> Key<'a> {
    pub(super) fn of(message: &'a Message) -> Self {
        let named = |q: &'a Question| (&*q.qname, q.qtype, q.qclass);
        let question = message.dns.question.as_ref().map(named);
        Self { ends: Ends::of(message), id: message.dns.id, question }
    }
}

//! TLS over TCP: the records of both directions until they are encrypted (RFC 8446, 5; RFC 5246, 6.2).

use super::cursor::Cursor;
use super::handshake::Handshake;
use super::hello::{self, CLIENT_HELLO, SERVER_HELLO, TLS13};
use crate::time::Timestamp;

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// Octets before a record's body: type, version, length.
const RECORD_HEADER: usize = 5;
/// Longest body of a record: encryption adds up to 2,048 before TLS 1.3.
const MOST_BODY: usize = (1 << 14) + 2048;
/// A fatal alert.
const FATAL: u8 = 2;
/// Length of an encrypted alert in TLS 1.3: level, description, type and the tag. The client's
/// `Finished` is longer.
const ENCRYPTED_ALERT: usize = 19;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

/// Reads both directions of a connection until the handshake is over.
#[derive(Clone, Debug, Default)]
pub(super) struct Tls {
    client: Direction,
    server: Direction,
}

/// One direction.
#[derive(Clone, Debug, Default)]
struct Direction {
    records: Cursor,
    /// The handshake messages in the records, that may be cut anywhere.
    messages: Vec<u8>,
    /// Whether messages are still of interest.
    heard: bool,
    /// Whether it is encrypted from here on.
    sealed: bool,
}

impl Tls {
    /// Takes octets that one side sent at `offset` of its stream. Gives whether there is anything
    /// left to read.
    pub(super) fn take(
        &mut self,
        side: Side,
        offset: u64,
        octets: &[u8],
        now: Timestamp,
        handshake: &mut Handshake,
    ) -> bool {
        if side == Side::Client && handshake.began.is_none() {
            handshake.began = Some(now);
        }
        let direction = match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        };
        direction.records.take(offset, octets);
        while let Some(step) = direction.next() {
            match step {
                Step::NotTls => return false,
                Step::Record(kind, length) => direction.record(side, kind, length, handshake),
            }
        }
        if handshake.refused {
            return false;
        }
        if self.client.sealed && self.server.sealed {
            // Where the hello was not seen, nothing was measured.
            handshake.completed = handshake.client.is_some().then_some(now);
            return false;
        }
        true
    }

    /// Octets of memory.
    pub(super) fn cost(&self) -> usize {
        let of = |direction: &Direction| direction.records.cost() + direction.messages.len();
        of(&self.client) + of(&self.server)
    }
}

/// What is next in a direction.
enum Step {
    /// A record whose body is known as far as it is needed.
    Record(u8, usize),
    NotTls,
}

impl Direction {
    fn next(&self) -> Option<Step> {
        let [kind, major, _, high, low] = *self.records.known().first_chunk::<RECORD_HEADER>()?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if !(CHANGE_CIPHER_SPEC..=APPLICATION_DATA).contains(&kind)
            || major != 3
            || length > MOST_BODY
        {
            return Some(Step::NotTls);
        }
        let needs_body = match kind {
            HANDSHAKE => !self.heard,
            ALERT => !self.sealed,
            _ => false,
        };
        let known = self.records.known().len() >= RECORD_HEADER + length;
        (known || !needs_body).then_some(Step::Record(kind, length))
    }

    fn record(&mut self, side: Side, kind: u8, length: usize, handshake: &mut Handshake) {
        let is_13 = handshake.server.as_ref().is_some_and(|server| server.version >= TLS13);
        let body = self.records.known().get(RECORD_HEADER..RECORD_HEADER + length);
        match (kind, body) {
            (HANDSHAKE, Some(body)) if !self.heard => {
                self.messages.extend_from_slice(body);
                self.hear(side, handshake);
            }
            // In TLS 1.3 it is there to look like TLS 1.2, before a second hello too.
            (CHANGE_CIPHER_SPEC, _) if handshake.server.is_some() && !is_13 => self.sealed = true,
            (ALERT, Some([FATAL, _])) if !self.sealed => handshake.refused = true,
            // Before the server's hello it is early data.
            (APPLICATION_DATA, _) if handshake.server.is_some() || side == Side::Server => {
                if is_13 && side == Side::Client && !self.sealed && length == ENCRYPTED_ALERT {
                    handshake.refused = true;
                }
                self.sealed = true;
            }
            _ => {}
        }
        self.records.skip(RECORD_HEADER + length);
    }

    /// Reads the messages that are whole.
    fn hear(&mut self, side: Side, handshake: &mut Handshake) {
        loop {
            match side {
                Side::Client => {
                    let Some(body) = hello::body(&self.messages, CLIENT_HELLO) else { break };
                    handshake.client = hello::client(body);
                    self.heard = true;
                }
                Side::Server => {
                    let Some(body) = hello::body(&self.messages, SERVER_HELLO) else { break };
                    let said = hello::server(body);
                    let end = hello::MESSAGE_HEADER + body.len();
                    self.messages.drain(..end);
                    match said {
                        Some(said) if said.is_retry => continue,
                        said => handshake.server = said,
                    }
                    self.heard = true;
                }
            }
            break;
        }
        // Whatever comes first that is no hello, nothing of it is waited for.
        let expected = if side == Side::Client { CLIENT_HELLO } else { SERVER_HELLO };
        self.heard |= self.messages.first().is_some_and(|kind| *kind != expected);
        if self.heard {
            self.messages = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests;

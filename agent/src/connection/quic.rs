//! QUIC's first packets: what of the handshake anyone can read (RFC 9000, 17.2; RFC 9001, 5).

mod keys;

use super::cursor::Cursor;
use super::handshake::Handshake;
use super::hello::{self, CLIENT_HELLO, SERVER_HELLO};
use super::tls::Side;
use crate::time::Timestamp;
use keys::{Initial, Version};

/// The first bit of a packet with a long header.
const LONG: u8 = 0x80;
/// Longest connection id.
const MOST_ID: usize = 20;
/// Packets that do not open before no more are tried: each costs some microseconds.
const MOST_FAILURES: u8 = 16;

const PADDING: u64 = 0x00;
const PING: u64 = 0x01;
const ACK: u64 = 0x02;
const ACK_ECN: u64 = 0x03;
const CRYPTO: u64 = 0x06;
const CONNECTION_CLOSE: u64 = 0x1c;

/// Reads a connection's handshake until it is over.
#[derive(Clone, Debug, Default)]
pub(super) struct Quic {
    keys: Option<Initial>,
    failures: u8,
    client: Cursor,
    server: Cursor,
}

/// What packets with a long header are for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Initial,
    Retry,
    /// 0-RTT, Handshake.
    Other,
}

/// A long header.
struct Long<'a> {
    version: Version,
    kind: Kind,
    destination: &'a [u8],
    /// Where the packet number stands.
    number_at: usize,
    /// Where the packet ends.
    end: usize,
}

impl Quic {
    /// Takes a datagram that one side sent. Gives whether there is anything left to read.
    pub(super) fn take(
        &mut self,
        side: Side,
        datagram: &[u8],
        now: Timestamp,
        handshake: &mut Handshake,
    ) -> bool {
        if side == Side::Client && handshake.began.is_none() {
            handshake.began = Some(now);
        }
        let mut rest = datagram;
        // Several packets may share a datagram (RFC 9000, 12.2).
        while let Some(first) = rest.first() {
            if first & LONG == 0 {
                if side == Side::Client && handshake.client.is_some() && handshake.server.is_some()
                {
                    handshake.completed = Some(now);
                    return false;
                }
                break;
            }
            let Some(long) = long(rest) else { break };
            match long.kind {
                Kind::Initial => self.initial(side, rest, &long, handshake),
                // The client begins anew, with the id that the server gave.
                Kind::Retry => self.keys = None,
                Kind::Other => {}
            }
            rest = rest.get(long.end..).unwrap_or_default();
        }
        !handshake.refused
    }

    /// Octets of memory.
    pub(super) fn cost(&self) -> usize {
        self.client.cost() + self.server.cost()
    }

    fn initial(&mut self, side: Side, packet: &[u8], long: &Long<'_>, handshake: &mut Handshake) {
        let from_client = side == Side::Client;
        let is_known = match side {
            Side::Client => handshake.client.is_some(),
            Side::Server => handshake.server.is_some(),
        };
        // After a retry the client says the same again, which the keys of the answer depend on.
        if (is_known && self.keys.is_some()) || self.failures >= MOST_FAILURES {
            return;
        }
        let open = |keys: &Initial| keys.open(from_client, packet, long.number_at, long.end);
        let mut frames = self.keys.as_ref().and_then(open);
        if frames.is_none() && from_client {
            // The first, or the first after a retry, or of a second attempt from the same port.
            let keys = Initial::new(long.version, long.destination).ok();
            frames = keys.as_ref().and_then(open);
            if frames.is_some() {
                self.keys = keys;
            }
        }
        let Some(frames) = frames else {
            self.failures += 1;
            return;
        };
        let stream = if from_client { &mut self.client } else { &mut self.server };
        // Whatever was read before an unknown frame counts.
        let _ = read_frames(&frames, stream, handshake);
        if from_client {
            if let Some(body) = hello::body(stream.known(), CLIENT_HELLO) {
                handshake.client = hello::client(body);
            }
        } else if let Some(body) = hello::body(stream.known(), SERVER_HELLO) {
            let said = hello::server(body);
            let length = hello::MESSAGE_HEADER + body.len();
            stream.skip(length);
            if said.as_ref().is_some_and(|said| !said.is_retry) {
                handshake.server = said;
            }
        }
    }
}

/// Reads a long header; none where it is of an unknown version, damaged or not whole.
fn long(packet: &[u8]) -> Option<Long<'_>> {
    let mut rest = Octets(packet);
    let first = *rest.take(1)?.first()?;
    let version = Version::of(u32::from_be_bytes(*rest.take(4)?.first_chunk()?))?;
    let destination = rest.connection_id()?;
    rest.connection_id()?;
    let code = first >> 4 & 3;
    let kind = match (version, code) {
        (Version::V1, 0) | (Version::V2, 1) => Kind::Initial,
        (Version::V1, 3) | (Version::V2, 0) => Kind::Retry,
        _ => Kind::Other,
    };
    if kind == Kind::Retry {
        // It has no length, and nothing follows it.
        return Some(Long { version, kind, destination, number_at: 0, end: packet.len() });
    }
    if kind == Kind::Initial {
        let token = rest.number()?;
        rest.take(usize::try_from(token).ok()?)?;
    }
    let length = usize::try_from(rest.number()?).ok()?;
    let number_at = packet.len() - rest.0.len();
    let end = number_at.checked_add(length)?;
    Some(Long { version, kind, destination, number_at, end })
}

/// Reads the frames of a first packet (RFC 9000, 19, 17.2.2).
fn read_frames(frames: &[u8], stream: &mut Cursor, handshake: &mut Handshake) -> Option<()> {
    let mut rest = Octets(frames);
    while !rest.0.is_empty() {
        match rest.number()? {
            PADDING | PING => {}
            kind @ (ACK | ACK_ECN) => {
                rest.number()?;
                rest.number()?;
                let ranges = rest.number()?;
                rest.number()?;
                for _ in 0..ranges {
                    rest.number()?;
                    rest.number()?;
                }
                if kind == ACK_ECN {
                    for _ in 0..3 {
                        rest.number()?;
                    }
                }
            }
            CRYPTO => {
                let offset = rest.number()?;
                let length = usize::try_from(rest.number()?).ok()?;
                stream.take(offset, rest.take(length)?);
            }
            CONNECTION_CLOSE => {
                handshake.refused = true;
                return Some(());
            }
            _ => return None,
        }
    }
    Some(())
}

/// Octets to be taken from the front.
struct Octets<'a>(&'a [u8]);

impl<'a> Octets<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn connection_id(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(*self.take(1)?.first()?);
        if length > MOST_ID { None } else { self.take(length) }
    }

    /// A number of variable length (RFC 9000, 16).
    fn number(&mut self) -> Option<u64> {
        let first = *self.0.first()?;
        let octets = self.take(1 << (first >> 6))?;
        let start = u64::from(first & 0x3f);
        Some(octets.iter().skip(1).fold(start, |number, octet| number << 8 | u64::from(*octet)))
    }
}

#[cfg(test)]
mod tests;

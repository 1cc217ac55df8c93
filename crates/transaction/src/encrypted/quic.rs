//! QUIC's Initial packets, the readable part of the handshake (RFC 9000, 17.2; RFC 9001, 5).

mod keys;

use super::cursor::Reassembler;
use super::hello::{self, Handshake, Side};
use dnscribe_record::time::Timestamp;
use keys::{InitialKeys, Version};

/// Header form bit of a long header.
const LONG_HEADER: u8 = 0x80;
/// Longest connection id in bytes.
const MAX_ID: usize = 20;
/// Decryption failures after which no more packets are tried; each costs some microseconds.
const MAX_FAILURES: u8 = 16;

const PADDING: u64 = 0x00;
const PING: u64 = 0x01;
const ACK: u64 = 0x02;
const ACK_ECN: u64 = 0x03;
const CRYPTO: u64 = 0x06;
const CONNECTION_CLOSE: u64 = 0x1c;

/// Reads a connection's handshake until its end.
#[derive(Clone, Debug, Default)]
pub(super) struct QuicReader {
    keys: Option<InitialKeys>,
    failures: u8,
    /// The handshake's bytes from the client and from the server.
    streams: [Reassembler; 2],
}

/// Type of a packet with a long header.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PacketType {
    Initial,
    Retry,
    /// 0-RTT, Handshake.
    Other,
}

/// A long header.
struct LongHeader<'a> {
    version: Version,
    packet_type: PacketType,
    destination: &'a [u8],
    /// Offset of the packet number.
    number_at: usize,
    /// Offset of the packet's end.
    end: usize,
}

impl QuicReader {
    /// Processes a datagram of one side. Returns whether there is more to read.
    pub(super) fn read(
        &mut self,
        side: Side,
        datagram: &[u8],
        now: Timestamp,
        handshake: &mut Handshake,
    ) -> bool {
        handshake.note_data(side, now);
        let mut rest = datagram;
        // A datagram may contain several packets (RFC 9000, 12.2).
        while let Some(first) = rest.first() {
            if first & LONG_HEADER == 0 {
                if side == Side::Client && handshake.client.is_some() && handshake.server.is_some()
                {
                    handshake.completed = Some(now);
                    return false;
                }
                break;
            }
            let Some(header) = parse_long_header(rest) else { break };
            match header.packet_type {
                PacketType::Initial => self.read_initial(side, rest, &header, handshake),
                // The client starts again with the connection id from the server.
                PacketType::Retry => self.keys = None,
                PacketType::Other => {}
            }
            rest = rest.get(header.end..).unwrap_or_default();
        }
        !handshake.refused
    }

    /// Returns the memory in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.streams.iter().map(Reassembler::memory_bytes).sum()
    }

    fn read_initial(
        &mut self,
        side: Side,
        packet: &[u8],
        header: &LongHeader<'_>,
        handshake: &mut Handshake,
    ) {
        let from_client = side == Side::Client;
        let is_known = match side {
            Side::Client => handshake.client.is_some(),
            Side::Server => handshake.server.is_some(),
        };
        // After a retry the client repeats its hello, from which new keys follow.
        if (is_known && self.keys.is_some()) || self.failures >= MAX_FAILURES {
            return;
        }
        let open =
            |keys: &InitialKeys| keys.decrypt(from_client, packet, header.number_at, header.end);
        let mut frames = self.keys.as_ref().and_then(open);
        if frames.is_none() && from_client {
            // The first packet, the first after a retry, or a second attempt from the same port.
            let keys = InitialKeys::new(header.version, header.destination).ok();
            frames = keys.as_ref().and_then(open);
            if frames.is_some() {
                self.keys = keys;
            }
        }
        let Some(frames) = frames else {
            self.failures += 1;
            return;
        };
        let stream = &mut self.streams[side.index()];
        // The frames before an unknown one count.
        let _ = read_frames(&frames, stream, handshake);
        if let Some(body) = hello::message_body(&stream.contiguous, side) {
            let length = hello::MESSAGE_HEADER + body.len();
            handshake.read_hello(side, body);
            if side == Side::Server {
                stream.skip(length);
            }
        }
    }
}

/// Reads a long header; `None` for an unknown version, and if it is damaged or incomplete.
fn parse_long_header(packet: &[u8]) -> Option<LongHeader<'_>> {
    let mut rest = SliceReader(packet);
    let first = *rest.take(1)?.first()?;
    let version = Version::of(u32::from_be_bytes(*rest.take(4)?.first_chunk()?))?;
    let destination = rest.connection_id()?;
    rest.connection_id()?;
    let code = first >> 4 & 3;
    let packet_type = match (version, code) {
        (Version::V1, 0) | (Version::V2, 1) => PacketType::Initial,
        (Version::V1, 3) | (Version::V2, 0) => PacketType::Retry,
        _ => PacketType::Other,
    };
    if packet_type == PacketType::Retry {
        // A retry has no length field, and no packet follows it.
        let (number_at, end) = (0, packet.len());
        return Some(LongHeader { version, packet_type, destination, number_at, end });
    }
    if packet_type == PacketType::Initial {
        let token = rest.varint()?;
        rest.take(usize::try_from(token).ok()?)?;
    }
    let length = usize::try_from(rest.varint()?).ok()?;
    let number_at = packet.len() - rest.0.len();
    let end = number_at.checked_add(length)?;
    Some(LongHeader { version, packet_type, destination, number_at, end })
}

/// Reads the frames of an Initial packet (RFC 9000, 17.2.2 and 19).
fn read_frames(frames: &[u8], stream: &mut Reassembler, handshake: &mut Handshake) -> Option<()> {
    let mut rest = SliceReader(frames);
    while !rest.0.is_empty() {
        match rest.varint()? {
            PADDING | PING => {}
            kind @ (ACK | ACK_ECN) => {
                let [_largest, _delay, ranges, _first_range] = rest.varints()?;
                for _ in 0..ranges {
                    let [_gap, _length] = rest.varints()?;
                }
                if kind == ACK_ECN {
                    let [_ect0, _ect1, _ce] = rest.varints()?;
                }
            }
            CRYPTO => {
                let [offset, length] = rest.varints()?;
                stream.insert(offset, rest.take(usize::try_from(length).ok()?)?);
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

/// Reads values from the front of a slice.
struct SliceReader<'a>(&'a [u8]);

impl<'a> SliceReader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn connection_id(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(*self.take(1)?.first()?);
        if length > MAX_ID { None } else { self.take(length) }
    }

    fn varints<const N: usize>(&mut self) -> Option<[u64; N]> {
        let mut numbers = [0; N];
        for number in &mut numbers {
            *number = self.varint()?;
        }
        Some(numbers)
    }

    /// Reads a variable-length integer (RFC 9000, 16).
    fn varint(&mut self) -> Option<u64> {
        let first = *self.0.first()?;
        let bytes = self.take(1 << (first >> 6))?;
        let start = u64::from(first & 0x3f);
        Some(bytes.iter().skip(1).fold(start, |number, byte| number << 8 | u64::from(*byte)))
    }
}

#[cfg(test)]
mod tests;

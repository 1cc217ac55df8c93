//! Messages of `dns.message/1` and dead letters as packets again, for `replay kafka://…`.
//!
//! Each message is put behind headers of IP and of its transport, with the position of the packet that
//! completed it: so its `event_id` is the same again. Messages that one TCP segment completed are put
//! into one segment again. What a record does not have is unknown: the task, its cgroup and the
//! network namespace.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use dnscribe_record::time::Timestamp;
use dnscribe_record::{EventId, Labels};
use dnscribe_transaction::packet::{Body, Direction, Packet, PacketId, Transport};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

/// A DNS message with its place in a capture. Sorts by capture, time and position.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RawMessage {
    /// Name of the node.
    pub node: String,
    /// Region of the node.
    pub region: Option<String>,
    /// Labels of the node.
    pub labels: Labels,
    /// Tag of node and epoch, the beginning of the `event_id`.
    pub tag: u32,
    /// Capture time.
    pub ts_ns: u64,
    /// Position of the packet.
    pub id: PacketId,
    /// Position in the topic: partition and offset. It orders the messages of one packet.
    pub offset: (i32, i64),
    /// `event_id` of the record.
    pub event_id: u128,
    /// Transport.
    pub transport: Transport,
    /// Direction at the point of capture.
    pub direction: WireDirection,
    /// Sender.
    pub src: SocketAddr,
    /// Receiver.
    pub dst: SocketAddr,
    /// The message.
    pub wire: Vec<u8>,
}

/// Field `direction` of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WireDirection {
    /// To a socket of the node.
    Ingress,
    /// From a socket of the node.
    Egress,
    /// Neither.
    #[default]
    Passive,
}

/// Fields of `dns.message/1` and `dns.dlq/1` that are needed.
#[derive(Deserialize)]
struct RawFields {
    event_id: EventId,
    ts: Timestamp,
    node: String,
    region: Option<String>,
    #[serde(default)]
    labels: Labels,
    stage: Option<String>,
    cpu: Option<u32>,
    seq: Option<u64>,
    #[serde(default)]
    direction: WireDirection,
    transport: Option<String>,
    src_ip: Option<IpAddr>,
    src_port: Option<u16>,
    dst_ip: Option<IpAddr>,
    dst_port: Option<u16>,
    wire: Option<String>,
    bytes: Option<String>,
}

/// Why a record cannot be replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum NoMessage {
    /// It is no record.
    #[error("no records of dns.message/1 or dns.dlq/1")]
    NotARecord,
    /// The message itself is missing.
    #[error("without the message itself (messages.wire: true keeps it)")]
    NoBytes,
    /// It is a dead letter of another stage.
    #[error("dead letters of records, not of packets")]
    OtherStage,
}

impl RawMessage {
    /// Reads a record of `dns.message/1`, or a dead letter of stage `decode`. `offset` is its partition
    /// and offset.
    ///
    /// # Errors
    /// The record has no message.
    pub fn read(record: &[u8], offset: (i32, i64)) -> Result<Self, NoMessage> {
        let fields: RawFields =
            serde_json::from_slice(record).map_err(|_| NoMessage::NotARecord)?;
        if fields.stage.as_deref().is_some_and(|stage| stage != "decode") {
            return Err(NoMessage::OtherStage);
        }
        let wire = fields.wire.or(fields.bytes).and_then(|text| BASE64.decode(text).ok());
        let wire = wire.filter(|wire| !wire.is_empty()).ok_or(NoMessage::NoBytes)?;
        let address = |ip: Option<IpAddr>, port: Option<u16>| Some(SocketAddr::new(ip?, port?));
        let message = || {
            Some(Self {
                node: fields.node,
                region: fields.region,
                labels: fields.labels,
                tag: fields.event_id.tag(),
                ts_ns: fields.ts.as_nanos(),
                id: PacketId { cpu: fields.cpu?, seq: fields.seq? },
                offset,
                event_id: fields.event_id.0,
                transport: match fields.transport?.as_str() {
                    "udp" => Transport::Udp,
                    "tcp" => Transport::Tcp,
                    _ => return None,
                },
                direction: fields.direction,
                src: address(fields.src_ip, fields.src_port)?,
                dst: address(fields.dst_ip, fields.dst_port)?,
                wire,
            })
        };
        let message = message().filter(|message| message.src.is_ipv4() == message.dst.is_ipv4());
        message.ok_or(NoMessage::NotARecord)
    }

    /// Returns whether both are of one capture: one run of one node.
    #[must_use]
    pub fn same_capture(&self, other: &Self) -> bool {
        (self.tag, &self.node) == (other.tag, &other.node)
    }
}

/// Most directions of TCP connections whose sequence numbers are remembered.
const MAX_FLOWS: usize = 1 << 16;

/// Most bytes of a segment, so that it fits into an IP packet.
const SEGMENT_BYTES: usize = 60_000;

/// Makes packets of messages.
#[derive(Debug, Default)]
pub struct Packetizer {
    /// Next sequence number of each direction of a TCP connection.
    flows: HashMap<(SocketAddr, SocketAddr), u32>,
    /// Packets made.
    packets: u64,
    buffer: Vec<u8>,
}

impl Packetizer {
    /// Returns the number of packets made.
    #[must_use]
    pub const fn packets(&self) -> u64 {
        self.packets
    }

    /// Calls `each` with the packets of the messages that one packet completed.
    pub fn packets_of(&mut self, messages: &[RawMessage], each: &mut dyn FnMut(&Packet<'_>)) {
        let Some(first) = messages.first() else { return };
        if first.transport == Transport::Udp {
            for message in messages {
                self.packet(message, None, &message.wire, each);
            }
            return;
        }
        let mut stream = Vec::new();
        for message in messages {
            let length = u16::try_from(message.wire.len()).unwrap_or(u16::MAX);
            stream.extend(length.to_be_bytes());
            stream.extend(message.wire.iter().take(usize::from(length)));
        }
        if self.flows.len() >= MAX_FLOWS {
            // A stream that is joined in the middle is read as well.
            self.flows.clear();
        }
        for segment in stream.chunks(SEGMENT_BYTES) {
            let next = self.flows.entry((first.src, first.dst)).or_insert(1);
            let seq = *next;
            *next = next.wrapping_add(u32::try_from(segment.len()).unwrap_or(u32::MAX));
            self.packet(first, Some(seq), segment, each);
        }
    }

    /// Makes one packet: of TCP with this sequence number, else of UDP.
    fn packet(
        &mut self,
        message: &RawMessage,
        seq: Option<u32>,
        payload: &[u8],
        each: &mut dyn FnMut(&Packet<'_>),
    ) {
        let bytes = &mut self.buffer;
        bytes.clear();
        let transport_bytes = payload.len() + if seq.is_some() { 20 } else { 8 };
        let length = |bytes: usize| u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes();
        let protocol = if seq.is_some() { 6 } else { 17 };
        match (message.src.ip(), message.dst.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                bytes.extend([0x45, 0]);
                bytes.extend(length(transport_bytes + 20));
                bytes.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
                bytes.extend(src.octets());
                bytes.extend(dst.octets());
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                bytes.extend([0x60, 0, 0, 0]);
                bytes.extend(length(transport_bytes));
                bytes.extend([protocol, 64]);
                bytes.extend(src.octets());
                bytes.extend(dst.octets());
            }
            _ => return,
        }
        bytes.extend(message.src.port().to_be_bytes());
        bytes.extend(message.dst.port().to_be_bytes());
        if let Some(seq) = seq {
            const ACK_AND_PSH: u8 = 0x18;
            bytes.extend(seq.to_be_bytes());
            bytes.extend([0, 0, 0, 1, 5 << 4, ACK_AND_PSH, 0xFF, 0xFF, 0, 0, 0, 0]);
        } else {
            bytes.extend(length(transport_bytes));
            bytes.extend([0, 0]);
        }
        bytes.extend(payload);
        self.packets += 1;
        each(&Packet {
            ts: Timestamp::from_nanos(message.ts_ns),
            id: message.id,
            scope: 0,
            direction: match message.direction {
                WireDirection::Ingress => Direction::Ingress,
                WireDirection::Egress => Direction::Egress,
                WireDirection::Passive => Direction::Passive,
            },
            task: None,
            datagram_bytes: 0,
            cgroup_id: 0,
            body: Body::Ip { bytes, wire_bytes: u32::try_from(bytes.len()).unwrap_or(u32::MAX) },
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn record(changes: &Value) -> Vec<u8> {
        let mut record = json!({
            "schema": "dns.message/1", "event_id": "0123456789abcdef0123456789abcdef",
            "ts": "2026-11-20T07:30:00Z", "node": "n", "seq": 7, "cpu": 1, "vantage": "client",
            "direction": "egress", "transport": "udp", "src_ip": "192.0.2.1", "src_port": 4000,
            "dst_ip": "192.0.2.53", "dst_port": 53, "wire": "AAEAAAAAAAAAAAAA",
        });
        for (name, value) in changes.as_object().unwrap() {
            record[name] = value.clone();
        }
        record.to_string().into_bytes()
    }

    fn packets(messages: &[RawMessage]) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        Packetizer::default().packets_of(messages, &mut |packet| {
            let Body::Ip { bytes, .. } = packet.body else { return };
            assert_eq!(packet.id, PacketId { cpu: 1, seq: 7 });
            found.push(bytes.to_vec());
        });
        found
    }

    #[test]
    fn reads_messages_and_dead_letters() {
        let message = RawMessage::read(&record(&json!({})), (2, 9)).unwrap();
        assert_eq!((message.tag, message.offset), (0x0123_4567, (2, 9)));
        assert_eq!((message.direction, message.wire.len()), (WireDirection::Egress, 12));
        let letter = json!({"stage": "decode", "wire": null, "bytes": "AAEA", "direction": null});
        let letter: Value = letter;
        let mut letter: Value = serde_json::from_slice(&record(&letter)).unwrap();
        letter.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let letter = RawMessage::read(letter.to_string().as_bytes(), (0, 0)).unwrap();
        assert_eq!((letter.direction, letter.wire.len()), (WireDirection::Passive, 3));
        for (changes, expected) in [
            (json!({"wire": ""}), NoMessage::NoBytes),
            (json!({"stage": "deliver"}), NoMessage::OtherStage),
            (json!({"src_ip": "2001:db8::1"}), NoMessage::NotARecord),
            (json!({"transport": "sctp"}), NoMessage::NotARecord),
        ] {
            assert_eq!(RawMessage::read(&record(&changes), (0, 0)), Err(expected));
        }
    }

    #[test]
    fn tcp_messages_of_a_packet_share_it() {
        let message = RawMessage::read(&record(&json!({"transport": "tcp"})), (0, 0)).unwrap();
        let both = packets(&[message.clone(), message.clone()]);
        assert_eq!(both.iter().map(Vec::len).collect::<Vec<_>>(), [40 + 2 * 14]);
        assert_eq!(both[0][40..42], [0, 12]);
        let large = RawMessage { wire: vec![0; 65_535], ..message };
        assert_eq!(packets(&[large]).iter().map(Vec::len).collect::<Vec<_>>(), [60_040, 5_577]);
    }

    #[test]
    fn udp_packets_have_their_lengths() {
        let message = RawMessage::read(&record(&json!({})), (0, 0)).unwrap();
        let v4 = packets(&[message]);
        assert_eq!((v4[0].len(), &v4[0][2..4], &v4[0][24..26]), (40, &[0, 40][..], &[0, 20][..]));
        let addresses = json!({"src_ip": "2001:db8::1", "dst_ip": "2001:db8::2"});
        let message = RawMessage::read(&record(&addresses), (0, 0)).unwrap();
        assert_eq!(packets(&[message])[0].len(), 60);
    }
}
